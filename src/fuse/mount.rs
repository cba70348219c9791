//! Mounting and taking away. fuser is given the descriptor only: its own mounting cannot say
//! `fuse.medusafs`, and its own unmounting takes whatever is at the path by then.

use std::ffi::CString;
use std::ffi::OsString;
use std::fs::DirBuilder;
use std::fs::File;
use std::fs::OpenOptions;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::DirBuilderExt;
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::path::PathBuf;

use rustix::fs::IFlags;
use rustix::io::Errno;
use rustix::mount::MountFlags;
use rustix::mount::UnmountFlags;

use super::FuseError;
use super::MountSettings;
use super::helper;
use super::mounts::Mounted;
use super::mounts::OUR_TYPE;
use super::mounts::mounted_at;

/// By which the kernel is asked for a mount.
const DEVICE: &str = "/dev/fuse";

/// A mount that we made, and how it is recognised again.
#[derive(Debug, Clone)]
pub(super) struct OurMount {
    /// Without links.
    pub path: PathBuf,
    /// `MAJOR:MINOR`; as long as the mount lives, nobody else's.
    pub device: String,
    /// What it was mounted from.
    pub source: String,
    /// Whether every user may look, as far as modes let him.
    pub shared: bool,
}

/// Mounts as the settings say, and returns the descriptor by which the kernel speaks to us.
/// Nothing may touch the mount before it is served.
pub(super) fn mount(settings: &MountSettings) -> Result<(OwnedFd, OurMount), FuseError> {
    let MountSettings { mountpoint, source, read_only, .. } = settings;
    let root = rustix::process::geteuid().is_root();
    // Before a mountpoint is made: where there is no FUSE, nothing is left behind.
    let opened = if root { Some(open_device()?) } else { None };
    let path = prepare(mountpoint, root)?;
    let device = match opened {
        Some(device) => mount_as_root(device, &path, source, *read_only)?,
        None => helper::mount(&path, source, *read_only)?,
    };
    let mounted = mounted_at(&path).map_err(FuseError::path("look at", &path))?;
    let Some(Mounted { device: number, source, .. }) = mounted.filter(|m| m.kind == OUR_TYPE)
    else {
        return Err(FuseError::NotOurs(path));
    };
    Ok((device, OurMount { path, device: number, source, shared: root }))
}

