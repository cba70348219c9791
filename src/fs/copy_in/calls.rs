//! The calls themselves.

use std::ffi::OsString;

use async_trait::async_trait;

use crate::model::BackupName;
use crate::staging::EntryKind;
use crate::staging::FileId;
use crate::staging::Refusal;
use crate::staging::Set;
use crate::staging::State;
use crate::view::Area;
use crate::view::ControlFile;
use crate::view::StagedId;

use super::Caller;
use super::CopyIn;
use super::CopySource;
use super::FsError;
use super::SetAttributes;
use super::SetView;
use super::StagedEntry;
use super::StagedHandle;
use super::StagedParent;
use super::copies::{Copies, Stage};
use super::desk::{Desk, Intent, Open, Top};
use super::steps::a_call_from_now;

/// What lacks is listed for people.
const MOST_MISSING: usize = 1_000_000;

#[async_trait]
impl CopyIn for Copies {
    fn children(&self, parent: &StagedParent) -> Vec<(String, StagedEntry)> {
        self.recall();
        let desk = self.inner.desk.lock();
        if *parent == StagedParent::Area(Area::Restore) {
            let of_backups = desk.iter().filter(|(top, _)| matches!(top, Top::Backup(_)));
            return of_backups
                .filter_map(|(top, staged)| {
                    let entry = staged.set.entry(Set::TOP).ok()?;
                    Some((top.name().to_owned(), staged.shown(&entry)))
                })
                .collect();
        }
        let Ok((top, directory)) = desk.place(parent) else { return Vec::new() };
        let Some(staged) = desk.get(&top) else { return Vec::new() };
        let entries = staged.set.list(directory).unwrap_or_default();
        entries.iter().map(|entry| (entry.name.to_string(), staged.shown(entry))).collect()
    }

    fn lookup(&self, parent: &StagedParent, name: &str) -> Option<StagedEntry> {
        self.recall();
        let desk = self.inner.desk.lock();
        if *parent == StagedParent::Area(Area::Restore) {
            let staged = desk.get(&Top::Backup(BackupName::parse(name).ok()?))?;
            return Some(staged.shown(&staged.set.entry(Set::TOP).ok()?));
        }
        let (top, directory) = desk.place(parent).ok()?;
        let staged = desk.get(&top)?;
        let entry = staged.set.lookup(directory, name).ok()??;
        Some(staged.shown(&entry))
    }

    fn path(&self, id: StagedId) -> Option<String> {
        let desk = self.inner.desk.lock();
        let (top, file) = desk.split(id).ok()?;
        let below = desk.get(top)?.set.path(file);
        Some(if below.is_empty() { format!("/{top}") } else { format!("/{top}/{below}") })
    }

    fn entry(&self, id: StagedId) -> Option<StagedEntry> {
        let desk = self.inner.desk.lock();
        let (top, file) = desk.split(id).ok()?;
        let staged = desk.get(top)?;
        Some(staged.shown(&staged.set.entry(file).ok()?))
    }

    async fn mkdir(
        &self,
        caller: Caller,
        parent: &StagedParent,
        name: &str,
        _mode: u32,
    ) -> Result<StagedEntry, FsError> {
        if *parent == StagedParent::Area(Area::Restore) {
            return self.mkdir_in_restore(caller, name).await;
        }
        let make = |desk: &mut Desk, top: &Top, directory: FileId| {
            if self.is_of_cluster(desk, top, directory, name) {
                return Err(FsError::NotPermitted(format!(
                    "a cluster restore by copying comes later: restore node after node, with \
                     cp -r backups/NAME/{name} restore/"
                )));
            }
            let staged = desk.get_mut(top)?;
            let id = staged.set.mkdir(directory, name)?;
            Ok(staged.shown(&staged.set.entry(id)?))
        };
        self.change(caller, parent, Intent::Write, make).await
    }

    async fn create(
        &self,
        caller: Caller,
        parent: &StagedParent,
        name: &str,
        _mode: u32,
        exclusive: bool,
    ) -> Result<(StagedEntry, StagedHandle), FsError> {
        let make = |desk: &mut Desk, top: &Top, directory: FileId| {
            let staged = desk.get_mut(top)?;
            let file = match staged.set.lookup(directory, name)? {
                Some(_) if exclusive => {
                    return Err(FsError::Exists(format!("{name:?} is there already")));
                }
                Some(entry) => {
                    staged.set.open_for_writing(entry.id)?;
                    entry.id
                }
                None => staged.set.create(directory, name)?,
            };
            let entry = staged.shown(&staged.set.entry(file)?);
            let set = staged.number;
            Ok((entry, desk.open(Open { set, file, write: true })))
        };
        self.change(caller, parent, Intent::Write, make).await
    }

