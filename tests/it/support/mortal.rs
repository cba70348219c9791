//! A disk whose process dies before a given change.

use std::fs::File;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use medusafs::agent::restore::{Disk, LocalDisk, Owner};

/// How many changes are left to a process. The dead change nothing.
#[derive(Debug)]
pub(crate) struct Life {
    left: AtomicI64,
    /// Whether it lives on after the change that failed.
    faints: bool,
}

impl Life {
    /// So many changes, and no more.
    pub(crate) fn of(changes: i64) -> Arc<Self> {
        Arc::new(Self { left: AtomicI64::new(changes), faints: false })
    }

    /// After so many changes one fails, as on a full disk; it goes on with the next.
    pub(crate) fn fainting_after(changes: i64) -> Arc<Self> {
        Arc::new(Self { left: AtomicI64::new(changes), faints: true })
    }

    /// A life without an end.
    pub(crate) fn endless() -> Arc<Self> {
        Self::of(i64::MAX)
    }

    /// Whether the end has come, or the change that failed.
    pub(crate) fn is_over(&self) -> bool {
        self.left.load(Ordering::SeqCst) < 0
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
/// last tree that it removes half there.
#[derive(Debug)]
pub(crate) struct MortalDisk(pub(crate) Arc<Life>);

impl Disk for MortalDisk {
    fn make_dir(&self, path: &Path, owner: Owner) -> io::Result<()> {
        self.0.spend()?;
        LocalDisk.make_dir(path, owner)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.0.spend()?;
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

    fn finish(&self, file: &File, owner: Owner) -> io::Result<()> {
        self.0.spend()?;
        LocalDisk.finish(file, owner)
    }

    fn give(&self, path: &Path, owner: Owner) -> io::Result<()> {
        self.0.spend()?;
        LocalDisk.give(path, owner)
    }

    fn append(&self, path: &Path, line: &[u8]) -> io::Result<()> {
        let half = &line[..line.len() / 2];
        self.0.spend_or(|| LocalDisk.append(path, half).unwrap())?;
        LocalDisk.append(path, line)
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
