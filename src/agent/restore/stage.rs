//! The backup's files come to the node, beside its data, while Cassandra runs.
//!
//! A name below `stage/` means that the file is whole, proven, durable and of the right owner: it
//! is written below `part/` and renamed. So a stage that was cut off anywhere goes on with what is
//! there.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::time::{Duration, Instant};

use rustix::fs::{Advice, fadvise};
use tokio_util::sync::CancellationToken;

use super::assign::{Assignment, Found, Group, assign};
use super::disk::{Disk, Owner};
use super::error::RestoreError;
use super::listener::Listener;
use super::order::{BackupFile, Contents, Job};
use super::places::Directories;
use super::proof::{self, CopyError, Expected, Sureness};
use super::protocol::Staged;
use super::source::Source;
use super::{Limit, LiveFile};
use crate::model::{JobId, Progress};

const NEWS: Duration = Duration::from_millis(500);

/// Free bytes of the file system below `directory`, for others than root; none if it cannot be
/// told.
pub(super) fn free_bytes(directory: &Path) -> u64 {
    rustix::fs::statvfs(directory).map_or(0, |found| found.f_bavail.saturating_mul(found.f_frsize))
}

/// Works out where everything goes, with what the node has by now.
pub(super) fn look(
    job: &JobId,
    directories: &Directories,
    contents: &Contents,
) -> Result<Assignment, RestoreError> {
    let found = |directory: &Path, file: &BackupFile| {
        let path = file.path();
        let is_there = |path: PathBuf| {
            fs::symlink_metadata(path).is_ok_and(|it| it.is_file() && it.len() == file.size)
        };
        Found {
            staged: is_there(super::places::Folder::of(job, directory).stage().join(&path)),
            live: is_there(directory.join(&path)),
        }
    };
    assign(contents, directories, found, free_bytes)
}

/// Brings everything to the node. Blocks until it is done, fails, or is cancelled.
pub(super) fn stage(
    job: &Job,
    source: &Arc<dyn Source>,
    disk: &Arc<dyn Disk>,
    cancelled: &CancellationToken,
    listener: &dyn Listener,
) -> Result<Staged, RestoreError> {
    let assignment = look(&job.order.job, &job.site.directories, &job.contents)?;
    if let Some(too_big) = assignment.too_big(free_bytes) {
        return Err(too_big);
    }
    let made = make_directories(job, &assignment, disk.as_ref())?;
    let work = Arc::new(Work {
        job: job.clone(),
        groups: assignment.groups,
        next: AtomicUsize::new(0),
        parts: AtomicU64::new(0),
        source: Arc::clone(source),
        disk: Arc::clone(disk),
        limit: Limit::new(job.order.bandwidth.0),
        cancelled: cancelled.child_token(),
        moved_bytes: AtomicU64::new(0),
        alive: AtomicU64::new(0),
    });
    let done = gather(&work, listener);
    // Threads that hang on the share notice when it answers; they touch nothing afterwards.
    work.cancelled.cancel();
    let done = done?;
    for path in made.iter().rev() {
        disk.sync_dir(path).map_err(RestoreError::disk("sync", path))?;
    }
    check(job)?;
    Ok(done)
}

/// Makes all directories of the stage, and says which in an order in which each comes after those
/// above it.
fn make_directories(
    job: &Job,
    assignment: &Assignment,
    disk: &dyn Disk,
) -> Result<Vec<PathBuf>, RestoreError> {
    let mut made = Vec::new();
    let mut make = |path: PathBuf, owner: Owner| {
        disk.make_dir(&path, owner).map_err(RestoreError::disk("make", &path))?;
        made.push(path);
        Ok::<_, RestoreError>(())
    };
    for folder in job.keyspace_folders() {
        folder.make(disk)?;
        make(folder.path(), Owner::ROOT_ALONE)?;
        make(folder.stage(), Owner::ROOT_ALONE)?;
        make(folder.part(), Owner::ROOT_ALONE)?;
    }
    let mut wanted: BTreeSet<(&Path, PathBuf)> = BTreeSet::new();
    for group in &assignment.groups {
        for (file, _) in &group.files {
            let path = file.path();
            let above = path.ancestors().skip(1).filter(|path| !path.as_os_str().is_empty());
            wanted.extend(above.map(|path| (group.directory.as_path(), path.to_owned())));
        }
    }
    for (directory, keyspace, table) in &assignment.empty_tables {
        wanted.insert((directory, keyspace.as_str().into()));
        wanted.insert((directory, [keyspace.as_str(), table.as_str()].iter().collect()));
    }
    for (directory, path) in wanted {
        make(job.folder(directory).stage().join(path), job.site.owner(directory)?)?;
    }
    Ok(made)
}

struct Work {
    job: Job,
    groups: Vec<Group>,
    next: AtomicUsize,
    parts: AtomicU64,
    source: Arc<dyn Source>,
    disk: Arc<dyn Disk>,
    limit: Limit,
    cancelled: CancellationToken,
    moved_bytes: AtomicU64,
    alive: AtomicU64,
}

