//! Files of backups as the share has them, and what is wrong with them.
//!
//! A file that several backups share is judged once for each manifest in memory that names it: what
//! is missing is missing from all of them. Only the size is compared, and of what may be written
//! anew not even that, as long as it is not empty. A later time than the backup's proves nothing:
//! Medusa's next backup brings back a pool file that was lost, and a store that was copied has the
//! copy's times.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;

use crate::model::{BackupName, ByteSize, Fqdn, ObjectKey};
use crate::store::{EntryKind, Kind, Stat, StoreError};

use super::index_scan::is_its_own;
use super::{Catalog, CatalogError, Damage, DamageKind, FileRef, NodeFiles};

/// A file of a backup, opened for reading.
#[derive(Debug)]
pub struct OpenedFile {
    /// The file, whatever is wrong with it.
    pub file: File,
    /// What the share says of it.
    pub stat: Stat,
    /// In what it is not as the manifest says.
    pub damage: Option<Damage>,
}

/// What the share has said of one object.
#[derive(Debug, Clone, Copy)]
enum Seen {
    There(Stat),
    Missing,
    Unreadable,
    /// Nothing that tells whether it is whole.
    Unknown,
}

impl Seen {
    fn of(found: Result<&Stat, &StoreError>) -> Self {
        match found {
            Ok(stat) if stat.kind == EntryKind::File => Self::There(*stat),
            Ok(_) => Self::Unreadable,
            Err(error) if error.is_not_found() => Self::Missing,
            // That nobody may read it says nothing of the file.
            Err(error) if error.kind != Kind::Denied && is_its_own(error) => Self::Unreadable,
            Err(_) => Self::Unknown,
        }
    }

    /// What is wrong with it for a manifest that names it so; none if nothing is known to be.
    fn wrong(self, file: FileRef<'_>) -> Option<DamageKind> {
        match self {
            Self::Missing => Some(DamageKind::Missing),
            Self::Unreadable => Some(DamageKind::Unreadable),
            Self::There(stat) if stat.size == file.size() => None,
            Self::There(stat) if stat.size > 0 && file.may_be_written_anew() => None,
            Self::There(stat) => {
                let (recorded, stored) = (ByteSize(file.size()), ByteSize(stat.size));
                Some(DamageKind::Size { recorded, stored })
            }
            Self::Unknown => None,
        }
    }
}

