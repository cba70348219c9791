//! What is known of a file without opening it.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustix::fs::FileType;

/// What a name of a directory stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum EntryKind {
    /// An ordinary file.
    File,
    /// A directory.
    Directory,
    /// A link, pipe, socket or device: it is shown to nobody and never opened.
    Other,
}

impl From<FileType> for EntryKind {
    fn from(kind: FileType) -> Self {
        match kind {
            FileType::RegularFile => Self::File,
            FileType::Directory => Self::Directory,
            _ => Self::Other,
        }
    }
}

/// A name in a directory, for the price of reading the directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EntryName {
    /// One name, without slashes.
    pub name: String,
    /// What it stands for.
    pub kind: EntryKind,
}

/// A name in a directory, and what it stands for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// One name, without slashes.
    pub name: String,
    /// What it stands for.
    pub stat: Stat,
}

/// What the share says of a file or directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stat {
    /// What it is.
    pub kind: EntryKind,
    /// In bytes.
    pub size: u64,
    /// What it takes on disk, in units of 512 bytes.
    pub blocks: u64,
    /// When it was last written, by the share's clock.
    pub modified: SystemTime,
    /// When it or its name was last changed, by the share's clock; nobody can set it.
    pub changed: SystemTime,
    /// Its number on the share.
    pub ino: u64,
    /// The share's own number on this host.
    pub dev: u64,
    /// How many names it has.
    pub links: u64,
}

impl Stat {
    /// True if both are of one file.
    pub fn is_same_file(&self, other: &Self) -> bool {
        (self.dev, self.ino) == (other.dev, other.ino)
    }

    pub(super) fn of(stat: &rustix::fs::Stat) -> Self {
        let whole = |value: i64| u64::try_from(value).unwrap_or(0);
        Self {
            kind: FileType::from_raw_mode(stat.st_mode).into(),
            size: whole(stat.st_size),
            blocks: whole(stat.st_blocks),
            modified: time(stat.st_mtime, stat.st_mtime_nsec),
            changed: time(stat.st_ctime, stat.st_ctime_nsec),
            ino: stat.st_ino,
            dev: stat.st_dev,
            #[expect(clippy::useless_conversion, reason = "32 bits wide on other processors")]
            links: u64::from(stat.st_nlink),
        }
    }
}

/// A server may send any number: what cannot be held counts as 1970.
fn time(seconds: i64, nanos: impl TryInto<u32>) -> SystemTime {
    let nanos = nanos.try_into().unwrap_or(0).min(999_999_999);
    let whole = Duration::from_secs(seconds.unsigned_abs());
    let base =
        if seconds < 0 { UNIX_EPOCH.checked_sub(whole) } else { UNIX_EPOCH.checked_add(whole) };
    base.and_then(|base| base.checked_add(Duration::from_nanos(u64::from(nanos))))
        .unwrap_or(UNIX_EPOCH)
}

/// How much the share can hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Space {
    /// All of it, in bytes.
    pub total: u64,
    /// What is left to everybody, in bytes.
    pub free: u64,
    /// What is left to this user, in bytes.
    pub available: u64,
    /// How many files and directories it can hold.
    pub files: u64,
    /// How many of those are left.
    pub files_free: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_that_no_clock_has_is_no_panic() {
        assert!(time(i64::MAX, 5_u64) > UNIX_EPOCH);
        assert!(time(i64::MIN, 5_u64) <= UNIX_EPOCH);
        assert_eq!(time(-1, 500_000_000_u64), UNIX_EPOCH - Duration::from_millis(500));
        assert_eq!(time(1, u64::MAX), UNIX_EPOCH + Duration::from_secs(1));
    }
}
