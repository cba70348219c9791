//! Many nodes, over SSH.

mod agent_line;
mod error;

pub use agent_line::{AgentLine, Deaf, Listener};
pub use error::ClusterError;
