//! Every change that a restore makes to the node's disks.
//!
//! They are few and each is one call, so that a test can let the process die before any of them.

use std::ffi::OsStr;
use std::fmt::Debug;
use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{self, Read, Write};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt, fchown};
use std::path::{Path, PathBuf};

use rustix::fs::{
    AtFlags, CWD, Mode, OFlags, RenameFlags, linkat, mkdirat, openat, renameat, renameat_with,
    unlinkat,
};
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

/// The changing calls. Each is done, or fails, as a whole; none follows a link, wherever it stands.
pub trait Disk: Send + Sync + Debug {
    /// Makes a directory of this owner; one that stands there gets the owner.
    fn make_dir(&self, path: &Path, owner: Owner) -> io::Result<()>;
    /// Renames what must not replace anything.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;
    /// Gives an open file one more name.
    fn link(&self, file: &File, to: &Path) -> io::Result<()>;
    /// Begins a file of root alone, where nothing stands.
    fn create(&self, path: &Path) -> io::Result<File>;
    /// Makes last what has been written so far of a file that was begun.
    fn flush(&self, file: &File) -> io::Result<()>;
    /// Makes the bytes of a file that was begun last, under this owner.
    fn finish(&self, file: &File, owner: Owner) -> io::Result<()>;
    /// Gives a directory to somebody else.
    fn give(&self, path: &Path, owner: Owner) -> io::Result<()>;
    /// Adds a line to a file, made if it is not there, and makes it last.
    fn append(&self, path: &Path, line: &[u8]) -> io::Result<()>;
    /// Adds a line that a power cut may take, and waits for no disk.
    fn note(&self, path: &Path, line: &[u8]) -> io::Result<()>;
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
pub(super) fn beside(path: &Path) -> io::Result<PathBuf> {
    let name = path.file_name().ok_or(io::ErrorKind::InvalidInput)?;
    let mut temporary = name.to_owned();
    temporary.push(".new");
    Ok(path.with_file_name(temporary))
}

/// A name in a directory that is held open.
///
/// No link is followed on the way: Cassandra's user may write into its own directories and those
/// above them, and would else choose what root changes. Data directories are known by their real
/// paths; see [`directories`](super::directories).
struct Place<'a> {
    directory: OwnedFd,
    name: &'a OsStr,
}

impl<'a> Place<'a> {
    fn of(path: &'a Path) -> io::Result<Self> {
        let name = path.file_name().ok_or(io::ErrorKind::InvalidInput)?;
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let mut directory = openat(CWD, ".", flags, Mode::empty())?;
        for step in path.parent().into_iter().flat_map(Path::components) {
            directory = openat(&directory, step.as_os_str(), flags, Mode::empty())?;
        }
        Ok(Self { directory, name })
    }

    /// The same as a path, as long as this lives: for what takes no descriptor.
    fn path(&self) -> PathBuf {
        let directory = Path::new("/proc/self/fd").join(self.directory.as_raw_fd().to_string());
        directory.join(self.name)
    }

    fn open(&self, options: &mut OpenOptions) -> io::Result<File> {
        // Without blocking, so that a pipe that somebody put there stops nobody.
        options.custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK).open(self.path())
    }

    fn open_directory(&self) -> io::Result<File> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        Ok(File::from(openat(&self.directory, self.name, flags, Mode::empty())?))
    }

    fn rename(&self, to: &Self) -> io::Result<()> {
        Ok(renameat(&self.directory, self.name, &to.directory, to.name)?)
    }
}

/// Opens a file that root wrote, or who runs this. It says what root is to run and to give to whom,
/// and lies in a directory of Cassandra's user, who could put another one in its place.
pub(super) fn open_own(path: &Path) -> io::Result<File> {
    let file = Place::of(path)?.open(File::options().read(true))?;
    let uid = file.metadata()?.uid();
    if uid == 0 || uid == rustix::process::geteuid().as_raw() {
        return Ok(file);
    }
    let why = format!("user {uid} has put it there, and not a restore: find out who, and why");
    Err(io::Error::new(io::ErrorKind::PermissionDenied, why))
}

/// Reads such a file.
pub(super) fn read_own(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    open_own(path)?.read_to_end(&mut bytes)?;
    Ok(bytes)
}

fn give(directory: &File, owner: Owner) -> io::Result<()> {
    fchown(directory, Some(owner.uid), Some(owner.gid))?;
    directory.set_permissions(Permissions::from_mode(owner.mode))
}

fn append(path: &Path, line: &[u8]) -> io::Result<File> {
    let mut options = File::options();
    let mut file = Place::of(path)?.open(options.append(true).create(true).mode(0o600))?;
    file.write_all(line)?;
    Ok(file)
}

impl Disk for LocalDisk {
    fn make_dir(&self, path: &Path, owner: Owner) -> io::Result<()> {
        let place = Place::of(path)?;
        match mkdirat(&place.directory, place.name, Mode::RWXU) {
            Ok(()) | Err(Errno::EXIST) => give(&place.open_directory()?, owner),
            Err(error) => Err(error.into()),
        }
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let (from, to) = (Place::of(from)?, Place::of(to)?);
        let flags = RenameFlags::NOREPLACE;
        match renameat_with(&from.directory, from.name, &to.directory, to.name, flags) {
            // Some file systems know no flags; nobody else writes here, so that looking is enough.
            Err(Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP) => {
                if fs::symlink_metadata(to.path()).is_ok() {
                    return Err(io::ErrorKind::AlreadyExists.into());
                }
                from.rename(&to)
            }
            result => Ok(result?),
        }
    }

