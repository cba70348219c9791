//! New bytes: written beside, fsynced, and only then given their name.

use std::fmt;
use std::fs::File;
use std::io::{self, Write};
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::SystemTime;

use rustix::fs::{self, AtFlags, OFlags, RenameFlags, Timespec, Timestamps, UTIME_NOW};
use rustix::io::Errno;

use crate::model::ObjectKey;

use super::root::{FILE_MODE, put_times, stat_at, sync_fd};
use super::{Kind, Stat, Store, StoreError};

/// Bytes on the share that have no name of their own yet. Dropped, it removes them.
///
/// Errors of a full disk may come as late as [`Draft::sync`] or the publishing itself; a draft
/// that has seen one is lost, and must be begun anew.
pub struct Draft {
    store: Store,
    directory: OwnedFd,
    temporary: ObjectKey,
    /// None once it is closed.
    file: Option<File>,
    synced: bool,
    /// False once the temporary name is gone.
    there: bool,
}

impl fmt::Debug for Draft {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Draft").field(&self.temporary).finish()
    }
}

impl Store {
    /// Begins a file below `temporary`, a directory outside of Medusa's tree that is made if it
    /// lacks: `Layout::temporary`.
    pub fn draft(&self, temporary: &ObjectKey) -> Result<Draft, StoreError> {
        let wrong = || StoreError::about("begin a file in", temporary);
        let directory = self.directory_made(temporary)?;
        loop {
            let name = unique_name();
            let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW;
            match fs::openat(&directory, &*name, flags | OFlags::CLOEXEC, FILE_MODE) {
                Ok(file) => {
                    let temporary = temporary.join(&name).map_err(|error| {
                        StoreError::of_io("begin a file in", temporary, io::Error::other(error))
                    })?;
                    return Ok(Draft {
                        store: self.clone(),
                        directory,
                        temporary,
                        file: Some(File::from(file)),
                        synced: false,
                        there: true,
                    });
                }
                Err(Errno::EXIST | Errno::INTR) => {}
                Err(error) => return Err(wrong()(error)),
            }
        }
    }

    /// Gives `bytes` the name `key`, whole and on disk, if nothing has it: else [`Kind::Exists`].
    pub fn put_new(
        &self,
        temporary: &ObjectKey,
        key: &ObjectKey,
        bytes: &[u8],
    ) -> Result<Stat, StoreError> {
        let mut draft = self.draft(temporary)?;
        draft.write_all(bytes).map_err(StoreError::about("write", key))?;
        draft.publish_new(key)
    }

    /// Gives `bytes` the name `key`, whole and on disk, in place of what had it: readers see the
    /// old or the new. Only for medusafs's own files and Medusa's `latest_backup`.
    pub fn put_replacing(
        &self,
        temporary: &ObjectKey,
        key: &ObjectKey,
        bytes: &[u8],
    ) -> Result<Stat, StoreError> {
        let mut draft = self.draft(temporary)?;
        draft.write_all(bytes).map_err(StoreError::about("write", key))?;
        draft.publish_replacing(key)
    }

    /// The time by the share's clock: what it gives to a file that is written now.
    pub fn share_time(&self, temporary: &ObjectKey) -> Result<SystemTime, StoreError> {
        self.draft(temporary)?.touch()
    }
}

impl Draft {
    /// Where the bytes lie for now.
    pub fn temporary(&self) -> &ObjectKey {
        &self.temporary
    }

    fn open(&mut self) -> Result<&mut File, Errno> {
        self.file.as_mut().ok_or(Errno::BADF)
    }

    /// The file itself, for those who copy by `copy_file_range`. Whoever writes through it must
    /// [`sync`](Self::sync) afterwards.
    pub fn file(&mut self) -> io::Result<&File> {
        self.synced = false;
        Ok(self.open()?)
    }

    /// Sets its time to now by the share's clock, and tells it.
    pub fn touch(&mut self) -> Result<SystemTime, StoreError> {
        let now = Timespec { tv_sec: 0, tv_nsec: UTIME_NOW };
        let key = self.temporary.clone();
        let wrong = || StoreError::about("set the time of", &key);
        let file = self.open().map_err(wrong())?;
        fs::futimens(&*file, &Timestamps { last_access: now, last_modification: now })
            .map_err(wrong())?;
        fs::fstat(&*file).map(|stat| Stat::of(&stat).modified).map_err(wrong())
    }

