//! What the store has already under the names of a snapshot's files.
#![warn(clippy::indexing_slicing, clippy::arithmetic_side_effects)]

use std::collections::{BTreeSet, HashMap};

use parking_lot::Mutex;

use super::error::AgentError;
use super::place::{BackupPlace, or_empty};
use super::reuse::{Named, Seen};
use super::snapshot_files::{SnapshotFile, SnapshotTable};
use super::task::Task;
use super::workers::in_parallel;
use crate::medusa::{ManifestVisitor, MetaFile, Mode, Place, RecordedHash, read_manifest};
use crate::model::{Keyspace, Md5, ObjectKey, TableDirectory};
use crate::store::EntryKind;

/// So many earlier manifests are read at most for hashes; what they do not say is found out by
/// reading the stored object.
const MANIFESTS: usize = 16;

/// A place in the pool, and what is known of it.
#[derive(Debug, Default)]
struct InPool {
    stored_bytes: Option<u64>,
    named: Vec<Named>,
}

/// What lies at, or is named for, each place that a snapshot's files would have in the pool.
#[derive(Debug, Default)]
pub(super) struct Known {
    places: HashMap<ObjectKey, InPool>,
}

/// Where each file of a table would lie.
pub(super) fn table_key(
    place: &BackupPlace,
    mode: Mode,
    table: &SnapshotTable,
) -> Result<ObjectKey, AgentError> {
    Ok(place.layout.table(&place.node, &place.backup, mode, &table.keyspace, &table.table)?)
}

impl Known {
    /// Looks into the pool, one listing a directory, and into the manifests of earlier backups,
    /// newest first, until each file of equal name and size has a hash.
    pub(super) fn of_pool(
        place: &BackupPlace,
        tables: &[SnapshotTable],
        threads: usize,
        task: &Task,
    ) -> Result<Self, AgentError> {
        let mut sizes = HashMap::new();
        let mut directories = BTreeSet::new();
        for table in tables {
            let key = table_key(place, Mode::Differential, table)?;
            for file in &table.files {
                let file_key = key.join(&file.below_table())?;
                directories.extend(file_key.parent());
                sizes.insert(file_key, file.bytes);
            }
        }
        let mut known = Self { places: list(place, directories, &sizes, threads, task)? };
        known.read_manifests(place, &sizes, task)?;
        Ok(known)
    }

    /// A file as [`decide`](super::reuse::decide) wants it, `table` being its table's key.
    pub(super) fn see<T>(
        &self,
        table: &ObjectKey,
        file: &SnapshotFile,
        token: T,
    ) -> Result<Seen<T>, AgentError> {
        let place = table.join(&file.below_table())?;
        let known = self.places.get(&place);
        Ok(Seen {
            file: token,
            name: file.name.clone(),
            bytes: file.bytes,
            stored_bytes: known.and_then(|known| known.stored_bytes),
            named: known.map(|known| known.named.clone()).unwrap_or_default(),
            place,
        })
    }

    fn read_manifests(
        &mut self,
        place: &BackupPlace,
        sizes: &HashMap<ObjectKey, u64>,
        task: &Task,
    ) -> Result<(), AgentError> {
        let mut hashes: HashMap<ObjectKey, Md5> = HashMap::new();
        let mut variants: HashMap<ObjectKey, Option<u64>> = HashMap::new();
        for (manifest, key) in newest_manifests(place)?.into_iter().enumerate() {
            task.still_wanted()?;
            if manifest >= MANIFESTS || self.is_enough(sizes) {
                break;
            }
            for object in objects_of(place, &key, sizes, task)? {
                let recorded = object.hash;
                if let Some(md5) = recorded {
                    hashes.entry(object.key.clone()).or_insert(md5);
                }
                let stored = if object.key == object.place {
                    self.places.get(&object.place).and_then(|known| known.stored_bytes)
                } else if let Some(stored) = variants.get(&object.key) {
                    *stored
                } else {
                    let stored = place.store.stat(&object.key).ok().map(|stat| stat.size);
                    variants.insert(object.key.clone(), stored);
                    stored
                };
                if stored != Some(object.bytes) {
                    continue;
                }
                self.places.entry(object.place).or_default().named.push(Named {
                    manifest,
                    recorded: recorded.is_some() && hashes.get(&object.key) == recorded.as_ref(),
                    key: object.key,
                    bytes: object.bytes,
                    md5: None,
                });
            }
            // A hash found in an older manifest is that of the newer ones' object, too.
            for named in self.places.values_mut().flat_map(|known| &mut known.named) {
                named.md5 = hashes.get(&named.key).copied();
            }
        }
        Ok(())
    }

    /// Whether every file that the pool may have is hashed in some manifest.
    fn is_enough(&self, sizes: &HashMap<ObjectKey, u64>) -> bool {
        self.places.iter().all(|(place, known)| {
            let may_have = known.stored_bytes.is_some_and(|bytes| sizes.get(place) == Some(&bytes));
            !may_have || known.named.iter().any(|named| named.md5.is_some())
        })
    }
}