    async fn open(
        &self,
        caller: Caller,
        id: StagedId,
        write: bool,
    ) -> Result<StagedHandle, FsError> {
        if !write {
            return self.open_for_reading(id);
        }
        let open = self.open_for_writing(caller, id).await?;
        Ok(self.inner.desk.lock().open(open))
    }

    async fn read(&self, handle: StagedHandle, offset: u64, size: u32) -> Result<Vec<u8>, FsError> {
        let (key, left) = {
            let mut desk = self.inner.desk.lock();
            let open = desk.opened(handle)?;
            let (_, staged) = desk.by_number(open.set)?;
            let EntryKind::File { size } = staged.set.entry(open.file)?.kind else {
                return Err(FsError::IsADirectory);
            };
            let left = size.saturating_sub(offset);
            if left == 0 {
                return Ok(Vec::new());
            }
            (staged.set.object(open.file), u32::try_from(left).unwrap_or(u32::MAX))
        };
        let key = key.ok_or_else(|| {
            FsError::WrongCopy(
                "it is not known yet which stored file this is: nothing is kept to read it from"
                    .to_owned(),
            )
        })?;
        self.inner.stored.read(&key, offset, size.min(left)).await
    }

    async fn write(
        &self,
        handle: StagedHandle,
        offset: u64,
        bytes: Vec<u8>,
    ) -> Result<u32, FsError> {
        let open = self.opened(handle)?;
        let taken = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
        self.compare_and_write(open, offset, bytes.into()).await?;
        Ok(taken)
    }

    async fn copy_range(
        &self,
        source: CopySource,
        source_offset: u64,
        handle: StagedHandle,
        offset: u64,
        size: u64,
    ) -> Result<u64, FsError> {
        let (open, source) = (self.opened(handle)?, self.source(source)?);
        let copy = |set: &mut Set| set.copy(open.file, &source, source_offset, offset, size);
        self.ask(open.set, copy).await
    }

    async fn link(
        &self,
        caller: Caller,
        source: CopySource,
        parent: &StagedParent,
        name: &str,
    ) -> Result<StagedEntry, FsError> {
        let staged_source = match &source {
            CopySource::Staged(id) => Some(*id),
            CopySource::Stored(_) => None,
        };
        let stored_source = match staged_source {
            Some(_) => None,
            None => Some(self.source(source)?),
        };
        let make = |desk: &mut Desk, top: &Top, directory: FileId| {
            let of = match staged_source.map(|id| desk.split(id)).transpose()? {
                Some((other, _)) if other != top => {
                    let reason = "a link from one set into another: copy it instead";
                    return Err(FsError::NotPermitted(reason.to_owned()));
                }
                other => other.map(|(_, file)| file),
            };
            let staged = desk.get_mut(top)?;
            let made = match (of, &stored_source) {
                (Some(file), _) => staged.set.link_staged(file, directory, name),
                (None, Some(source)) => staged.set.link_object(source, directory, name),
                (None, None) => Err(Refusal::new(crate::staging::Kind::NotFound, "it has gone")),
            };
            let id = made?;
            Ok(staged.shown(&staged.set.entry(id)?))
        };
        self.change(caller, parent, Intent::Write, make).await
    }

    async fn symlink(
        &self,
        _caller: Caller,
        _parent: &StagedParent,
        _name: &str,
        _target: OsString,
    ) -> Result<StagedEntry, FsError> {
        Err(FsError::NotPermitted(
            "a restore by a link comes later: copy the directory, cp -r backups/NAME/NODE restore/ \
             (cp -rL for latest)"
                .to_owned(),
        ))
    }

    async fn rename(
        &self,
        caller: Caller,
        from: (&StagedParent, &str),
        to: (&StagedParent, &str),
        replace: bool,
    ) -> Result<(), FsError> {
        let apart = || {
            FsError::NotPermitted("a file is renamed within what is copied to a node".to_owned())
        };
        let put = |desk: &mut Desk, top: &Top, directory: FileId| {
            let (other, new) = desk.place(to.0)?;
            if other != *top {
                return Err(apart());
            }
            let staged = desk.get_mut(top)?;
            Ok(staged.set.rename((directory, from.1), (new, to.1), !replace)?)
        };
        self.change(caller, from.0, Intent::Write, put).await
    }

    async fn unlink(
        &self,
        caller: Caller,
        parent: &StagedParent,
        name: &str,
    ) -> Result<(), FsError> {
        let take = |desk: &mut Desk, top: &Top, directory: FileId| {
            Ok(desk.get_mut(top)?.set.unlink(directory, name)?)
        };
        self.change(caller, parent, self.intent_of_unlink(parent, name), take).await
    }