/// Looks whether a tree could be mounted on `mountpoint`, and makes nothing.
///
/// # Errors
///
/// Those of [`Mount::start`](super::Mount::start) that can be seen beforehand.
pub fn can_mount_on(mountpoint: &Path) -> Result<(), FuseError> {
    let root = rustix::process::geteuid().is_root();
    if root {
        drop(open_device()?);
    } else {
        // fusermount3 opens it.
        Path::new(DEVICE).metadata().map_err(FuseError::NoDevice)?;
    }
    match resolve(mountpoint) {
        Err(FuseError::Path { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
            if root {
                Ok(())
            } else {
                Err(FuseError::Missing(mountpoint.to_owned()))
            }
        }
        Err(error) => Err(error),
        Ok(path) if is_our_dead(&path)? => Ok(()),
        Ok(path) => must_be_free(path),
    }
}

impl OurMount {
    /// Takes our mount away, and nothing else that may stand there by now. One that is busy goes
    /// from the tree at once, and ends when its last file is closed.
    ///
    /// Only for as long as the connection is served. The kernel gives the device number of a mount
    /// that has gone to the next one at once, so that alone it says nothing.
    pub(super) fn take_away(&self) -> Result<(), FuseError> {
        let there = mounted_at(&self.path).map_err(FuseError::path("look at", &self.path))?;
        let is_ours = |there: &Mounted| {
            there.kind == OUR_TYPE && there.device == self.device && there.source == self.source
        };
        if !there.is_some_and(|there| is_ours(&there)) {
            return Ok(());
        }
        match unmount_path(&self.path, false) {
            Err(FuseError::Busy(_)) => unmount_path(&self.path, true),
            taken => taken,
        }
    }
}

/// Looks whether what is mounted at `mountpoint` is a tree of ours, dead or alive.
///
/// # Errors
///
/// [`FuseError::NotOurs`] if another file system is there, or none, or nothing at all.
pub fn must_be_ours(mountpoint: &Path) -> Result<(), FuseError> {
    ours_at(mountpoint).map(drop)
}

/// Takes away what `medusafs mount` mounted at `mountpoint`, dead or alive.
///
/// # Errors
///
/// Those of [`must_be_ours`]; [`FuseError::Busy`] if somebody uses it.
pub fn unmount(mountpoint: &Path) -> Result<(), FuseError> {
    unmount_path(&ours_at(mountpoint)?, false)
}

/// Where a tree of ours is mounted, without links.
fn ours_at(mountpoint: &Path) -> Result<PathBuf, FuseError> {
    let not_ours = || FuseError::NotOurs(mountpoint.to_owned());
    let path = match resolve(mountpoint) {
        Err(FuseError::Path { source, .. })
            if matches!(source.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) =>
        {
            return Err(not_ours());
        }
        found => found?,
    };
    match mounted_at(&path).map_err(FuseError::path("look at", &path))? {
        Some(mounted) if mounted.kind == OUR_TYPE => Ok(path),
        _ => Err(not_ours()),
    }
}

fn unmount_path(path: &Path, lazily: bool) -> Result<(), FuseError> {
    if !rustix::process::geteuid().is_root() {
        return helper::unmount(path, lazily);
    }
    let flags = if lazily { UnmountFlags::DETACH } else { UnmountFlags::empty() };
    match rustix::mount::unmount(path, flags | UnmountFlags::NOFOLLOW) {
        Err(Errno::BUSY) => Err(FuseError::Busy(path.to_owned())),
        done => done.map_err(|errno| FuseError::path("unmount", path)(errno.into())),
    }
}

/// The path without links, of a mountpoint whose mount may be dead.
fn resolve(mountpoint: &Path) -> Result<PathBuf, FuseError> {
    let wrong = FuseError::path("look at", mountpoint);
    match mountpoint.canonicalize() {
        // The last step leads into a dead mount; those before it are well.
        Err(error) if error.raw_os_error() == Some(Errno::NOTCONN.raw_os_error()) => {
            let absolute =
                std::path::absolute(mountpoint).map_err(FuseError::path("look at", mountpoint))?;
            match (absolute.parent(), absolute.file_name()) {
                (Some(parent), Some(name)) => Ok(parent.canonicalize().map_err(wrong)?.join(name)),
                _ => Err(wrong(error)),
            }
        }
        found => found.map_err(wrong),
    }
}

/// Sees to it that something can be mounted on `mountpoint`, and returns its path without links.
fn prepare(mountpoint: &Path, root: bool) -> Result<PathBuf, FuseError> {
    let path = match resolve(mountpoint) {
        Err(FuseError::Path { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
            if !root {
                return Err(FuseError::Missing(mountpoint.to_owned()));
            }
            make(mountpoint)?;
            resolve(mountpoint)?
        }
        found => found?,
    };
    if is_our_dead(&path)? {
        // What crashed left it so that no `rsync --delete` meets an empty directory.
        unmount_path(&path, true)?;
    }
    must_be_free(path.clone())?;
    Ok(path)
}

fn is_our_dead(path: &Path) -> Result<bool, FuseError> {
    let there = mounted_at(path).map_err(FuseError::path("look at", path))?;
    Ok(there.is_some_and(|mounted| mounted.kind == OUR_TYPE) && is_dead(path))
}

/// An empty directory on which nothing is mounted but what mounts us.
fn must_be_free(path: PathBuf) -> Result<(), FuseError> {
    match mounted_at(&path).map_err(FuseError::path("look at", &path))? {
        // Whoever looked into it would wait for our mount.
        Some(mounted) if mounted.kind == "autofs" => return Ok(()),
        Some(mounted) => {
            return Err(FuseError::InUse { path, kind: mounted.kind, source_name: mounted.source });
        }
        None => {}
    }
    if !path.metadata().map_err(FuseError::path("look at", &path))?.is_dir() {
        return Err(FuseError::NotADirectory(path));
    }
    // What is mounted on the store would hide it from itself, and on /etc the configuration.
    let mut names = path.read_dir().map_err(FuseError::path("look at", &path))?;
    match names.next().transpose().map_err(FuseError::path("look at", &path))? {
        Some(entry) => Err(FuseError::NotEmpty { name: entry.file_name(), path }),
        None => Ok(()),
    }
}

fn is_dead(path: &Path) -> bool {
    matches!(rustix::fs::statfs(path), Err(Errno::NOTCONN | Errno::CONNABORTED))
}

/// Makes a mountpoint in which nobody can write anything while nothing is mounted on it.
fn make(mountpoint: &Path) -> Result<(), FuseError> {
    let wrong = |source| FuseError::Path { doing: "make", path: mountpoint.to_owned(), source };
    DirBuilder::new().recursive(true).mode(0o755).create(mountpoint).map_err(wrong)?;
    let directory = File::open(mountpoint).map_err(wrong)?;
    directory.set_permissions(std::fs::Permissions::from_mode(0o555)).map_err(wrong)?;
    let immutable = rustix::fs::ioctl_getflags(&directory)
        .and_then(|flags| rustix::fs::ioctl_setflags(&directory, flags | IFlags::IMMUTABLE));
    if let Err(error) = immutable {
        // tmpfs and others know no such flag; 0555 keeps all but root out.
        tracing::debug!(%error, "the mountpoint cannot be made immutable");
    }
    Ok(())
}

fn open_device() -> Result<File, FuseError> {
    OpenOptions::new()
        .read(true)
        .write(true)
        .custom_flags(libc::O_CLOEXEC)
        .open(DEVICE)
        .map_err(FuseError::NoDevice)
}

fn mount_as_root(
    device: File,
    path: &Path,
    source: &OsString,
    read_only: bool,
) -> Result<OwnedFd, FuseError> {
    let descriptor = std::os::fd::AsRawFd::as_raw_fd(&device);
    let uid = rustix::process::geteuid().as_raw();
    let gid = rustix::process::getegid().as_raw();
    // The kernel checks modes; what it cannot know, the verbs' groups, we check ourselves.
    let data = CString::new(format!(
        "fd={descriptor},rootmode=40000,user_id={uid},group_id={gid},default_permissions,\
         allow_other"
    ))
    .map_err(|nul| FuseError::path("mount on", path)(nul.into()))?;
    let mut flags =
        MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC | MountFlags::NOATIME;
    if read_only {
        flags |= MountFlags::RDONLY;
    }
    rustix::mount::mount(source.as_bytes(), path, OUR_TYPE, flags, data.as_c_str())
        .map_err(|errno| FuseError::path("mount on", path)(errno.into()))?;
    Ok(device.into())
}
