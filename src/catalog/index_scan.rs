//! One pass over `index/backup_index`: names of files, no contents.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, SystemTime};

use crate::medusa::{IndexEntry, IndexFile, Layout, MetaFile, TimeSources};
use crate::model::{BackupName, Fqdn, UnixSeconds};
use crate::store::{Entry, EntryKind, Kind, Store, StoreError};

use super::CatalogError;
use super::files_cache::Version;
use super::state::{Found, FoundBackups, FoundNode};

/// Remembers each backup's directory, so that one that did not change is not read again.
///
/// That a directory did not change is told by its time, whose steps may be coarse. So it is
/// believed only of one that was quiet for [`QUIET`] when it was read. The share's clock is known
/// to have come at least as far as the newest time seen on the share before: no other clock is
/// asked, and any later change gets a later time.
#[derive(Default)]
pub(super) struct IndexScan {
    known: BTreeMap<BackupName, Known>,
    scans: u64,
}

#[derive(Clone)]
struct Known {
    version: Version,
    is_settled: bool,
    found: Arc<Found>,
    /// With the ends that the index does not know, as they were last looked for.
    with_ends: Option<Arc<Found>>,
}

/// A node backup that has not finished for so long is asked for only in every so many scans.
const OLD: Duration = Duration::from_hours(24);
const SCANS_UNTIL_OLD: u64 = 30;

/// The coarsest steps of time that file systems have.
pub(super) const QUIET: Duration = Duration::from_secs(2);

/// Directories are read by so many threads: on NFS each costs some waits for the server.
const READERS: usize = 8;

impl IndexScan {
    /// What the index knows now. An index that is not there knows nothing.
    pub(super) fn scan(
        &mut self,
        store: &Store,
        layout: &Layout,
    ) -> Result<FoundBackups, CatalogError> {
        let index = layout.backup_index()?;
        let listed = match store.list(Some(&index)) {
            Err(error) if error.is_not_found() => Vec::new(),
            other => other?,
        };
        let newest = listed.iter().map(|entry| entry.stat.modified).max();
        let directories: Vec<(BackupName, Entry)> = listed
            .into_iter()
            .filter(|entry| entry.stat.kind == EntryKind::Directory)
            .filter_map(|entry| Some((BackupName::parse(&entry.name).ok()?, entry)))
            .collect();
        let mut known = BTreeMap::new();
        let mut unread = Vec::new();
        for (name, entry) in &directories {
            match self.known.get(name) {
                Some(old) if old.is_settled && old.version == Version::from(&entry.stat) => {
                    known.insert(name.clone(), old.clone());
                }
                _ => unread.push((name, entry)),
            }
        }
        for ((name, entry), found) in unread.iter().zip(read_all(store, layout, &unread)) {
            let Some(found) = found? else { continue };
            let version = Version::from(&entry.stat);
            let is_settled = is_quiet(entry.stat.modified, newest);
            let found = match self.known.get(*name) {
                Some(old) if *old.found == found => Arc::clone(&old.found),
                _ => Arc::new(found),
            };
            let with_ends = None;
            known.insert((*name).clone(), Known { version, is_settled, found, with_ends });
        }
        self.known = known;
        let asks_old = self.scans.is_multiple_of(SCANS_UNTIL_OLD);
        self.scans = self.scans.wrapping_add(1);
        let mut backups = FoundBackups::new();
        for (name, known) in &mut self.known {
            let before =
                known.with_ends.take().filter(|_| !asks_old && is_old(&known.found, newest));
            let found = match before {
                Some(found) => found,
                None => finished_without_index(store, layout, name, &known.found)?,
            };
            known.with_ends = Some(Arc::clone(&found));
            if !found.is_empty() {
                backups.insert(name.clone(), found);
            }
        }
        Ok(backups)
    }
}

/// True if a directory of that time had been quiet when the share's clock had reached `newest`.
pub(super) fn is_quiet(modified: SystemTime, newest: Option<SystemTime>) -> bool {
    modified.checked_add(QUIET).zip(newest).is_some_and(|(quiet, newest)| quiet < newest)
}

/// True if all that has not finished by the index was begun long ago, by the share's clock.
fn is_old(found: &Found, newest: Option<SystemTime>) -> bool {
    let now = newest.map_or(UnixSeconds(0), UnixSeconds::from);
    let mut open = found.values().filter(|node| node.finished.is_none());
    open.all(|node| now.since(node.started).is_some_and(|age| age > OLD.as_secs()))
}

type Read = Result<Option<Found>, CatalogError>;

