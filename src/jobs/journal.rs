//! What a job has begun and finished: read by whoever does it again after a crash.

use std::fs::{File, OpenOptions};
use std::io::{self, BufRead, BufReader, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::model::{Fqdn, UnixSeconds};

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
    /// This node's meta files and index entries are about to be written.
    PublishBegins {
        /// The node.
        node: Fqdn,
    },
    /// They are written; this node's backup is finished.
    Published {
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
    /// Everything is taken back on the node.
    Undone {
        /// The node.
        node: Fqdn,
    },
}

/// An append-only file of records, each synced before it counts.
#[derive(Debug)]
pub struct Journal {
    path: PathBuf,
    file: File,
    records: Vec<Record>,
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
        Ok(Self { path: path.to_owned(), file, records })
    }

    /// Every record so far, oldest first.
    pub fn records(&self) -> &[Record] {
        &self.records
    }

    /// Writes a record down; when this returns, it outlives a power cut.
    pub fn write(&mut self, record: Record) -> Result<(), JobsError> {
        let mut line = serde_json::to_vec(&record)
            .map_err(|source| JobsError::Damaged { path: self.path.clone(), source })?;
        line.push(b'\n');
        let written = |file: &mut File| file.write_all(&line).and_then(|()| file.sync_data());
        written(&mut self.file).map_err(|source| JobsError::Folder {
            doing: "write",
            path: self.path.clone(),
            source,
        })?;
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
}
