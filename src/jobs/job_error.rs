//! Why a job ends otherwise than wished.

use std::path::Path;

use thiserror::Error;

use crate::cluster::{ClusterError, Finding};
use crate::config::ConfigError;
use crate::medusa::LayoutError;
use crate::model::{Cause, Fqdn, JobId, JobState, ObjectKeyError};
use crate::observe::ErrorChain;
use crate::store::{Kind, PoolError, StoreError};

use super::JobsError;

/// What ends a job. Its words go into the job's `error`, for a person.
#[derive(Debug, Error)]
pub(super) enum JobError {
    /// A person wanted it so.
    #[error("cancelled: {0}")]
    Cancelled(String),
    /// The cluster, or this host, is not fit for it; nothing was touched.
    #[error("the cluster is not fit for this, and nothing was changed")]
    Unfit(Vec<Finding>),
    /// No node that is asked for the ring let us in; nothing was touched.
    #[error("no node that tells the ring could be reached, and nothing was changed")]
    Unreached(Vec<Finding>),
    /// Nodes failed at something that all must do.
    #[error("{doing} failed")]
    Nodes {
        /// What they were to do.
        doing: &'static str,
        /// Those that failed, with why.
        nodes: Vec<(Fqdn, String)>,
    },
    /// What is asked for cannot be done, whoever accepts it.
    #[error("refused: this is never done")]
    Refused(Vec<String>),
    /// One node is not as it was meant to be.
    #[error("{node}: {what}; {remedy}")]
    Node {
        /// The node.
        node: Fqdn,
        /// What is wrong with it.
        what: String,
        /// The one command that helps.
        remedy: String,
    },
    /// One node was left in the middle of it. What settles it is told by what the journal leaves
    /// open.
    #[error("{node}: {what}")]
    Unfinished {
        /// The node.
        node: Fqdn,
        /// Why it went no further.
        what: String,
    },
    /// Another job has the cluster or the node.
    #[error("busy: {holder}; wait for it, or cancel it")]
    Busy {
        /// Who, and with what.
        holder: String,
    },
    /// What this host sees of the share failed.
    #[error("the share cannot be used from this host")]
    Store(#[from] StoreError),
    /// The store's prefix is none that Medusa can use.
    #[error("the store's layout cannot be used")]
    Layout(#[from] LayoutError),
    /// A name makes no path in the store.
    #[error("a name makes no path in the store")]
    Key(#[from] ObjectKeyError),
    /// A node failed.
    #[error(transparent)]
    Cluster(#[from] ClusterError),
    /// The job's own folder failed.
    #[error("the job's own folder cannot be used")]
    Folder(#[from] JobsError),
    /// The configuration is not what it was when the job was asked for.
    #[error("the configuration cannot be read")]
    Config(#[from] ConfigError),
    /// The share, or the node that is to be restored, does not answer.
    #[error("{0}")]
    Silent(String),
    /// Something about this host.
    #[error("{0}")]
    Host(String),
    /// The process that did the job died.
    #[error("the process of job {job} ended before its work did: {found}")]
    Died {
        /// The job.
        job: JobId,
        /// What its journal says, and what has been done about it.
        found: String,
    },
}

impl JobError {
    /// The share at `path` did not do what this host asked.
    pub(super) fn silent_share(path: &Path, error: &PoolError) -> Self {
        Self::Silent(format!(
            "the share at {} does not answer: {error}; look whether it is mounted and its server \
             is up",
            path.display()
        ))
    }

    /// What a job that ends by this ends as.
    pub(super) fn state(&self) -> JobState {
        match self {
            Self::Cancelled(_) => JobState::Cancelled,
            _ => JobState::Failed,
        }
    }

    /// What a script may act on.
    pub(super) fn cause(&self) -> Option<Cause> {
        match self {
            Self::Busy { .. } => Some(Cause::Busy),
            Self::Unreached(_) | Self::Silent(_) => Some(Cause::Unreachable),
            Self::Store(error) | Self::Cluster(ClusterError::Unread(error)) => match error.kind {
                Kind::NotFound | Kind::Unavailable | Kind::TimedOut | Kind::Overloaded => {
                    Some(Cause::Unreachable)
                }
                Kind::Exists
                | Kind::NotEmpty
                | Kind::WrongKind
                | Kind::Outside
                | Kind::Denied
                | Kind::ReadOnly
                | Kind::Full
                | Kind::TooLarge
                | Kind::Unsupported
                | Kind::Exhausted
                | Kind::Failed => None,
            },
            Self::Cancelled(_)
            | Self::Unfit(_)
            | Self::Nodes { .. }
            | Self::Refused(_)
            | Self::Node { .. }
            | Self::Unfinished { .. }
            | Self::Layout(_)
            | Self::Key(_)
            | Self::Cluster(_)
            | Self::Folder(_)
            | Self::Config(_)
            | Self::Host(_)
            | Self::Died { .. } => None,
        }
    }

    /// Everything that a person needs: a sentence, then a line for each finding or node.
    pub(super) fn in_words(&self) -> String {
        let more: Vec<String> = match self {
            Self::Unfit(findings) | Self::Unreached(findings) => {
                let last = "`medusafs check` looks at all of this again".to_owned();
                findings.iter().map(ToString::to_string).chain([last]).collect()
            }
            Self::Nodes { nodes, .. } => {
                nodes.iter().map(|(node, why)| format!("{node}: {why}")).collect()
            }
            Self::Refused(reasons) => reasons.clone(),
            Self::Cancelled(_)
            | Self::Node { .. }
            | Self::Unfinished { .. }
            | Self::Busy { .. }
            | Self::Store(_)
            | Self::Layout(_)
            | Self::Key(_)
            | Self::Cluster(_)
            | Self::Folder(_)
            | Self::Config(_)
            | Self::Silent(_)
            | Self::Host(_)
            | Self::Died { .. } => Vec::new(),
        };
        let first = ErrorChain(self).to_string();
        [first].into_iter().chain(more).collect::<Vec<_>>().join("\n  ")
    }
}
