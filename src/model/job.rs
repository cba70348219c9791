//! What the tree and the command line show of a job: plain data, written by the job's own process.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::{BackupName, Fqdn, NameError, UnixSeconds};

/// A job's name for ever: `20261122T161400Z-backup-NAME`, a directory name.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct JobId(Arc<str>);

impl JobId {
    /// Names a job that begins now. The last part tells jobs of one second apart.
    pub fn new(begun: UnixSeconds, kind: JobKind, about: &str) -> Result<Self, NameError> {
        Self::parse(&format!("{}-{kind}-{about}", begun.compact()))
    }

    /// Takes an id as a person or a folder has it.
    pub fn parse(text: &str) -> Result<Self, NameError> {
        let name = Fqdn::parse(text)?;
        if text.starts_with('.') {
            return Err(NameError::Dots(text.to_owned()));
        }
        Ok(Self(Arc::from(name.as_str())))
    }

    /// The id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for JobId {
    type Error = NameError;

    fn try_from(text: String) -> Result<Self, NameError> {
        Self::parse(&text)
    }
}

impl From<JobId> for String {
    fn from(id: JobId) -> Self {
        id.0.as_ref().to_owned()
    }
}

impl fmt::Display for JobId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for JobId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

/// What a job does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum JobKind {
    /// Writes a backup of the cluster, or of one node.
    Backup,
    /// Puts a snapshot back on a node.
    Restore,
}

impl fmt::Display for JobKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Backup => "backup",
            Self::Restore => "restore",
        })
    }
}

/// Where a job, or one node of it, stands: the words of `.medusa/state`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum JobState {
    /// Asked for; nothing has been touched.
    Pending,
    /// A backup at work.
    Running,
    /// A backup of every node, whole.
    Complete,
    /// A backup that some nodes lack.
    Incomplete,
    /// A restore that waits until its plan is accepted by name.
    Held,
    /// Files are brought to the node beside its data; Cassandra runs.
    Staging,
    /// All is staged; the hold time runs.
    Waiting,
    /// Cassandra is drained, fenced and stopped.
    Stopping,
    /// Old data is set aside, new data put in place.
    Placing,
    /// Cassandra comes up again.
    Starting,
    /// A restore that ended as wished.
    Done,
    /// A restore that was taken back.
    Undone,
    /// Ended otherwise; `error` says why and what to do.
    Failed,
    /// Taken back by a person before anything was changed.
    Cancelled,
}

/// How something ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// As asked for: a waiter sees end of file, a command exits 0.
    Wished,
    /// Otherwise: a waiter sees EIO, a command exits 1.
    Unwished,
}

impl JobState {
    /// How it ended, if it has ended. A held restore has not: it waits for a person.
    pub fn outcome(self) -> Option<Outcome> {
        match self {
            Self::Complete | Self::Done | Self::Undone => Some(Outcome::Wished),
            Self::Incomplete | Self::Failed | Self::Cancelled => Some(Outcome::Unwished),
            Self::Pending
            | Self::Running
            | Self::Held
            | Self::Staging
            | Self::Waiting
            | Self::Stopping
            | Self::Placing
            | Self::Starting => None,
        }
    }
}

impl fmt::Display for JobState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Pending => "pending",
            Self::Running => "running",
            Self::Complete => "complete",
            Self::Incomplete => "incomplete",
            Self::Held => "held",
            Self::Staging => "staging",
            Self::Waiting => "waiting",
            Self::Stopping => "stopping",
            Self::Placing => "placing",
            Self::Starting => "starting",
            Self::Done => "done",
            Self::Undone => "undone",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
        })
    }
}

/// What a job is at: the words of `phase`. A backup goes `check snapshot copy clear publish`, for a
/// snapshot is not kept longer than its copy needs, and a restore `plan stage stop place start check
/// clean`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Phase {
    /// Backup: is the cluster fit? Restore: is it as it was meant to be?
    Check,
    /// Snapshots are taken on all nodes.
    Snapshot,
    /// Files go to the share.
    Copy,
    /// Snapshots are cleared.
    Clear,
    /// Manifest and index are written.
    Publish,
    /// What would be done is worked out.
    Plan,
    /// Files come to the node, beside its data.
    Stage,
    /// Cassandra is stopped.
    Stop,
    /// Data is swapped.
    Place,
    /// Cassandra is started.
    Start,
    /// What the restore left over is removed.
    Clean,
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Check => "check",
            Self::Snapshot => "snapshot",
            Self::Copy => "copy",
            Self::Publish => "publish",
            Self::Clear => "clear",
            Self::Plan => "plan",
            Self::Stage => "stage",
            Self::Stop => "stop",
            Self::Place => "place",
            Self::Start => "start",
            Self::Clean => "clean",
        })
    }
}

