//! The store's root, and everything that is opened below it.

use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::SystemTime;

use parking_lot::RwLock;
use rustix::fs::{self, AtFlags, Dir, FileType, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;

use crate::model::ObjectKey;

use super::{Entry, EntryKind, EntryName, Kind, Space, Stat, StoreError};

/// A directory tree on the share. Cheap to clone; all clones are the same.
///
/// The root's descriptor keeps the share mounted.
#[derive(Clone)]
pub struct Store {
    root: Arc<Root>,
}

struct Root {
    path: PathBuf,
    directory: RwLock<Arc<OwnedFd>>,
    /// Set once the file system has said that it cannot rename without replacing.
    renames_only_with_replace: AtomicBool,
}

impl fmt::Debug for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Store").field(&self.root.path).finish()
    }
}

/// Modes are what the umask leaves of these, as with Medusa: its nodes must read the files too.
pub(super) const FILE_MODE: Mode = Mode::from_raw_mode(0o666);
const DIRECTORY_MODE: Mode = Mode::from_raw_mode(0o777);

/// More names than any directory of a store has: one made to fill the memory is not read on.
const MOST_NAMES: usize = 1_000_000;

const BELOW: ResolveFlags =
    ResolveFlags::BENEATH.union(ResolveFlags::NO_SYMLINKS).union(ResolveFlags::NO_MAGICLINKS);

impl Store {
    /// Opens the store at `root`, a directory. Links in this path are the administrator's own and
    /// are followed; below it none is.
    pub fn open(root: &Path) -> Result<Self, StoreError> {
        let opened = open_root(root).map_err(StoreError::about("open", root.display()))?;
        Ok(Self {
            root: Arc::new(Root {
                path: root.to_owned(),
                directory: RwLock::new(Arc::new(opened)),
                renames_only_with_replace: AtomicBool::new(false),
            }),
        })
    }

    /// Where the store is on this host, for messages.
    pub fn path(&self) -> &Path {
        &self.root.path
    }

    /// Names in a directory (none: the root), for the price of reading the directory; unsorted.
    ///
    /// More than a million are [`Kind::TooLarge`]. Left out are what NFS keeps of removed files that are still open (`.nfs…`), and names that
    /// are not UTF-8, which nothing that belongs here has.
    pub fn names(&self, directory: Option<&ObjectKey>) -> Result<Vec<EntryName>, StoreError> {
        let opened = self.open_directory(directory)?;
        let wrong = || StoreError::about("list", self.named(directory));
        let mut names = Vec::new();
        for entry in Dir::read_from(&opened).map_err(wrong())? {
            let entry = entry.map_err(wrong())?;
            let Ok(name) = entry.file_name().to_str() else { continue };
            if matches!(name, "." | "..") || name.starts_with(".nfs") {
                continue;
            }
            self.allow_more(names.len(), directory)?;
            let kind = match entry.file_type() {
                FileType::Unknown => match stat_at(&opened, name) {
                    Ok(stat) => stat.kind,
                    Err(Errno::NOENT) => continue,
                    Err(error) => return Err(wrong()(error)),
                },
                known => known.into(),
            };
            names.push(EntryName { name: name.to_owned(), kind });
        }
        Ok(names)
    }

    /// What is in a directory (none: the root), with one more call for each name; unsorted. What
    /// vanishes meanwhile is left out, and what [`Store::names`] leaves out too.
    pub fn list(&self, directory: Option<&ObjectKey>) -> Result<Vec<Entry>, StoreError> {
        let opened = self.open_directory(directory)?;
        let wrong = || StoreError::about("list", self.named(directory));
        let mut entries = Vec::new();
        for entry in Dir::read_from(&opened).map_err(wrong())? {
            let entry = entry.map_err(wrong())?;
            let Ok(name) = entry.file_name().to_str() else { continue };
            if matches!(name, "." | "..") || name.starts_with(".nfs") {
                continue;
            }
            self.allow_more(entries.len(), directory)?;
            match stat_at(&opened, name) {
                Ok(stat) => entries.push(Entry { name: name.to_owned(), stat }),
                Err(Errno::NOENT) => {}
                Err(error) => return Err(wrong()(error)),
            }
        }
        Ok(entries)
    }

    /// What the share says of an object, without opening it. On NFS it may be some seconds old.
    pub fn stat(&self, key: &ObjectKey) -> Result<Stat, StoreError> {
        let opened = self
            .resolve(Some(key), OFlags::PATH | OFlags::NOFOLLOW)
            .map_err(StoreError::about("look at", key))?;
        fs::fstat(&opened).map(|stat| Stat::of(&stat)).map_err(StoreError::about("look at", key))
    }

