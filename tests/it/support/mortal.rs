//! A disk whose process dies before a given change.

use std::collections::BTreeSet;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

use medusafs::agent::restore::{Disk, LocalDisk, Owner};
use parking_lot::{Condvar, Mutex};

/// After this long a line is not waiting for the disk: nobody is left who could tell it to go on.
const NOBODY_ELSE: Duration = Duration::from_secs(10);

/// How many changes are left to a process. The dead change nothing.
#[derive(Debug)]
pub(crate) struct Life {
    left: AtomicI64,
    /// Whether it lives on after the change that failed.
    faints: bool,
    /// How often a file was brought to disk while it was written.
    flushes: AtomicU64,
    /// Directories that were made, and whose names a power cut may take.
    fleeting: Mutex<BTreeSet<PathBuf>>,
    /// Whether a line waits to be appended; none if no line ever waits.
    line_waits: Mutex<Option<bool>>,
    goes_on: Condvar,
}

impl Life {
    /// So many changes, and no more.
    pub(crate) fn of(changes: i64) -> Arc<Self> {
        Arc::new(Self::begin(changes, false))
    }

    fn begin(changes: i64, faints: bool) -> Self {
        Self {
            left: AtomicI64::new(changes),
            faints,
            flushes: AtomicU64::new(0),
            fleeting: Mutex::default(),
            line_waits: Mutex::default(),
            goes_on: Condvar::new(),
        }
    }

    /// A life without an end on a slow disk: each line that is appended waits for
    /// [`Self::lets_append`].
    pub(crate) fn slow() -> Arc<Self> {
        let life = Self::endless();
        *life.line_waits.lock() = Some(false);
        life
    }

    /// The disk has got to the line that waits, if one does.
    pub(crate) fn lets_append(&self) {
        *self.line_waits.lock() = Some(false);
        self.goes_on.notify_all();
    }

    fn wait_to_append(&self) -> io::Result<()> {
        let mut waits = self.line_waits.lock();
        if waits.is_some() {
            *waits = Some(true);
        }
        while *waits == Some(true) {
            if self.goes_on.wait_for(&mut waits, NOBODY_ELSE).timed_out() {
                return Err(io::Error::other("nobody else gets on"));
            }
        }
        Ok(())
    }

    /// After so many changes one fails, as on a full disk; it goes on with the next.
    pub(crate) fn fainting_after(changes: i64) -> Arc<Self> {
        Arc::new(Self::begin(changes, true))
    }

    /// A life without an end.
    pub(crate) fn endless() -> Arc<Self> {
        Self::of(i64::MAX)
    }

    /// Whether the end has come, or the change that failed.
    pub(crate) fn is_over(&self) -> bool {
        self.left.load(Ordering::SeqCst) < 0
    }

    /// How often a file was brought to disk while it was written.
    pub(crate) fn flushes(&self) -> u64 {
        self.flushes.load(Ordering::SeqCst)
    }

    /// Takes one change from it. `last` is done instead by the change at which the end comes.
    pub(crate) fn spend_or(&self, last: impl FnOnce()) -> io::Result<()> {
        match self.left.fetch_sub(1, Ordering::SeqCst) {
            left if left > 0 => return Ok(()),
            0 => last(),
            _ => {
                self.left.store(-1, Ordering::SeqCst);
                if self.faints {
                    return Ok(());
                }
            }
        }
        let why = if self.faints { "the disk is full" } else { "the machine is off" };
        Err(io::Error::other(why))
    }

    /// Takes one change from it.
    pub(crate) fn spend(&self) -> io::Result<()> {
        self.spend_or(|| {})
    }
}

/// The node's disks, as long as the process lives. The last line that it appends is cut off, the
/// last tree that it removes half there. Nothing of Cassandra's may be renamed into a directory
/// that a power cut may take.
#[derive(Debug)]
pub(crate) struct MortalDisk(pub(crate) Arc<Life>);

impl Disk for MortalDisk {
    fn make_dir(&self, path: &Path, owner: Owner) -> io::Result<()> {
        self.0.spend()?;
        if !path.exists() {
            self.0.fleeting.lock().insert(path.to_owned());
        }
        LocalDisk.make_dir(path, owner)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.0.spend()?;
        let is_staged = from.iter().any(|name| name == "part");
        let fleeting = self.0.fleeting.lock();
        let lasts = || !to.ancestors().any(|above| fleeting.contains(above));
        assert!(is_staged || lasts(), "{} is renamed to {}", from.display(), to.display());
        LocalDisk.rename(from, to)
    }

    fn link(&self, file: &File, to: &Path) -> io::Result<()> {
        self.0.spend()?;
        LocalDisk.link(file, to)
    }

    fn create(&self, path: &Path) -> io::Result<File> {
        self.0.spend()?;
        LocalDisk.create(path)
    }

    fn flush(&self, file: &File) -> io::Result<()> {
        self.0.spend()?;
        self.0.flushes.fetch_add(1, Ordering::SeqCst);
        LocalDisk.flush(file)
    }

    fn finish(&self, file: &File, owner: Owner) -> io::Result<()> {
        self.0.spend()?;
        LocalDisk.finish(file, owner)
    }

    fn give(&self, path: &Path, owner: Owner) -> io::Result<()> {
        self.0.spend()?;
        LocalDisk.give(path, owner)
    }

    fn append(&self, path: &Path, line: &[u8]) -> io::Result<()> {
        self.0.wait_to_append()?;
        let half = &line[..line.len() / 2];
        self.0.spend_or(|| LocalDisk.append(path, half).unwrap())?;
        LocalDisk.append(path, line)
    }

    fn note(&self, path: &Path, line: &[u8]) -> io::Result<()> {
        self.0.spend()?;
        LocalDisk.note(path, line)
    }

    fn write(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        self.0.spend()?;
        LocalDisk.write(path, bytes)
    }

    fn truncate(&self, path: &Path, length: u64) -> io::Result<()> {
        self.0.spend()?;
        LocalDisk.truncate(path, length)
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        self.0.spend()?;
        self.0.fleeting.lock().retain(|made| made.parent() != Some(path));
        LocalDisk.sync_dir(path)
    }

    fn remove_file(&self, path: &Path) -> io::Result<()> {
        self.0.spend()?;
        LocalDisk.remove_file(path)
    }

    fn remove_tree(&self, path: &Path) -> io::Result<()> {
        self.0.spend_or(|| remove_half(path))?;
        LocalDisk.remove_tree(path)
    }
}

fn remove_half(path: &Path) {
    let Ok(entries) = std::fs::read_dir(path) else { return };
    let mut paths: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    for path in paths.iter().rev().step_by(2) {
        if path.is_dir() {
            std::fs::remove_dir_all(path).unwrap();
        } else {
            std::fs::remove_file(path).unwrap();
        }
    }
}
