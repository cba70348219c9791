//! One thread's part of a stage: file by file, those that are copied brought to disk together.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::Sender;

use rustix::fs::{Advice, fadvise};
use tokio_util::sync::CancellationToken;

use super::assign::{Found, Group};
use super::disk::{Disk, Owner};
use super::error::RestoreError;
use super::order::{BackupFile, Job};
use super::proof::{self, CopyError, Expected, Sureness};
use super::source::Source;
use super::space;
use super::statistics;
use super::{Limit, LiveFile};

/// A thread brings so many files, or so many bytes, to disk together. A file system writes many
/// files' worth of its own records for little more than the price of one.
const BATCH_FILES: usize = 32;
const BATCH_BYTES: u64 = 64 << 20;

/// How many bytes one thread copies before it looks at the disk's free space again.
const LOOK_EVERY: u64 = 64 << 20;

/// What all threads of a stage share.
pub(super) struct Work {
    pub(super) job: Arc<Job>,
    pub(super) groups: Vec<Group>,
    pub(super) next: AtomicUsize,
    pub(super) source: Arc<dyn Source>,
    pub(super) disk: Arc<dyn Disk>,
    pub(super) limit: Limit,
    pub(super) cancelled: CancellationToken,
    pub(super) moved_bytes: AtomicU64,
    /// Counts up as long as anything goes on.
    pub(super) alive: AtomicU64,
}

/// What became of one file.
pub(super) struct Arrived {
    pub(super) bytes: u64,
    pub(super) how: How,
    pub(super) note: Option<String>,
}

pub(super) enum How {
    Kept,
    Linked,
    Copied,
    CopiedBySize,
    WrittenAnew,
}

pub(super) type News = Result<Arrived, RestoreError>;

/// Files whose bytes are written, and neither on disk nor named.
#[derive(Default)]
struct Batch {
    files: Vec<Written>,
    bytes: u64,
}

struct Written {
    open: File,
    part: PathBuf,
    target: PathBuf,
    owner: Owner,
    is_big: bool,
    arrived: Arrived,
}

impl Work {
    /// Takes groups of files until there are no more, or anything fails.
    pub(super) fn run(&self, news: &Sender<News>) {
        if let Err(error) = self.bring_all(news) {
            // Nobody listens any more to one that was left behind.
            drop(news.send(Err(error)));
        }
    }

    fn bring_all(&self, news: &Sender<News>) -> Result<(), RestoreError> {
        let mut batch = Batch::default();
        while let Some(group) = self.groups.get(self.next.fetch_add(1, Ordering::Relaxed)) {
            let mut crc = None;
            for (place, found) in &group.files {
                let file = self.job.contents.files.get(*place);
                let file = file.ok_or_else(|| RestoreError::Bug("no such file".to_owned()))?;
                self.wanted()?;
                if let Some(arrived) =
                    self.bring(&group.directory, file, *found, &mut crc, &mut batch)?
                {
                    self.tell(news, arrived)?;
                }
                if batch.files.len() >= BATCH_FILES || batch.bytes >= BATCH_BYTES {
                    self.settle(&mut batch, news)?;
                }
            }
        }
        self.settle(&mut batch, news)
    }

    fn tell(&self, news: &Sender<News>, arrived: Arrived) -> Result<(), RestoreError> {
        self.alive.fetch_add(1, Ordering::Relaxed);
        news.send(Ok(arrived)).map_err(|_gone| RestoreError::CalledOff)
    }

    /// Says whether to go on: to be asked before anything is changed, for whoever waited for the
    /// share may find the stage gone.
    fn wanted(&self) -> Result<(), RestoreError> {
        self.alive.fetch_add(1, Ordering::Relaxed);
        if self.cancelled.is_cancelled() { Err(RestoreError::CalledOff) } else { Ok(()) }
    }

    /// Brings the batch to disk, then names it.
    fn settle(&self, batch: &mut Batch, news: &Sender<News>) -> Result<(), RestoreError> {
        let written = std::mem::take(batch).files;
        for file in &written {
            self.wanted()?;
            let failed = RestoreError::disk("write", &file.part);
            self.disk.finish(&file.open, file.owner.for_files()).map_err(failed)?;
        }
        for file in written {
            self.wanted()?;
            let failed = RestoreError::disk("rename", &file.part);
            self.disk.rename(&file.part, &file.target).map_err(failed)?;
            // The small files are read when Cassandra starts; the big ones would push out what it
            // serves now.
            if file.is_big {
                forget(&file.open);
            }
            self.tell(news, file.arrived)?;
        }
        Ok(())
    }