    /// Sets when it was last written, as everyone will see it.
    pub fn set_modified(&mut self, time: SystemTime) -> Result<(), StoreError> {
        let key = self.temporary.clone();
        let wrong = || StoreError::about("set the time of", &key);
        self.synced = false;
        let times = put_times(time).map_err(wrong())?;
        fs::futimens(&*self.open().map_err(wrong())?, &times).map_err(wrong())
    }

    /// Brings its bytes to disk; an error is the last word on this draft.
    pub fn sync(&mut self) -> Result<(), StoreError> {
        let key = self.temporary.clone();
        let wrong = || StoreError::about("write", &key);
        fs::fsync(&*self.open().map_err(wrong())?).map_err(wrong())?;
        self.synced = true;
        Ok(())
    }

    /// Takes what is on disk of it out of this host's page cache. For copies that nobody here
    /// reads: they would drive out what somebody does. A system that does not, keeps it.
    pub fn forget_cached(&mut self) {
        if let Ok(file) = self.open()
            && let Err(error) = fs::fadvise(&*file, 0, None, fs::Advice::DontNeed)
        {
            tracing::trace!(%error, "it stays in the page cache");
        }
    }

    /// Gives it its name, if nothing has it: else [`Kind::Exists`], and nothing has changed. On
    /// return bytes and name are on disk. Directories on the way are made.
    pub fn publish_new(self, key: &ObjectKey) -> Result<Stat, StoreError> {
        self.publish(key, true, true)
    }

    /// As [`Draft::publish_new`], but for the name to be on disk too the caller must call
    /// [`Store::sync_directory`] on its directory: once for many files.
    pub fn publish_new_unsynced(self, key: &ObjectKey) -> Result<Stat, StoreError> {
        self.publish(key, true, false)
    }

    /// Gives it its name in place of what had it. On return bytes and name are on disk.
    pub fn publish_replacing(self, key: &ObjectKey) -> Result<Stat, StoreError> {
        self.publish(key, false, true)
    }

    fn publish(mut self, key: &ObjectKey, new: bool, sync: bool) -> Result<Stat, StoreError> {
        let wrong = || StoreError::about("write", key);
        if !self.synced {
            self.sync()?;
        }
        let file = self.file.take().ok_or_else(|| wrong()(Errno::BADF))?;
        let mine = fs::fstat(&file).map(|stat| Stat::of(&stat)).map_err(wrong())?;
        // NFS may report a full disk only now, and dropping a file would not tell.
        match nix::unistd::close(file) {
            // It is closed all the same, and its bytes have been on disk before.
            Ok(()) | Err(nix::errno::Errno::EINTR) => {}
            Err(errno) => return Err(wrong()(Errno::from_raw_os_error(errno as i32))),
        }
        let (to, name) = match key.parent() {
            Some(parent) => (self.store.directory_made(&parent)?, key.file_name()),
            None => (self.store.open_directory(None)?, key.file_name()),
        };
        let given = self.give_name(&to, name, new);
        match given {
            Ok(()) => self.there = false,
            // The reply to a first try may have been lost: what counts is whose bytes are there.
            Err(error) => match stat_at(&to, name) {
                Ok(found) if found.is_same_file(&mine) => self.discard(),
                _ => return Err(wrong()(error)),
            },
        }
        if sync {
            sync_fd(&to).map_err(wrong())?;
        }
        // Its times and blocks as they are now that it is closed.
        stat_at(&to, name).map_err(wrong())
    }

