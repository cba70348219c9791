//! The questions one can ask.

use std::fmt;
use std::fs::File;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::{Mutex, RwLock};

use crate::medusa::{Layout, MetaFile, ServerVersion, Tokenmap, read_manifest};
use crate::model::{BackupName, ByteSize, Fqdn, ObjectKey};
use crate::observe::ErrorChain;
use crate::store::{EntryKind, Stat, Store, StoreError};

use super::examine::Examiner;
use super::facts_cache::FactsCache;
use super::files_cache::{FilesCache, Version};
use super::index_scan::{IndexScan, is_its_own};
use super::node_files_builder::NodeFilesBuilder;
use super::state::{State, Verdict};
use super::unindexed::UnindexedScan;
use super::{Backup, Backups, CatalogError, Completeness, MetaObject, NodeFiles};

/// How much a [`Catalog`] may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CatalogSettings {
    /// For files of node backups, those that were not asked for lately being forgotten first. Half
    /// of it is for what is known, half for what is being read.
    pub memory: ByteSize,
    /// How many directories one [`Catalog::find_unindexed`] looks into.
    pub scan_limit: usize,
}

impl Default for CatalogSettings {
    fn default() -> Self {
        Self { memory: ByteSize(256 << 20), scan_limit: 20_000 }
    }
}

/// How far [`Catalog::deepen`] goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Depth {
    /// Until the newest complete backup is known.
    Latest,
    /// Until every backup is known.
    All,
}

/// What a [`Catalog::deepen`] did.
#[derive(Debug)]
pub struct Deepened {
    /// Something is shown differently now.
    pub is_changed: bool,
    /// So many are left to look into, for the depth that was asked for.
    pub left: usize,
    /// What kept it from looking into one of them; it will be tried again. One that the share
    /// does not keep from being looked into is not counted among those that are left.
    pub error: Option<CatalogError>,
}

/// The backups of a store. Cheap to clone; all clones are the same.
///
/// Whoever keeps one up to date calls, again and again: [`refresh`](Self::refresh),
/// [`deepen`](Self::deepen) to [`Depth::Latest`], [`find_unindexed`](Self::find_unindexed), and
/// `deepen` to [`Depth::All`] a few at a time.
#[derive(Clone)]
pub struct Catalog {
    pub(super) inner: Arc<Inner>,
}

pub(super) struct Inner {
    store: Store,
    layout: Layout,
    settings: CatalogSettings,
    /// Held while the index is read.
    index: Mutex<IndexScan>,
    /// Held while nodes' directories are read.
    unindexed: Mutex<UnindexedScan>,
    /// Never held while the share is asked.
    pub(super) state: Mutex<State>,
    shown: RwLock<Arc<Backups>>,
    facts: FactsCache,
    pub(super) files: FilesCache,
    /// The last of the damaged files that were looked at again.
    pub(super) looked_at_again: Mutex<Option<(Fqdn, ObjectKey)>>,
    /// Held while a manifest is read: what is read needs memory too, and so one at a time is.
    loading: Mutex<()>,
}

impl fmt::Debug for Catalog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Catalog").field("store", &self.inner.store).finish_non_exhaustive()
    }
}

/// How long one reader of the index waits for another before it gives up.
const TURN: Duration = Duration::from_secs(20);

/// How often what a long look has found is shown before it ends.
const SHOW_EVERY: Duration = Duration::from_millis(300);

impl Catalog {
    /// A catalog that knows nothing yet. Asks the share nothing.
    pub fn new(store: Store, layout: Layout, settings: CatalogSettings) -> Self {
        let inner = Inner {
            store,
            layout,
            settings,
            index: Mutex::default(),
            unindexed: Mutex::default(),
            state: Mutex::default(),
            shown: RwLock::default(),
            facts: FactsCache::default(),
            files: FilesCache::new(ByteSize(settings.memory.0 / 2)),
            looked_at_again: Mutex::default(),
            loading: Mutex::default(),
        };
        Self { inner: Arc::new(inner) }
    }

    /// The store.
    pub fn store(&self) -> &Store {
        &self.inner.store
    }

    /// The store's layout.
    pub fn layout(&self) -> &Layout {
        &self.inner.layout
    }