/// How far something is. Totals are none until they are known.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Progress {
    /// Files that need no more work, reused ones among them.
    pub files_done: u64,
    /// Files in all.
    pub files_total: Option<u64>,
    /// Bytes that need no more work, reused ones among them.
    pub bytes_done: u64,
    /// Bytes in all.
    pub bytes_total: Option<u64>,
    /// Bytes that really went over; a differential backup has few.
    pub bytes_new: u64,
}

impl Progress {
    /// This and `other` together. A total that either lacks, the sum lacks.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        let sum = |a: Option<u64>, b: Option<u64>| Some(a?.saturating_add(b?));
        Self {
            files_done: self.files_done.saturating_add(other.files_done),
            files_total: sum(self.files_total, other.files_total),
            bytes_done: self.bytes_done.saturating_add(other.bytes_done),
            bytes_total: sum(self.bytes_total, other.bytes_total),
            bytes_new: self.bytes_new.saturating_add(other.bytes_new),
        }
    }
}

/// One node of a job: a line of `.medusa/nodes`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeStatus {
    /// The node.
    pub name: Fqdn,
    /// Where it stands.
    pub state: JobState,
    /// What it is at.
    pub phase: Phase,
    /// How far it is.
    pub progress: Progress,
    /// For how long it has worked, or worked.
    pub seconds: u64,
    /// Why it failed, in words; none if it did not.
    pub error: Option<String>,
}

/// Why a job failed, as far as a script would do something else about it than about any failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Cause {
    /// Another job has the cluster or the node: the same again, later, may go well.
    Busy,
    /// The share, every node that is asked for the ring, or the node that was to be restored could
    /// not be reached.
    Unreachable,
}

/// The version that this program writes into a [`JobStatus`].
pub const STATUS_VERSION: u32 = 1;

/// Everything that is shown of a job: `.medusa/status.json`.
///
/// Old readers skip keys they do not know; a key is never renamed or given another meaning.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobStatus {
    /// [`STATUS_VERSION`] of the program that wrote it.
    pub version: u32,
    /// The job.
    pub id: JobId,
    /// What it does.
    pub kind: JobKind,
    /// The backup that it writes or restores.
    pub backup: BackupName,
    /// The one node that it is about; none if it is about the cluster.
    pub node: Option<Fqdn>,
    /// Where it stands.
    pub state: JobState,
    /// What it is at.
    pub phase: Phase,
    /// How far it is, all nodes together.
    pub progress: Progress,
    /// The rate of the last ten seconds; none while nothing is copied.
    pub bytes_per_second: Option<u64>,
    /// Seconds left at that rate.
    pub eta_seconds: Option<u64>,
    /// When it was asked for.
    pub started: UnixSeconds,
    /// When it ended.
    pub finished: Option<UnixSeconds>,
    /// Bytes that no other backup shares; known when a backup is published.
    pub unique_bytes: Option<u64>,
    /// Its nodes, by name.
    pub nodes: Vec<NodeStatus>,
    /// Why it failed or is held, in words with what to do next; empty if it did not.
    pub error: String,
    /// Whether its backup was removed while something of it was left on a node: the name is free,
    /// and the job stays until that is settled.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub withdrawn: bool,
    /// Why it failed or is held, for programs; none if it is not, or for any other reason. Statuses of
    /// earlier versions have none.
    #[serde(default)]
    pub cause: Option<Cause>,
}

impl JobStatus {
    /// Whether it is a backup that found the whole cluster fit, so that its nodes are the ring's.
    /// One that was stopped by its check names whom it asked, which may be an address that nobody
    /// answers at.
    pub fn has_met_the_ring(&self) -> bool {
        self.kind == JobKind::Backup
            && self.node.is_none()
            && self.phase != Phase::Check
            && !self.nodes.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_job_id_tells_when_what_and_of_which_backup() {
        let id = JobId::new(UnixSeconds(1_795_364_040), JobKind::Backup, "nightly").unwrap();
        assert_eq!(id.as_str(), "20261122T161400Z-backup-nightly");
        assert!(JobId::parse("../../etc").is_err());
        assert!(JobId::parse(".hidden").is_err());
    }

    #[test]
    fn a_status_of_an_earlier_version_has_no_cause() {
        let text = r#"{"version": 1, "id": "j", "kind": "backup", "backup": "b", "node": null,
            "state": "failed", "phase": "check", "progress": {"files_done": 0, "files_total": null,
            "bytes_done": 0, "bytes_total": null, "bytes_new": 0}, "bytes_per_second": null,
            "eta_seconds": null, "started": 1, "finished": 2, "unique_bytes": null, "nodes": [],
            "error": "busy: n1"}"#;
        let status: JobStatus = serde_json::from_str(text).unwrap();
        assert_eq!(status.cause, None);
    }

    #[test]
    fn a_sum_of_progress_knows_no_total_that_a_part_lacks() {
        let known = Progress { files_total: Some(2), bytes_total: Some(9), ..Progress::default() };
        let unknown = Progress { files_total: Some(1), ..Progress::default() };
        let sum = known.and(unknown);
        assert_eq!((sum.files_total, sum.bytes_total), (Some(3), None));
    }
}
