//! A tree that is for looking only: no cluster, so no jobs and no copying in.

use std::ffi::OsString;
use std::fs::File;
use std::io;

use async_trait::async_trait;
use tokio::sync::watch;

use crate::model::Fqdn;
use crate::model::JobId;
use crate::view::ControlFile;
use crate::view::StagedId;

use super::BackupOrder;
use super::Caller;
use super::CopyIn;
use super::CopySource;
use super::Doing;
use super::FsError;
use super::JobTable;
use super::JobText;
use super::SetAttributes;
use super::SetView;
use super::StagedEntry;
use super::StagedHandle;
use super::StagedParent;

/// Nothing can be begun: what `medusafs mount --store` and a mount without contact points have.
#[derive(Debug)]
pub struct LookingOnly {
    jobs: watch::Sender<JobTable>,
}

impl LookingOnly {
    /// No jobs, for ever.
    pub fn new() -> Self {
        Self { jobs: watch::Sender::new(JobTable::default()) }
    }
}

impl Default for LookingOnly {
    fn default() -> Self {
        Self::new()
    }
}

fn refused() -> FsError {
    FsError::ReadOnly(
        "no cluster is configured for this mount, it is for looking only: mount it with a \
         medusa.ini, on a host that has contact_points or a cassandra.yaml"
            .to_owned(),
    )
}

impl Doing for LookingOnly {
    fn jobs(&self) -> watch::Receiver<JobTable> {
        self.jobs.subscribe()
    }

    fn ring(&self) -> Option<Vec<Fqdn>> {
        None
    }

    fn begin_backup(&self, _order: &BackupOrder) -> Result<JobId, FsError> {
        Err(refused())
    }

    fn cancel(&self, _job: &JobId, _why: &str) -> Result<(), FsError> {
        Err(refused())
    }

    fn forget(&self, _jobs: &[JobId]) -> Result<(), FsError> {
        Err(refused())
    }

    fn open_text(&self, _job: &JobId, _text: JobText) -> io::Result<File> {
        Err(io::ErrorKind::NotFound.into())
    }
}

#[async_trait]
impl CopyIn for LookingOnly {
    fn children(&self, _parent: &StagedParent) -> Vec<(String, StagedEntry)> {
        Vec::new()
    }

    fn lookup(&self, _parent: &StagedParent, _name: &str) -> Option<StagedEntry> {
        None
    }

    fn path(&self, _id: StagedId) -> Option<String> {
        None
    }

    fn entry(&self, _id: StagedId) -> Option<StagedEntry> {
        None
    }

    async fn mkdir(
        &self,
        _caller: Caller,
        _parent: &StagedParent,
        _name: &str,
        _mode: u32,
    ) -> Result<StagedEntry, FsError> {
        Err(refused())
    }

    async fn create(
        &self,
        _caller: Caller,
        _parent: &StagedParent,
        _name: &str,
        _mode: u32,
        _exclusive: bool,
    ) -> Result<(StagedEntry, StagedHandle), FsError> {
        Err(refused())
    }

    async fn open(
        &self,
        _caller: Caller,
        _id: StagedId,
        _write: bool,
    ) -> Result<StagedHandle, FsError> {
        Err(refused())
    }

    async fn read(
        &self,
        _handle: StagedHandle,
        _offset: u64,
        _size: u32,
    ) -> Result<Vec<u8>, FsError> {
        Err(refused())
    }

    async fn write(
        &self,
        _handle: StagedHandle,
        _offset: u64,
        _bytes: Vec<u8>,
    ) -> Result<u32, FsError> {
        Err(refused())
    }

    async fn copy_range(
        &self,
        _source: CopySource,
        _source_offset: u64,
        _handle: StagedHandle,
        _offset: u64,
        _size: u64,
    ) -> Result<u64, FsError> {
        Err(refused())
    }

    async fn link(
        &self,
        _caller: Caller,
        _source: CopySource,
        _parent: &StagedParent,
        _name: &str,
    ) -> Result<StagedEntry, FsError> {
        Err(refused())
    }

    async fn symlink(
        &self,
        _caller: Caller,
        _parent: &StagedParent,
        _name: &str,
        _target: OsString,
    ) -> Result<StagedEntry, FsError> {
        Err(refused())
    }

    async fn rename(
        &self,
        _caller: Caller,
        _from: (&StagedParent, &str),
        _to: (&StagedParent, &str),
        _replace: bool,
    ) -> Result<(), FsError> {
        Err(refused())
    }

    async fn unlink(
        &self,
        _caller: Caller,
        _parent: &StagedParent,
        _name: &str,
    ) -> Result<(), FsError> {
        Err(refused())
    }

    async fn rmdir(
        &self,
        _caller: Caller,
        _parent: &StagedParent,
        _name: &str,
    ) -> Result<(), FsError> {
        Err(refused())
    }

    async fn set_attributes(
        &self,
        _caller: Caller,
        _id: StagedId,
        _set: SetAttributes,
    ) -> Result<StagedEntry, FsError> {
        Err(refused())
    }

    async fn flush(&self, _handle: StagedHandle) -> Result<(), FsError> {
        Ok(())
    }

    async fn sync(&self, _handle: StagedHandle) -> Result<(), FsError> {
        Ok(())
    }

    async fn release(&self, _handle: StagedHandle) {}

    fn set(&self, _of: &StagedParent) -> Option<SetView> {
        None
    }

    fn missing(&self, _of: &StagedParent) -> Vec<String> {
        Vec::new()
    }

    async fn told(
        &self,
        _caller: Caller,
        _of: &StagedParent,
        _file: ControlFile,
        _value: &str,
    ) -> Result<(), FsError> {
        Err(refused())
    }
}