/// What became of one file.
struct Arrived {
    bytes: u64,
    how: How,
    note: Option<String>,
}

enum How {
    Kept,
    Linked,
    Copied,
    CopiedBySize,
}

type News = Result<Arrived, RestoreError>;

/// Starts the threads and follows them to the end. A thread that hangs on the share is left behind.
fn gather(work: &Arc<Work>, listener: &dyn Listener) -> Result<Staged, RestoreError> {
    let (news, hear) = channel::<News>();
    let threads = usize::from(work.job.order.threads.max(1)).min(work.groups.len());
    for number in 0..threads {
        let (work, news) = (Arc::clone(work), news.clone());
        std::thread::Builder::new()
            .name(format!("stage-{number}"))
            .spawn(move || work.run(&news))
            .map_err(RestoreError::disk("start a thread for", Path::new("stage")))?;
    }
    drop(news);
    let contents = &work.job.contents;
    let (files, bytes) = (contents.files.len() as u64, contents.bytes());
    let mut progress =
        Progress { files_total: Some(files), bytes_total: Some(bytes), ..Progress::default() };
    let mut staged = Staged { files, bytes, ..Staged::default() };
    let patience = Duration::from_secs(work.job.order.share_seconds);
    let (mut told, mut alive, mut heard) = (Instant::now(), 0, Instant::now());
    loop {
        match hear.recv_timeout(NEWS) {
            Ok(Ok(file)) => {
                heard = Instant::now();
                progress.files_done += 1;
                progress.bytes_done += file.bytes;
                match file.how {
                    How::Kept => staged.kept_files += 1,
                    How::Linked => {
                        staged.linked_files += 1;
                        staged.linked_bytes += file.bytes;
                    }
                    How::Copied => {}
                    How::CopiedBySize => staged.by_size_only += 1,
                }
                if let Some(note) = file.note {
                    listener.note(&note);
                }
            }
            Ok(Err(error)) => return Err(error),
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) if progress.files_done == files => break,
            Err(RecvTimeoutError::Disconnected) if work.cancelled.is_cancelled() => {
                return Err(RestoreError::CalledOff);
            }
            Err(RecvTimeoutError::Disconnected) => {
                return Err(RestoreError::Bug("a thread of the stage ended early".to_owned()));
            }
        }
        if work.cancelled.is_cancelled() {
            return Err(RestoreError::CalledOff);
        }
        let now_alive = work.alive.load(Ordering::Relaxed);
        if now_alive != alive {
            (alive, heard) = (now_alive, Instant::now());
        }
        if heard.elapsed() > patience {
            return Err(work.silent(patience));
        }
        if told.elapsed() >= NEWS {
            told = Instant::now();
            progress.bytes_new = work.moved_bytes.load(Ordering::Relaxed);
            listener.progress(progress);
        }
    }
    progress.bytes_new = work.moved_bytes.load(Ordering::Relaxed);
    listener.progress(progress);
    Ok(staged)
}

impl Work {
    fn silent(&self, patience: Duration) -> RestoreError {
        let source = format!(
            "no byte came for {} s; is the share at {} there?",
            patience.as_secs(),
            self.job.order.store.display()
        );
        let at = self.next.load(Ordering::Relaxed).saturating_sub(1);
        match self.groups.get(at).and_then(|group| group.files.first()) {
            Some((file, _)) => RestoreError::Share { key: file.key.clone(), source: source.into() },
            None => RestoreError::Bug("a stage without files waits".to_owned()),
        }
    }

    fn run(&self, news: &Sender<News>) {
        while let Some(group) = self.groups.get(self.next.fetch_add(1, Ordering::Relaxed)) {
            let mut crc = None;
            for (file, found) in &group.files {
                if self.cancelled.is_cancelled() {
                    return;
                }
                let arrived = self.bring(&group.directory, file, *found, &mut crc);
                let failed = arrived.is_err();
                if news.send(arrived).is_err() || failed {
                    return;
                }
            }
        }
    }

    /// Gets one file into the stage. `crc` is the SSTable's digest once that has come by.
    fn bring(
        &self,
        directory: &Path,
        file: &BackupFile,
        found: Found,
        crc: &mut Option<u32>,
    ) -> Result<Arrived, RestoreError> {
        let folder = self.job.folder(directory);
        let target = folder.stage().join(file.path());
        let component = proof::component(file);
        let is_digest = component == Some("Digest.crc32");
        let expected = Expected {
            size: file.size,
            md5: file.md5,
            crc: crc.filter(|_| component == Some("Data.db")),
        };
        let arrived = |how, note| Ok(Arrived { bytes: file.size, how, note });
        let result = if found.staged {
            arrived(How::Kept, None)
        } else if found.live
            && !is_digest
            && self.link(&directory.join(file.path()), &target, &expected)?
        {
            arrived(How::Linked, None)
        } else {
            let part = self.parts.fetch_add(1, Ordering::Relaxed);
            let part = folder.part().join(part.to_string());
            match self.copy(file, &part, &target, &expected, self.job.site.owner(directory)?)? {
                Sureness::Proven => arrived(How::Copied, None),
                // The number of ten digits is proven by the file that it is the checksum of.
                Sureness::SizeOnly if is_digest => arrived(How::Copied, None),
                Sureness::SizeOnly => arrived(How::CopiedBySize, None),
                Sureness::DamagedBefore => arrived(
                    How::Copied,
                    Some(format!(
                        "{} is as it was backed up, but not what its Digest.crc32 says: it was \
                         damaged on the node before",
                        file.key
                    )),
                ),
            }
        };
        if is_digest {
            let text = fs::read(&target).map_err(RestoreError::disk("read", &target))?;
            *crc = proof::digest_value(&text);
        }
        result
    }

