//! Every change that a restore makes to the node's disks.
//!
//! They are few and each is one call, so that a test can let the process die before any of them.

use std::fmt::Debug;
use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{self, Write};
use std::os::fd::AsRawFd;
use std::os::unix::fs::{
    DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt, chown, fchown,
};
use std::path::Path;

use rustix::fs::{AtFlags, CWD, RenameFlags};
use rustix::io::Errno;
use serde::{Deserialize, Serialize};

/// Who a file or directory belongs to, and what its owner, group and others may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Owner {
    /// The user's number.
    pub uid: u32,
    /// The group's number.
    pub gid: u32,
    /// Permission bits, 0o7777 at most.
    pub mode: u32,
}

impl Owner {
    /// Root alone.
    pub const ROOT_ALONE: Self = Self { uid: 0, gid: 0, mode: 0o700 };

    /// As `path` has it; a link is not followed.
    pub fn of(path: &Path) -> io::Result<Self> {
        Ok(Self::from(&fs::symlink_metadata(path)?))
    }

    /// What a file has in a directory of this owner: the same without the right to run it.
    #[must_use]
    pub fn for_files(self) -> Self {
        Self { mode: self.mode & 0o666, ..self }
    }
}

impl From<&fs::Metadata> for Owner {
    fn from(found: &fs::Metadata) -> Self {
        Self { uid: found.uid(), gid: found.gid(), mode: found.mode() & 0o7777 }
    }
}

/// The changing calls. Each is done, or fails, as a whole; none follows a link in the last name.
pub trait Disk: Send + Sync + Debug {
    /// Makes a directory of this owner; one that stands there gets the owner.
    fn make_dir(&self, path: &Path, owner: Owner) -> io::Result<()>;
    /// Renames what must not replace anything.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;
    /// Gives an open file one more name.
    fn link(&self, file: &File, to: &Path) -> io::Result<()>;
    /// Begins a file of root alone, where nothing stands.
    fn create(&self, path: &Path) -> io::Result<File>;
    /// Makes the bytes of a file that was begun last, under this owner.
    fn finish(&self, file: &File, owner: Owner) -> io::Result<()>;
    /// Gives a directory to somebody else.
    fn give(&self, path: &Path, owner: Owner) -> io::Result<()>;
    /// Adds a line to a file, made if it is not there, and makes it last.
    fn append(&self, path: &Path, line: &[u8]) -> io::Result<()>;
    /// Writes a small file as a whole: either the old or the new content lasts.
    fn write(&self, path: &Path, bytes: &[u8]) -> io::Result<()>;
    /// Cuts a file to `length` bytes.
    fn truncate(&self, path: &Path, length: u64) -> io::Result<()>;
    /// Makes the names in a directory last.
    fn sync_dir(&self, path: &Path) -> io::Result<()>;
    /// Removes a file; none there is as good.
    fn remove_file(&self, path: &Path) -> io::Result<()>;
    /// Removes a directory with all that is in it; none there is as good.
    fn remove_tree(&self, path: &Path) -> io::Result<()>;
}

/// The kernel's file systems.
#[derive(Debug, Clone, Copy, Default)]
pub struct LocalDisk;

fn absent_is_fine(result: io::Result<()>) -> io::Result<()> {
    match result {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        result => result,
    }
}

/// Where [`Disk::write`] has the new content until it is whole.
pub(super) fn beside(path: &Path) -> io::Result<std::path::PathBuf> {
    let name = path.file_name().ok_or(io::ErrorKind::InvalidInput)?;
    let mut temporary = name.to_owned();
    temporary.push(".new");
    Ok(path.with_file_name(temporary))
}

