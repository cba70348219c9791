//! The seam to what is copied into `restore/` and `import/`: `MedusaFs` sends every call below
//! those two here.
//!
//! What is mine to answer, `MedusaFs` keeps: the two directories, a directory for each node in
//! them, and their `.medusa/`, whose files it writes from [`SetView`] and from the jobs. Whatever
//! a person makes below has a [`StagedId`] that this side chooses, never uses twice while the
//! mount lives, and keeps when it is renamed.

use std::ffi::OsString;
use std::sync::Arc;

use async_trait::async_trait;

use crate::model::JobId;
use crate::model::ObjectKey;
use crate::model::UnixSeconds;
use crate::view::Area;
use crate::view::ControlFile;
use crate::view::NodeBackupId;
use crate::view::StagedId;

use crate::model::Fqdn;

use super::Caller;
use super::FsError;

/// A directory that something is put into or taken from.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum StagedParent {
    /// `restore/` or `import/` itself.
    Area(Area),
    /// `restore/NODE` or `import/NODE`.
    Node(Area, Fqdn),
    /// A directory that was made below those.
    Inside(StagedId),
}

/// What a staged node is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StagedKind {
    /// A directory.
    Directory,
    /// A file: no bytes are kept, it is read through to the stored object.
    File,
    /// A symbolic link.
    Link,
}

/// What `stat` shows of a staged node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StagedEntry {
    /// Which it is.
    pub id: StagedId,
    /// What it is.
    pub kind: StagedKind,
    /// Bytes so far.
    pub size: u64,
    /// Permission bits as the copying tool set them.
    pub mode: u16,
    /// When it was last changed.
    pub modified: UnixSeconds,
    /// Who made it; shown as its owner, so that he may go on.
    pub uid: u32,
    /// His group.
    pub gid: u32,
}

/// A stored file that is copied or linked from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredSource {
    /// The object.
    pub key: ObjectKey,
    /// Its size in bytes, as the manifest has it; of what may be written anew, as it is stored.
    pub size: u64,
    /// One node backup in which it was seen; others may hold the same object.
    pub seen_in: NodeBackupId,
    /// Its path below the node backup: `KEYSPACE/TABLE-ID/[.INDEX/]FILE` or `manifest.json`.
    pub path: Arc<str>,
}

/// Where bytes or a link come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CopySource {
    /// Something stored.
    Stored(StoredSource),
    /// Something that was staged before.
    Staged(StagedId),
}

/// An open staged file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct StagedHandle(pub u64);

/// What a tool sets of a file or directory. All but the size is accepted and ignored, or kept for
/// show.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct SetAttributes {
    /// Permission bits.
    pub mode: Option<u32>,
    /// Truncation or extension, in bytes.
    pub size: Option<u64>,
    /// Modification time.
    pub modified: Option<UnixSeconds>,
    /// Whether an owner or group was set too.
    pub owner: bool,
}

/// What the `.medusa/` of a directory below `restore/` or `import/` shows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SetView {
    /// The word of `state`: `empty`, `partial`, `held` or a job's.
    pub state: String,
    /// The text of `error`: why it is held or failed.
    pub error: String,
    /// The job that does it, once there is one: `progress`, `nodes`, `plan`, `log` and `wait` are
    /// its.
    pub job: Option<JobId>,
}

/// What calls below `restore/` and `import/` mean. Every method answers from memory or within a
/// second, but for bytes that are read.
#[async_trait]
pub trait CopyIn: Send + Sync + 'static {
    /// What stands in a directory, by name; without the nodes that `MedusaFs` lists itself.
    fn children(&self, parent: &StagedParent) -> Vec<(String, StagedEntry)>;

    /// One name of a directory.
    fn lookup(&self, parent: &StagedParent, name: &str) -> Option<StagedEntry>;

    /// Where it stands, from the mount's root, for a message; none if it has gone.
    fn path(&self, id: StagedId) -> Option<String>;

    /// What `stat` shows; none if it has gone.
    fn entry(&self, id: StagedId) -> Option<StagedEntry>;

    /// Where a link leads.
    fn target(&self, id: StagedId) -> Option<OsString>;

    /// Makes a directory.
    async fn mkdir(
        &self,
        caller: Caller,
        parent: &StagedParent,
        name: &str,
        mode: u32,
    ) -> Result<StagedEntry, FsError>;

    /// Makes a file and opens it for writing; `exclusive` if it must not be there.
    async fn create(
        &self,
        caller: Caller,
        parent: &StagedParent,
        name: &str,
        mode: u32,
        exclusive: bool,
    ) -> Result<(StagedEntry, StagedHandle), FsError>;

    /// Opens a file that is there.
    async fn open(
        &self,
        caller: Caller,
        id: StagedId,
        write: bool,
    ) -> Result<StagedHandle, FsError>;

    /// Bytes of an open file, shorter than asked for only at its end.
    async fn read(&self, handle: StagedHandle, offset: u64, size: u32) -> Result<Vec<u8>, FsError>;

    /// Bytes that come as bytes. Returns how many were taken: all.
    async fn write(
        &self,
        handle: StagedHandle,
        offset: u64,
        bytes: Vec<u8>,
    ) -> Result<u32, FsError>;

    /// Bytes that come by name: `copy_file_range(2)`. Returns how many were taken.
    async fn copy_range(
        &self,
        source: CopySource,
        source_offset: u64,
        handle: StagedHandle,
        offset: u64,
        size: u64,
    ) -> Result<u64, FsError>;

    /// A hard link.
    async fn link(
        &self,
        caller: Caller,
        source: CopySource,
        parent: &StagedParent,
        name: &str,
    ) -> Result<StagedEntry, FsError>;

    /// A symbolic link.
    async fn symlink(
        &self,
        caller: Caller,
        parent: &StagedParent,
        name: &str,
        target: OsString,
    ) -> Result<StagedEntry, FsError>;

    /// Another name; `replace` if what bears it already may go.
    async fn rename(
        &self,
        caller: Caller,
        from: (&StagedParent, &str),
        to: (&StagedParent, &str),
        replace: bool,
    ) -> Result<(), FsError>;

    /// Takes a file or link away.
    async fn unlink(
        &self,
        caller: Caller,
        parent: &StagedParent,
        name: &str,
    ) -> Result<(), FsError>;

    /// Takes a directory away.
    async fn rmdir(&self, caller: Caller, parent: &StagedParent, name: &str)
    -> Result<(), FsError>;

    /// Modes, times, owners and sizes. Below a node's directory itself nothing comes here.
    async fn set_attributes(
        &self,
        caller: Caller,
        id: StagedId,
        set: SetAttributes,
    ) -> Result<StagedEntry, FsError>;

    /// `close(2)` of one descriptor: the verdict over the file, so that `cp` exits 1.
    async fn flush(&self, handle: StagedHandle) -> Result<(), FsError>;

    /// `fsync(2)` of a file.
    async fn sync(&self, handle: StagedHandle) -> Result<(), FsError>;

    /// The last descriptor is closed.
    async fn release(&self, handle: StagedHandle);

    /// What the `.medusa/` of a directory shows; none if it has none.
    fn set(&self, of: &StagedParent) -> Option<SetView>;

    /// The lines of `missing`, each a path.
    fn missing(&self, of: &StagedParent) -> Vec<String>;

    /// Something was written to `cancel`, `undo`, `commit` or `source`, blanks trimmed.
    async fn told(
        &self,
        caller: Caller,
        of: &StagedParent,
        file: ControlFile,
        value: &str,
    ) -> Result<(), FsError>;
}
