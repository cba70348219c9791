//! What can go wrong with a node, sorted by what the job can do.

use std::path::PathBuf;

use thiserror::Error;

use crate::agent::protocol::{Fault, ProtocolError};
use crate::observe::ErrorChain;
use crate::ssh::{SshError, SudoRefusal};
use crate::store::StoreError;
use crate::tasks::TimedOut;

/// A node that could not be reached, or could not do what was asked.
#[derive(Debug, Error)]
pub enum ClusterError {
    /// What the share remembers of nodes cannot be read.
    #[error("the share does not tell which nodes it knows")]
    Unread(#[source] StoreError),
    /// What the share remembers of nodes is no text of ours.
    #[error(
        "{path} is damaged or of a newer medusafs; if it is damaged, remove it and look at what \
         `medusafs check` then says the nodes are called"
    )]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        #[source]
        source: serde_json::Error,
    },
    /// The machine could not be logged in to or worked on.
    #[error(transparent)]
    Ssh(SshError),
    /// sudo does not let us.
    #[error(transparent)]
    Sudo(SudoRefusal),
    /// The agent can be put nowhere.
    #[error(
        "{node}: found no place from which the agent can be run ({tried}); set agent_dir in \
         medusafs.ini to a directory of the SSH user that is not mounted noexec"
    )]
    NoAgentDirectory {
        /// The node.
        node: String,
        /// Each place and what was wrong with it.
        tried: String,
    },
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
    /// The agent could not be started, and something was said on its standard error.
    #[error("{node}: cannot start the agent ({words})")]
    Complained {
        /// The node.
        node: String,
        /// The last line of it.
        words: String,
        /// What was seen of it on the line.
        #[source]
        source: Box<ClusterError>,
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
            Self::Unread(_)
            | Self::Damaged { .. }
            | Self::Ssh(_)
            | Self::Sudo(_)
            | Self::NoAgentDirectory { .. }
            | Self::Gone { .. }
            | Self::Silent { .. }
            | Self::Complained { .. }
            | Self::TimedOut { .. }
            | Self::Wire { .. } => None,
        }
    }

    /// The error and its causes on one line.
    pub fn in_words(&self) -> String {
        ErrorChain(self).to_string()
    }
}