    /// Says whether to go on.
    fn wanted(&self) -> io::Result<()> {
        self.alive.fetch_add(1, Ordering::Relaxed);
        if self.cancelled.is_cancelled() { Err(io::ErrorKind::Interrupted.into()) } else { Ok(()) }
    }

    /// Links a file that Cassandra has, if it is the backup's. Cassandra never changes a file in
    /// place: it writes a new one and renames (Statistics.db), or removes.
    fn link(&self, live: &Path, target: &Path, expected: &Expected) -> Result<bool, RestoreError> {
        let mut file = match LiveFile::open(live) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
            Err(error) => return Err(RestoreError::disk("open", live)(error)),
        };
        match proof::is_same(|buffer| file.read(buffer), expected, |_| self.wanted()) {
            Ok(false) => return Ok(false),
            Ok(true) => {}
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
        file: &BackupFile,
        part: &Path,
        target: &Path,
        expected: &Expected,
        owner: Owner,
    ) -> Result<Sureness, RestoreError> {
        let share = |source| RestoreError::Share { key: file.key.clone(), source };
        let mut from = self.source.open(&file.key).map_err(share)?;
        let mut to = self.disk.create(part).map_err(RestoreError::disk("write", part))?;
        let copied = proof::copy(&mut from, &mut to, expected, |bytes| {
            self.moved_bytes.fetch_add(bytes as u64, Ordering::Relaxed);
            self.limit.take_while(bytes, || self.wanted())
        });
        let sureness = match copied {
            Ok(Ok(sureness)) => sureness,
            Ok(Err(why)) => return Err(RestoreError::Damaged { key: file.key.clone(), why }),
            Err(CopyError::Read(error)) => return Err(share(error.into())),
            Err(CopyError::Write(error)) => return Err(RestoreError::disk("write", part)(error)),
            Err(CopyError::Stopped) => return Err(RestoreError::CalledOff),
        };
        self.disk.finish(&to, owner.for_files()).map_err(RestoreError::disk("write", part))?;
        self.disk.rename(part, target).map_err(RestoreError::disk("rename", part))?;
        forget(&from);
        // The small files are read when Cassandra starts; the big ones would push out what it
        // serves now.
        if proof::component(file) == Some("Data.db") {
            forget(&to);
        }
        Ok(sureness)
    }
}

/// Lets the kernel drop a file's pages.
fn forget(file: &File) {
    if let Err(error) = fadvise(file, 0, None, Advice::DontNeed) {
        tracing::trace!(%error, "pages are kept");
    }
}

/// Says whether all files are staged, whole, once each, and of the right owner: asked again before
/// Cassandra is stopped, for wrong owners are not noticed when it starts, only days later.
pub(super) fn check(job: &Job) -> Result<(), RestoreError> {
    let wrong = |what, path: &Path| {
        Err(RestoreError::Unexpected {
            what,
            path: path.to_owned(),
            remedy: "stage again".to_owned(),
        })
    };
    let mut stages = Vec::new();
    for folder in job.keyspace_folders() {
        stages.push((folder.stage(), job.site.owner(folder.directory())?));
    }
    for file in &job.contents.files {
        let path = file.path();
        let mut found = stages.iter().filter_map(|(stage, owner)| {
            let path = stage.join(&path);
            Some((fs::symlink_metadata(&path).ok()?, owner, path))
        });
        match (found.next(), found.next()) {
            (Some((it, owner, path)), None) => {
                let linked = it.nlink() > 1;
                let his = it.uid() == owner.uid && it.gid() == owner.gid;
                if !it.is_file() || it.len() != file.size {
                    return wrong("a staged file of another size", &path);
                } else if !linked && !his {
                    return wrong("a staged file of another owner", &path);
                }
            }
            (Some(_), Some((_, _, path))) => return wrong("a file that is staged twice", &path),
            (None, _) => return wrong("no staged file", &path),
        }
    }
    for (keyspace, table) in &job.contents.tables {
        let path: PathBuf = [keyspace.as_str(), table.as_str()].iter().collect();
        let there = stages.iter().find_map(|(stage, owner)| {
            Some((Owner::of(&stage.join(&path)).ok()?, owner, stage.join(&path)))
        });
        match there {
            Some((found, owner, path)) if found != *owner => {
                return wrong("a staged directory of another owner", &path);
            }
            Some(_) => {}
            None => return wrong("no staged directory", &path),
        }
    }
    Ok(())
}
