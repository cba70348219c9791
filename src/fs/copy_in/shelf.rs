//! What a set has to know of the store.

use std::fs::File;
use std::io;
use std::num::NonZeroUsize;
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use lru::LruCache;
use md5::Digest as _;
use parking_lot::Mutex;

use crate::catalog::Catalog;
use crate::catalog::CatalogError;
use crate::medusa::MetaFile;
use crate::medusa::Place;
use crate::model::Fqdn;
use crate::model::Md5;
use crate::model::ObjectKey;
use crate::staging::Contents;
use crate::staging::Fact;
use crate::staging::Need;
use crate::staging::SnapshotId;
use crate::staging::Source;
use crate::store::BlockingPool;
use crate::store::StoreError;

use super::FsError;
use super::SnapshotFiles;

/// What is stored, as far as judging a copy takes it. Where it is not said that it answers from memory, a method may wait
/// for the share, never longer than the configuration's deadline for each few MiB.
#[async_trait]
pub trait Stored: Send + Sync + 'static {
    /// Every snapshot with a manifest, the newest first; from memory.
    fn snapshots(&self) -> Vec<SnapshotId>;

    /// Whether there is that one, finished or not; from memory.
    fn has(&self, id: &SnapshotId) -> bool;

    /// Whose object that is; `seen_in` is a snapshot in which it was found. From memory.
    fn source(&self, key: &ObjectKey, size: u64, seen_in: &SnapshotId) -> Source;

    /// Finds out what a set needs to know. [`Need::Compare`] is not for this: see
    /// [`Stored::equal`].
    async fn find_out(&self, need: Need, target: Option<&Fqdn>) -> Result<Fact, FsError>;

    /// Which of the objects have these bytes at that offset.
    async fn equal(
        &self,
        keys: Vec<ObjectKey>,
        offset: u64,
        bytes: Arc<Vec<u8>>,
    ) -> Result<Vec<ObjectKey>, FsError>;

    /// Bytes of an object, fewer than asked for only at its end.
    async fn read(&self, key: &ObjectKey, offset: u64, size: u32) -> Result<Vec<u8>, FsError>;
}

/// What lies on the share.
pub struct Share {
    catalog: Catalog,
    pool: BlockingPool,
    deadline: Duration,
    /// Opened lately: a file that is copied in pieces is compared in pieces.
    open: Arc<Mutex<LruCache<ObjectKey, Arc<File>>>>,
    /// Sizes of manifests, as far as they were asked for.
    manifest_sizes: Arc<Mutex<LruCache<SnapshotId, u64>>>,
}

/// Files that are kept open.
const OPEN_FILES: usize = 32;
/// Sizes that are kept.
const SIZES: usize = 100_000;
/// So much is read within one deadline.
const PIECE: u64 = 8 << 20;
/// So many manifests are looked at within one deadline.
const MANIFESTS: usize = 64;

impl Share {
    /// The store of `catalog`; calls to it wait in `pool`, each for `deadline` at most.
    pub fn new(catalog: Catalog, pool: BlockingPool, deadline: Duration) -> Self {
        let room = |most| NonZeroUsize::new(most).unwrap_or(NonZeroUsize::MIN);
        Self {
            catalog,
            pool,
            deadline,
            open: Arc::new(Mutex::new(LruCache::new(room(OPEN_FILES)))),
            manifest_sizes: Arc::new(Mutex::new(LruCache::new(room(SIZES)))),
        }
    }

