//! What can go wrong with a node, sorted by what the job can do.

use thiserror::Error;

use crate::agent::protocol::{Fault, ProtocolError};
use crate::tasks::TimedOut;

/// A node that could not do what was asked.
#[derive(Debug, Error)]
pub enum ClusterError {
    /// The node says itself what failed, with a remedy.
    #[error("{node}: {fault}")]
    Fault {
        /// The node.
        node: String,
        /// In its words.
        fault: Fault,
    },
    /// The line to the node's agent broke. What the agent had begun it takes back by itself.
    #[error("{node}: lost the agent: {why}")]
    Gone {
        /// The node.
        node: String,
        /// What was seen last.
        why: String,
    },
    /// Nothing that is an agent answered after it was started.
    #[error("{node}: the agent does not answer: {said}")]
    Silent {
        /// The node.
        node: String,
        /// What was said instead.
        said: String,
        /// How long we waited.
        #[source]
        source: TimedOut,
    },
    /// The answer did not come in time.
    #[error("{node}: too slow")]
    TimedOut {
        /// The node.
        node: String,
        /// How long we waited.
        #[source]
        source: TimedOut,
    },
    /// Something that is not the protocol: a bug, or another version.
    #[error("{node}: its agent cannot be understood")]
    Wire {
        /// The node.
        node: String,
        /// What was wrong.
        #[source]
        source: ProtocolError,
    },
}

impl ClusterError {
    /// What the node itself said, if it did.
    pub fn fault(&self) -> Option<&Fault> {
        match self {
            Self::Fault { fault, .. } => Some(fault),
            Self::Gone { .. } | Self::Silent { .. } | Self::TimedOut { .. } | Self::Wire { .. } => {
                None
            }
        }
    }
}
