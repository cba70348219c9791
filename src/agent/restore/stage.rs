//! The backup's files come to the node, beside its data, while Cassandra runs.
//!
//! A name below `stage/` means that the file is whole, proven, durable and of the right owner: it
//! is written below `part/` and renamed. So a stage that was cut off anywhere goes on with what is
//! there.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::{Duration, Instant};

use tokio_util::sync::CancellationToken;

use super::Limit;
use super::assign::{self, Assignment, Found, assign};
use super::bring::{How, News, Work};
use super::disk::{Disk, Owner};
use super::error::RestoreError;
use super::listener::Listener;
use super::order::{BackupFile, Contents, Job};
use super::places::{Directories, Folder};
use super::protocol::Staged;
use super::source::Source;
use super::space;
use super::staged::check;
use crate::model::{JobId, Progress};

const NEWS: Duration = Duration::from_millis(500);

/// How long threads that are told to end may take to: one that hangs on the share is left behind.
const LET_GO: Duration = Duration::from_secs(3);

/// Works out where everything goes, with what the node has by now.
pub(super) fn look(
    job: &JobId,
    directories: &Directories,
    contents: &Contents,
) -> Result<Assignment, RestoreError> {
    let found = |directory: &Path, file: &BackupFile| {
        let path = file.path();
        let bytes = |path: PathBuf| {
            fs::symlink_metadata(path).ok().filter(fs::Metadata::is_file).map(|it| it.len())
        };
        let staged = bytes(Folder::of(job, directory).stage().join(&path));
        Found {
            staged: staged.is_some_and(|bytes| file.may_have(bytes)),
            live: bytes(directory.join(&path)) == Some(file.size),
        }
    };
    let disk = |directory: &Path| assign::Disk {
        device: space::device(directory),
        room: space::room(directory),
    };
    assign(contents, directories, found, disk)
}

/// Brings everything to the node. Blocks until it is done, fails, or is cancelled.
pub(super) fn stage(
    job: &Arc<Job>,
    source: &Arc<dyn Source>,
    disk: &Arc<dyn Disk>,
    cancelled: &CancellationToken,
    listener: &dyn Listener,
) -> Result<Staged, RestoreError> {
    let assignment = look(&job.order.job, &job.site.directories, &job.contents)?;
    let directories = job.site.directories.holding_keyspaces();
    if let Some(too_big) = space::too_big(&space::disks(&directories, &assignment.needed_bytes)) {
        return Err(too_big);
    }
    let made = make_directories(job, &assignment, disk.as_ref())?;
    let work = Arc::new(Work {
        job: Arc::clone(job),
        groups: assignment.groups,
        next: AtomicUsize::new(0),
        source: Arc::clone(source),
        disk: Arc::clone(disk),
        limit: Limit::new(job.order.bandwidth.0),
        cancelled: cancelled.child_token(),
        moved_bytes: AtomicU64::new(0),
        alive: AtomicU64::new(0),
    });
    let (news, hear) = channel();
    let begun = begin(&work, &news);
    // The threads' own are left: when they have ended, nobody tells anything.
    drop(news);
    let done = begun.and_then(|()| gather(&work, &hear, listener));
    if done.is_err() {
        work.cancelled.cancel();
        until_all_ended(&hear);
    }
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
        // Files that an earlier try did not finish.
        disk.remove_tree(&folder.part()).map_err(RestoreError::disk("remove", &folder.part()))?;
        make(folder.path(), Owner::ROOT_ALONE)?;
        make(folder.stage(), Owner::ROOT_ALONE)?;
        make(folder.part(), Owner::ROOT_ALONE)?;
    }
    let mut wanted: BTreeSet<(&Path, PathBuf)> = BTreeSet::new();
    for group in &assignment.groups {
        let files = group.files.iter().filter_map(|(place, _)| job.contents.files.get(*place));
        for file in files {
            let path = file.path();
            let above = path.ancestors().skip(1).filter(|path| !path.as_os_str().is_empty());
            wanted.extend(above.map(|path| (&*group.directory, path.to_owned())));
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

/// Starts the threads, which end when their work does or when they are told to.
fn begin(work: &Arc<Work>, news: &Sender<News>) -> Result<(), RestoreError> {
    let threads = usize::from(work.job.order.threads.max(1)).min(work.groups.len());
    for number in 0..threads {
        let (work, news) = (Arc::clone(work), news.clone());
        std::thread::Builder::new()
            .name(format!("stage-{number}"))
            .spawn(move || work.run(&news))
            .map_err(RestoreError::disk("start a thread for", Path::new("stage")))?;
    }
    Ok(())
}

/// Waits until no thread is left that could touch the stage. One that hangs on the share looks
/// before it changes anything whether it is still wanted.
fn until_all_ended(hear: &Receiver<News>) {
    let until = Instant::now() + LET_GO;
    while let Some(left) = until.checked_duration_since(Instant::now()) {
        if matches!(hear.recv_timeout(left), Err(RecvTimeoutError::Disconnected)) {
            return;
        }
    }
    tracing::warn!("threads of the stage hang on the share and are left behind");
}

/// Follows the threads to their end.
fn gather(
    work: &Work,
    hear: &Receiver<News>,
    listener: &dyn Listener,
) -> Result<Staged, RestoreError> {
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
                    How::WrittenAnew => staged.written_anew += 1,
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
            return Err(silent(work, patience));
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

fn silent(work: &Work, patience: Duration) -> RestoreError {
    let source = format!(
        "no byte came for {} s; is the share at {} there?",
        patience.as_secs(),
        work.job.order.store.display()
    );
    let at = work
        .next
        .load(Ordering::Relaxed)
        .saturating_sub(1)
        .min(work.groups.len().saturating_sub(1));
    let first = work.groups.get(at).and_then(|group| group.files.first());
    match first.and_then(|(place, _)| work.job.contents.files.get(*place)) {
        Some(file) => RestoreError::Share { key: file.key.clone(), source: source.into() },
        None => RestoreError::Bug("a stage without files waits".to_owned()),
    }
}
