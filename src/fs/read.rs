//! Reading and writing what is open.

use std::fs::File;
use std::io;
use std::io::IoSliceMut;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use rustix::io::ReadWriteFlags;

use crate::catalog::Damage;
use crate::catalog::DamageKind;
use crate::model::ByteSize;
use crate::model::ObjectKey;
use crate::view::NodeBackupId;

use super::Caller;
use super::FsError;
use super::Handle;
use super::JobText;
use super::MedusaFs;
use super::open::LogOf;
use super::open::OpenFile;
use super::open::OpenLog;
use super::open::never_written;

/// No reply is longer.
const MOST: u32 = 1 << 20;

impl MedusaFs {
    /// Bytes of an open file: shorter than asked for only at its end.
    pub async fn read(
        &self,
        caller: Caller,
        handle: Handle,
        offset: u64,
        size: u32,
    ) -> Result<Vec<u8>, FsError> {
        let open = self.files.get(handle)?;
        let size = size.min(MOST);
        match &*open {
            OpenFile::Stored { file, key, size: whole, of } => {
                let read = self.read_stored(file, key, *whole, offset, size).await;
                if let Err(FsError::Damaged(_)) = &read {
                    self.note_short(of, key, *whole).await;
                }
                self.told(caller, "read", || format!("{}/{}: {key}", of.backup, of.node), read)
            }
            OpenFile::Text(text) => Ok(slice(text, offset, size)),
            OpenFile::Log(of, open) => self.read_log(of, open, offset, size).await,
            OpenFile::Wait(owner, waiting) => self.wait(owner, waiting, size).await,
            OpenFile::Verb(..) => Ok(Vec::new()),
            OpenFile::Staged(staged, _) => self.copy_in.read(*staged, offset, size).await,
        }
    }

    async fn read_stored(
        &self,
        file: &Arc<File>,
        key: &ObjectKey,
        whole: u64,
        offset: u64,
        size: u32,
    ) -> Result<Vec<u8>, FsError> {
        let left = whole.saturating_sub(offset).min(u64::from(size));
        let wanted = usize::try_from(left).unwrap_or(0);
        if wanted == 0 {
            return Ok(Vec::new());
        }
        if let Some(bytes) = read_from_memory(file, offset, wanted) {
            return Ok(bytes);
        }
        let (file, named) = (Arc::clone(file), key.clone());
        let doing = format!("for bytes of {key}");
        self.on_share(doing, move || {
            let failed = |error| FsError::failed(format!("cannot read {named}"), error);
            let bytes = read_at(&file, offset, size.into()).map_err(failed)?;
            if bytes.len() < wanted {
                return Err(FsError::Damaged(format!("{named} has become shorter")));
            }
            Ok(bytes)
        })
        .await
    }

    /// The log of the job that is at it now: there may be none yet when it is opened, and another
    /// one later.
    async fn read_log(
        &self,
        of: &LogOf,
        open: &OpenLog,
        offset: u64,
        size: u32,
    ) -> Result<Vec<u8>, FsError> {
        let job = match of {
            LogOf::Job(job) => Some(job.clone()),
            LogOf::Owner(owner) => self.report(&self.world(), owner).and_then(|it| it.job),
        };
        let Some(job) = job else { return Ok(Vec::new()) };
        let known = {
            let open = open.lock();
            let its = open.as_ref().filter(|(of, _)| *of == job);
            its.map(|(_, file)| Arc::clone(file))
        };
        let asked = job.clone();
        let read = self.on_disk("for a job's log", move |doing| {
            let file = match known {
                Some(file) => file,
                None => match doing.open_text(&asked, JobText::Log) {
                    Ok(file) => Arc::new(file),
                    // It has written none yet, or is gone.
                    Err(_absent) => return Ok(None),
                },
            };
            let bytes = read_at(&file, offset, size.into())
                .map_err(|error| FsError::failed("cannot read a job's log", error))?;
            Ok(Some((file, bytes)))
        });
        let Some((file, bytes)) = read.await? else { return Ok(Vec::new()) };
        *open.lock() = Some((job, file));
        Ok(bytes)
    }

