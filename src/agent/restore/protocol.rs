//! The restore side of the wire.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

pub use super::node_journal::{NodeStep, Reached};
use super::order::Order;
use crate::model::{JobId, JobState, Keyspace, Phase, TableDirectory, UnixSeconds};

/// What can be asked of an agent about a restore.
///
/// `Stage`, `Swap`, `Resume` and `Undo` may take long and send progress; a cancel of `Stage` takes
/// it back, one of the others comes too late. When the conversation breaks, the agent goes on to
/// the end of what it was asked for if Cassandra is being stopped by then, and takes the stage back
/// if not.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RestoreRequest {
    /// Looks at the node and at what the backup holds; changes nothing. Answered by
    /// [`RestoreReply::Plan`].
    Plan(Order),
    /// Brings the backup's files to the node beside its data. May be asked again for the same job:
    /// what is there is not copied again. Answered by [`RestoreReply::Staged`].
    Stage(Order),
    /// Goes on until `reached`; what is done already is not done again. Answered by
    /// [`RestoreReply::Report`].
    Swap {
        /// The job.
        job: JobId,
        /// How far.
        until: Reached,
    },
    /// Goes on with what another agent was asked for and did not end. Answered by
    /// [`RestoreReply::Report`].
    Resume {
        /// The job.
        job: JobId,
        /// As they are now: what failed may have been these.
        commands: Commands,
    },
    /// Takes everything back, and starts Cassandra as it was. Answered by
    /// [`RestoreReply::Report`].
    Undo {
        /// The job.
        job: JobId,
        /// As they are now.
        commands: Commands,
    },
    /// Takes the stage back; refused once Cassandra was touched. Answered by
    /// [`RestoreReply::Report`].
    Abort {
        /// The job.
        job: JobId,
    },
    /// Removes what is not needed any more; what was set aside stays for an undo. Answered by
    /// [`RestoreReply::Report`].
    Clean {
        /// The job.
        job: JobId,
        /// Also what was set aside: after that nothing can be undone.
        forget: bool,
    },
    /// What restores there are on this node. Answered by [`RestoreReply::Journal`].
    Journal {},
}

/// How Cassandra is stopped and started, by the configuration.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Commands {
    /// `stop_cmd`, as words.
    pub stop: Vec<String>,
    /// `start_cmd`, as words.
    pub start: Vec<String>,
}

/// Answers to [`RestoreRequest`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RestoreReply {
    /// What a restore would find and do.
    Plan(PlanFacts),
    /// All files are on the node.
    Staged(Staged),
    /// Where a job stands.
    Report(JobReport),
    /// Where each job stands that left anything on the node.
    Journal(Vec<JobReport>),
}

/// What a restore would find on the node, and do to it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlanFacts {
    /// The MD5 of the manifest that this was made from, for [`Order::manifest`].
    pub manifest: crate::model::Md5,
    /// The file systems of the directories that hold keyspaces.
    pub disks: Vec<DiskSpace>,
    /// Files that the backup holds.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Those that the node seems to have, by name and size.
    pub files_here: u64,
    /// Their bytes. What is left is to be copied.
    pub bytes_here: u64,
    /// Files that are stored with another size than the manifest says, and rightly so.
    #[serde(default)]
    pub written_anew: u64,
    /// What the backup holds.
    pub tables_in_backup: Vec<TableOnDisk>,
    /// Directories of tables on the node's disks, in all keyspaces.
    pub tables_on_disk: Vec<TableOnDisk>,
    /// What would be set aside.
    pub set_aside: Folders,
    /// Whether a Cassandra runs on these directories.
    pub running: bool,
    /// What stands against it, each with what to do; empty if it can begin.
    pub obstacles: Vec<String>,
    /// What restores there are on this node.
    pub jobs: Vec<JobReport>,
}

/// What would be set aside.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Folders {
    /// Keyspaces, whole.
    pub keyspaces: Vec<Keyspace>,
    /// Tables among them that the backup does not hold: on this node they will be empty.
    pub tables_not_in_backup: Vec<TableOnDisk>,
    /// Snapshots in them, by tag: they go with their tables.
    pub snapshots: Vec<String>,
}

/// A file system that holds data directories.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DiskSpace {
    /// The data directories on it.
    pub directories: Vec<PathBuf>,
    /// Its bytes.
    pub total_bytes: u64,
    /// Bytes that are free for others than root.
    pub free_bytes: u64,
    /// Bytes that would be copied into it.
    pub needed_bytes: u64,
    /// Bytes that must stay free beside these. If they would not, that is an obstacle.
    pub margin_bytes: u64,
}

/// A table's directory.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct TableOnDisk {
    /// Its keyspace.
    pub keyspace: Keyspace,
    /// Its name, with the id.
    pub directory: TableDirectory,
}

/// All files are on the node, verified and durable.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Staged {
    /// Files in all.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Of these, files that the node had: proven and linked.
    pub linked_files: u64,
    /// Their bytes.
    pub linked_bytes: u64,
    /// Of these, files that an earlier try had brought.
    pub kept_files: u64,
    /// Files of which the backup recorded no hash and nothing else proves the content: their size
    /// is right.
    pub by_size_only: u64,
    /// Files that are stored otherwise than the manifest says, and rightly so: copied as they are.
    #[serde(default)]
    pub written_anew: u64,
}

/// Where a job stands on this node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobReport {
    /// The job.
    pub job: JobId,
    /// Its state, in the words of the tree.
    pub state: JobState,
    /// What it is at.
    pub phase: Phase,
    /// What it has reached, and stays at until it is told to go on.
    pub reached: Reached,
    /// The step that was begun and has not ended, or failed.
    pub at: Option<NodeStep>,
    /// Why it failed; none if it did not.
    pub error: Option<String>,
    /// When the journal was last written.
    pub when: UnixSeconds,
    /// Whether the node is fenced: Cassandra cannot be started.
    pub fenced: bool,
    /// Until when it can be undone; none if there is nothing to undo, or no end yet.
    pub kept_until: Option<UnixSeconds>,
    /// What a person can do about it; none if nothing is to be done.
    pub remedy: Option<String>,
}