fn list(
    place: &BackupPlace,
    directories: BTreeSet<ObjectKey>,
    sizes: &HashMap<ObjectKey, u64>,
    threads: usize,
    task: &Task,
) -> Result<HashMap<ObjectKey, InPool>, AgentError> {
    let directories: Vec<_> = directories.into_iter().collect();
    let found = Mutex::new(HashMap::new());
    let work = |kept: &mut Vec<(ObjectKey, u64)>, directory: &ObjectKey| {
        task.still_wanted()?;
        for entry in or_empty(place.store.list(Some(directory)))? {
            let key = directory.join(&entry.name)?;
            // What is no file can be no object, but takes the place of one.
            if sizes.contains_key(&key) {
                let is_file = entry.stat.kind == EntryKind::File;
                kept.push((key, if is_file { entry.stat.size } else { u64::MAX }));
            }
        }
        Ok::<(), AgentError>(())
    };
    let finish =
        |kept: Vec<(ObjectKey, u64)>| {
            found.lock().extend(kept.into_iter().map(|(key, bytes)| {
                (key, InPool { stored_bytes: Some(bytes), named: Vec::new() })
            }));
            Ok(())
        };
    in_parallel(threads, &directories, Vec::new, work, finish)?;
    Ok(found.into_inner())
}

/// The manifests of a node's finished backups, newest first by the share's clock.
fn newest_manifests(place: &BackupPlace) -> Result<Vec<ObjectKey>, AgentError> {
    let node = place.layout.node(&place.node)?;
    let mut found = Vec::new();
    for entry in or_empty(place.store.names(Some(&node)))? {
        let Ok(backup) = crate::model::BackupName::parse(&entry.name) else { continue };
        if entry.kind != EntryKind::Directory || backup == place.backup {
            continue;
        }
        let key = place.layout.meta_file(&place.node, &backup, MetaFile::Manifest)?;
        match place.store.stat(&key) {
            // Full backups have nothing in the pool, and their marker is missing.
            Ok(stat) if place.has(&place.layout.mode_marker(&place.node, &backup)?)? => {
                found.push((stat.modified, key));
            }
            Ok(_) => {}
            Err(error) if error.is_not_found() => {}
            Err(error) => return Err(error.into()),
        }
    }
    found.sort_by(|a, b| b.cmp(a));
    Ok(found.into_iter().map(|(_, key)| key).collect())
}

/// An object of the pool that a manifest names for a file of the snapshot.
struct Object {
    place: ObjectKey,
    key: ObjectKey,
    bytes: u64,
    hash: Option<Md5>,
}

fn objects_of(
    place: &BackupPlace,
    manifest: &ObjectKey,
    wanted: &HashMap<ObjectKey, u64>,
    task: &Task,
) -> Result<Vec<Object>, AgentError> {
    // Medusa before 0.16 hashed the file's time, not its content; 0.17 brought this file.
    let version = manifest.parent().map(|meta| meta.join(MetaFile::ServerVersion.name()));
    let is_content = match version.transpose()? {
        Some(version) => place.has(&version)?,
        None => false,
    };
    let mut reader =
        PoolObjects { place, wanted, is_content, section: Vec::new(), found: Vec::new() };
    let file = place.store.open_file(manifest)?;
    match read_manifest(std::io::BufReader::with_capacity(1 << 20, file), &mut reader) {
        Ok(()) => Ok(reader.found),
        // A broken manifest costs reading what it would have proven, no more.
        Err(error) if error.is_final() => {
            task.note(format!("{manifest} is passed over: {error}"));
            Ok(Vec::new())
        }
        Err(source) => Err(AgentError::Format { what: manifest.to_string(), source }),
    }
}

struct PoolObjects<'a> {
    place: &'a BackupPlace,
    wanted: &'a HashMap<ObjectKey, u64>,
    is_content: bool,
    section: Vec<(ObjectKey, u64, Option<Md5>)>,
    found: Vec<Object>,
}

impl ManifestVisitor for PoolObjects<'_> {
    fn object(&mut self, path: &str, size: u64, hash: RecordedHash) {
        if let Ok(key) = self.place.layout.object_of(&self.place.node, path) {
            let hash = hash.content().filter(|_| self.is_content);
            self.section.push((key, size, hash));
        }
    }

    fn section(&mut self, keyspace: &str, columnfamily: &str) {
        let names = (Keyspace::parse(keyspace), TableDirectory::parse(columnfamily));
        let objects = std::mem::take(&mut self.section);
        let (Ok(keyspace), Ok(table)) = names else { return };
        for (key, bytes, hash) in objects {
            if let Some(place) = self.pool_place(&key, &keyspace, &table)
                && self.wanted.contains_key(&place)
            {
                self.found.push(Object { place, key, bytes, hash });
            }
        }
    }
}

impl PoolObjects<'_> {
    /// Where an object of the pool would lie if it were no variant.
    fn pool_place(
        &self,
        key: &ObjectKey,
        keyspace: &Keyspace,
        table: &TableDirectory,
    ) -> Option<ObjectKey> {
        match self.place.layout.place(key) {
            Place::Data { backup: None, .. } => Some(key.clone()),
            Place::Variant { index, file, .. } => {
                let (layout, node) = (&self.place.layout, &self.place.node);
                let mode = Mode::Differential;
                let table = layout.table(node, &self.place.backup, mode, keyspace, table).ok()?;
                table
                    .join(&index.map_or_else(|| file.clone(), |index| format!("{index}/{file}")))
                    .ok()
            }
            _ => None,
        }
    }
}
