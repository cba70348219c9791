//! What several calls do.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use crate::model::BackupName;
use crate::model::Fqdn;
use crate::model::JobId;
use crate::staging::Asked;
use crate::staging::EntryKind;
use crate::staging::FileId;
use crate::staging::Need;
use crate::staging::Set;
use crate::staging::SnapshotId;
use crate::staging::Source;
use crate::view::ControlFile;
use crate::view::StagedId;

use super::Caller;
use super::CopySource;
use super::FsError;
use super::StagedEntry;
use super::StagedHandle;
use super::StagedParent;
use super::copies::{Copies, Inner, MOST_QUESTIONS, Stage, circle, live_restores};
use super::desk::{Desk, Intent, Open, Top};
use super::in_time::CALL;
use super::journal::Line;

/// Until when a call that begins now has been answered.
pub(super) fn a_call_from_now() -> Instant {
    Instant::now() + CALL
}

/// So often an undo is asked for again, while the process of the job is still there.
const UNDO_AGAIN: Duration = Duration::from_millis(50);
/// Whoever copies goes on in what he has made sooner than this.
const FORGOTTEN_AFTER: Duration = Duration::from_secs(45);

impl Copies {
    /// Changes the names of a set, and shows what the change made.
    pub(super) async fn change<T: Send>(
        &self,
        caller: Caller,
        parent: &StagedParent,
        intent: Intent,
        call: impl FnOnce(&mut Desk, &Top, FileId) -> Result<T, FsError> + Send,
    ) -> Result<T, FsError> {
        let (top, _) = self.inner.desk.lock().place(parent)?;
        let until = a_call_from_now();
        let done = loop {
            self.prepare(caller, &top, intent, until).await?;
            let jobs = self.jobs();
            let mut desk = self.inner.desk.lock();
            // It may have been restored, and gone, meanwhile.
            let (top, directory) = desk.place(parent)?;
            if desk.is_ready(&jobs, &top, intent) {
                let done = call(&mut desk, &top, directory);
                // What was refused has changed nothing.
                if done.is_ok() {
                    desk.get_mut(&top)?.note_change(caller, self.inner.clock.now());
                }
                break done;
            }
        };
        self.follow(&top);
        done
    }

    /// Opens a file for writing, counted as such from the moment on at which no job goes on with
    /// its set.
    pub(super) async fn open_for_writing(
        &self,
        caller: Caller,
        id: StagedId,
    ) -> Result<Open, FsError> {
        let until = a_call_from_now();
        loop {
            let top = self.inner.desk.lock().split(id)?.0.clone();
            self.prepare(caller, &top, Intent::Write, until).await?;
            let jobs = self.jobs();
            let mut desk = self.inner.desk.lock();
            let (top, file) = desk.split(id).map(|(top, file)| (top.clone(), file))?;
            if desk.is_ready(&jobs, &top, Intent::Write) {
                let staged = desk.get_mut(&top)?;
                staged.set.open_for_writing(file)?;
                staged.note_change(caller, self.inner.clock.now());
                return Ok(Open { set: staged.number, file, write: true });
            }
        }
    }

    /// The counterpart of [`Copies::open_for_writing`].
    pub(super) fn close_after_writing(&self, open: Open) {
        let top = {
            let mut desk = self.inner.desk.lock();
            let Ok((top, staged)) = desk.by_number(open.set) else { return };
            staged.set.release(open.file);
            staged.changes = staged.changes.wrapping_add(1);
            staged.modified = self.inner.clock.now();
            top
        };
        self.follow(&top);
    }

    /// What taking a name away does to its set: nothing, if it was no part of it yet.
    pub(super) fn intent_of_unlink(&self, parent: &StagedParent, name: &str) -> Intent {
        let desk = self.inner.desk.lock();
        let found = desk.place(parent).ok().and_then(|(top, directory)| {
            let set = &desk.get(&top)?.set;
            Some(set.is_temporary(set.lookup(directory, name).ok()??.id))
        });
        if found == Some(true) { Intent::Write } else { Intent::Remove }
    }