/// Reads directories, in order. One that vanished, or that nobody may read, is none.
fn read_all(store: &Store, layout: &Layout, unread: &[(&BackupName, &Entry)]) -> Vec<Read> {
    let read = |(name, _): &(&BackupName, &Entry)| match read_one(store, layout, name) {
        Err(CatalogError::Store(error)) if is_its_own(&error) => {
            if error.kind != Kind::NotFound {
                tracing::warn!(%error, backup = %name, "passed over");
            }
            Ok(None)
        }
        other => other.map(Some),
    };
    if unread.len() <= READERS {
        return unread.iter().map(read).collect();
    }
    let share = unread.len().div_ceil(READERS);
    thread::scope(|scope| {
        let readers: Vec<_> = unread
            .chunks(share)
            .map(|part| scope.spawn(move || part.iter().map(read).collect::<Vec<Read>>()))
            .collect();
        let joined = readers
            .into_iter()
            .map(|reader| reader.join().unwrap_or_else(|_panic| vec![Err(CatalogError::Busy)]));
        joined.flatten().collect()
    })
}

/// True for an error that says something of this one object, not of the share.
pub(super) fn is_its_own(error: &StoreError) -> bool {
    matches!(
        error.kind,
        Kind::NotFound | Kind::WrongKind | Kind::Outside | Kind::Denied | Kind::TooLarge
    )
}

fn read_one(store: &Store, layout: &Layout, name: &BackupName) -> Result<Found, CatalogError> {
    let directory = layout.backup_index_of(name)?;
    let mut nodes = BTreeMap::<Fqdn, Vec<IndexFile>>::new();
    for entry in store.names(Some(&directory))? {
        if entry.kind == EntryKind::File
            && let Some(IndexEntry { fqdn, file }) = IndexEntry::parse(&entry.name)
        {
            nodes.entry(fqdn).or_default().push(file);
        }
    }
    // Medusa: a node has a backup if the index has its token map.
    nodes.retain(|_, files| files.contains(&IndexFile::Tokenmap));
    let mut found = Found::new();
    for (fqdn, files) in nodes {
        let mut times = TimeSources::default();
        for file in &files {
            match file {
                IndexFile::Started(time) => {
                    times.started_name = times.started_name.max(Some(*time));
                }
                IndexFile::Finished(time) => {
                    times.finished_name = times.finished_name.max(Some(*time));
                }
                _ => {}
            }
        }
        let written = |file: IndexFile| -> Result<Option<UnixSeconds>, CatalogError> {
            if !files.contains(&file) {
                return Ok(None);
            }
            written(store, &layout.index_file(name, &fqdn, file)?)
        };
        if times.started_name.is_none() {
            times.index_schema = written(IndexFile::Schema)?;
            if times.index_schema.is_none() {
                let schema = layout.meta_file(&fqdn, name, MetaFile::Schema)?;
                times.meta_schema = self::written(store, &schema)?;
            }
        }
        if times.finished_name.is_none() {
            times.index_manifest = written(IndexFile::Manifest)?;
        }
        let is_marked_differential = files.contains(&IndexFile::Differential);
        let times = times.times();
        // Medusa does not list what nobody knows the start of.
        if let Some(started) = times.started {
            let finished = times.finished;
            let node = FoundNode { started, finished, is_marked_differential, is_indexed: true };
            found.insert(fqdn, node);
        }
    }
    Ok(found)
}

/// When an object was written; none if it is not there.
pub(super) fn written(
    store: &Store,
    key: &crate::model::ObjectKey,
) -> Result<Option<UnixSeconds>, CatalogError> {
    match store.stat(key) {
        Ok(stat) if stat.kind == EntryKind::File => Ok(Some(stat.modified.into())),
        Ok(_) => Ok(None),
        Err(error) if is_its_own(&error) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// The rule's last resort: who is not finished by the index may be by `meta/manifest.json`.
fn finished_without_index(
    store: &Store,
    layout: &Layout,
    name: &BackupName,
    found: &Arc<Found>,
) -> Result<Arc<Found>, CatalogError> {
    let mut found = Arc::clone(found);
    let open: Vec<Fqdn> = found
        .iter()
        .filter(|(_, node)| node.finished.is_none())
        .map(|(fqdn, _)| fqdn.clone())
        .collect();
    for fqdn in open {
        let manifest = layout.meta_file(&fqdn, name, MetaFile::Manifest)?;
        if let Some(time) = written(store, &manifest)?
            && let Some(node) = Arc::make_mut(&mut found).get_mut(&fqdn)
        {
            node.finished = Some(time);
        }
    }
    Ok(found)
}