impl Disk for LocalDisk {
    fn make_dir(&self, path: &Path, owner: Owner) -> io::Result<()> {
        match fs::DirBuilder::new().mode(0o700).create(path) {
            Ok(()) => {}
            Err(error)
                if error.kind() == io::ErrorKind::AlreadyExists
                    && fs::symlink_metadata(path)?.is_dir() => {}
            Err(error) => return Err(error),
        }
        self.give(path, owner)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        match rustix::fs::renameat_with(CWD, from, CWD, to, RenameFlags::NOREPLACE) {
            // Some file systems know no flags; nobody else writes here, so that looking is enough.
            Err(Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP) => {
                if fs::symlink_metadata(to).is_ok() {
                    return Err(io::ErrorKind::AlreadyExists.into());
                }
                fs::rename(from, to)
            }
            result => Ok(result?),
        }
    }

    fn link(&self, file: &File, to: &Path) -> io::Result<()> {
        // By descriptor: what was proven is what gets the name, whatever its old name means by now.
        let open = format!("/proc/self/fd/{}", file.as_raw_fd());
        Ok(rustix::fs::linkat(CWD, open, CWD, to, AtFlags::SYMLINK_FOLLOW)?)
    }

    fn create(&self, path: &Path) -> io::Result<File> {
        OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .custom_flags(libc::O_NOFOLLOW)
            .open(path)
    }

    fn finish(&self, file: &File, owner: Owner) -> io::Result<()> {
        fchown(file, Some(owner.uid), Some(owner.gid))?;
        file.set_permissions(Permissions::from_mode(owner.mode))?;
        file.sync_all()
    }

    fn give(&self, path: &Path, owner: Owner) -> io::Result<()> {
        chown(path, Some(owner.uid), Some(owner.gid))?;
        fs::set_permissions(path, Permissions::from_mode(owner.mode))
    }

    fn append(&self, path: &Path, line: &[u8]) -> io::Result<()> {
        let mut file = OpenOptions::new()
            .append(true)
            .create(true)
            .mode(0o600)
            .custom_flags(libc::O_NOFOLLOW)
            .open(path)?;
        file.write_all(line)?;
        file.sync_data()
    }

    fn write(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        let temporary = beside(path)?;
        // One that a write left that was cut off.
        self.remove_file(&temporary)?;
        let mut file = self.create(&temporary)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&temporary, path)?;
        path.parent().map_or(Ok(()), |parent| self.sync_dir(parent))
    }

    fn truncate(&self, path: &Path, length: u64) -> io::Result<()> {
        let file = OpenOptions::new().write(true).custom_flags(libc::O_NOFOLLOW).open(path)?;
        file.set_len(length)?;
        file.sync_all()
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        File::open(path)?.sync_all()
    }

    fn remove_file(&self, path: &Path) -> io::Result<()> {
        absent_is_fine(fs::remove_file(path))
    }

    fn remove_tree(&self, path: &Path) -> io::Result<()> {
        absent_is_fine(fs::remove_dir_all(path))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rename_never_replaces_even_an_empty_directory() {
        let home = tempfile::tempdir().unwrap();
        let (from, to) = (home.path().join("from"), home.path().join("to"));
        fs::create_dir(&from).unwrap();
        fs::create_dir(&to).unwrap();
        let error = LocalDisk.rename(&from, &to).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::AlreadyExists);
    }

    #[test]
    fn a_link_names_the_file_that_was_opened_and_not_its_successor() {
        let home = tempfile::tempdir().unwrap();
        let (name, link) = (home.path().join("name"), home.path().join("link"));
        fs::write(&name, "proven").unwrap();
        let file = File::open(&name).unwrap();
        let kept = home.path().join("kept");
        fs::hard_link(&name, kept).unwrap();
        fs::remove_file(&name).unwrap();
        fs::write(&name, "another").unwrap();
        LocalDisk.link(&file, &link).unwrap();
        assert_eq!(fs::read_to_string(link).unwrap(), "proven");
    }

    #[test]
    fn a_directory_is_not_made_through_a_link() {
        let home = tempfile::tempdir().unwrap();
        let link = home.path().join("link");
        std::os::unix::fs::symlink(home.path(), &link).unwrap();
        assert!(LocalDisk.make_dir(&link, Owner::ROOT_ALONE).is_err());
    }
}