    /// The backups, from memory. What is held of it never changes.
    pub fn backups(&self) -> Arc<Backups> {
        Arc::clone(&self.inner.shown.read())
    }

    /// Reads the index: one listing, and one more for each backup whose directory changed. True if
    /// something is shown differently now. On an error all stays as it was.
    pub fn refresh(&self) -> Result<bool, CatalogError> {
        let inner = &*self.inner;
        let mut scan = inner.index.try_lock_for(TURN).ok_or(CatalogError::Busy)?;
        let indexed = scan.scan(&inner.store, &inner.layout)?;
        Ok(self.change(|state| state.set_indexed(indexed)))
    }

    /// Looks for backups that the index has lost: one listing for each node whose directory
    /// changed, and one for each name in it that the index does not have. True if something is
    /// shown differently now.
    pub fn find_unindexed(&self) -> Result<bool, CatalogError> {
        let inner = &*self.inner;
        let mut scan = inner.unindexed.try_lock_for(TURN).ok_or(CatalogError::Busy)?;
        let indexed = inner.state.lock().indexed();
        let limit = inner.settings.scan_limit;
        let (found, is_cut) = scan.scan(&inner.store, &inner.layout, &indexed, limit)?;
        Ok(self.change(|state| state.set_unindexed(found, is_cut)))
    }

    /// Looks into the newest backups that were not looked into, `most` of them at most, as far as
    /// `depth` wants. Each costs some reads for each of its nodes, among them its manifests.
    pub fn deepen(&self, depth: Depth, most: usize) -> Deepened {
        let shown = self.backups();
        let mut done = Deepened { is_changed: false, left: 0, error: None };
        let (mut looked, mut is_silent) = (0, false);
        let (mut verdicts, mut shown_at) = (Vec::new(), Instant::now());
        for backup in shown.newest_first() {
            let mut is_good = backup.is_good();
            if backup.state == Completeness::Unexamined {
                if looked == most || is_silent {
                    done.left += 1;
                    continue;
                }
                match self.verdict(&backup.name) {
                    Ok(verdict) => {
                        looked += 1;
                        is_good =
                            verdict.state == Completeness::Complete && backup.damage.is_empty();
                        verdicts.push((backup.name.clone(), verdict));
                        if shown_at.elapsed() > SHOW_EVERY {
                            done.is_changed |= self.show(&mut verdicts);
                            shown_at = Instant::now();
                        }
                    }
                    // It was removed meanwhile.
                    Err(CatalogError::NoBackup(_)) => {}
                    Err(error) => {
                        // What will be the same the next time keeps nobody from the others.
                        is_silent = error.is_retryable();
                        done.left += usize::from(is_silent);
                        done.error = Some(error);
                    }
                }
            }
            if depth == Depth::Latest && is_good {
                break;
            }
        }
        done.is_changed |= self.show(&mut verdicts);
        done
    }

    fn show(&self, verdicts: &mut Vec<(BackupName, Verdict)>) -> bool {
        let found = verdicts.drain(..);
        self.change(|state| {
            let set = |(name, verdict): (BackupName, Verdict)| state.set_verdict(&name, verdict);
            found.map(set).fold(false, |any, is_set| any | is_set)
        })
    }

    /// Looks into one backup now, also if it was looked into before. True if it is shown
    /// differently now.
    pub fn examine(&self, name: &BackupName) -> Result<bool, CatalogError> {
        let verdict = self.verdict(name)?;
        Ok(self.change(|state| state.set_verdict(name, verdict)))
    }

    fn verdict(&self, name: &BackupName) -> Result<Verdict, CatalogError> {
        let found = self.inner.state.lock().found(name);
        let found = found.ok_or_else(|| CatalogError::NoBackup(name.clone()))?;
        self.examiner(name).verdict(found)
    }

    /// The files of a node backup, from its manifest or, where that is gone or garbled, from the
    /// index's copy of it. From memory if the stored manifest is the one that is known.
    pub fn node_files(
        &self,
        name: &BackupName,
        fqdn: &Fqdn,
    ) -> Result<Arc<NodeFiles>, CatalogError> {
        let is_indexed = self.node(name, fqdn)?;
        self.read_node_files(name, fqdn, is_indexed)
    }

