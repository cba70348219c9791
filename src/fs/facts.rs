//! What the share says of stored files: four bytes each, read a directory at a time.

use std::collections::BTreeMap;
use std::collections::HashMap;
use std::num::NonZeroUsize;
use std::sync::Arc;

use lru::LruCache;
use parking_lot::Mutex;

use crate::catalog::Catalog;
use crate::model::Keyspace;
use crate::model::ObjectKey;
use crate::model::TableDirectory;
use crate::model::UnixSeconds;
use crate::store::EntryKind;
use crate::store::Stat;
use crate::store::StoreError;
use crate::view::FilesDirectory;
use crate::view::FilesView;
use crate::view::NodeBackupId;

/// For so many files at most, those of directories that nobody asked for lately going first.
const FILES_LIMIT: usize = 4 << 20;

/// A directory with fewer files of a table than this is not read: each is asked for by itself.
const WORTH_LISTING: usize = 4;

/// What is known of the files of one directory, by their place in it.
#[derive(Debug, Default)]
pub(super) struct DirectoryFacts {
    modified: Box<[u32]>,
    /// Where the share has another size than the manifest: Medusa writes over some in place.
    other_sizes: BTreeMap<u32, u64>,
}

/// The same files, whichever way one came.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Which {
    of: NodeBackupId,
    keyspace: Keyspace,
    table: TableDirectory,
    index: Option<Arc<str>>,
}

/// What is known of the files of directories that were listed.
#[derive(Debug)]
pub(super) struct Facts {
    known: Mutex<LruCache<Which, Arc<DirectoryFacts>>>,
}

impl Default for Facts {
    fn default() -> Self {
        Self { known: Mutex::new(LruCache::unbounded()) }
    }
}

impl From<&FilesDirectory> for Which {
    fn from(directory: &FilesDirectory) -> Self {
        let FilesDirectory { side: _, of, keyspace, table, index } = directory;
        Self {
            of: of.clone(),
            keyspace: keyspace.clone(),
            table: table.clone(),
            index: index.clone(),
        }
    }
}

impl Facts {
    /// What is known of a directory's files.
    pub(super) fn get(&self, directory: &FilesDirectory) -> Option<Arc<DirectoryFacts>> {
        self.known.lock().get(&Which::from(directory)).map(Arc::clone)
    }

    /// Keeps what was found.
    pub(super) fn put(&self, directory: &FilesDirectory, facts: Arc<DirectoryFacts>) {
        let mut known = self.known.lock();
        known.put(Which::from(directory), facts);
        let mut files: usize = known.iter().map(|(_, facts)| facts.modified.len()).sum();
        while files > FILES_LIMIT && known.len() > 1 {
            if let Some((_, oldest)) = known.pop_lru() {
                files -= oldest.modified.len();
            }
        }
        let directories = NonZeroUsize::new(65_536).unwrap_or(NonZeroUsize::MIN);
        while known.len() > directories.get() {
            known.pop_lru();
        }
    }

    /// Forgets what is known of a backup's files.
    pub(super) fn forget(&self, of: impl Fn(&NodeBackupId) -> bool) {
        let mut known = self.known.lock();
        let gone: Vec<_> =
            known.iter().map(|(which, _)| which).filter(|which| of(&which.of)).cloned().collect();
        for which in gone {
            known.pop(&which);
        }
    }
}

impl DirectoryFacts {
    /// When the file at a place was written; none if that is not known.
    pub(super) fn modified(&self, place: u32) -> Option<UnixSeconds> {
        let seconds = *self.modified.get(usize::try_from(place).ok()?)?;
        (seconds > 0).then(|| UnixSeconds(i64::from(seconds)))
    }

    /// The size that the share has where it is not what the manifest says.
    pub(super) fn other_size(&self, place: u32) -> Option<u64> {
        self.other_sizes.get(&place).copied()
    }

    /// Asks the share. What is missing or of a wrong size is noted as damage of the backup.
    pub(super) fn read(catalog: &Catalog, files: &FilesView) -> Result<Self, StoreError> {
        let mut by_directory: HashMap<Option<ObjectKey>, usize> = HashMap::new();
        let places = 0..files.len();
        for file in places.clone().filter_map(|place| files.at(place)) {
            *by_directory.entry(file.key().parent()).or_default() += 1;
        }
        let mut listed: HashMap<ObjectKey, Stat> = HashMap::new();
        for (directory, count) in by_directory {
            if count >= WORTH_LISTING
                && let Some(directory) = directory
            {
                list(catalog, &directory, &mut listed)?;
            }
        }
        let mut facts =
            Self { modified: vec![0; places.len()].into(), other_sizes: BTreeMap::new() };
        let NodeBackupId { backup, node } = &files.directory().of;
        for place in places {
            let Some(file) = files.at(place) else { continue };
            let right = |stat: &&Stat| stat.kind == EntryKind::File && stat.size == file.size();
            // What is not as the manifest has it is looked at once more, and noted if it is damage.
            let stat = match listed.get(&file.key()).filter(right) {
                Some(stat) => *stat,
                None => match catalog.stat_file(backup, node, file) {
                    Ok(stat) => stat,
                    Err(error) if error.is_retryable() => return Err(error),
                    // It is listed by the manifest, and fails when it is opened.
                    Err(_gone) => continue,
                },
            };
            facts.set(place, &stat, file.size());
        }
        Ok(facts)
    }

    fn set(&mut self, place: u32, stat: &Stat, recorded: u64) {
        let seconds = UnixSeconds::from(stat.modified).0;
        let seconds = u32::try_from(seconds.max(1)).unwrap_or(u32::MAX);
        let slot = usize::try_from(place).ok().and_then(|place| self.modified.get_mut(place));
        if let Some(slot) = slot {
            *slot = seconds;
        }
        if stat.size != recorded && stat.kind == EntryKind::File {
            self.other_sizes.insert(place, stat.size);
        }
    }
}

fn list(
    catalog: &Catalog,
    directory: &ObjectKey,
    listed: &mut HashMap<ObjectKey, Stat>,
) -> Result<(), StoreError> {
    match catalog.store().list(Some(directory)) {
        Ok(entries) => {
            let known = entries
                .into_iter()
                .filter_map(|entry| Some((directory.join(&entry.name).ok()?, entry.stat)));
            listed.extend(known);
            Ok(())
        }
        Err(error) if error.is_retryable() => Err(error),
        // Gone or no directory: each of its files is asked for, and noted.
        Err(_gone) => Ok(()),
    }
}