    /// What the share says of a directory (none: the root) itself.
    pub fn stat_directory(&self, directory: Option<&ObjectKey>) -> Result<Stat, StoreError> {
        let opened = self.open_directory(directory)?;
        fs::fstat(&opened)
            .map(|stat| Stat::of(&stat))
            .map_err(StoreError::about("look at", self.named(directory)))
    }

    /// Opens an ordinary file for reading. Anything else is [`Kind::WrongKind`], and opening it
    /// has waited for nobody.
    pub fn open_file(&self, key: &ObjectKey) -> Result<File, StoreError> {
        self.open_with_stat(key).map(|(file, _)| file)
    }

    /// As [`Store::open_file`], with what the share says of the very file that was opened.
    /// Opening makes NFS ask its server, so this is fresh where [`Store::stat`] need not be.
    pub fn open_with_stat(&self, key: &ObjectKey) -> Result<(File, Stat), StoreError> {
        // A pipe that is opened so does not wait for a writer, nor a device for a carrier.
        let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::NOFOLLOW;
        let opened = self.resolve(Some(key), flags).map_err(StoreError::about("open", key))?;
        let stat = fs::fstat(&opened).map_err(StoreError::about("open", key))?;
        let stat = Stat::of(&stat);
        if stat.kind != EntryKind::File {
            return Err(StoreError::plain(Kind::WrongKind, "open", key));
        }
        // Whoever reads a share that is itself FUSE must not see EAGAIN.
        fs::fcntl_setfl(&opened, OFlags::empty()).map_err(StoreError::about("open", key))?;
        Ok((File::from(opened), stat))
    }

    /// Reads a whole object of at most `limit` bytes; a larger one is [`Kind::TooLarge`].
    pub fn read(&self, key: &ObjectKey, limit: u64) -> Result<Vec<u8>, StoreError> {
        let (file, stat) = self.open_with_stat(key)?;
        let too_large = || StoreError::plain(Kind::TooLarge, "read", key);
        if stat.size > limit {
            return Err(too_large());
        }
        let mut bytes = Vec::with_capacity(usize::try_from(stat.size).unwrap_or(0));
        // It may grow while it is read.
        file.take(limit.saturating_add(1))
            .read_to_end(&mut bytes)
            .map_err(StoreError::about("read", key))?;
        if u64::try_from(bytes.len()).map_or(true, |len| len > limit) {
            return Err(too_large());
        }
        Ok(bytes)
    }

    /// Makes a directory and those above it, each on disk when this returns. One that exists is
    /// as good.
    pub fn make_directory(&self, key: &ObjectKey) -> Result<(), StoreError> {
        self.directory_made(key).map(drop)
    }

    /// Sets when an object was last written, as everyone will see it.
    pub fn set_modified(&self, key: &ObjectKey, time: SystemTime) -> Result<(), StoreError> {
        let wrong = || StoreError::about("set the time of", key);
        let (parent, name) = self.parent(key).map_err(wrong())?;
        let times = put_times(time).map_err(wrong())?;
        fs::utimensat(&parent, name, &times, AtFlags::SYMLINK_NOFOLLOW).map_err(wrong())
    }

    /// Sets when an object was last written to now, by the share's clock.
    pub fn touch(&self, key: &ObjectKey) -> Result<(), StoreError> {
        let wrong = || StoreError::about("set the time of", key);
        let (parent, name) = self.parent(key).map_err(wrong())?;
        let now = fs::Timespec { tv_sec: 0, tv_nsec: fs::UTIME_NOW };
        let times = fs::Timestamps { last_access: now, last_modification: now };
        fs::utimensat(&parent, name, &times, AtFlags::SYMLINK_NOFOLLOW).map_err(wrong())
    }

    /// Brings to disk which names are in a directory (none: the root).
    pub fn sync_directory(&self, directory: Option<&ObjectKey>) -> Result<(), StoreError> {
        let opened = self.open_directory(directory)?;
        sync_fd(&opened).map_err(StoreError::about("sync", self.named(directory)))
    }

    /// How much the share holds and can hold.
    pub fn space(&self) -> Result<Space, StoreError> {
        let root = self.root();
        let said = fs::fstatvfs(&*root)
            .map_err(StoreError::about("ask for the space of", self.path().display()))?;
        let bytes = |blocks: u64| blocks.saturating_mul(said.f_frsize);
        Ok(Space {
            total: bytes(said.f_blocks),
            free: bytes(said.f_bfree),
            available: bytes(said.f_bavail),
            files: said.f_files,
            files_free: said.f_ffree,
        })
    }