    async fn note_short(&self, of: &NodeBackupId, key: &ObjectKey, recorded: u64) {
        let (store, asked) = (self.store.clone(), key.clone());
        let stat = self.on_share(format!("for the size of {key}"), move || store.stat(&asked));
        let stored = stat.await.map_or(0, |stat| stat.size);
        let kind = DamageKind::Size { recorded: ByteSize(recorded), stored: ByteSize(stored) };
        let damage = Damage { node: of.node.clone(), key: key.clone(), kind };
        self.catalog.note_damage(&of.backup, &damage);
    }

    /// Bytes that are written. Returns how many were taken.
    pub async fn write(
        &self,
        caller: Caller,
        handle: Handle,
        offset: u64,
        bytes: Vec<u8>,
    ) -> Result<u32, FsError> {
        let open = self.files.get(handle)?;
        let count = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
        match &*open {
            OpenFile::Staged(staged, id) => {
                let written = self.copy_in.write(*staged, offset, bytes).await;
                self.told(caller, "write", || self.shown_staged(*id), written)
            }
            OpenFile::Verb(owner, file) => {
                let told = self.tell(caller, owner, *file, &bytes).await;
                let path = || format!("{}/.medusa/{}", owner.directory(), file.name());
                self.told(caller, "write", path, told.map(|()| count))
            }
            OpenFile::Stored { .. }
            | OpenFile::Text(_)
            | OpenFile::Log(..)
            | OpenFile::Wait(..) => Err(never_written()),
        }
    }

    /// `close(2)` of one descriptor.
    pub async fn flush(&self, caller: Caller, handle: Handle) -> Result<(), FsError> {
        match &*self.files.get(handle)? {
            OpenFile::Staged(staged, id) => {
                let verdict = self.copy_in.flush(*staged).await;
                self.told(caller, "close", || self.shown_staged(*id), verdict)
            }
            _ => Ok(()),
        }
    }

    /// `fsync(2)` of a file.
    pub async fn fsync(&self, caller: Caller, handle: Handle) -> Result<(), FsError> {
        match &*self.files.get(handle)? {
            OpenFile::Staged(staged, id) => {
                let synced = self.copy_in.sync(*staged).await;
                self.told(caller, "fsync", || self.shown_staged(*id), synced)
            }
            _ => Ok(()),
        }
    }
}

/// Bytes that this host has in memory anyway: no disk and no share is waited for.
fn read_from_memory(file: &File, offset: u64, wanted: usize) -> Option<Vec<u8>> {
    let mut bytes = vec![0; wanted];
    let mut parts = [IoSliceMut::new(&mut bytes)];
    let read = rustix::io::preadv2(file, &mut parts, offset, ReadWriteFlags::NOWAIT).ok()?;
    (read == wanted).then_some(bytes)
}

/// Bytes of a file, fewer than asked for only at its end.
pub(super) fn read_at(file: &File, offset: u64, len: u64) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0; usize::try_from(len).map_err(io::Error::other)?];
    let mut filled = 0;
    while let Some(rest) = bytes.get_mut(filled..).filter(|rest| !rest.is_empty()) {
        let at = offset.saturating_add(u64::try_from(filled).unwrap_or(u64::MAX));
        match file.read_at(rest, at) {
            Ok(0) => break,
            Ok(read) => filled = filled.saturating_add(read),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    bytes.truncate(filled);
    Ok(bytes)
}

fn slice(text: &[u8], offset: u64, size: u32) -> Vec<u8> {
    let from = usize::try_from(offset).unwrap_or(usize::MAX).min(text.len());
    let rest = text.get(from..).unwrap_or_default();
    let size = usize::try_from(size).unwrap_or(usize::MAX).min(rest.len());
    rest.get(..size).unwrap_or_default().to_vec()
}
