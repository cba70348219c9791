//! Files go to the share: hashed on their way, brought to disk, and only then named.

use std::fs::File;
use std::io::{Read, Write};
use std::path::Path;

use md5::{Digest, Md5 as Hasher};
use rustix::fs::{Timespec, Timestamps, UTIME_NOW, futimens};

use super::error::AgentError;
use super::limit::Limit;
use super::place::BackupPlace;
use super::protocol::FaultKind;
use super::snapshot_files::SnapshotFile;
use super::source::Source;
use super::task::Task;
use crate::medusa::Mode;
use crate::model::{Md5, ObjectKey};
use crate::store::{Draft, StoreError};

/// Read, hashed and written at once: as much as a processor's own cache holds beside other things.
const BUFFER: usize = 256 << 10;

/// A thread brings so many files, or so many bytes, to disk together. A file system writes many
/// files' worth of its own records for little more than the price of one.
const BATCH_FILES: usize = 32;
const BATCH_BYTES: u64 = 64 << 20;

/// A file and where its content is to go.
#[derive(Debug)]
pub(super) struct Copy<'a, T> {
    /// Comes back with what became of it.
    pub(super) token: T,
    /// The file.
    pub(super) file: &'a SnapshotFile,
    /// Its place.
    pub(super) place: ObjectKey,
    /// Whether its place holds something else.
    pub(super) taken: bool,
}

/// How a file's content came to be in the store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum How {
    /// It was copied, to its place or beside what has it.
    New,
    /// It lay there unused.
    Adopted,
    /// An earlier backup has it.
    Reused,
}

/// A file's content in the store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Placed {
    pub(super) key: ObjectKey,
    pub(super) bytes: u64,
    pub(super) md5: Md5,
    pub(super) how: How,
}

/// Copies files one after the other; a thread has one.
pub(super) struct Copier<'a, T> {
    place: &'a BackupPlace,
    mode: Mode,
    limit: &'a Limit,
    task: &'a Task,
    buffer: Vec<u8>,
    batch: Vec<Written<'a, T>>,
    batch_bytes: u64,
    placed: Vec<(T, Placed)>,
}

/// A file whose bytes are written, and neither on disk nor named.
struct Written<'a, T> {
    copy: &'a Copy<'a, T>,
    draft: Draft,
    md5: Md5,
}

impl<'a, T: Clone> Copier<'a, T> {
    pub(super) fn new(
        place: &'a BackupPlace,
        mode: Mode,
        limit: &'a Limit,
        task: &'a Task,
    ) -> Self {
        let (buffer, batch, placed) = (vec![0; BUFFER], Vec::new(), Vec::new());
        Self { place, mode, limit, task, buffer, batch, batch_bytes: 0, placed }
    }

    /// Copies a file. It has its name, at the latest, when [`Copier::finish`] returns.
    pub(super) fn copy(&mut self, copy: &'a Copy<'a, T>) -> Result<(), AgentError> {
        let (draft, md5) = self.write(copy.file)?;
        self.batch.push(Written { copy, draft, md5 });
        self.batch_bytes = self.batch_bytes.saturating_add(copy.file.bytes);
        if self.batch.len() >= BATCH_FILES || self.batch_bytes >= BATCH_BYTES {
            self.settle()?;
        }
        Ok(())
    }

    /// What became of all files. Their names are on disk once their directories are synced.
    pub(super) fn finish(mut self) -> Result<Vec<(T, Placed)>, AgentError> {
        self.settle()?;
        Ok(self.placed)
    }

    fn write(&mut self, file: &SnapshotFile) -> Result<(Draft, Md5), AgentError> {
        let read = |error| AgentError::node_file("read", &file.path)(error);
        let mut source = Source::open(&file.path).map_err(read)?;
        let mut draft = self.place.store.draft(&self.place.drafts)?;
        let (mut hasher, mut bytes, mut unsynced) = (Hasher::new(), 0_u64, 0_u64);
        loop {
            let got = source.read(&mut self.buffer).map_err(read)?;
            if got == 0 {
                break;
            }
            let piece = self.buffer.get(..got).unwrap_or_default();
            self.limit.take(got, self.task)?;
            hasher.update(piece);
            draft
                .write_all(piece)
                .map_err(StoreError::about("write", draft.temporary().as_str()))?;
            bytes = bytes.saturating_add(got as u64);
            unsynced = unsynced.saturating_add(got as u64);
            // Of a large file no more than this waits in memory, where it would drive out what
            // Cassandra reads, and would have one sync take minutes, as if the share hung.
            if unsynced >= BATCH_BYTES {
                draft.sync()?;
                draft.forget_cached();
                unsynced = 0;
            }
            self.task.advance(|progress| {
                progress.bytes_done = progress.bytes_done.saturating_add(got as u64);
                progress.bytes_new = progress.bytes_new.saturating_add(got as u64);
            });
        }
        if bytes != file.bytes {
            return Err(changed(&file.path, file.bytes, bytes));
        }
        // Begins to write back, waiting for nothing: where blocks are allocated as late as that, a
        // batch's files get them together, and the batch's first sync is nearly its last.
        draft.forget_cached();
        Ok((draft, Md5(hasher.finalize().into())))
    }

