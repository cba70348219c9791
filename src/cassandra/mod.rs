//! One Cassandra, as seen on its node: its programs, its configuration, its ring, its process, and
//! CQL with it over any stream.

mod cluster_facts;
mod cql;
mod cql_error;
mod cql_frame;
mod cql_reader;
mod cql_tls;
mod cql_value;
mod nodetool;
mod nodetool_error;
mod process;
mod ring;
mod running;
mod schema;
mod yaml;

pub use cluster_facts::{ClusterFacts, ColumnFacts, NodeFacts, TableFacts};
pub use cql::{CqlSession, Row};
pub use cql_error::CqlError;
pub use cql_tls::CqlTlsSettings;
pub use cql_value::{Uuid, Value};
pub use nodetool::Nodetool;
pub use nodetool_error::NodetoolError;
pub use process::{Finished, ProcessError, Program};
pub use ring::{ClusterDescription, MemberState, NodeInfo, RingMember};
pub use running::{
    RunningCassandra, is_taking_snapshot, packaged_storage_directory, running, storage_directory,
    with_config,
};
pub use schema::{schema_text, schema_text_with_internals};
pub use yaml::{CassandraYaml, YamlError};
