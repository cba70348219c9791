//! Why a restore did not go on, sorted by what can be done about it.

use std::io;
use std::path::{Path, PathBuf};

use thiserror::Error;

use crate::model::ObjectKey;

type Cause = Box<dyn std::error::Error + Send + Sync>;

/// Why a step of a restore did not end as wished.
#[derive(Debug, Error)]
pub enum RestoreError {
    /// The node is not fit, or the order does not fit the node; nothing was changed.
    #[error("{why}; {remedy}")]
    Refused {
        /// What speaks against it.
        why: String,
        /// What a person does about it.
        remedy: String,
    },
    /// Another restore works on this node, or the job is at something else.
    #[error("{0}")]
    Busy(String),
    /// The share did not give a file. Why may be a [`StoreError`](crate::store::StoreError), which
    /// says whether another try is worth it.
    #[error("cannot read {key} of the backup")]
    Share {
        /// The stored object.
        key: ObjectKey,
        /// What the share said.
        #[source]
        source: Cause,
    },
    /// The backup itself could not be read or understood. Why may be a `StoreError` or a
    /// [`CatalogError`](crate::catalog::CatalogError).
    #[error("cannot read what the backup holds")]
    Backup(#[source] Cause),
    /// What the share gave is not what the backup recorded; another try gives the same.
    #[error("{key} of the backup is damaged: {why}")]
    Damaged {
        /// The stored object.
        key: ObjectKey,
        /// What differs.
        why: String,
    },
    /// A disk of this node refused.
    #[error("cannot {doing} {}", .path.display())]
    Disk {
        /// As a verb: "rename", "write".
        doing: &'static str,
        /// What it was about.
        path: PathBuf,
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
    /// Cassandra did not do as told.
    #[error("{why}")]
    Cassandra {
        /// What it did instead, with what to do next.
        why: String,
        /// What was said by the program that was asked, if one was.
        #[source]
        source: Option<Cause>,
    },
    /// What stands on the disk is not what the steps before left there.
    #[error("{what} at {}; {remedy}", .path.display())]
    Unexpected {
        /// What was found, or not.
        what: &'static str,
        /// Where.
        path: PathBuf,
        /// What a person does about it.
        remedy: String,
    },
    /// Told to stop; what had been done is taken back.
    #[error("the restore was called off before Cassandra was touched")]
    CalledOff,
    /// A mistake in this program.
    #[error("this should never happen: {0}")]
    Bug(String),
}

impl RestoreError {
    /// Says what was done to which path when the kernel refused.
    pub(crate) fn disk<'a>(
        doing: &'static str,
        path: &'a Path,
    ) -> impl FnOnce(io::Error) -> Self + 'a {
        move |source| Self::Disk { doing, path: path.to_owned(), source }
    }

    /// What kept a source from saying what a backup holds: an error of this kind stays what it is.
    pub(crate) fn backup(why: Cause) -> Self {
        why.downcast().map_or_else(Self::Backup, |own| *own)
    }

    pub(crate) fn cassandra(why: impl Into<String>) -> Self {
        Self::Cassandra { why: why.into(), source: None }
    }

    pub(crate) fn refused(why: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self::Refused { why: why.into(), remedy: remedy.into() }
    }
}
