//! Opening files.

use std::fs::File;
use std::sync::Arc;

use parking_lot::Mutex;

use crate::model::JobId;
use crate::model::ObjectKey;
use crate::store::Stat;
use crate::view::Access;
use crate::view::Bytes;
use crate::view::ControlFile;
use crate::view::Ino;
use crate::view::Known;
use crate::view::NodeBackupId;
use crate::view::Owner;
use crate::view::StagedId;
use crate::view::ViewPath;

use super::Caller;
use super::FsError;
use super::Handle;
use super::MedusaFs;
use super::Opened;
use super::Reading;
use super::StagedHandle;
use super::facts::FileFacts;
use super::wait::Waiting;

/// A file that is open.
#[derive(Debug)]
pub(super) enum OpenFile {
    /// A stored object.
    Stored {
        /// Opened for reading.
        file: Arc<File>,
        /// Which it is.
        key: ObjectKey,
        /// Its size when it was opened.
        size: u64,
        /// Through which backup it was opened.
        of: NodeBackupId,
    },
    /// Text as it was when the file was opened.
    Text(Vec<u8>),
    /// A job's log, which grows, and what is open of it.
    Log(LogOf, OpenLog),
    /// `wait`.
    Wait(Owner, Waiting),
    /// A control file that is written to.
    Verb(Owner, ControlFile),
    /// What is being copied in.
    Staged(StagedHandle, StagedId),
}

/// Whose log it is.
#[derive(Debug)]
pub(super) enum LogOf {
    /// That of the job that is at it when it is read.
    Owner(Owner),
    /// That of this one.
    Job(JobId),
}

/// The log that was read last.
pub(super) type OpenLog = Mutex<Option<(JobId, Arc<File>)>>;

impl MedusaFs {
    /// Opens a file; `write` if not for reading alone.
    pub async fn open(&self, caller: Caller, ino: Ino, write: bool) -> Result<Opened, FsError> {
        let opened = self.open_known(caller, ino, write).await;
        self.told(caller, "open", || self.shown_ino(ino), opened)
    }

    async fn open_known(&self, caller: Caller, ino: Ino, write: bool) -> Result<Opened, FsError> {
        let path = match self.known(ino)? {
            Known::File(..) if write => return Err(never_written()),
            Known::File(directory, place) => return self.open_stored(ino, &directory, place).await,
            Known::Path(path) => path,
        };
        match path {
            ViewPath::Staged(id) => {
                if write {
                    self.restores_here()?;
                }
                let staged = self.copy_in.open(caller, id, write).await?;
                let handle = self.opened_staged(staged, id).await?;
                Ok(Opened { handle, reading: Reading::Staged })
            }
            ViewPath::ControlFile(owner, file) if file.access() == Access::Verb => {
                if !write {
                    return Err(FsError::Denied(format!("{} is only written to", file.name())));
                }
                self.may_tell(caller, &owner)?;
                self.made(OpenFile::Verb(owner, file))
            }
            _ if write => Err(never_written()),
            ViewPath::Meta(of, file) => self.open_meta(of, file).await,
            ViewPath::ControlFile(owner, ControlFile::Wait) => {
                self.made(OpenFile::Wait(owner, Waiting::default()))
            }
            ViewPath::ControlFile(owner, ControlFile::Log) => {
                self.made(OpenFile::Log(LogOf::Owner(owner), OpenLog::default()))
            }
            ViewPath::JobFile(job, ControlFile::Log) => {
                self.made(OpenFile::Log(LogOf::Job(job), OpenLog::default()))
            }
            path => {
                let text = self.text(caller, &self.world(), &path).await?;
                self.made(OpenFile::Text(text.into_bytes()))
            }
        }
    }

    /// Gives a staged file a number of ours. Where there is none left it is closed again: a set is
    /// not whole while a file of it is open for writing.
    pub(super) async fn opened_staged(
        &self,
        staged: StagedHandle,
        id: StagedId,
    ) -> Result<Handle, FsError> {
        let opened = self.files.open(OpenFile::Staged(staged, id));
        if opened.is_err() {
            self.copy_in.release(staged).await;
        }
        opened
    }

