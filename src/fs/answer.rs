//! What calls are answered with, in our own words: `fuse` turns them into the kernel's.

use std::fs::File;
use std::sync::Arc;
use std::time::Duration;

use crate::view::Attr;
use crate::view::Ino;

use super::Handle;

/// How long the kernel may believe something without asking again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Believe {
    /// That the name stands for this inode, or for none.
    pub name: Duration,
    /// The attributes.
    pub attributes: Duration,
}

impl Believe {
    /// Nothing: the kernel asks each time.
    pub const NOTHING: Self = Self { name: Duration::ZERO, attributes: Duration::ZERO };

    /// For how long all of it holds, for an answer that has room for one time only.
    pub fn all(self) -> Duration {
        self.name.min(self.attributes)
    }
}

/// Something that was looked up or made. The kernel knows it once more for each of these.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Found {
    /// What it is.
    pub attr: Attr,
    /// For how long that holds.
    pub believe: Believe,
}

/// What a lookup gives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LookedUp {
    /// It is there.
    Found(Found),
    /// It is not, and for how long that holds.
    Absent(Duration),
}

/// How an opened file is read.
#[derive(Debug, Clone)]
pub enum Reading {
    /// Stored bytes that never change: the kernel may read the file itself, and may keep pages.
    Stored {
        /// The object, opened.
        file: Arc<File>,
        /// Whether pages that the kernel still has of this inode are of this very file.
        same_as_before: bool,
    },
    /// What is being copied in: read through, and written.
    Staged,
    /// Text that is made when it is opened: nothing is kept by the kernel.
    Made,
}

/// An opened file.
#[derive(Debug, Clone)]
pub struct Opened {
    /// Its number for the calls that follow.
    pub handle: Handle,
    /// How it is read.
    pub reading: Reading,
}

/// An opened directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OpenedDirectory {
    /// Its number for the calls that follow.
    pub handle: Handle,
    /// Whether the kernel may keep the listing for the next reader.
    pub keep: bool,
}

/// A file that was made and opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Created {
    /// The file.
    pub found: Found,
    /// Its number for the calls that follow.
    pub handle: Handle,
}

/// What `df` shows: the share's own numbers as they were lately.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Statfs {
    /// Bytes in all.
    pub total: u64,
    /// Bytes that are free.
    pub free: u64,
    /// Bytes that are free to ordinary users.
    pub available: u64,
    /// Files that could be in all.
    pub files: u64,
    /// Files that could still be made.
    pub files_free: u64,
}

/// Something that the kernel still believes and that is no longer so.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stale {
    /// A name in a directory.
    Name(Ino, String),
    /// A directory's listing, or a file's attributes and pages.
    Inode(Ino),
}