    /// The same of a node backup that this catalog need not know: nothing else of the store is
    /// looked at.
    pub fn node_files_directly(
        &self,
        name: &BackupName,
        fqdn: &Fqdn,
    ) -> Result<Arc<NodeFiles>, CatalogError> {
        self.read_node_files(name, fqdn, true)
    }

    fn read_node_files(
        &self,
        name: &BackupName,
        fqdn: &Fqdn,
        is_indexed: bool,
    ) -> Result<Arc<NodeFiles>, CatalogError> {
        let inner = &*self.inner;
        let keys = self.examiner(name).copies(fqdn, MetaFile::Manifest, is_indexed)?;
        let place = (name.clone(), fqdn.clone());
        let mut wrong = None;
        for key in keys {
            let (file, stat) = match inner.store.open_with_stat(&key) {
                Err(error) if is_its_own(&error) => continue,
                other => other?,
            };
            let version = Version::from(&stat);
            if let Some(files) = inner.files.get(&place, Some(version)) {
                return Ok(files);
            }
            let _turn = inner.loading.try_lock_for(TURN).ok_or(CatalogError::Busy)?;
            // Another may have read it meanwhile.
            if let Some(files) = inner.files.get(&place, Some(version)) {
                return Ok(files);
            }
            match self.load(name, fqdn, is_indexed, (key, file, &stat)) {
                Ok(files) => {
                    let files = Arc::new(files);
                    inner.files.put(place, version, Arc::clone(&files));
                    return Ok(files);
                }
                Err(CatalogError::Damaged(_, _, error)) if error.is_final() => {
                    tracing::warn!(backup = %name, node = %fqdn, error = %ErrorChain(&error), "bad manifest");
                    wrong = Some(error);
                }
                Err(error) => return Err(error),
            }
        }
        Err(match wrong {
            Some(error) => CatalogError::Damaged(name.clone(), fqdn.clone(), error),
            None => CatalogError::NoManifest(name.clone(), fqdn.clone()),
        })
    }

    /// The files of a node backup, if they are in memory.
    pub fn node_files_cached(&self, name: &BackupName, fqdn: &Fqdn) -> Option<Arc<NodeFiles>> {
        self.inner.files.get(&(name.clone(), fqdn.clone()), None)
    }

    /// What the files of node backups take in memory now.
    pub fn memory(&self) -> ByteSize {
        self.inner.files.bytes()
    }

    /// The stored files of a node backup's `meta`, or the index's copies where they are gone; also
    /// of one that has not finished.
    pub fn meta(&self, name: &BackupName, fqdn: &Fqdn) -> Result<Vec<MetaObject>, CatalogError> {
        let is_indexed = self.node(name, fqdn)?;
        self.meta_objects(name, fqdn, is_indexed)
    }

    /// The same of a node backup that this catalog need not know.
    pub fn meta_directly(
        &self,
        name: &BackupName,
        fqdn: &Fqdn,
    ) -> Result<Vec<MetaObject>, CatalogError> {
        self.meta_objects(name, fqdn, true)
    }

    /// The token map that a node stored: its own data centre.
    pub fn tokenmap(&self, name: &BackupName, fqdn: &Fqdn) -> Result<Tokenmap, CatalogError> {
        let is_indexed = self.node(name, fqdn)?;
        self.examiner(name).tokenmap(fqdn, is_indexed)?.map_err(unreadable("tokenmap", name, fqdn))
    }

    /// The schema that a node stored.
    pub fn schema(&self, name: &BackupName, fqdn: &Fqdn) -> Result<String, CatalogError> {
        let is_indexed = self.node(name, fqdn)?;
        self.examiner(name).schema(fqdn, is_indexed)?.map_err(unreadable("schema", name, fqdn))
    }

    /// The server that was backed up; none before Medusa 0.17.
    pub fn server_version(
        &self,
        name: &BackupName,
        fqdn: &Fqdn,
    ) -> Result<Option<ServerVersion>, CatalogError> {
        self.node(name, fqdn)?;
        let key = self.layout().meta_file(fqdn, name, MetaFile::ServerVersion)?;
        let bytes = match self.store().read(&key, ServerVersion::LIMIT.0) {
            Err(error) if error.is_not_found() => return Ok(None),
            other => other?,
        };
        let wrong = |error| CatalogError::Damaged(name.clone(), fqdn.clone(), error);
        ServerVersion::parse(&bytes).map(Some).map_err(wrong)
    }