impl Catalog {
    /// What the share says of files of a backup, in their order; none for one that cannot be had.
    /// If one is missing, or another than the manifest says, the backup is damaged from now on, and
    /// so is every other whose manifest is in memory and names it.
    ///
    /// # Errors
    ///
    /// The share does not answer: what was found until then is noted nevertheless.
    pub fn stat_files(
        &self,
        name: &BackupName,
        fqdn: &Fqdn,
        files: &[FileRef<'_>],
    ) -> Result<Vec<Option<Stat>>, StoreError> {
        let mut stats = Vec::with_capacity(files.len());
        let mut seen = BTreeMap::new();
        let mut silent = Ok(());
        for file in files {
            let key = file.key();
            let stat = self.store().stat(&key);
            let said = Seen::of(stat.as_ref());
            if said.wrong(*file).is_some() {
                seen.insert(key, said);
            }
            match stat {
                Err(error) if error.is_retryable() => {
                    silent = Err(error);
                    break;
                }
                stat => stats.push(stat.ok()),
            }
        }
        self.note_seen(name, fqdn, files.first().map(|file| file.manifest()), &seen);
        silent.map(|()| stats)
    }

    /// Opens a file of a backup for reading. If it is missing, or another than the manifest says,
    /// the backup is damaged from now on, and so is every other whose manifest is in memory and
    /// names it; what is there is opened nevertheless.
    pub fn open_file(
        &self,
        name: &BackupName,
        fqdn: &Fqdn,
        file: FileRef<'_>,
    ) -> Result<OpenedFile, StoreError> {
        let key = file.key();
        let opened = self.store().open_with_stat(&key);
        let said = Seen::of(opened.as_ref().map(|(_, stat)| stat));
        let wrong = said.wrong(file);
        if wrong.is_some() {
            let seen = BTreeMap::from([(key.clone(), said)]);
            self.note_seen(name, fqdn, Some(file.manifest()), &seen);
        }
        let damage = wrong.map(|kind| Damage { node: fqdn.clone(), key, kind });
        opened.map(|(file, stat)| OpenedFile { file, stat, damage })
    }

    /// Remembers that a file was found wrong: the backup is damaged until
    /// [`look_at_damage_again`](Self::look_at_damage_again) finds it right, and so is every other
    /// whose manifest is in memory and names it. True if something is shown differently now.
    pub fn note_damage(&self, name: &BackupName, damage: &Damage) -> bool {
        let keys = BTreeMap::from([(damage.key.clone(), damage)]);
        let cached = self.inner.files.of_node(&damage.node).into_iter();
        let others = cached.filter(|(_, files)| files.named(&keys).next().is_some());
        let names: BTreeSet<BackupName> =
            others.map(|(other, _)| other).chain([name.clone()]).collect();
        self.change(|state| {
            let note = |name| state.note(&name, vec![damage.clone()]);
            names.into_iter().map(note).fold(false, |any, news| any | news)
        })
    }

    /// Asks the share again for files that were found wrong, `most` of them at most, those first
    /// that were not asked for lately: what an administrator puts back is damage no longer. True if
    /// something is shown differently now.
    pub fn look_at_damage_again(&self, most: usize) -> Result<bool, CatalogError> {
        let noted = self.inner.state.lock().noted();
        let mut seen = BTreeMap::<Fqdn, BTreeMap<ObjectKey, Seen>>::new();
        for (fqdn, key) in self.next_of(&noted, most) {
            let stat = self.store().stat(&key);
            if let Err(error) = &stat
                && error.is_retryable()
            {
                return stat.map(|_| false).map_err(CatalogError::from);
            }
            seen.entry(fqdn).or_default().insert(key, Seen::of(stat.as_ref()));
        }
        let mut is_changed = false;
        for (fqdn, seen) in &seen {
            let places = seen.keys().map(|key| (fqdn.clone(), key.clone()));
            let names: BTreeSet<&BackupName> =
                places.filter_map(|place| noted.get(&place)).flatten().collect();
            for name in names {
                let files = match self.node_files(name, fqdn) {
                    Ok(files) => files,
                    Err(error) if error.is_retryable() => return Err(error),
                    // Nobody can say what it should have been.
                    Err(_gone) => continue,
                };
                let wrong = damage_by(&files, fqdn, seen);
                let is_right = |(key, said): &(&ObjectKey, &Seen)| {
                    !matches!(said, Seen::Unknown) && wrong.iter().all(|damage| damage.key != **key)
                };
                let right = seen.iter().filter(is_right);
                let right = right.map(|(key, _)| (fqdn.clone(), key.clone())).collect();
                is_changed |= self.change(|state| {
                    let is_less = state.unnote(name, &right);
                    state.note(name, wrong) || is_less
                });
            }
        }
        Ok(is_changed)
    }

    /// Whose turn it is, those after the last ones first.
    fn next_of<T>(
        &self,
        noted: &BTreeMap<(Fqdn, ObjectKey), T>,
        most: usize,
    ) -> Vec<(Fqdn, ObjectKey)> {
        let mut last = self.inner.looked_at_again.lock();
        let (later, earlier): (Vec<_>, Vec<_>) =
            noted.keys().partition(|place| last.as_ref().is_none_or(|last| *place > last));
        let next: Vec<_> = later.into_iter().chain(earlier).take(most).cloned().collect();
        *last = next.last().cloned();
        next
    }

    /// Notes what is wrong with objects of a node, for `name` by its manifest in hand and for every
    /// other backup by the one in memory.
    fn note_seen(
        &self,
        name: &BackupName,
        fqdn: &Fqdn,
        manifest: Option<&NodeFiles>,
        seen: &BTreeMap<ObjectKey, Seen>,
    ) {
        if seen.is_empty() {
            return;
        }
        let mut found = BTreeMap::new();
        if let Some(files) = manifest {
            found.insert(name.clone(), damage_by(files, fqdn, seen));
        }
        for (other, files) in self.inner.files.of_node(fqdn) {
            found.entry(other).or_insert_with(|| damage_by(&files, fqdn, seen));
        }
        self.change(|state| {
            let note = |(name, damage)| state.note(&name, damage);
            found.into_iter().map(note).fold(false, |any, news| any | news)
        });
    }
}

/// What is wrong with objects, as far as a manifest names them.
fn damage_by(files: &NodeFiles, fqdn: &Fqdn, seen: &BTreeMap<ObjectKey, Seen>) -> Vec<Damage> {
    let wrong = files.named(seen).filter_map(|(file, key, said)| {
        let kind = said.wrong(file)?;
        Some(Damage { node: fqdn.clone(), key: key.clone(), kind })
    });
    wrong.collect()
}
