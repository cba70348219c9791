//! Names taken away, and directories moved.

use std::os::fd::OwnedFd;

use rustix::fs::{self, AtFlags, Dir, FileType, Mode, OFlags, RenameFlags};
use rustix::io::Errno;

use crate::model::ObjectKey;

use super::root::{stat_at, sync_fd};
use super::{EntryKind, Kind, Store, StoreError};

/// Deeper than any tree of a store; an attacker's tree is not followed for ever.
const DEEPEST: u32 = 64;

impl Store {
    /// Removes a file. One that is not there is [`Kind::NotFound`].
    pub fn remove(&self, key: &ObjectKey) -> Result<(), StoreError> {
        let wrong = || StoreError::about("remove", key);
        let (parent, name) = self.parent(key).map_err(wrong())?;
        fs::unlinkat(&parent, name, AtFlags::empty()).map_err(wrong())
    }

    /// Removes an empty directory; one with anything in it is [`Kind::NotEmpty`].
    pub fn remove_directory(&self, key: &ObjectKey) -> Result<(), StoreError> {
        let wrong = || StoreError::about("remove the directory", key);
        let (parent, name) = self.parent(key).map_err(wrong())?;
        fs::unlinkat(&parent, name, AtFlags::REMOVEDIR).map_err(wrong())
    }

    /// Removes a directory with all that is in it, links among it removed and not followed. One
    /// that is not there is as good. Tells how many files went.
    ///
    /// A file that some process of this host still has open stays on NFS under another name, and
    /// its directory with it: [`Kind::NotEmpty`].
    pub fn remove_tree(&self, key: &ObjectKey) -> Result<u64, StoreError> {
        self.remove_tree_telling(key, &mut || {})
    }

    /// The same, calling `gone` after each name that went: many take long, and whoever waits may
    /// want to know that it gets on.
    pub fn remove_tree_telling(
        &self,
        key: &ObjectKey,
        gone: &mut dyn FnMut(),
    ) -> Result<u64, StoreError> {
        let wrong = || StoreError::about("remove the directory", key);
        let (parent, name) = match self.parent(key) {
            Err(Errno::NOENT) => return Ok(0),
            other => other.map_err(wrong())?,
        };
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let directory = match fs::openat(&parent, name, flags, Mode::empty()) {
            Err(Errno::NOENT) => return Ok(0),
            other => other.map_err(wrong())?,
        };
        let mut removed = 0;
        loop {
            let more = empty(&directory, DEEPEST, gone).map_err(wrong())?;
            removed += more;
            match fs::unlinkat(&parent, name, AtFlags::REMOVEDIR) {
                Ok(()) | Err(Errno::NOENT) => return Ok(removed),
                // A server may leave names out of a listing while others are removed.
                Err(Errno::NOTEMPTY | Errno::EXIST) if more > 0 => {}
                Err(error) => return Err(wrong()(error)),
            }
        }
    }

    /// Gives a file another name, in place of what had it. Only for medusafs's own files.
    pub fn rename_replacing(&self, from: &ObjectKey, to: &ObjectKey) -> Result<(), StoreError> {
        let wrong = || StoreError::about("rename", format!("{from} to {to}"));
        let (from_parent, from_name) = self.parent(from).map_err(wrong())?;
        let (to_parent, to_name) = self.parent(to).map_err(wrong())?;
        let moved = stat_at(&from_parent, from_name).map_err(wrong())?;
        match fs::renameat(&from_parent, from_name, &to_parent, to_name) {
            Ok(()) => Ok(()),
            Err(error) => match stat_at(&to_parent, to_name) {
                Ok(found) if found.is_same_file(&moved) => Ok(()),
                _ => Err(wrong()(error)),
            },
        }
    }

    /// Moves a directory with all that is in it to a name that nothing has, else [`Kind::Exists`];
    /// on disk when this returns. Directories on the way to the new name are made.
    pub fn rename_tree(&self, from: &ObjectKey, to: &ObjectKey) -> Result<(), StoreError> {
        let wrong = || StoreError::about("rename", format!("{from} to {to}"));
        let (from_parent, from_name) = self.parent(from).map_err(wrong())?;
        let moved = stat_at(&from_parent, from_name).map_err(wrong())?;
        if moved.kind != EntryKind::Directory {
            return Err(StoreError::plain(Kind::WrongKind, "rename", from));
        }
        let to_parent = match to.parent() {
            Some(parent) => self.directory_made(&parent)?,
            None => self.open_directory(None)?,
        };
        let to_name = to.file_name();
        match rename_directory(&from_parent, from_name, &to_parent, to_name) {
            Ok(()) => {}
            // The reply to a first try may have been lost: what counts is what is there.
            Err(error) => match stat_at(&to_parent, to_name) {
                Ok(found) if found.is_same_file(&moved) => {}
                Ok(_) => return Err(wrong()(Errno::EXIST)),
                Err(_) => return Err(wrong()(error)),
            },
        }
        sync_fd(&to_parent).map_err(wrong())?;
        let from_parent = self.open_directory(from.parent().as_ref())?;
        sync_fd(&from_parent).map_err(wrong())
    }
}

/// Without the flag, an empty directory may be replaced: the only thing that the system replaces
/// by a directory, and nothing is lost by it.
fn rename_directory(
    from: &OwnedFd,
    from_name: &str,
    to: &OwnedFd,
    to_name: &str,
) -> Result<(), Errno> {
    match fs::renameat_with(from, from_name, to, to_name, RenameFlags::NOREPLACE) {
        Err(Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP) => {
            fs::renameat(from, from_name, to, to_name)
        }
        other => other,
    }
}

fn empty(directory: &OwnedFd, deepest: u32, gone: &mut dyn FnMut()) -> Result<u64, Errno> {
    let below = deepest.checked_sub(1).ok_or(Errno::LOOP)?;
    let mut removed = 0;
    for entry in Dir::read_from(directory)? {
        let entry = entry?;
        let name = entry.file_name();
        if matches!(name.to_bytes(), b"." | b"..") {
            continue;
        }
        let mut kind = entry.file_type();
        if kind == FileType::Unknown {
            match fs::statat(directory, name, AtFlags::SYMLINK_NOFOLLOW) {
                Ok(stat) => kind = FileType::from_raw_mode(stat.st_mode),
                Err(Errno::NOENT) => continue,
                Err(error) => return Err(error),
            }
        }
        let flags = if kind == FileType::Directory {
            let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            match fs::openat(directory, name, flags, Mode::empty()) {
                Ok(inner) => removed += empty(&inner, below, gone)?,
                Err(Errno::NOENT) => continue,
                Err(error) => return Err(error),
            }
            AtFlags::REMOVEDIR
        } else {
            AtFlags::empty()
        };
        match fs::unlinkat(directory, name, flags) {
            Ok(()) => {
                removed += u64::from(flags.is_empty());
                gone();
            }
            Err(Errno::NOENT) => {}
            // NFS: removed already, and kept by somebody who has it open.
            Err(Errno::BUSY) if name.to_bytes().starts_with(b".nfs") => {}
            Err(error) => return Err(error),
        }
    }
    Ok(removed)
}
