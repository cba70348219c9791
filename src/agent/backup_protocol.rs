//! The backup side of the wire.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::medusa::Mode;
use crate::model::{BackupName, Fqdn, JobId, UnixSeconds};

/// A snapshot's tag that medusafs may take and clear: `medusafs-JOB` and nothing else, so that no
/// mistake of ours clears what somebody else keeps. Medusa's own is `medusa-NAME`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct SnapshotTag(Arc<str>);

/// A text that is no tag of ours.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error(
    "{0:?} is no snapshot tag of medusafs: it is \"medusafs-\" and a job's id, of letters, digits, \
     '_', '.', '-'"
)]
pub struct SnapshotTagError(
    /// The text.
    pub String,
);

impl SnapshotTag {
    const BEGINNING: &str = "medusafs-";

    /// The tag of a job's snapshot. Neither takes Medusa its snapshot for its own, or the reverse,
    /// nor a job that of an earlier one of that name.
    pub fn of(job: &JobId) -> Result<Self, SnapshotTagError> {
        Self::parse(&format!("{}{job}", Self::BEGINNING))
    }

    /// Takes a tag.
    pub fn parse(text: &str) -> Result<Self, SnapshotTagError> {
        let plain = text.bytes().all(|b| b.is_ascii_alphanumeric() || b"_.-".contains(&b));
        let job = text.strip_prefix(Self::BEGINNING);
        if plain && text.len() <= 255 && job.is_some_and(|job| JobId::parse(job).is_ok()) {
            Ok(Self(Arc::from(text)))
        } else {
            Err(SnapshotTagError(text.to_owned()))
        }
    }

    /// The tag as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for SnapshotTag {
    type Error = SnapshotTagError;

    fn try_from(text: String) -> Result<Self, SnapshotTagError> {
        Self::parse(&text)
    }
}

impl From<SnapshotTag> for String {
    fn from(tag: SnapshotTag) -> Self {
        tag.0.as_ref().to_owned()
    }
}

impl fmt::Display for SnapshotTag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for SnapshotTag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

/// Leaves a nonce on the share, below medusafs's own directory.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ShareWrite {
    /// Hex digits that nobody can guess, of this job.
    pub nonce: String,
}

/// To [`ShareWrite`]: the nonce is on the share, durably. The agent removes it when it ends.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ShareWritten {
    /// Now, by the share's clock.
    pub clock: UnixSeconds,
}

/// Looks for nonces that other nodes have left.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ShareRead {
    /// Those to look for.
    pub nonces: Vec<String>,
}

/// To [`ShareRead`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SharedNonces {
    /// Those that this node finds, in the order asked.
    pub found: Vec<String>,
}

/// Asks what the share is, by writing, renaming, reading back and removing small files.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ShareProbe {}

/// To [`ShareProbe`]: all of it could be done.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ShareFacts {
    /// The store's root as this node names it.
    pub root: PathBuf,
    /// What is mounted there: `nfs4`, `ext4`, …, as `/proc/self/mountinfo` says it.
    pub file_system: String,
    /// The mount's source: `server:/export`, `/dev/sda1`.
    pub source: String,
    /// Where it is mounted.
    pub mounted_on: PathBuf,
    /// Whether the file system is one that several hosts can share. A bind mount or a disk of
    /// this host is a local path.
    pub is_network: bool,
    /// Whether the mount may give up on its own (NFS `soft`): a write can be lost.
    pub is_soft: bool,
    /// Bytes that this agent may still write.
    pub available_bytes: u64,
    /// Files that can still be made; none where the file system does not say.
    pub available_files: Option<u64>,
    /// Whether names that differ in case only, or hold `+`, are different files: Cassandra has both.
    pub has_exact_names: bool,
}

/// Has Cassandra take a snapshot of all keyspaces.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Snapshot {
    /// Its tag. The agent clears it when it ends, whatever happens.
    pub tag: SnapshotTag,
    /// After this long Cassandra may clear it by itself, if it is 4.1 or newer; at least 60. None
    /// for an older Cassandra.
    pub ttl_seconds: Option<u64>,
}