    async fn rmdir(
        &self,
        caller: Caller,
        parent: &StagedParent,
        name: &str,
    ) -> Result<(), FsError> {
        if *parent == StagedParent::Area(Area::Restore) {
            let backup = BackupName::parse(name).ok().map(Top::Backup);
            let made = backup.filter(|top| self.inner.desk.lock().get(top).is_some());
            let Some(top) = made else {
                let node = crate::model::Fqdn::parse(name);
                let node = Top::Node(node.map_err(|_no_name| FsError::NotFound)?);
                return self.clear_receipt(caller, &node).await;
            };
            let holds = |desk: &Desk| desk.get(&top).is_some_and(|s| !s.set.is_blank());
            // A refusal changes nothing, so it comes before the job is told.
            if holds(&self.inner.desk.lock()) {
                return Err(FsError::NotEmpty);
            }
            self.prepare(caller, &top, Intent::Remove, a_call_from_now()).await?;
            let mut desk = self.inner.desk.lock();
            if holds(&desk) {
                return Err(FsError::NotEmpty);
            }
            desk.remove(&top);
            drop(desk);
            self.inner.lines.notify_one();
            return Ok(());
        }
        let take = |desk: &mut Desk, top: &Top, directory: FileId| {
            Ok(desk.get_mut(top)?.set.rmdir(directory, name)?)
        };
        // It is empty, and no file of the set goes with it: rsync clears up what it worked in.
        self.change(caller, parent, Intent::Write, take).await
    }

    async fn set_attributes(
        &self,
        caller: Caller,
        id: StagedId,
        set: SetAttributes,
    ) -> Result<StagedEntry, FsError> {
        if let Some(size) = set.size {
            let open = self.open_for_writing(caller, id).await?;
            let cut = self.ask(open.set, |set| set.truncate(open.file, size)).await;
            self.close_after_writing(open);
            cut?;
        }
        let mut desk = self.inner.desk.lock();
        let (top, file) = desk.split(id).map(|(top, file)| (top.clone(), file))?;
        let staged = desk.get_mut(&top)?;
        // The owner's tools set times, modes and owners as they like; others change nothing.
        if let Some(modified) = set.modified
            && (caller.uid == 0 || caller.uid == staged.uid)
        {
            staged.set.set_modified(file, (modified.0, 0))?;
        }
        Ok(staged.shown(&staged.set.entry(file)?))
    }

    async fn flush(&self, handle: StagedHandle) -> Result<(), FsError> {
        let open = self.opened(handle)?;
        if !open.write {
            return Ok(());
        }
        let verdict = self.ask(open.set, |set| set.flush(open.file)).await;
        if let Some(top) = self.top_of(open.set) {
            self.follow(&top);
        }
        verdict
    }

    async fn sync(&self, handle: StagedHandle) -> Result<(), FsError> {
        // There are no bytes to bring to a disk; what the file is, its close tells.
        self.opened(handle).map(|_open| ())
    }

    async fn release(&self, handle: StagedHandle) {
        let closed = self.inner.desk.lock().close(handle);
        if let Some(open) = closed.filter(|open| open.write) {
            self.close_after_writing(open);
        }
    }

    fn set(&self, of: &StagedParent) -> Option<SetView> {
        self.view(of)
    }

    fn missing(&self, of: &StagedParent) -> Vec<String> {
        let lacking = {
            let desk = self.inner.desk.lock();
            let top = desk.place(of).ok().map(|(top, _)| top);
            let staged = top.as_ref().and_then(|top| desk.get(top));
            staged.filter(|s| s.set.report().state == State::Partial).map(|s| s.set.lacking())
        };
        lacking.map(|lacking| lacking.paths(MOST_MISSING)).unwrap_or_default()
    }

    async fn told(
        &self,
        caller: Caller,
        of: &StagedParent,
        file: ControlFile,
        value: &str,
    ) -> Result<(), FsError> {
        let top = self.inner.desk.lock().place(of)?.0;
        let owner = self.inner.desk.lock().get(&top).map(|staged| staged.uid);
        if caller.uid != 0 && owner.is_some_and(|owner| owner != caller.uid) {
            return Err(FsError::Denied(format!("{top} belongs to another user")));
        }
        self.wait_for_beginning(&top, a_call_from_now()).await?;
        match (file, self.job_of(&top)) {
            (ControlFile::Undo, Some(job)) => self.undo(job).await,
            (ControlFile::Cancel | ControlFile::Commit, Some((job, stage)))
                if stage != Stage::Ended =>
            {
                self.tell(caller, file, job, value.to_owned()).await
            }
            (ControlFile::Cancel, _) => self.clear(caller, &top),
            (ControlFile::Commit | ControlFile::Undo, _) => {
                let reason = format!("there is no restore from {top}: nothing whole was copied");
                Err(FsError::Invalid(reason))
            }
            _ => Err(FsError::NotPermitted(format!("nothing is written to {} here", file.name()))),
        }
    }
}