    fn made(&self, file: OpenFile) -> Result<Opened, FsError> {
        Ok(Opened { handle: self.files.open(file)?, reading: Reading::Made })
    }

    async fn open_stored(
        &self,
        ino: Ino,
        directory: &ViewPath,
        place: u32,
    ) -> Result<Opened, FsError> {
        let (files, place) = self.stored_file(ino, directory, place).await?;
        let gone = || FsError::Stale(format!("{directory} has other files now"));
        let named = files.at(place).ok_or_else(gone)?;
        let (key, recorded) = (named.key(), named.size());
        let of = files.directory().of.clone();
        let (catalog, asked, opened_of) = (self.catalog.clone(), files.clone(), of.clone());
        let doing = format!("for {key} to open");
        // What is missing or of a wrong size damages its backup from now on: the catalog says so.
        let opened = self
            .on_share(doing, move || {
                let file = asked.at(place).ok_or_else(gone_meanwhile)?;
                catalog.open_file(&opened_of.backup, &opened_of.node, file).map_err(FsError::from)
            })
            .await?;
        if let Some(damage) = opened.damage {
            let backup = &of.backup;
            return Err(FsError::Damaged(format!("the backup {backup} is damaged: {damage}")));
        }
        let (file, stat) = (opened.file, opened.stat);
        let listed = self.facts.get(files.directory()).map(|facts| facts.of(place));
        let listed = listed.filter(|listed| listed.modified.is_some());
        if listed.is_some_and(|listed| listed != FileFacts::of(&stat, recorded)) {
            // It was written anew since: what the kernel has of it must go too.
            self.facts.forget_directory(files.directory());
            self.written_anew.lock().insert(ino);
        }
        let Stat { ino: stored_ino, size, modified, .. } = stat;
        let bytes = Bytes { ino: stored_ino, size, modified };
        let same_as_before = self.inodes.is_opened_again(ino, bytes);
        self.stored(file, key, size, of, same_as_before)
    }

    async fn open_meta(
        &self,
        of: NodeBackupId,
        file: crate::medusa::MetaFile,
    ) -> Result<Opened, FsError> {
        let key = self.meta_object(&of, file).await?.key;
        let (store, wanted) = (self.store.clone(), key.clone());
        let doing = format!("for {key} to open");
        let (file, stat) = self.on_share(doing, move || store.open_with_stat(&wanted)).await?;
        self.stored(file, key, stat.size, of, false)
    }

    fn stored(
        &self,
        file: File,
        key: ObjectKey,
        size: u64,
        of: NodeBackupId,
        same_as_before: bool,
    ) -> Result<Opened, FsError> {
        let file = Arc::new(file);
        let reading = Reading::Stored { file: Arc::clone(&file), same_as_before };
        let handle = self.files.open(OpenFile::Stored { file, key, size, of })?;
        Ok(Opened { handle, reading })
    }

    /// Closes a file for the last time. True if it was a stored one.
    pub async fn release(&self, handle: Handle) -> bool {
        let Some(file) = self.files.close(handle) else { return false };
        match &*file {
            OpenFile::Stored { .. } => true,
            OpenFile::Staged(staged, _) => {
                self.copy_in.release(*staged).await;
                false
            }
            OpenFile::Text(_) | OpenFile::Log(..) | OpenFile::Wait(..) | OpenFile::Verb(..) => {
                false
            }
        }
    }
}

fn gone_meanwhile() -> FsError {
    FsError::Stale("the manifest was replaced".to_owned())
}

/// Why nothing that is shown is written to.
pub(super) fn never_written() -> FsError {
    FsError::ReadOnly(
        "what a backup holds is never changed: copy it out, or into restore/ or import/".to_owned(),
    )
}
