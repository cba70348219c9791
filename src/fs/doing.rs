//! The seam to work: what a call may begin, and how it hears of it.

use std::fs::File;
use std::io;
use std::sync::Arc;

use tokio::sync::watch;

use crate::medusa::Mode;
use crate::model::BackupName;
use crate::model::Fqdn;
use crate::model::JobId;
use crate::model::JobStatus;

use super::Caller;
use super::FsError;

/// A backup that somebody asked for with `mkdir`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BackupOrder {
    /// Its name, which has been judged.
    pub name: BackupName,
    /// Chosen by the directory; none leaves it to the configuration.
    pub mode: Option<Mode>,
    /// The one node to back up; none for the cluster.
    pub node: Option<Fqdn>,
    /// Whether it finishes a backup of the cluster that this node failed.
    pub finishes: bool,
    /// Who asked.
    pub caller: Caller,
    /// His program's name.
    pub program: String,
}

/// All jobs of this host, oldest first.
pub type JobTable = Arc<Vec<JobStatus>>;

/// A text of a job's folder that is not in its status.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum JobText {
    /// What happened, line by line: grows.
    Log,
    /// What a restore would do.
    Plan,
}

/// Work that outlives the call. But for [`Doing::jobs`] every method may touch this host's disk,
/// never a share or a network, and is called where that may take a while.
pub trait Doing: Send + Sync + 'static {
    /// The jobs as they are now, and when they change.
    fn jobs(&self) -> watch::Receiver<JobTable>;

    /// The nodes of the ring as last seen; none if no ring was ever seen.
    fn ring(&self) -> Option<Vec<Fqdn>>;

    /// Starts a backup. No snapshot is taken in its first two seconds.
    fn begin_backup(&self, order: &BackupOrder) -> Result<JobId, FsError>;

    /// Asks a job to take everything back; `why` is shown as its error.
    fn cancel(&self, job: &JobId, why: &str) -> Result<(), FsError>;

    /// Removes jobs that have ended and published nothing, so that their name is free: all or none.
    /// What one may have left on a node stays known until it is settled.
    fn forget(&self, jobs: &[JobId]) -> Result<(), FsError>;

    /// A text, opened for reading.
    fn open_text(&self, job: &JobId, text: JobText) -> io::Result<File>;
}
