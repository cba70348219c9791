//! What a set has to know of the store.

use std::fs::File;
use std::io;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::{Duration, Instant};

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
use crate::model::UnixSeconds;
use crate::observe::ErrorChain;
use crate::staging::Contents;
use crate::staging::Fact;
use crate::staging::Need;
use crate::staging::SnapshotId;
use crate::staging::Source;
use crate::store::BlockingPool;
use crate::store::StoreError;

use super::FsError;
use super::SnapshotFiles;
use super::read_at;

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
    /// Opened a moment ago: a file that is copied in pieces is compared in pieces.
    open: Arc<Mutex<LruCache<ObjectKey, Opened>>>,
    /// Sizes of manifests, as far as they were asked for.
    manifest_sizes: Arc<Mutex<LruCache<Version, u64>>>,
}

/// A file that is open, since when.
#[derive(Clone)]
struct Opened(Arc<File>, Instant);

/// A snapshot, when it was begun and finished: a backup may be made anew under its old name.
type Version = (SnapshotId, UnixSeconds, Option<UnixSeconds>);

/// Files that are kept open.
const OPEN_FILES: usize = 32;
/// For how long. The same name may be another file after that, and one that is deleted cannot go
/// from NFS while it is open.
const OPEN_FOR: Duration = Duration::from_secs(5);
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

    /// Closes for ever what was not used for a while. To be run beside everything else.
    pub async fn close_idle(self: Arc<Self>) {
        loop {
            tokio::time::sleep(OPEN_FOR).await;
            let idle: Vec<_> = {
                let mut open = self.open.lock();
                let old = open.iter().filter(|(_, opened)| !opened.is_fresh());
                let old: Vec<ObjectKey> = old.map(|(key, _)| key.clone()).collect();
                old.iter().filter_map(|key| open.pop(key)).collect()
            };
            if !idle.is_empty()
                && let Err(error) = self.run("to close files".to_owned(), move |_| drop(idle)).await
            {
                tracing::info!(error = %ErrorChain(&error), "files are not closed yet");
            }
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
                let known = open.lock().get(&object).filter(|opened| opened.is_fresh()).cloned();
                let opened = match known {
                    Some(opened) => opened,
                    None => Opened(Arc::new(catalog.open(&object)?), Instant::now()),
                };
                let read = work(&opened.0)?;
                open.lock().put(object, opened);
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
                Ok(Fact::Contents(id, Ok(contents)))
            }
            // What has no manifest that can be read, no set can be of.
            Err(error) if is_final(&error) => {
                let why = ErrorChain(&error).to_string();
                Ok(Fact::Contents(id, Err(why.into())))
            }
            Err(error) => Err(FsError::failed(format!("cannot read the manifest of {id}"), error)),
        }
    }

    /// Looks for a manifest among snapshots, `likely` ones first, then all others.
    async fn manifest(&self, size: u64, md5: Md5, likely: Option<&Fqdn>) -> Result<Fact, FsError> {
        let mut of = self.manifests(size, md5, likely).await?;
        if of.is_empty() {
            // One that was replaced in its place has another size than it had.
            self.manifest_sizes.lock().clear();
            of = self.manifests(size, md5, likely).await?;
        }
        Ok(Fact::Manifest { size, md5, of })
    }

    async fn manifests(
        &self,
        size: u64,
        md5: Md5,
        likely: Option<&Fqdn>,
    ) -> Result<Vec<SnapshotId>, FsError> {
        let (first, second): (Vec<_>, Vec<_>) =
            self.versions().into_iter().partition(|(id, ..)| Some(&id.node) == likely);
        let mut of = Vec::new();
        for group in [first, second] {
            for versions in group.chunks(MANIFESTS) {
                for (id, key) in self.manifests_of_size(versions.to_vec(), size).await? {
                    if self.digest(&key, size).await? == Some(md5) {
                        of.push(id);
                    }
                }
            }
        }
        Ok(of)
    }

    /// Every snapshot with a manifest, the newest first.
    fn versions(&self) -> Vec<Version> {
        let backups = self.catalog.backups();
        let newest = backups.newest_first();
        let of = |backup: &Arc<crate::catalog::Backup>| {
            let name = backup.name.clone();
            let finished = backup.nodes.iter().filter(|(_, node)| node.finished.is_some());
            let version = |(node, part): (&Fqdn, &crate::catalog::NodeBackup)| {
                let id = SnapshotId { backup: name.clone(), node: node.clone() };
                (id, part.started, part.finished)
            };
            finished.map(version).collect::<Vec<_>>()
        };
        newest.into_iter().flat_map(of).collect()
    }

    async fn manifests_of_size(
        &self,
        versions: Vec<Version>,
        size: u64,
    ) -> Result<Vec<(SnapshotId, ObjectKey)>, FsError> {
        let sizes = Arc::clone(&self.manifest_sizes);
        let found = self
            .run("for the sizes of manifests".to_owned(), move |catalog| {
                let mut found = Vec::new();
                for version in versions {
                    let id = &version.0;
                    let meta = catalog.layout().meta_file(&id.node, &id.backup, MetaFile::Manifest);
                    let Ok(key) = meta else { continue };
                    let known = sizes.lock().get(&version).copied();
                    let has = match known.map_or_else(|| catalog.stat(&key).map(|s| s.size), Ok) {
                        Ok(has) => has,
                        Err(error) if error.is_retryable() => return Err(error),
                        // Gone: its index's copy is not what was copied from here.
                        Err(_gone) => continue,
                    };
                    if has == size {
                        found.push((id.clone(), key));
                    }
                    sizes.lock().put(version, has);
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
            let read = self.object(key, move |file| read_at(file, at, piece)).await?;
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
            let read = self.object(key, move |file| read_at(file, at, piece)).await?;
            let came = u64::try_from(read.len()).unwrap_or(u64::MAX);
            if came < piece || read.iter().any(|byte| *byte != 0) {
                return Ok(false);
            }
            at = at.saturating_add(came);
        }
        Ok(true)
    }
}

impl Opened {
    fn is_fresh(&self) -> bool {
        self.1.elapsed() < OPEN_FOR
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

#[async_trait]
impl Stored for Share {
    fn snapshots(&self) -> Vec<SnapshotId> {
        self.versions().into_iter().map(|(id, ..)| id).collect()
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
                    Ok(read_at(file, offset, len)? == *bytes)
                })
                .await?;
            if same {
                equal.push(key);
            }
        }
        Ok(equal)
    }

    async fn read(&self, key: &ObjectKey, offset: u64, size: u32) -> Result<Vec<u8>, FsError> {
        self.object(key, move |file| read_at(file, offset, u64::from(size))).await
    }
}