    /// Brings the batch to disk, then names it.
    fn settle(&mut self) -> Result<(), AgentError> {
        self.batch_bytes = 0;
        let mut batch = std::mem::take(&mut self.batch);
        for written in &mut batch {
            self.task.still_wanted()?;
            written.draft.sync()?;
            written.draft.forget_cached();
        }
        for Written { copy, draft, md5 } in batch {
            let placed = self.name(copy, draft, md5)?;
            self.placed.push((copy.token.clone(), placed));
            self.task.advance(|progress| {
                progress.files_done = progress.files_done.saturating_add(1);
            });
        }
        Ok(())
    }

    fn name(&mut self, copy: &Copy<'a, T>, draft: Draft, md5: Md5) -> Result<Placed, AgentError> {
        let placed = |key, how| Placed { key, bytes: copy.file.bytes, md5, how };
        if !copy.taken {
            match draft.publish_new_unsynced(&copy.place) {
                Ok(_) => return Ok(placed(copy.place.clone(), How::New)),
                Err(error) if error.is_exists() => {}
                Err(error) => return Err(error.into()),
            }
            // Another writer was faster: Medusa, or a backup of ours that hung.
            if self.holds(&copy.place, copy.file.bytes, md5)? {
                return Ok(placed(copy.place.clone(), How::Adopted));
            }
            let (draft, again) = self.write(copy.file)?;
            return self.name_variant(copy, draft, again);
        }
        self.name_variant(copy, draft, md5)
    }

    fn name_variant(
        &mut self,
        copy: &Copy<'a, T>,
        draft: Draft,
        md5: Md5,
    ) -> Result<Placed, AgentError> {
        let placed = |key, how| Placed { key, bytes: copy.file.bytes, md5, how };
        if self.mode == Mode::Full {
            let what = format!("{} is in the way of a new full backup", copy.place);
            let remedy = "somebody else writes into this backup's directory: find out who";
            return Err(AgentError::wrong(FaultKind::Exists, what, remedy));
        }
        let file = copy.file;
        let node = &self.place.node;
        let key = self.place.layout.variant(node, md5, file.index.as_deref(), &file.name)?;
        if self.place.has(&key)? {
            if self.holds(&key, file.bytes, md5)? {
                return Ok(placed(key, How::Adopted));
            }
            // Its name says what it must hold: whoever names it wants just these bytes.
            self.task
                .note(format!("{key} was damaged, and is replaced by the content of its name"));
            draft.publish_replacing(&key)?;
            return Ok(placed(key, How::New));
        }
        match draft.publish_new_unsynced(&key) {
            Ok(_) => Ok(placed(key, How::New)),
            // Two tables may have a file of the same name and content.
            Err(error) if error.is_exists() && self.holds(&key, file.bytes, md5)? => {
                Ok(placed(key, How::Adopted))
            }
            Err(error) => Err(error.into()),
        }
    }

    fn holds(&mut self, key: &ObjectKey, bytes: u64, md5: Md5) -> Result<bool, AgentError> {
        let stat = self.place.store.stat(key)?;
        Ok(stat.size == bytes && hash_stored(self.place, key, self.task)? == md5)
    }
}

/// Brings an object to disk that somebody else wrote. It gets the time of now: Medusa's purge takes
/// what no manifest names yet once that is as old as its grace period.
pub(super) fn settle(place: &BackupPlace, key: &ObjectKey) -> Result<(), AgentError> {
    let file = place.store.open_file(key)?;
    let now = Timespec { tv_sec: 0, tv_nsec: UTIME_NOW };
    if let Err(error) = futimens(&file, &Timestamps { last_access: now, last_modification: now }) {
        // Another user's file: should a purge take it, publishing will notice.
        tracing::debug!(%key, %error, "it keeps its time");
    }
    Ok(file.sync_all().map_err(StoreError::about("write", key.as_str()))?)
}

fn changed(path: &Path, listed: u64, read: u64) -> AgentError {
    let what = format!(
        "{} changed while it was read: it had {listed} bytes and now has {read}",
        path.display()
    );
    AgentError::wrong(
        FaultKind::NodeFiles,
        what,
        "nothing may write into a snapshot: find out what does",
    )
}

/// The hash of a file of the snapshot, read once and not kept in the page cache.
pub(super) fn hash_source(file: &SnapshotFile, task: &Task) -> Result<Md5, AgentError> {
    let read = |error| AgentError::node_file("read", &file.path)(error);
    let mut source = Source::open(&file.path).map_err(read)?;
    let mut buffer = vec![0; BUFFER.min(usize::try_from(file.bytes).unwrap_or(BUFFER)).max(1)];
    let (mut hasher, mut bytes) = (Hasher::new(), 0_u64);
    loop {
        task.still_wanted()?;
        let got = source.read(&mut buffer).map_err(read)?;
        if got == 0 {
            break;
        }
        hasher.update(buffer.get(..got).unwrap_or_default());
        bytes = bytes.saturating_add(got as u64);
    }
    if bytes == file.bytes {
        Ok(Md5(hasher.finalize().into()))
    } else {
        Err(changed(&file.path, file.bytes, bytes))
    }
}

/// The hash of what the store has.
pub(super) fn hash_stored(
    place: &BackupPlace,
    key: &ObjectKey,
    task: &Task,
) -> Result<Md5, AgentError> {
    let mut file: File = place.store.open_file(key)?;
    let (mut hasher, mut buffer) = (Hasher::new(), vec![0; BUFFER]);
    loop {
        task.still_wanted()?;
        match file.read(&mut buffer).map_err(StoreError::about("read", key.as_str()))? {
            0 => return Ok(Md5(hasher.finalize().into())),
            got => hasher.update(buffer.get(..got).unwrap_or_default()),
        }
    }
}