    /// A directory in `restore/` itself: the place of one snapshot, for the node whose it is.
    pub(super) async fn mkdir_in_restore(
        &self,
        caller: Caller,
        name: &str,
    ) -> Result<StagedEntry, FsError> {
        let snapshots = self.inner.stored.snapshots();
        if !snapshots.iter().any(|id| id.backup.as_str() == name) {
            return Err(FsError::NotPermitted(format!(
                "{name:?} is no node of this cluster and no backup of this store: a node is \
                 restored with cp -r backups/NAME/NODE restore/"
            )));
        }
        let name = BackupName::parse(name).map_err(|error| FsError::Invalid(error.to_string()))?;
        let top = Top::Backup(name);
        if self.inner.desk.lock().get(&top).is_some() {
            return Err(FsError::Exists(format!("{top} is there already")));
        }
        self.prepare(caller, &top, Intent::Write, a_call_from_now()).await?;
        self.inner.lines.notify_one();
        let (shown, number) = {
            let desk = self.inner.desk.lock();
            let staged = desk.get(&top).ok_or(FsError::NotFound)?;
            (staged.shown(&staged.set.entry(Set::TOP)?), staged.number)
        };
        drop(self.inner.scope.spawn(self.clone().forget_if_blank(number)));
        Ok(shown)
    }

    /// A directory that stayed empty, because what was copied there was refused, goes again.
    async fn forget_if_blank(self, number: u32) {
        tokio::time::sleep(FORGOTTEN_AFTER).await;
        let mut desk = self.inner.desk.lock();
        if let Ok((top, staged)) = desk.by_number(number)
            && staged.set.is_blank()
        {
            desk.remove(&top);
            self.inner.lines.notify_one();
        }
    }

    /// Whether a directory would be a node's part of a whole backup.
    pub(super) fn is_of_cluster(&self, desk: &Desk, top: &Top, parent: FileId, name: &str) -> bool {
        let above = if parent == Set::TOP {
            top.name().to_owned()
        } else {
            let entry = desk.get(top).and_then(|staged| staged.set.entry(parent).ok());
            entry.map(|entry| entry.name.to_string()).unwrap_or_default()
        };
        match (BackupName::parse(&above), Fqdn::parse(name)) {
            (Ok(backup), Ok(node)) => self.inner.stored.has(&SnapshotId { backup, node }),
            _ => false,
        }
    }

    pub(super) fn source(&self, of: CopySource) -> Result<Source, FsError> {
        match of {
            CopySource::Stored(stored) => {
                let seen_in =
                    SnapshotId { backup: stored.seen_in.backup, node: stored.seen_in.node };
                Ok(self.inner.stored.source(&stored.key, stored.size, &seen_in))
            }
            CopySource::Staged(id) => {
                let desk = self.inner.desk.lock();
                let (top, file) = desk.split(id)?;
                let staged = desk.get(top).ok_or(FsError::NotFound)?;
                let (object, seen_in) = (staged.set.object(file), staged.set.report().snapshot);
                let EntryKind::File { size } = staged.set.entry(file)?.kind else {
                    return Err(FsError::IsADirectory);
                };
                // `cp` then reads and writes.
                let unknown = || FsError::Invalid("its bytes are not known yet".to_owned());
                let (key, seen_in) = (object.ok_or_else(unknown)?, seen_in.ok_or_else(unknown)?);
                Ok(self.inner.stored.source(&key, size, &seen_in))
            }
        }
    }

    pub(super) fn opened(&self, handle: StagedHandle) -> Result<Open, FsError> {
        self.inner.desk.lock().opened(handle)
    }

    pub(super) fn top_of(&self, set: u32) -> Option<Top> {
        Some(self.inner.desk.lock().by_number(set).ok()?.0)
    }

    pub(super) fn open_for_reading(&self, id: StagedId) -> Result<StagedHandle, FsError> {
        let mut desk = self.inner.desk.lock();
        let (top, file) = desk.split(id)?;
        let staged = desk.get(top).ok_or(FsError::NotFound)?;
        if staged.set.entry(file)?.kind == EntryKind::Directory {
            return Err(FsError::IsADirectory);
        }
        let set = staged.number;
        Ok(desk.open(Open { set, file, write: false }))
    }

    pub(super) async fn compare_and_write(
        &self,
        open: Open,
        offset: u64,
        bytes: Arc<Vec<u8>>,
    ) -> Result<(), FsError> {
        let mut equal = None;
        for _ in 0..MOST_QUESTIONS {
            let answer = {
                let mut desk = self.inner.desk.lock();
                let (_, staged) = desk.by_number(open.set)?;
                staged.set.write(open.file, offset, &bytes, equal.as_deref())?
            };
            match answer {
                Asked::Done(()) => return Ok(()),
                Asked::Need(Need::Compare { keys }) => {
                    let stored = &self.inner.stored;
                    equal = Some(stored.equal(keys, offset, Arc::clone(&bytes)).await?);
                }
                Asked::Need(need) => self.find_out(open.set, need).await?,
            }
        }
        Err(circle())
    }