    /// Opens a stored object for reading.
    pub fn open(&self, key: &ObjectKey) -> Result<File, StoreError> {
        self.store().open_file(key)
    }

    /// What the share says of a stored object.
    pub fn stat(&self, key: &ObjectKey) -> Result<Stat, StoreError> {
        self.store().stat(key)
    }

    /// Whether the index has it.
    fn node(&self, name: &BackupName, fqdn: &Fqdn) -> Result<bool, CatalogError> {
        let backups = self.backups();
        let backup: &Backup =
            backups.get(name).ok_or_else(|| CatalogError::NoBackup(name.clone()))?;
        let node = backup.nodes.get(fqdn);
        let node = node.ok_or_else(|| CatalogError::NoNode(name.clone(), fqdn.clone()))?;
        Ok(node.is_indexed)
    }

    fn examiner<'a>(&'a self, name: &'a BackupName) -> Examiner<'a> {
        let inner = &*self.inner;
        Examiner { store: &inner.store, layout: &inner.layout, facts: &inner.facts, name }
    }

    fn load(
        &self,
        name: &BackupName,
        fqdn: &Fqdn,
        is_indexed: bool,
        (key, file, stat): (ObjectKey, File, &Stat),
    ) -> Result<NodeFiles, CatalogError> {
        let inner = &*self.inner;
        let mut meta = self.meta_objects(name, fqdn, is_indexed)?;
        if let Some(manifest) = meta.iter_mut().find(|object| object.file == MetaFile::Manifest) {
            // What is shown is what is followed, also if that is the copy.
            (manifest.key, manifest.size, manifest.modified) = (key, stat.size, stat.modified);
        }
        // Releases that wrote other things than MD5s wrote no server version either.
        let has_hashes = meta.iter().any(|object| object.file == MetaFile::ServerVersion);
        let node = inner.layout.node(fqdn)?;
        let limit = inner.files.limit();
        let mut builder = NodeFilesBuilder::new(&inner.layout, fqdn, name, node, has_hashes, limit);
        read_manifest(file, &mut builder)
            .map_err(|error| CatalogError::Damaged(name.clone(), fqdn.clone(), error))?;
        builder
            .finish(meta)
            .ok_or_else(|| CatalogError::TooManyFiles(name.clone(), fqdn.clone(), limit))
    }

    fn meta_objects(
        &self,
        name: &BackupName,
        fqdn: &Fqdn,
        is_indexed: bool,
    ) -> Result<Vec<MetaObject>, CatalogError> {
        let examiner = self.examiner(name);
        let mut objects = Vec::new();
        for file in MetaFile::ALL {
            for key in examiner.copies(fqdn, file, is_indexed)? {
                match self.store().stat(&key) {
                    Ok(stat) if stat.kind == EntryKind::File => {
                        let (size, modified) = (stat.size, stat.modified);
                        objects.push(MetaObject { file, key, size, modified });
                        break;
                    }
                    Ok(_) => {}
                    Err(error) if is_its_own(&error) => {}
                    Err(error) => return Err(error.into()),
                }
            }
        }
        Ok(objects)
    }

    /// Changes what is known, and shows it. `change` tells whether it did anything. True if that
    /// makes a difference.
    pub(super) fn change(&self, change: impl FnOnce(&mut State) -> bool) -> bool {
        let inner = &*self.inner;
        let mut state = inner.state.lock();
        if !change(&mut state) {
            return false;
        }
        let old = self.backups();
        let (now, is_changed) = state.picture(&old);
        if is_changed {
            let is_there = |name: &BackupName, fqdn: &Fqdn| {
                now.get(name).is_some_and(|backup| backup.nodes.contains_key(fqdn))
            };
            inner.files.keep_only(is_there);
            inner.facts.keep_only(is_there);
            *inner.shown.write() = Arc::new(now);
        }
        is_changed
    }
}

fn unreadable(
    what: &'static str,
    name: &BackupName,
    fqdn: &Fqdn,
) -> impl FnOnce(String) -> CatalogError {
    let (node, backup) = (fqdn.clone(), name.clone());
    move |why| CatalogError::Unreadable { what, node, backup, why }
}
