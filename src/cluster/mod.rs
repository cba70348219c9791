//! Many nodes, over SSH: how they are reached, what they are called, whether they are fit.

mod agent_line;
mod claim;
mod contact;
mod cql;
mod error;
mod fan_out;
mod finding;
mod host_share;
mod known_nodes;
mod leftovers;
mod push;
mod reach;
mod restore_requests;
mod ring_now;
mod share;
mod survey;
mod topology;

pub use agent_line::{AgentLine, Deaf, Listener};
pub use claim::{Claim, ClaimError, Claims};
pub use error::ClusterError;
pub use fan_out::on_all;
pub use finding::{Finding, Severity};
pub use host_share::HostShare;
pub use known_nodes::stored_names;
pub use push::AGENT_FILE;
pub use reach::{Reach, Reached};
pub use share::{SHARE_WITHIN, ShareSeen};
pub use survey::{LOGINS_AT_ONCE, Looked, Memory, Purpose, Survey, claims, ring, survey};
pub use topology::{KnownNode, KnownNodes, NamingError, OwnNames, Replaced, RingNode, name_nodes};
