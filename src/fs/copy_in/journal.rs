//! What is written down of sets, so that a mount which was killed finds them again.
//!
//! One file a set, in `state_dir/staging/`, a JSON line an event. It is not synced: after a crash
//! of the machine the last files lack, and the same `cp` adds them.
//!
//! Of the mounts of one configuration one alone writes there: it holds a lock, which ends with its
//! process.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, BufRead, BufReader, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::model::BackupName;
use crate::model::Fqdn;
use crate::model::JobId;
use crate::staging::Record;

use super::desk::Top;

/// One line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Line {
    /// The first one: who began.
    Began {
        /// Of the lines that follow.
        version: u32,
        /// Whose set it is.
        uid: u32,
        /// His group.
        gid: u32,
    },
    /// A file came or went.
    File(Record),
    /// This job was begun for it.
    Job(JobId),
    /// The job that was begun for it is no longer about it.
    Unbegun,
    /// There is no set any more: never written, the file goes.
    Forgotten,
    /// What this job left to be seen was cleared away.
    Cleared(JobId),
}

impl Line {
    /// The version that this program writes.
    pub(super) const VERSION: u32 = 1;
}

/// A set as a journal has it.
pub(super) struct Recalled {
    pub(super) top: Top,
    pub(super) uid: u32,
    pub(super) gid: u32,
    pub(super) records: Vec<Record>,
    pub(super) job: Option<JobId>,
    /// Only this is left of it.
    pub(super) cleared: Option<JobId>,
}

/// The directory of journals, this mount's alone for as long as this lives.
#[derive(Debug)]
pub(super) struct Journal {
    directory: PathBuf,
    _lock: Flock<File>,
}

/// Whose journals they are.
pub(super) enum Opened {
    Ours(Journal),
    /// Another mount's, there.
    Others(String),
}

/// Nothing can be written down of what is copied.
#[derive(Debug, Error)]
#[error("cannot use {path}, where what is copied into restore/ is written down")]
pub struct JournalError {
    /// The directory.
    pub path: PathBuf,
    /// What the system said.
    #[source]
    pub source: io::Error,
}

/// A longer line nobody wrote.
const LONGEST_LINE: usize = 64 << 10;

impl Journal {
    /// Makes the directory (0700) if it is missing, and takes it for the mount on `mountpoint`.
    pub(super) fn open(state_dir: &Path, mountpoint: &Path) -> Result<Opened, JournalError> {
        let directory = state_dir.join("staging");
        let wrong = |source| JournalError { path: directory.clone(), source };
        DirBuilder::new().recursive(true).mode(0o700).create(&directory).map_err(wrong)?;
        let path = directory.join("lock");
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false).mode(0o600);
        match Flock::lock(options.open(&path).map_err(wrong)?, FlockArg::LockExclusiveNonblock) {
            Ok(lock) => {
                let place = mountpoint.display().to_string();
                lock.set_len(0)
                    .and_then(|()| (&*lock).write_all(place.as_bytes()))
                    .map_err(wrong)?;
                Ok(Opened::Ours(Self { directory, _lock: lock }))
            }
            Err((_, Errno::EWOULDBLOCK)) => {
                Ok(Opened::Others(fs::read_to_string(&path).map_err(wrong)?))
            }
            Err((_, errno)) => Err(wrong(errno.into())),
        }
    }

    fn path(&self, top: &Top) -> PathBuf {
        self.directory.join(match top {
            Top::Node(node) => format!("node-{node}"),
            Top::Backup(name) => format!("backup-{name}"),
        })
    }

    /// Writes lines down, in order.
    pub(super) fn write(&self, lines: &[(Top, Line)]) -> io::Result<()> {
        let mut open: Option<(&Top, Vec<u8>)> = None;
        for (top, line) in lines {
            if open.as_ref().is_some_and(|(other, _)| *other != top) {
                self.append(open.take())?;
            }
            if *line == Line::Forgotten {
                open = None;
                match fs::remove_file(self.path(top)) {
                    Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                    _ => continue,
                }
            }
            let (_, bytes) = open.get_or_insert_with(|| (top, Vec::new()));
            serde_json::to_writer(&mut *bytes, line)?;
            bytes.push(b'\n');
        }
        self.append(open)
    }

    fn append(&self, lines: Option<(&Top, Vec<u8>)>) -> io::Result<()> {
        let Some((top, bytes)) = lines else { return Ok(()) };
        let mut file =
            OpenOptions::new().append(true).create(true).mode(0o600).open(self.path(top))?;
        file.write_all(&bytes)
    }

    /// Every set that is written down. A line that cannot be read ends its journal: what follows
    /// a torn one is not sure, and goes, so that what comes next does not stand behind it.
    pub(super) fn read(&self) -> Result<Vec<Recalled>, JournalError> {
        let wrong = |source| JournalError { path: self.directory.clone(), source };
        let mut recalled = Vec::new();
        for entry in fs::read_dir(&self.directory).map_err(wrong)? {
            let entry = entry.map_err(wrong)?;
            let name = entry.file_name();
            let top = name.to_str().and_then(|name| match name.split_once('-')? {
                ("node", node) => Some(Top::Node(Fqdn::parse(node).ok()?)),
                ("backup", name) => Some(Top::Backup(BackupName::parse(name).ok()?)),
                _ => None,
            });
            if let Some(top) = top {
                let found = read_one(top, &entry.path());
                recalled.push(found.map_err(|source| JournalError { path: entry.path(), source })?);
            }
        }
        Ok(recalled)
    }
}

