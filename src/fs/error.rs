//! Why a call is refused, sorted by what the caller learns.

use std::path::Path;

use thiserror::Error;

use crate::catalog::CatalogError;
use crate::model::NewBackupNameError;
use crate::store::PoolError;
use crate::store::StoreError;

/// A call that is not answered as wished. What is in words goes to `last_error`: an errno is all
/// that `cp` sees.
#[derive(Debug, Error)]
pub enum FsError {
    /// No such name here. Told to the kernel alone: programs look for many names.
    #[error("there is no such file or directory")]
    NotFound,
    /// A file was used as a directory.
    #[error("it is no directory")]
    NotADirectory,
    /// A directory was used as a file.
    #[error("it is a directory")]
    IsADirectory,
    /// The directory is not empty.
    #[error("the directory is not empty")]
    NotEmpty,
    /// A name of over 255 bytes.
    #[error("the name is longer than 255 bytes")]
    NameTooLong,
    /// What is shown is never changed.
    #[error("{0}")]
    ReadOnly(String),
    /// The configuration does not allow it, or nobody may.
    #[error("{0}")]
    NotPermitted(String),
    /// This user may not.
    #[error("{0}")]
    Denied(String),
    /// It makes no sense.
    #[error("{0}")]
    Invalid(String),
    /// A backup cannot be called so.
    #[error(transparent)]
    Name(#[from] NewBackupNameError),
    /// The name is taken.
    #[error("{0}")]
    Exists(String),
    /// Somebody is at it: who.
    #[error("{0}")]
    Busy(String),
    /// What was named is no longer what it was.
    #[error("{0}")]
    Stale(String),
    /// Too many files are open through this mount.
    #[error("more than {0} files and directories are open through this mount")]
    TooManyOpen(usize),
    /// A disk is full.
    #[error("{0}")]
    NoSpace(String),
    /// Not something that this file system does.
    #[error("{0}")]
    Unsupported(String),
    /// The share refused, or did not answer in time.
    #[error(transparent)]
    Share(#[from] StoreError),
    /// This host's own disk did not answer in time, or so much waits for it that it was not asked.
    #[error("{0}")]
    HostSilent(String),
    /// What a backup holds cannot be said.
    #[error(transparent)]
    Catalog(#[from] CatalogError),
    /// Stored bytes are missing or wrong.
    #[error("{0}")]
    Damaged(String),
    /// What is copied in is not what the backup has.
    #[error("{0}")]
    WrongCopy(String),
    /// What was waited for ended otherwise than wished.
    #[error("{0}")]
    EndedOtherwise(String),
    /// Nothing new within a second: ask again.
    #[error("nothing new yet")]
    NoNews,
    /// Something outside failed: a share, a disk, a program.
    #[error("{doing}")]
    Failed {
        /// What could not be done, as a sentence's beginning: "cannot read data/…".
        doing: String,
        /// Why.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// What cannot be, was.
    #[error("medusafs has a bug: {0}")]
    Bug(String),
}

impl FsError {
    /// A failure of something outside, with its cause.
    pub fn failed(
        doing: impl Into<String>,
        source: impl Into<Box<dyn std::error::Error + Send + Sync>>,
    ) -> Self {
        Self::Failed { doing: doing.into(), source: source.into() }
    }

    /// The disk that did not answer is this host's own, where `state_dir` lies.
    #[must_use]
    pub(super) fn of_this_host(self, state_dir: &Path) -> Self {
        match self {
            Self::HostSilent(why) => Self::HostSilent(format!(
                "{why}: see what is wrong with this host and its {}",
                state_dir.display()
            )),
            other => other,
        }
    }
}

impl From<PoolError> for FsError {
    fn from(error: PoolError) -> Self {
        Self::Share(error.into())
    }
}