    async fn run<T: Send + 'static>(
        &self,
        doing: String,
        work: impl FnOnce(&Catalog) -> T + Send + 'static,
    ) -> Result<T, FsError> {
        let catalog = self.catalog.clone();
        let done = self.pool.run(self.deadline, doing.clone(), move || work(&catalog)).await;
        done.map_err(|error| FsError::failed(format!("the share does not answer {doing}"), error))
    }

    async fn object<T: Send + 'static>(
        &self,
        key: &ObjectKey,
        work: impl FnOnce(&File) -> io::Result<T> + Send + 'static,
    ) -> Result<T, FsError> {
        let (open, object) = (Arc::clone(&self.open), key.clone());
        let read = self
            .run(format!("for {key}"), move |catalog| -> Result<T, Unread> {
                let known = open.lock().get(&object).map(Arc::clone);
                let file = match known {
                    Some(file) => file,
                    None => Arc::new(catalog.open(&object)?),
                };
                let read = work(&file)?;
                open.lock().put(object, file);
                Ok(read)
            })
            .await?;
        read.map_err(|error| FsError::failed(format!("cannot read the stored {key}"), error))
    }

    async fn contents(&self, id: SnapshotId) -> Result<Fact, FsError> {
        let asked = id.clone();
        let files = self
            .run(format!("for the manifest of {id}"), move |catalog| {
                catalog.node_files(&asked.backup, &asked.node)
            })
            .await?;
        match files {
            Ok(files) => {
                let contents: Arc<dyn Contents> = Arc::new(SnapshotFiles::new(files));
                Ok(Fact::Contents(id, Some(contents)))
            }
            // What has no manifest that can be read, no set can be of.
            Err(error) if is_final(&error) => Ok(Fact::Contents(id, None)),
            Err(error) => Err(FsError::failed(format!("cannot read the manifest of {id}"), error)),
        }
    }

    /// Looks for a manifest among snapshots, `likely` ones first, then all others.
    async fn manifest(&self, size: u64, md5: Md5, likely: Option<&Fqdn>) -> Result<Fact, FsError> {
        let (first, second): (Vec<_>, Vec<_>) =
            self.snapshots().into_iter().partition(|id| Some(&id.node) == likely);
        let mut of = Vec::new();
        for group in [first, second] {
            for ids in group.chunks(MANIFESTS) {
                for (id, key) in self.manifests_of_size(ids.to_vec(), size).await? {
                    if self.digest(&key, size).await? == Some(md5) {
                        of.push(id);
                    }
                }
            }
            if !of.is_empty() {
                break;
            }
        }
        Ok(Fact::Manifest { size, md5, of })
    }

    async fn manifests_of_size(
        &self,
        ids: Vec<SnapshotId>,
        size: u64,
    ) -> Result<Vec<(SnapshotId, ObjectKey)>, FsError> {
        let sizes = Arc::clone(&self.manifest_sizes);
        let found = self
            .run("for the sizes of manifests".to_owned(), move |catalog| {
                let mut found = Vec::new();
                for id in ids {
                    let meta = catalog.layout().meta_file(&id.node, &id.backup, MetaFile::Manifest);
                    let Ok(key) = meta else { continue };
                    let known = sizes.lock().get(&id).copied();
                    let has = match known.map_or_else(|| catalog.stat(&key).map(|s| s.size), Ok) {
                        Ok(has) => has,
                        Err(error) if error.is_retryable() => return Err(error),
                        // Gone: its index's copy is not what was copied from here.
                        Err(_gone) => continue,
                    };
                    sizes.lock().put(id.clone(), has);
                    if has == size {
                        found.push((id, key));
                    }
                }
                Ok(found)
            })
            .await?;
        found.map_err(|error| FsError::failed("cannot look at the manifests", error))
    }

    async fn digest(&self, key: &ObjectKey, len: u64) -> Result<Option<Md5>, FsError> {
        let mut hasher = md5::Md5::new();
        let mut at = 0;
        while at < len {
            let piece = PIECE.min(len - at);
            let read = self.object(key, move |file| bytes_at(file, at, piece)).await?;
            let came = u64::try_from(read.len()).unwrap_or(u64::MAX);
            if came < piece {
                return Ok(None);
            }
            hasher.update(&read);
            at = at.saturating_add(came);
        }
        Ok(Some(Md5(hasher.finalize().into())))
    }

    async fn zeros(&self, key: &ObjectKey, start: u64, end: u64) -> Result<bool, FsError> {
        let mut at = start;
        while at < end {
            let piece = PIECE.min(end - at);
            let read = self.object(key, move |file| bytes_at(file, at, piece)).await?;
            let came = u64::try_from(read.len()).unwrap_or(u64::MAX);
            if came < piece || read.iter().any(|byte| *byte != 0) {
                return Ok(false);
            }
            at = at.saturating_add(came);
        }
        Ok(true)
    }
}

