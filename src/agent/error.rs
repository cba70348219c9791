//! What can go wrong on a node, and what the job hears of it.

use std::io;
use std::path::{Path, PathBuf};

use thiserror::Error;

use super::protocol::{Fault, FaultKind};
use super::task::Cancelled;
use crate::medusa::FormatError;
use crate::model::ObjectKeyError;
use crate::store::{Kind, PoolError, StoreError};

/// A failure on the node's side.
#[derive(Debug, Error)]
pub(super) enum AgentError {
    /// The request was told to stop.
    #[error(transparent)]
    Cancelled(#[from] Cancelled),
    /// The share refused something.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The share did not answer, or no thread could ask it.
    #[error("the share did not do what was asked")]
    Share(#[from] PoolError),
    /// A name too long for the store.
    #[error("a name of this node cannot be a name of the store")]
    Key(#[from] ObjectKeyError),
    /// What should be in Medusa's format is not.
    #[error("{what} cannot be read")]
    Format {
        /// Which object.
        what: String,
        /// Why.
        source: FormatError,
    },
    /// One of the node's own files.
    #[error("cannot {doing} {}", .path.display())]
    NodeFile {
        /// As a verb: "read", "list".
        doing: &'static str,
        /// Which.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// Something of the node is not as a backup needs it. The text says what, where and why.
    #[error("{what}")]
    Wrong {
        /// What the job can do about it.
        kind: FaultKind,
        /// In words.
        what: String,
        /// What a person can do next.
        remedy: String,
    },
}

impl AgentError {
    /// For `map_err` on a call about one of the node's files.
    pub(super) fn node_file(
        doing: &'static str,
        path: &Path,
    ) -> impl FnOnce(io::Error) -> Self + use<> {
        let path = path.to_owned();
        move |source| Self::NodeFile { doing, path, source }
    }

    /// A finding without a cause below it.
    pub(super) fn wrong(
        kind: FaultKind,
        what: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Self {
        Self::Wrong { kind, what: what.into(), remedy: remedy.into() }
    }
}

impl From<AgentError> for Fault {
    fn from(error: AgentError) -> Self {
        let (kind, remedy) = match &error {
            AgentError::Cancelled(_) => (FaultKind::Cancelled, ""),
            AgentError::Store(error) => of_store(error.kind),
            AgentError::Share(PoolError::Panicked { .. }) => (FaultKind::Bug, ""),
            AgentError::Share(PoolError::NoThread { .. }) => {
                (FaultKind::NodeFiles, "the node's limits on processes are too low")
            }
            AgentError::Share(_) => (FaultKind::ShareHangs, HANGS),
            AgentError::Key(_) => (FaultKind::NodeFiles, ""),
            AgentError::Format { source, .. } if source.is_final() => (
                FaultKind::Damaged,
                "see whether it is half-written or of another program, and remove that backup",
            ),
            AgentError::Format { .. } => (FaultKind::ShareHangs, HANGS),
            AgentError::NodeFile { source, .. } => of_node(source.kind()),
            AgentError::Wrong { kind, remedy, .. } => (*kind, remedy.as_str()),
        };
        Self::new(kind, &error, remedy)
    }
}

pub(super) const HANGS: &str =
    "see whether the share's server answers, and whether this node's mount of it hangs";

pub(super) fn of_store(kind: Kind) -> (FaultKind, &'static str) {
    match kind {
        Kind::Full => (FaultKind::ShareFull, "free space on the share, or raise the quota"),
        Kind::Denied => (
            FaultKind::ShareRefuses,
            "the agent's user must be able to write there: see root_squash in the export, the \
             directory's owner and mode, and use_sudo",
        ),
        Kind::ReadOnly => (FaultKind::ShareRefuses, "mount the share for writing on this node"),
        Kind::NotFound => (FaultKind::Missing, "see that the share is mounted on this node"),
        Kind::Exists | Kind::NotEmpty => (FaultKind::Exists, ""),
        Kind::Outside | Kind::WrongKind => {
            (FaultKind::Damaged, "look at what stands there: medusafs follows no links in a store")
        }
        Kind::TooLarge => (FaultKind::Damaged, ""),
        Kind::Unsupported => (FaultKind::ShareRefuses, "use another file system for the store"),
        Kind::Exhausted => (FaultKind::NodeFiles, "the node lacks memory or open files"),
        Kind::Unavailable | Kind::TimedOut | Kind::Overloaded => (FaultKind::ShareHangs, HANGS),
        Kind::Failed => (FaultKind::ShareRefuses, ""),
    }
}

pub(super) fn of_node(kind: io::ErrorKind) -> (FaultKind, &'static str) {
    match kind {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            (FaultKind::NodeFull, "free space on the node's disk")
        }
        io::ErrorKind::PermissionDenied => (
            FaultKind::NodeFiles,
            "the agent's user must be able to read Cassandra's files: set use_sudo, or connect as \
             root or Cassandra's user",
        ),
        _ => (FaultKind::NodeFiles, ""),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fault_says_what_where_why_and_what_to_do() {
        let source = io::Error::from_raw_os_error(libc::EACCES);
        let error = AgentError::node_file("read", Path::new("/data/x"))(source);
        let fault = Fault::from(error);
        assert_eq!(fault.kind, FaultKind::NodeFiles);
        let text = fault.to_string();
        assert!(text.starts_with("cannot read /data/x: Permission denied"), "{text}");
        assert!(text.contains("use_sudo"), "{text}");
    }
}