    /// What was copied is taken back although no job was begun.
    pub(super) fn clear(&self, caller: Caller, top: &Top) -> Result<(), FsError> {
        let mut desk = self.inner.desk.lock();
        if desk.get(top).is_none_or(|staged| staged.set.is_blank()) {
            return Err(FsError::Invalid(format!("there is nothing to cancel in {top}")));
        }
        if desk.get(top).is_some_and(|staged| staged.is_beginning) {
            return Err(FsError::Busy(format!("the restore from {top} is just being begun")));
        }
        desk.remove(top);
        drop(desk);
        tracing::info!(
            %top, uid = caller.uid, pid = caller.pid, program = caller.program(),
            "what was copied is taken back"
        );
        self.inner.lines.notify_one();
        Ok(())
    }

    /// `rmdir restore/NODE`: the directory stays. What a job left to be seen goes, but for the one that
    /// the removal of its files has just taken back; one that has not stopped the node yet takes back
    /// what it did.
    pub(super) async fn clear_receipt(&self, caller: Caller, top: &Top) -> Result<(), FsError> {
        let Top::Node(node) = top else { return Err(FsError::NotFound) };
        self.takes()?;
        self.recall();
        let until = a_call_from_now();
        let last = self.job_of(top);
        for job in self.open_restores(top, node)? {
            self.take_back(caller, top, job, until, ()).await?;
        }
        let mut desk = self.inner.desk.lock();
        let removed = desk.removed.remove(node);
        if let Some((job, Stage::Ended)) = last
            && removed.as_ref() != Some(&job)
        {
            desk.cleared.insert(node.clone(), job.clone());
            desk.outbox.push((top.clone(), Line::Cleared(job)));
        }
        drop(desk);
        self.inner.lines.notify_one();
        Ok(())
    }

    /// The restores of a node that can still be taken back, where nothing lies in its directory
    /// and none has stopped it.
    fn open_restores(&self, top: &Top, node: &Fqdn) -> Result<Vec<JobId>, FsError> {
        let jobs = self.jobs();
        let desk = self.inner.desk.lock();
        self.is_recalled(&desk, top)?;
        let live: Vec<(&JobId, Stage)> = live_restores(&jobs, node)
            .filter(|job| job.node.is_some())
            .map(|job| (&job.id, desk.stage_of(&jobs, &job.id)))
            .collect();
        if let Some((job, _)) = live.iter().find(|(_, stage)| *stage == Stage::Stopping) {
            return Err(FsError::Busy(format!("{node} is being restored by {job}")));
        }
        if desk.get(top).is_some_and(|staged| !staged.set.is_blank()) {
            return Err(FsError::NotEmpty);
        }
        let open = live.into_iter().filter(|(_, stage)| *stage == Stage::Open);
        Ok(open.map(|(job, _)| job.clone()).collect())
    }

    pub(super) async fn tell(
        &self,
        caller: Caller,
        file: ControlFile,
        job: JobId,
        value: String,
    ) -> Result<(), FsError> {
        let why = format!(
            "cancelled by user {} through the mount ({}, pid {})",
            caller.uid,
            caller.program(),
            caller.pid
        );
        self.on_host(CALL, "to tell a job", move |inner| match file {
            ControlFile::Cancel => inner.work.cancel(&job, &why),
            _ => inner.work.commit(&job, &value),
        })
        .await
    }

    /// Puts back what a restore has set aside. A job shows its end a moment before its process has
    /// ended: that moment is waited for.
    pub(super) async fn undo(&self, (job, stage): (JobId, Stage)) -> Result<(), FsError> {
        let until = a_call_from_now();
        loop {
            let (limit, asked) = (until.saturating_duration_since(Instant::now()), job.clone());
            let undo = move |inner: &Inner| inner.work.undo(&asked);
            let told = self.on_host(limit, "to undo a restore", undo).await;
            let again = Instant::now() + UNDO_AGAIN;
            if stage != Stage::Ended || !matches!(told, Err(FsError::Busy(_))) || again >= until {
                return told;
            }
            tokio::time::sleep_until(again).await;
        }
    }
}
