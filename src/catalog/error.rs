//! Why the catalog cannot say.

use thiserror::Error;

use crate::medusa::FormatError;
use crate::model::{BackupName, ByteSize, Fqdn, ObjectKeyError};
use crate::store::StoreError;

/// Why the catalog cannot say.
#[derive(Debug, Error)]
pub enum CatalogError {
    /// The share.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// There is no such backup.
    #[error("there is no backup {0}")]
    NoBackup(BackupName),
    /// The backup has nothing of this node.
    #[error("the backup {0} has nothing of {1}")]
    NoNode(BackupName, Fqdn),
    /// The node has not finished, or its manifest is gone: its files are not known.
    #[error("the backup {0} has no manifest of {1}")]
    NoManifest(BackupName, Fqdn),
    /// A stored file is not what it should be, in either of its copies.
    #[error("the backup {0} of {1} is damaged")]
    Damaged(BackupName, Fqdn, #[source] FormatError),
    /// A stored file is gone or cannot be read, in either of its copies.
    #[error("the {what} of {node} in the backup {backup} {why}")]
    Unreadable {
        /// "tokenmap", "schema".
        what: &'static str,
        /// Whose.
        node: Fqdn,
        /// In which backup.
        backup: BackupName,
        /// "is gone", "cannot be read: …".
        why: String,
    },
    /// It names more files than there is memory for.
    #[error("the backup {0} of {1} names more files than fit into {2} of memory: raise `memory`")]
    TooManyFiles(BackupName, Fqdn, ByteSize),
    /// Names so long that no directory can hold them.
    #[error("a name in the store is too long")]
    Name(#[from] ObjectKeyError),
    /// Another thread has been reading the same for too long.
    #[error("the share is still being read, and does not answer")]
    Busy,
}

impl CatalogError {
    /// True if the same question may be answered in a while without anybody doing anything.
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Store(error) => error.is_retryable(),
            Self::Busy => true,
            Self::Damaged(_, _, error) => !error.is_final(),
            Self::NoBackup(_)
            | Self::NoNode(..)
            | Self::NoManifest(..)
            | Self::Unreadable { .. }
            | Self::TooManyFiles(..)
            | Self::Name(_) => false,
        }
    }
}