impl Recalled {
    /// Nothing but what was cleared away: such a journal has nothing to be forgotten.
    pub(super) fn is_receipt(&self) -> bool {
        self.cleared.is_some() && self.records.is_empty() && self.job.is_none()
    }

    /// Adds what a line tells; false for one that cannot be read.
    fn add(&mut self, line: &[u8]) -> bool {
        let line = line.strip_suffix(b"\n").filter(|line| line.len() <= LONGEST_LINE);
        match line.and_then(|line| serde_json::from_slice(line).ok()) {
            Some(Line::Began { version: Line::VERSION, uid, gid }) => {
                (self.uid, self.gid) = (uid, gid);
            }
            Some(Line::File(record)) => self.records.push(record),
            Some(Line::Job(id)) => self.job = Some(id),
            Some(Line::Unbegun) => self.job = None,
            Some(Line::Cleared(id)) => self.cleared = Some(id),
            Some(Line::Began { .. } | Line::Forgotten) | None => return false,
        }
        true
    }
}

fn read_one(top: Top, path: &Path) -> io::Result<Recalled> {
    let mut found = Recalled { top, uid: 0, gid: 0, records: Vec::new(), job: None, cleared: None };
    let file = OpenOptions::new().read(true).append(true).open(path)?;
    let (mut reader, mut line, mut sure) = (BufReader::new(&file), Vec::new(), 0_u64);
    loop {
        line.clear();
        let read = reader.read_until(b'\n', &mut line)?;
        if read == 0 {
            return Ok(found);
        }
        if !found.add(&line) {
            file.set_len(sure)?;
            return Ok(found);
        }
        sure = sure.saturating_add(u64::try_from(read).unwrap_or(u64::MAX));
    }
}

#[cfg(test)]
mod tests {
    use test_case::test_case;

    use super::*;
    use crate::staging::Content;

    fn line(path: &str) -> Line {
        let content = Content { size: 0, md5: None, object: None };
        Line::File(Record::Placed { path: path.to_owned(), content })
    }

    fn opened(state_dir: &Path) -> Journal {
        match Journal::open(state_dir, Path::new("/mnt/medusa")).unwrap() {
            Opened::Ours(journal) => journal,
            Opened::Others(place) => unreachable!("nobody is at {place}"),
        }
    }

    #[test]
    fn a_torn_journal_gives_what_stands_before_the_tear() {
        let directory = tempfile::tempdir().unwrap();
        let journal = opened(directory.path());
        let top = Top::Node(Fqdn::parse("node1").unwrap());
        let began = Line::Began { version: 1, uid: 7, gid: 8 };
        let lines = [began, line("a"), line("b")].map(|line| (top.clone(), line));
        journal.write(&lines).unwrap();
        let path = journal.path(&top);
        let bytes = fs::read(&path).unwrap();
        fs::write(&path, &bytes[..bytes.len() - 4]).unwrap();
        let found = journal.read().unwrap();
        assert_eq!((found[0].uid, found[0].records.len()), (7, 1));
        journal.write(&[(top, Line::Forgotten)]).unwrap();
        assert!(journal.read().unwrap().is_empty());
    }

    #[test_case(4; "in the middle of a line")]
    #[test_case(1; "before its end")]
    fn what_is_written_after_a_tear_is_read_again(torn: usize) {
        let directory = tempfile::tempdir().unwrap();
        let journal = opened(directory.path());
        let top = Top::Node(Fqdn::parse("node1").unwrap());
        journal.write(&[(top.clone(), line("a")), (top.clone(), line("b"))]).unwrap();
        let path = journal.path(&top);
        let bytes = fs::read(&path).unwrap();
        fs::write(&path, &bytes[..bytes.len() - torn]).unwrap();
        journal.read().unwrap();
        journal.write(&[(top, line("c"))]).unwrap();
        assert_eq!(journal.read().unwrap()[0].records.len(), 2, "a and c");
    }

    #[test]
    fn a_second_mount_is_told_where_the_first_one_is() {
        let directory = tempfile::tempdir().unwrap();
        let first = opened(directory.path());
        let place = Path::new("/mnt/other");
        let Opened::Others(told) = Journal::open(directory.path(), place).unwrap() else {
            unreachable!("the first one has it");
        };
        assert_eq!(told, "/mnt/medusa");
        drop(first);
        assert!(matches!(Journal::open(directory.path(), place).unwrap(), Opened::Ours(_)));
    }
}
