//! One Cassandra, as seen on its node: its programs, its configuration, its ring, its service.

mod nodetool;
mod nodetool_error;
mod password_file;
mod process;
mod ring;
mod service;
mod yaml;

pub use nodetool::Nodetool;
pub use nodetool_error::NodetoolError;
pub use process::{Finished, ProcessError, Program};
pub use ring::{ClusterDescription, MemberState, NodeInfo, RingMember};
pub use service::{RunningCassandra, Service, ServiceError, running};
pub use yaml::{CassandraYaml, USUAL_STORAGE_DIRECTORY, YamlError};
