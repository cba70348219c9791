//! Many nodes, over SSH: how they are reached, what they are called, whether they are fit.

mod agent_line;
mod claim;
mod cql;
mod error;
mod fan_out;
mod finding;
mod known_nodes;
mod push;
mod reach;
mod restore_requests;
mod share;
mod survey;
mod topology;

pub use agent_line::{AgentLine, Deaf, Listener};
pub use claim::{Claim, ClaimError, Claims};
pub use cql::CqlFacts;
pub use error::ClusterError;
pub use fan_out::on_all;
pub use finding::{Finding, Severity};
pub use known_nodes::stored_names;
pub use push::AGENT_FILE;
pub use reach::{Reach, Reached};
pub use share::{ShareSeen, see_share};
pub use survey::{Looked, Memory, Survey, claims, survey};
pub use topology::{KnownNode, KnownNodes, NamingError, OwnNames, RingNode, name_nodes};