    fn link(&self, file: &File, to: &Path) -> io::Result<()> {
        // By descriptor: what was proven is what gets the name, whatever its old name means by now.
        let open = format!("/proc/self/fd/{}", file.as_raw_fd());
        let to = Place::of(to)?;
        Ok(linkat(CWD, open, &to.directory, to.name, AtFlags::SYMLINK_FOLLOW)?)
    }

    fn create(&self, path: &Path) -> io::Result<File> {
        Place::of(path)?.open(File::options().write(true).create_new(true).mode(0o600))
    }

    fn flush(&self, file: &File) -> io::Result<()> {
        file.sync_data()
    }

    fn finish(&self, file: &File, owner: Owner) -> io::Result<()> {
        give(file, owner)?;
        file.sync_all()
    }

    fn give(&self, path: &Path, owner: Owner) -> io::Result<()> {
        give(&Place::of(path)?.open_directory()?, owner)
    }

    fn append(&self, path: &Path, line: &[u8]) -> io::Result<()> {
        append(path, line)?.sync_data()
    }

    fn note(&self, path: &Path, line: &[u8]) -> io::Result<()> {
        append(path, line).map(drop)
    }

    fn write(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        let temporary = beside(path)?;
        // One that a write left that was cut off.
        self.remove_file(&temporary)?;
        let mut file = self.create(&temporary)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        Place::of(&temporary)?.rename(&Place::of(path)?)?;
        path.parent().map_or(Ok(()), |parent| self.sync_dir(parent))
    }

    fn truncate(&self, path: &Path, length: u64) -> io::Result<()> {
        let file = Place::of(path)?.open(File::options().write(true))?;
        file.set_len(length)?;
        file.sync_all()
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        Place::of(path)?.open_directory()?.sync_all()
    }

    fn remove_file(&self, path: &Path) -> io::Result<()> {
        let remove =
            |place: Place<'_>| Ok(unlinkat(&place.directory, place.name, AtFlags::empty())?);
        absent_is_fine(Place::of(path).and_then(remove))
    }

    fn remove_tree(&self, path: &Path) -> io::Result<()> {
        absent_is_fine(Place::of(path).and_then(|place| fs::remove_dir_all(place.path())))
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

    /// Whoever owns a directory above may put a link in a name's place at any time.
    #[test]
    fn what_a_link_leads_to_is_never_changed() {
        let home = tempfile::tempdir().unwrap();
        let home = home.path().canonicalize().unwrap();
        let (victim, link) = (home.join("victim"), home.join("link"));
        fs::create_dir(&victim).unwrap();
        fs::create_dir(victim.join("below")).unwrap();
        fs::write(victim.join("file"), "text").unwrap();
        std::os::unix::fs::symlink(&victim, &link).unwrap();
        let before = Owner::of(&victim).unwrap();
        let other = Owner { mode: before.mode ^ 0o011, ..before };
        assert!(LocalDisk.give(&link, other).is_err());
        assert!(LocalDisk.make_dir(&link, other).is_err());
        assert!(LocalDisk.sync_dir(&link).is_err());
        assert_eq!(Owner::of(&victim).unwrap(), before);
        let (below, new) = (link.join("below"), link.join("new"));
        assert!(LocalDisk.give(&below, other).is_err());
        assert!(LocalDisk.make_dir(&new, other).is_err());
        assert!(LocalDisk.create(&new).is_err());
        assert!(LocalDisk.write(&new, b"x").is_err());
        assert!(LocalDisk.append(&new, b"x").is_err());
        assert!(LocalDisk.truncate(&link.join("file"), 0).is_err());
        assert!(LocalDisk.remove_file(&link.join("file")).is_err());
        assert!(LocalDisk.remove_tree(&below).is_err());
        assert!(LocalDisk.rename(&below, &home.join("stolen")).is_err());
        let file = File::open(victim.join("file")).unwrap();
        assert!(LocalDisk.link(&file, &new).is_err());
        assert_eq!(fs::read_dir(&victim).unwrap().count(), 2);
        assert_eq!(fs::read(victim.join("file")).unwrap(), b"text");
        LocalDisk.give(&victim, other).unwrap();
        assert_eq!(Owner::of(&victim).unwrap(), other);
    }

    #[test]
    fn what_somebody_else_wrote_is_not_believed() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().canonicalize().unwrap().join("order.json");
        fs::write(&path, "{}").unwrap();
        assert_eq!(read_own(&path).unwrap(), b"{}");
        let missing = read_own(&path.with_file_name("none/order.json")).unwrap_err();
        assert_eq!(missing.kind(), io::ErrorKind::NotFound);
        if rustix::process::geteuid().is_root() {
            std::os::unix::fs::chown(&path, Some(4242), None).unwrap();
            let error = read_own(&path).unwrap_err();
            assert!(error.to_string().contains("user 4242"), "{error}");
        }
    }
}
