//! The seam to restores: what a whole set begins.

use std::sync::Arc;

use tokio::sync::watch;

use crate::model::Fqdn;
use crate::model::JobId;
use crate::model::JobStatus;
use crate::model::UnixSeconds;
use crate::staging::SnapshotId;

use super::FsError;

/// A restore of one node that somebody asked for with a copy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RestoreOrder {
    /// The node to restore.
    pub target: Fqdn,
    /// What lies in its place, whole. Its node need not be the target.
    pub source: SnapshotId,
    /// Who began to copy.
    pub uid: u32,
    /// The process that brought the last file.
    pub pid: u32,
    /// Its program's name; empty if that is not known.
    pub program: String,
    /// When the last file was in place, by this host's clock. The hold time counts from here.
    pub last_file_at: UnixSeconds,
    /// Why a person must accept the plan in any case.
    pub hold: Vec<String>,
}

/// Restores that outlive the call. Every method may touch this host's disk, never a share or a
/// network; [`RestoreWork::jobs`] answers from memory.
pub trait RestoreWork: Send + Sync + 'static {
    /// The jobs as they are now, and when they change. From the start all that there are: a job
    /// that is not among them is gone, or has been made this moment.
    fn jobs(&self) -> watch::Receiver<Arc<Vec<JobStatus>>>;

    /// Starts a restore: one that is held for whatever else is at work on this host.
    fn begin_restore(&self, order: &RestoreOrder) -> Result<JobId, FsError>;

    /// Somebody writes to the set of a job that has not stopped the node: it must not do so before
    /// [`RestoreWork::is_settled`].
    ///
    /// # Errors
    ///
    /// [`FsError::Busy`] if it stops the node already; the set is not changed then.
    fn is_touched(&self, job: &JobId) -> Result<(), FsError>;

    /// The set of a job is whole again, unchanged; the hold time counts from `since`.
    fn is_settled(&self, job: &JobId, since: UnixSeconds) -> Result<(), FsError>;

    /// Asks a job to take everything back; `why` is shown as its error.
    ///
    /// # Errors
    ///
    /// [`FsError::Busy`] if it has stopped the node: then it is taken back with `undo`.
    fn cancel(&self, job: &JobId, why: &str) -> Result<(), FsError>;

    /// Accepts a held plan by its ID, or ends the hold time with `now`.
    ///
    /// # Errors
    ///
    /// [`FsError::Stale`] for what is not the plan's ID, [`FsError::Invalid`] for `now` where
    /// no hold time runs, [`FsError::Busy`] while something else is at work.
    fn commit(&self, job: &JobId, word: &str) -> Result<(), FsError>;

    /// Puts back what a restore has set aside.
    ///
    /// # Errors
    ///
    /// [`FsError::Busy`] while its process is there: a moment longer than it shows no end.
    fn undo(&self, job: &JobId) -> Result<(), FsError>;
}