/// Why an object was not read.
#[derive(Debug, thiserror::Error)]
enum Unread {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Io(#[from] io::Error),
}

fn is_final(error: &CatalogError) -> bool {
    match error {
        CatalogError::NoBackup(_)
        | CatalogError::NoNode(..)
        | CatalogError::NoManifest(..)
        | CatalogError::Unreadable { .. }
        | CatalogError::TooManyFiles(..)
        | CatalogError::Name(_) => true,
        CatalogError::Damaged(..) => !error.is_retryable(),
        CatalogError::Store(_) | CatalogError::Busy => false,
    }
}

fn bytes_at(file: &File, offset: u64, len: u64) -> io::Result<Vec<u8>> {
    let len = usize::try_from(len).map_err(io::Error::other)?;
    let mut bytes = vec![0; len];
    let mut filled = 0;
    while let Some(rest) = bytes.get_mut(filled..).filter(|rest| !rest.is_empty()) {
        let at = offset.saturating_add(u64::try_from(filled).unwrap_or(u64::MAX));
        match file.read_at(rest, at) {
            Ok(0) => break,
            Ok(came) => filled = filled.saturating_add(came),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    bytes.truncate(filled);
    Ok(bytes)
}

#[async_trait]
impl Stored for Share {
    fn snapshots(&self) -> Vec<SnapshotId> {
        let backups = self.catalog.backups();
        let newest = backups.newest_first();
        let of = |backup: &Arc<crate::catalog::Backup>| {
            let name = backup.name.clone();
            let finished = backup.nodes.iter().filter(|(_, node)| node.finished.is_some());
            finished
                .map(|(node, _)| SnapshotId { backup: name.clone(), node: node.clone() })
                .collect::<Vec<_>>()
        };
        newest.into_iter().flat_map(of).collect()
    }

    fn has(&self, id: &SnapshotId) -> bool {
        let backups = self.catalog.backups();
        backups.get(&id.backup).is_some_and(|backup| backup.nodes.contains_key(&id.node))
    }

    fn source(&self, key: &ObjectKey, size: u64, seen_in: &SnapshotId) -> Source {
        let (node, backup) = match self.catalog.layout().place(key) {
            Place::Meta(node, backup, _) | Place::ModeMarker(node, backup) => (node, Some(backup)),
            Place::Data { fqdn, backup, .. } => (fqdn, backup),
            Place::Variant { fqdn, .. } => (fqdn, None),
            // The index's copy of a file that has gone from the node's directory.
            Place::Index(..) | Place::Latest(..) | Place::Own | Place::Foreign => {
                (seen_in.node.clone(), Some(seen_in.backup.clone()))
            }
        };
        Source { key: key.clone(), size, node, backup }
    }

    async fn find_out(&self, need: Need, target: Option<&Fqdn>) -> Result<Fact, FsError> {
        match need {
            Need::Contents(id) => self.contents(id).await,
            Need::Manifest { size, md5 } => self.manifest(size, md5, target).await,
            Need::Digest { key, len } => {
                let md5 = self.digest(&key, len).await?;
                Ok(Fact::Digest { key, len, md5 })
            }
            Need::Zeros { key, start, end } => {
                let zeros = self.zeros(&key, start, end).await?;
                Ok(Fact::Zeros { key, start, end, zeros })
            }
            Need::Compare { .. } => {
                Err(FsError::Bug("bytes are to be compared that nobody has".to_owned()))
            }
        }
    }

    async fn equal(
        &self,
        keys: Vec<ObjectKey>,
        offset: u64,
        bytes: Arc<Vec<u8>>,
    ) -> Result<Vec<ObjectKey>, FsError> {
        let mut equal = Vec::new();
        for key in keys {
            let bytes = Arc::clone(&bytes);
            let same = self
                .object(&key, move |file| {
                    let len = u64::try_from(bytes.len()).map_err(io::Error::other)?;
                    Ok(bytes_at(file, offset, len)? == *bytes)
                })
                .await?;
            if same {
                equal.push(key);
            }
        }
        Ok(equal)
    }

    async fn read(&self, key: &ObjectKey, offset: u64, size: u32) -> Result<Vec<u8>, FsError> {
        self.object(key, move |file| bytes_at(file, offset, u64::from(size))).await
    }
}