    /// Gets one file into the stage, or into the batch that comes there. `crc` is the SSTable's
    /// digest once that has come by.
    fn bring(
        &self,
        directory: &Path,
        file: &BackupFile,
        found: Found,
        crc: &mut Option<u32>,
        batch: &mut Batch,
    ) -> Result<Option<Arrived>, RestoreError> {
        let folder = self.job.folder(directory);
        let target = folder.stage().join(file.path());
        let component = proof::component(file);
        let is_digest = component == Some("Digest.crc32");
        let expected = Expected {
            size: file.size,
            md5: file.md5,
            crc: crc.filter(|_| component == Some("Data.db")),
            may_be_written_anew: file.may_be_written_anew,
        };
        let arrived = |how, note| Arrived { bytes: file.size, how, note };
        let mut read_from = target.clone();
        let result = if found.staged {
            Some(arrived(How::Kept, None))
        } else if found.live
            && !is_digest
            && self.link(&directory.join(file.path()), &target, &expected)?
        {
            Some(arrived(How::Linked, None))
        } else {
            // A name that no thread of an earlier try can have.
            let part = folder.part().join(format!("{:016x}", rand::random::<u64>()));
            let (open, sureness) = self.copy(directory, file, &part, &expected)?;
            if sureness == Sureness::WrittenAnew && component == Some("Statistics.db") {
                check_statistics(file, &part)?;
            }
            let (how, note) = match sureness {
                Sureness::Proven => (How::Copied, None),
                // The number of ten digits is proven by the file that it is the checksum of.
                Sureness::SizeOnly if is_digest => (How::Copied, None),
                Sureness::SizeOnly => (How::CopiedBySize, None),
                Sureness::WrittenAnew => (How::WrittenAnew, None),
                Sureness::DamagedBefore => (
                    How::Copied,
                    Some(format!(
                        "{} is as it was backed up, but not what its Digest.crc32 says: it was \
                         damaged on the node before",
                        file.key
                    )),
                ),
            };
            read_from.clone_from(&part);
            let (owner, is_big) = (self.job.site.owner(directory)?, component == Some("Data.db"));
            let arrived = arrived(how, note);
            batch.bytes = batch.bytes.saturating_add(file.size);
            batch.files.push(Written { open, part, target, owner, is_big, arrived });
            None
        };
        if is_digest {
            let text = fs::read(&read_from).map_err(RestoreError::disk("read", &read_from))?;
            *crc = proof::digest_value(&text);
        }
        Ok(result)
    }

    /// Links a file that Cassandra has, if it is the backup's. Cassandra never changes a file in
    /// place: it writes a new one and renames (Statistics.db), or removes.
    fn link(&self, live: &Path, target: &Path, expected: &Expected) -> Result<bool, RestoreError> {
        let mut file = match LiveFile::open(live) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
            Err(error) => return Err(RestoreError::disk("open", live)(error)),
        };
        let step = |_| self.wanted().map_err(|_told| io::ErrorKind::Interrupted.into());
        match proof::is_same(|buffer| file.read(buffer), expected, step) {
            Ok(false) => return Ok(false),
            Ok(true) => self.wanted()?,
            Err(_) if self.cancelled.is_cancelled() => return Err(RestoreError::CalledOff),
            // A bad sector is a reason to restore, not to give up.
            Err(_) => return Ok(false),
        }
        match self.disk.link(file.file(), target) {
            Ok(()) => Ok(true),
            // Compacted away meanwhile; or the file system has no more links to give.
            Err(error)
                if matches!(
                    error.raw_os_error(),
                    Some(libc::ENOENT | libc::EMLINK | libc::EXDEV | libc::EPERM)
                ) =>
            {
                Ok(false)
            }
            Err(error) => Err(RestoreError::disk("link", target)(error)),
        }
    }

    fn copy(
        &self,
        directory: &Path,
        file: &BackupFile,
        part: &Path,
        expected: &Expected,
    ) -> Result<(File, Sureness), RestoreError> {
        let share = |source| RestoreError::Share { key: file.key.clone(), source };
        let mut from = self.source.open(&file.key).map_err(share)?;
        self.wanted()?;
        space::still_has_room(directory)?;
        let mut to = self.disk.create(part).map_err(RestoreError::disk("write", part))?;
        let mut since_look = 0_u64;
        let copied = proof::copy(&mut from, &mut to, expected, |bytes| {
            self.moved_bytes.fetch_add(bytes as u64, Ordering::Relaxed);
            self.limit.take_while(bytes, || self.wanted())?;
            since_look = since_look.saturating_add(bytes as u64);
            if since_look >= LOOK_EVERY {
                since_look = 0;
                space::still_has_room(directory)?;
            }
            self.wanted()
        });
        let sureness = match copied {
            Ok(Ok(sureness)) => sureness,
            Ok(Err(why)) => return Err(RestoreError::Damaged { key: file.key.clone(), why }),
            Err(CopyError::Read(error)) => return Err(share(error.into())),
            Err(CopyError::Write(error)) => return Err(RestoreError::disk("write", part)(error)),
            Err(CopyError::Stopped(why)) => return Err(why),
        };
        forget(&from);
        // Begins to write back, waiting for nothing: the batch's first sync is nearly its last.
        forget(&to);
        Ok((to, sureness))
    }
}

/// Cassandra makes a bad `Summary.db` anew, and starts whatever `TOC.txt` says; `Statistics.db` must
/// be whole.
fn check_statistics(file: &BackupFile, part: &Path) -> Result<(), RestoreError> {
    let failed = RestoreError::disk("read", part);
    let read = File::open(part).and_then(|open| {
        let mut bytes = Vec::new();
        open.take(statistics::LIMIT).read_to_end(&mut bytes).map(|_| bytes)
    });
    if statistics::is_whole(file.name.file_name(), &read.map_err(failed)?) {
        return Ok(());
    }
    let why = "it was written over, and the checksums in it are wrong".to_owned();
    Err(RestoreError::Damaged { key: file.key.clone(), why })
}

/// Lets the kernel drop a file's pages as far as they are on disk.
fn forget(file: &File) {
    if let Err(error) = fadvise(file, 0, None, Advice::DontNeed) {
        tracing::trace!(%error, "pages are kept");
    }
}