    fn root(&self) -> Arc<OwnedFd> {
        Arc::clone(&self.root.directory.read())
    }

    pub(super) fn renames_only_with_replace(&self) -> &AtomicBool {
        &self.root.renames_only_with_replace
    }

    fn allow_more(&self, listed: usize, directory: Option<&ObjectKey>) -> Result<(), StoreError> {
        if listed < MOST_NAMES {
            return Ok(());
        }
        Err(StoreError::plain(Kind::TooLarge, "list", self.named(directory)))
    }

    fn named(&self, directory: Option<&ObjectKey>) -> String {
        match directory {
            Some(key) => key.to_string(),
            None => self.path().display().to_string(),
        }
    }

    /// Opens below the root. A root that the server has forgotten is opened once more by its path.
    pub(super) fn resolve(&self, key: Option<&ObjectKey>, flags: OFlags) -> Result<OwnedFd, Errno> {
        let path = key.map_or(".", ObjectKey::as_str);
        match open_below(&self.root(), path, flags) {
            Err(Errno::STALE) => {
                let reopened = open_root(&self.root.path)
                    .map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::STALE))?;
                let reopened = Arc::new(reopened);
                *self.root.directory.write() = Arc::clone(&reopened);
                open_below(&reopened, path, flags)
            }
            other => other,
        }
    }

    pub(super) fn open_directory(
        &self,
        directory: Option<&ObjectKey>,
    ) -> Result<OwnedFd, StoreError> {
        self.resolve(directory, OFlags::RDONLY | OFlags::DIRECTORY)
            .map_err(StoreError::about("open the directory", self.named(directory)))
    }

    /// The directory that holds `key`, and the last name.
    pub(super) fn parent<'a>(&self, key: &'a ObjectKey) -> Result<(OwnedFd, &'a str), Errno> {
        let parent = key.parent();
        let opened = self.resolve(parent.as_ref(), OFlags::PATH | OFlags::DIRECTORY)?;
        Ok((opened, key.file_name()))
    }

    /// As [`Store::make_directory`]; the directory, open.
    pub(super) fn directory_made(&self, key: &ObjectKey) -> Result<OwnedFd, StoreError> {
        let wrong = || StoreError::about("make the directory", key);
        let flags = OFlags::RDONLY | OFlags::DIRECTORY;
        match self.resolve(Some(key), flags) {
            Err(Errno::NOENT) => {}
            other => return other.map_err(wrong()),
        }
        let above = match key.parent() {
            Some(parent) => self.directory_made(&parent)?,
            None => self.open_directory(None)?,
        };
        match fs::mkdirat(&above, key.file_name(), DIRECTORY_MODE) {
            Ok(()) => sync_fd(&above).map_err(wrong())?,
            // Another maker was faster, or the reply to the first try was lost.
            Err(Errno::EXIST) => {}
            Err(error) => return Err(wrong()(error)),
        }
        self.resolve(Some(key), flags).map_err(wrong())
    }
}

fn open_root(path: &Path) -> io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    Ok(fs::open(path, flags, Mode::empty())?)
}

fn open_below(root: &OwnedFd, path: &str, flags: OFlags) -> Result<OwnedFd, Errno> {
    // EAGAIN: something was renamed while the kernel walked, and it cannot be sure.
    for _ in 0..16 {
        match fs::openat2(root, path, flags | OFlags::CLOEXEC, Mode::empty(), BELOW) {
            Err(Errno::AGAIN | Errno::INTR) => {}
            other => return other,
        }
    }
    Err(Errno::AGAIN)
}

pub(super) fn stat_at(directory: &OwnedFd, name: &str) -> Result<Stat, Errno> {
    fs::statat(directory, name, AtFlags::SYMLINK_NOFOLLOW).map(|stat| Stat::of(&stat))
}

/// Brings a directory's names to disk. Some network file systems have nothing to do here and say
/// so with EINVAL.
pub(super) fn sync_fd(directory: &OwnedFd) -> Result<(), Errno> {
    match fs::fsync(directory) {
        Err(Errno::INVAL | Errno::BADF) => Ok(()),
        other => other,
    }
}

/// Both times set to `time`.
pub(super) fn put_times(time: SystemTime) -> Result<fs::Timestamps, Errno> {
    let since = time.duration_since(SystemTime::UNIX_EPOCH).map_err(|_before_1970| Errno::RANGE)?;
    let at = fs::Timespec {
        tv_sec: i64::try_from(since.as_secs()).map_err(|_far| Errno::RANGE)?,
        tv_nsec: since.subsec_nanos().into(),
    };
    Ok(fs::Timestamps { last_access: at, last_modification: at })
}