    fn give_name(&self, to: &OwnedFd, name: &str, new: bool) -> Result<(), Errno> {
        let (from, temporary) = (&self.directory, self.temporary.file_name());
        if !new {
            return fs::renameat(from, temporary, to, name);
        }
        let replaces = self.store.renames_only_with_replace();
        if !replaces.load(Ordering::Relaxed) {
            match fs::renameat_with(from, temporary, to, name, RenameFlags::NOREPLACE) {
                // NFS says EINVAL, others that they do not know it.
                Err(Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP) => {
                    replaces.store(true, Ordering::Relaxed);
                }
                other => return other,
            }
        }
        fs::linkat(from, temporary, to, name, AtFlags::empty())?;
        match fs::unlinkat(from, temporary, AtFlags::empty()) {
            Err(Errno::NOENT) => Ok(()),
            other => other,
        }
    }
}

impl Write for Draft {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.synced = false;
        self.open()?.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Draft {
    /// Takes the temporary name away, if it is there.
    fn discard(&mut self) {
        if std::mem::take(&mut self.there) {
            let name = self.temporary.file_name();
            match fs::unlinkat(&self.directory, name, AtFlags::empty()) {
                Ok(()) | Err(Errno::NOENT) => {}
                Err(error) => {
                    tracing::debug!(key = %self.temporary, %error, "a temporary file stays");
                }
            }
        }
    }
}

impl Drop for Draft {
    fn drop(&mut self) {
        self.discard();
    }
}

/// A name that no other process has. Medusa's walks meet it, so that it says nothing they know.
pub(super) fn unique_name() -> String {
    static COUNTER: AtomicU64 = AtomicU64::new(0);
    let count = COUNTER.fetch_add(1, Ordering::Relaxed);
    format!("{}-{count}-{:08x}", std::process::id(), rand::random::<u32>())
}

impl StoreError {
    /// True if a name was taken.
    pub fn is_exists(&self) -> bool {
        self.kind == Kind::Exists
    }

    /// True if there is no such object.
    pub fn is_not_found(&self) -> bool {
        self.kind == Kind::NotFound
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tempfile::TempDir;

    fn key(path: &str) -> ObjectKey {
        ObjectKey::parse(path).unwrap()
    }

    fn store(is_like_nfs: bool) -> (TempDir, Store) {
        let directory = tempfile::tempdir().unwrap();
        let store = Store::open(directory.path()).unwrap();
        store.renames_only_with_replace().store(is_like_nfs, Ordering::Relaxed);
        (directory, store)
    }

    #[test]
    fn without_a_rename_that_never_replaces_a_link_does_it() {
        let (_directory, store) = store(true);
        let stat = store.put_new(&key("tmp"), &key("a/b"), b"first").unwrap();
        assert_eq!(stat.links, 1);
        assert!(store.put_new(&key("tmp"), &key("a/b"), b"second").unwrap_err().is_exists());
        assert_eq!(store.read(&key("a/b"), 9).unwrap(), b"first");
        assert_eq!(store.names(Some(&key("tmp"))).unwrap(), []);
    }

    #[test]
    fn a_name_that_was_given_although_the_reply_was_lost_counts_as_given() {
        for is_like_nfs in [false, true] {
            let (_directory, store) = store(is_like_nfs);
            let mut draft = store.draft(&key("tmp")).unwrap();
            draft.write_all(b"mine").unwrap();
            // What the server did at the first try: the second finds its own work.
            let name = draft.temporary.file_name();
            let root = store.open_directory(None).unwrap();
            fs::linkat(&draft.directory, name, &root, "a", AtFlags::empty()).unwrap();
            let stat = draft.publish_new(&key("a")).unwrap();
            assert_eq!((stat.size, stat.links), (4, 1));
            assert_eq!(store.names(Some(&key("tmp"))).unwrap(), []);
        }
    }

    #[test]
    fn a_rename_whose_source_is_gone_counts_if_the_target_is_the_file() {
        for new in [true, false] {
            let (_directory, store) = store(false);
            let mut draft = store.draft(&key("tmp")).unwrap();
            draft.write_all(b"mine").unwrap();
            let name = draft.temporary.file_name();
            let root = store.open_directory(None).unwrap();
            fs::renameat(&draft.directory, name, &root, "a").unwrap();
            draft.publish(&key("a"), new, true).unwrap();
            assert_eq!(store.read(&key("a"), 9).unwrap(), b"mine");
        }
    }
}
