//! What the share says of stored files: four bytes each, read a directory at a time.

use std::collections::BTreeMap;
use std::collections::HashMap;
use std::sync::Arc;

use lru::LruCache;
use parking_lot::Mutex;

use crate::catalog::Catalog;
use crate::catalog::FileRef;
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

/// What is kept at most, in units of four bytes, those directories going first that nobody asked
/// for lately: the times of four million files.
const LIMIT: usize = 4 << 20;

/// What a directory takes beside its files' times, in the same units, and what another size does.
const A_DIRECTORY: usize = 64;
const ANOTHER_SIZE: usize = 8;

/// A directory with fewer files of a table than this is not read: each is asked for by itself.
const WORTH_LISTING: usize = 4;

/// What is known of the files of one directory, by their place in it.
#[derive(Debug, Default)]
pub(super) struct DirectoryFacts {
    modified: Box<[u32]>,
    /// Where the share has another size than the manifest: Medusa writes over some in place.
    other_sizes: BTreeMap<u32, u64>,
}

/// What is known of one file.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct FileFacts {
    /// When it was written; none if that is not known.
    pub(super) modified: Option<UnixSeconds>,
    /// The size that the share has where it is not what the manifest says.
    pub(super) other_size: Option<u64>,
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
#[derive(Debug, Default)]
pub(super) struct Facts {
    known: Mutex<KnownFacts>,
}

#[derive(Debug)]
struct KnownFacts {
    directories: LruCache<Which, Arc<DirectoryFacts>>,
    /// What all of them take.
    taken: usize,
}

impl Default for KnownFacts {
    fn default() -> Self {
        Self { directories: LruCache::unbounded(), taken: 0 }
    }
}

impl KnownFacts {
    fn remove(&mut self, which: &Which) {
        if let Some(gone) = self.directories.pop(which) {
            self.taken = self.taken.saturating_sub(gone.takes());
        }
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
        self.known.lock().directories.get(&Which::from(directory)).map(Arc::clone)
    }

    /// Keeps what was found.
    pub(super) fn put(&self, directory: &FilesDirectory, facts: Arc<DirectoryFacts>) {
        let mut known = self.known.lock();
        let which = Which::from(directory);
        known.remove(&which);
        known.taken = known.taken.saturating_add(facts.takes());
        known.directories.put(which, facts);
        // The one that was just put may stay alone, whatever it takes.
        while known.taken > LIMIT && known.directories.len() > 1 {
            let Some((_, oldest)) = known.directories.pop_lru() else { break };
            known.taken = known.taken.saturating_sub(oldest.takes());
        }
    }

    /// Forgets what is known of one directory's files.
    pub(super) fn forget_directory(&self, directory: &FilesDirectory) {
        self.known.lock().remove(&Which::from(directory));
    }

    /// Forgets what is known of a backup's files.
    pub(super) fn forget(&self, of: impl Fn(&NodeBackupId) -> bool) {
        let mut known = self.known.lock();
        let all = known.directories.iter().map(|(which, _)| which);
        let gone: Vec<_> = all.filter(|which| of(&which.of)).cloned().collect();
        for which in gone {
            known.remove(&which);
        }
    }
}

impl FileFacts {
    /// Asks the share of one file. What is missing or of a wrong size is noted as damage.
    pub(super) fn read(
        catalog: &Catalog,
        of: &NodeBackupId,
        file: FileRef<'_>,
    ) -> Result<Self, StoreError> {
        let stat = catalog.stat_files(&of.backup, &of.node, &[file])?.pop().flatten();
        Ok(stat.map_or_else(Self::default, |stat| Self::of(&stat, file.size())))
    }

    /// What the share has just said of a file that has `recorded` bytes by its manifest.
    pub(super) fn of(stat: &Stat, recorded: u64) -> Self {
        let is_other = stat.size != recorded && stat.kind == EntryKind::File;
        Self {
            modified: Some(UnixSeconds(i64::from(seconds_of(stat)))),
            other_size: is_other.then_some(stat.size),
        }
    }
}

impl DirectoryFacts {
    /// What is known of the file at a place.
    pub(super) fn of(&self, place: u32) -> FileFacts {
        let at = usize::try_from(place).unwrap_or(usize::MAX);
        let seconds = self.modified.get(at).copied().filter(|seconds| *seconds > 0);
        FileFacts {
            modified: seconds.map(|seconds| UnixSeconds(i64::from(seconds))),
            other_size: self.other_sizes.get(&place).copied(),
        }
    }

    fn takes(&self) -> usize {
        let other = self.other_sizes.len().saturating_mul(ANOTHER_SIZE);
        A_DIRECTORY.saturating_add(self.modified.len()).saturating_add(other)
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
        // What is not as the manifest has it is looked at once more, and noted if it is damage.
        let mut unlike = Vec::new();
        for place in places {
            let Some(file) = files.at(place) else { continue };
            let right = |stat: &&Stat| stat.kind == EntryKind::File && stat.size == file.size();
            match listed.get(&file.key()).filter(right) {
                Some(stat) => facts.set(place, stat, file.size()),
                None => unlike.push((place, file)),
            }
        }
        let NodeBackupId { backup, node } = &files.directory().of;
        let asked: Vec<_> = unlike.iter().map(|(_, file)| *file).collect();
        for ((place, file), stat) in unlike.iter().zip(catalog.stat_files(backup, node, &asked)?) {
            // What is gone is listed by the manifest, and fails when it is opened.
            if let Some(stat) = stat {
                facts.set(*place, &stat, file.size());
            }
        }
        Ok(facts)
    }

    fn set(&mut self, place: u32, stat: &Stat, recorded: u64) {
        let slot = usize::try_from(place).ok().and_then(|place| self.modified.get_mut(place));
        if let Some(slot) = slot {
            *slot = seconds_of(stat);
        }
        if stat.size != recorded && stat.kind == EntryKind::File {
            self.other_sizes.insert(place, stat.size);
        }
    }
}

/// When it was written, as four bytes hold it: 0 is what is not known.
fn seconds_of(stat: &Stat) -> u32 {
    u32::try_from(UnixSeconds::from(stat.modified).0.max(1)).unwrap_or(u32::MAX)
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
