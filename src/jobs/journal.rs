//! What a job has begun and finished: read by whoever does it again after a crash.

use std::fs::{File, OpenOptions};
use std::io::{self, BufRead, BufReader, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::model::{Fqdn, JobState, UnixSeconds};

use super::JobsError;

/// One line of the journal. A kind is never renamed or given another meaning.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Record {
    /// A process took the job, at this time: the first line, and one more after each crash.
    Taken {
        /// When.
        at: UnixSeconds,
        /// By which process.
        pid: u32,
    },
    /// This node is about to be touched: a snapshot of this tag may be on it.
    SnapshotBegins {
        /// The node.
        node: Fqdn,
        /// The snapshot's tag.
        tag: String,
    },
    /// The snapshot is gone from this node.
    SnapshotCleared {
        /// The node.
        node: Fqdn,
    },
    /// What the backup will lack whatever comes of the publishing, in words: nodes that have not
    /// copied everything, and changes of the ring. Written before the first `PublishBegins`.
    Lacking {
        /// A sentence for each; none if every node that it is for can be published.
        what: Vec<String>,
    },
    /// This node is about to copy its snapshot to the share: until it has published or withdrawn
    /// it, there may be files that nobody names.
    UploadBegins {
        /// The node.
        node: Fqdn,
    },
    /// This node's meta files and index entries are about to be written.
    PublishBegins {
        /// The node.
        node: Fqdn,
    },
    /// This node's manifest is on the share, and perhaps not all of its index entries: the same
    /// request again adds them.
    Whole {
        /// The node.
        node: Fqdn,
    },
    /// They are written; this node's backup is finished.
    Published {
        /// The node.
        node: Fqdn,
    },
    /// What this node had copied is taken back: nothing of it was published.
    Withdrawn {
        /// The node.
        node: Fqdn,
    },
    /// Files are about to be staged on the node.
    StageBegins {
        /// The node.
        node: Fqdn,
    },
    /// The node has been told to swap: it finishes alone from here if we die.
    SwapBegins {
        /// The node.
        node: Fqdn,
    },
    /// The node's data is swapped and Cassandra has been started.
    Swapped {
        /// The node.
        node: Fqdn,
    },
    /// The node is about to be told to put back what it had.
    UndoBegins {
        /// The node.
        node: Fqdn,
    },
    /// The stage is taken back: nothing of this job is on the node, and nothing was changed.
    TakenBack {
        /// The node.
        node: Fqdn,
    },
    /// What was set aside is put back on the node.
    Undone {
        /// The node.
        node: Fqdn,
    },
    /// The node has nothing any more of a restore that was told to swap: its time is over.
    Gone {
        /// The node.
        node: Fqdn,
    },
    /// The job has come to this end, over which its process did not die.
    Ended {
        /// As what.
        state: JobState,
        /// Its last words, without what is left of it.
        why: String,
    },
    /// The process before this one died while the restore waited for a person: nothing was in hand.
    WasHeld {},
}

/// An append-only file of records, each synced before it counts.
#[derive(Debug)]
pub struct Journal {
    path: PathBuf,
    file: File,
    records: Vec<Record>,
    /// The bytes of the file that are whole records.
    whole: u64,
}

impl Journal {
    pub(super) fn open(path: &Path) -> Result<Self, JobsError> {
        let wrong = |doing| {
            move |source: io::Error| JobsError::Folder { doing, path: path.to_owned(), source }
        };
        let file = OpenOptions::new()
            .read(true)
            .append(true)
            .create(true)
            .mode(0o600)
            .open(path)
            .map_err(wrong("open"))?;
        let mut records = Vec::new();
        let mut whole = 0_u64;
        let mut reader = BufReader::new(&file);
        let mut line = String::new();
        loop {
            line.clear();
            let read = reader.read_line(&mut line).map_err(wrong("read"))?;
            // A line without an end was cut by a crash before it was synced: it does not count.
            if read == 0 || !line.ends_with('\n') {
                break;
            }
            let record = serde_json::from_str(&line)
                .map_err(|source| JobsError::Damaged { path: path.to_owned(), source })?;
            records.push(record);
            whole = whole.saturating_add(read as u64);
        }
        // What comes next must not be glued to half a line.
        file.set_len(whole).map_err(wrong("mend"))?;
        Ok(Self { path: path.to_owned(), file, records, whole })
    }

    /// Every record so far, oldest first.
    pub fn records(&self) -> &[Record] {
        &self.records
    }

    /// Writes a record down; when this returns, it outlives a power cut. One that fails leaves the
    /// journal as it was.
    pub fn write(&mut self, record: Record) -> Result<(), JobsError> {
        let mut line = serde_json::to_vec(&record)
            .map_err(|source| JobsError::Damaged { path: self.path.clone(), source })?;
        line.push(b'\n');
        let written = self.file.write_all(&line).and_then(|()| self.file.sync_data());
        if let Err(source) = written {
            // A full disk takes half a line: the next one must not be glued to it.
            if let Err(error) = self.file.set_len(self.whole) {
                tracing::error!(%error, path = %self.path.display(), "half a line stays");
            }
            return Err(JobsError::Folder { doing: "write", path: self.path.clone(), source });
        }
        self.whole = self.whole.saturating_add(line.len() as u64);
        self.records.push(record);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn published(node: &str) -> Record {
        Record::Published { node: Fqdn::parse(node).unwrap() }
    }

    #[test]
    fn records_come_back_in_order() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("journal");
        let mut journal = Journal::open(&path).unwrap();
        journal.write(published("node1")).unwrap();
        journal.write(published("node2")).unwrap();
        assert_eq!(
            Journal::open(&path).unwrap().records(),
            [published("node1"), published("node2")]
        );
    }

    #[test]
    fn a_line_that_a_crash_cut_does_not_count_and_spoils_nothing() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("journal");
        Journal::open(&path).unwrap().write(published("node1")).unwrap();
        let mut file = OpenOptions::new().append(true).open(&path).unwrap();
        file.write_all(b"{\"published\":{\"no").unwrap();
        let mut journal = Journal::open(&path).unwrap();
        assert_eq!(journal.records(), [published("node1")]);
        journal.write(published("node3")).unwrap();
        assert_eq!(
            Journal::open(&path).unwrap().records(),
            [published("node1"), published("node3")]
        );
    }

    #[test]
    fn a_record_that_finds_no_room_leaves_the_journal_as_it_was() {
        if !rustix::process::geteuid().is_root() {
            return;
        }
        let directory = tempfile::tempdir().unwrap();
        let flags = rustix::mount::MountFlags::empty();
        rustix::mount::mount("none", directory.path(), "tmpfs", flags, c"size=8k").unwrap();
        let path = directory.path().join("journal");
        let long = |letter: &str| Record::Lacking { what: vec![letter.repeat(6000)] };
        let mut journal = Journal::open(&path).unwrap();
        journal.write(long("a")).unwrap();
        let refused = journal.write(long("b"));
        let went_on = journal.write(published("node1"));
        let read = Journal::open(&path).map(|journal| journal.records().to_vec());
        drop(journal);
        rustix::mount::unmount(directory.path(), rustix::mount::UnmountFlags::DETACH).unwrap();
        refused.unwrap_err();
        went_on.unwrap();
        assert_eq!(read.unwrap(), [long("a"), published("node1")]);
    }
}