/// To [`Snapshot`]: it is there, and whole by Cassandra's own list of files.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SnapshotTaken {
    /// Tables, empty ones among them, without those that no backup holds (`system_traces`).
    pub tables: u64,
    /// Files in them that belong into a backup.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
    /// How long Cassandra took, in milliseconds.
    pub took_ms: u64,
}

/// Copies a snapshot to the share, each file hashed on its way. Nothing of it is in Medusa's
/// index afterwards; what was copied is noted on the share for [`Publish`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Upload {
    /// The backup that it will be.
    pub backup: BackupName,
    /// What this node is called in the store.
    pub node: Fqdn,
    /// Full or differential.
    pub mode: Mode,
    /// The snapshot.
    pub tag: SnapshotTag,
    /// Files that are copied at once, 1 to 64.
    pub threads: u32,
    /// New bytes a second at most; 0 for no limit.
    pub bytes_per_second: u64,
}

/// To [`Upload`]: every byte is on the share, durably.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Uploaded {
    /// Files in the manifest.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Files that were copied.
    pub new_files: u64,
    /// Their bytes.
    pub new_bytes: u64,
}

/// Writes a finished upload into Medusa's part of the store, in Medusa's order. May be asked of
/// another agent than the one that uploaded, and again after a crash.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Publish {
    /// The backup.
    pub backup: BackupName,
    /// What this node is called in the store.
    pub node: Fqdn,
    /// As it was uploaded.
    pub mode: Mode,
    /// When the backup began, by the share's clock: what Medusa shows as its start.
    pub started: UnixSeconds,
    /// The content of `tokenmap.json`.
    pub tokenmap: String,
    /// The content of `schema.cql`.
    pub schema: String,
    /// The content of `server_version.json`.
    pub server_version: String,
}

/// To [`Publish`]: the node's backup is in the index, whole.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Published {
    /// When it was finished, as it stands in the index.
    pub finished: UnixSeconds,
}

/// Removes a snapshot from this node. One that is not there is no failure.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Clear {
    /// Its tag.
    pub tag: SnapshotTag,
}

/// To [`Clear`]: it is gone from every data directory.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cleared {
    /// Directories of it that there were.
    pub directories: u64,
}

/// Takes back what an upload put on the share, unless it is published: temporary files, the note
/// for [`Publish`], and in full mode the backup's own files. What lies in the pool is left: the
/// next backup takes it, or the collector.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Withdraw {
    /// The backup.
    pub backup: BackupName,
    /// What this node is called in the store.
    pub node: Fqdn,
}

/// To [`Withdraw`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Withdrawn {
    /// Files that were removed.
    pub files: u64,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::JobKind;
    use test_case::test_case;

    #[test_case("medusafs-20261122T161400Z-backup-nightly"; "a backup's")]
    #[test_case("medusafs-before-20261122T161400Z-restore-x"; "before an import")]
    fn a_tag_of_ours_is_taken(tag: &str) {
        assert_eq!(SnapshotTag::parse(tag).unwrap().as_str(), tag);
    }

    #[test]
    fn a_job_s_tag_is_neither_medusa_s_nor_another_job_s() {
        let tag = |second| {
            let job = JobId::new(UnixSeconds(second), JobKind::Backup, "nightly").unwrap();
            SnapshotTag::of(&job).unwrap()
        };
        assert_eq!(tag(1_795_364_040).as_str(), "medusafs-20261122T161400Z-backup-nightly");
        assert_ne!(tag(1_795_364_040), tag(1_795_364_041));
    }

    #[test_case(""; "empty")]
    #[test_case("truncated-1795343129-users"; "Cassandra's own")]
    #[test_case("before-upgrade"; "a person's")]
    #[test_case("medusa-nightly"; "Medusa's own")]
    #[test_case("medusafs"; "of a medusafs that says nothing of the job")]
    #[test_case("medusafs-"; "of no job")]
    #[test_case("medusafsx-nightly"; "of another program")]
    #[test_case("medusafs-/../../x"; "a path")]
    #[test_case("medusafs- *"; "a pattern")]
    fn a_tag_that_is_not_ours_is_refused(tag: &str) {
        assert!(SnapshotTag::parse(tag).is_err());
    }
}
