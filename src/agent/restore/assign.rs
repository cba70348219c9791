//! Which of the node's data directories each of the backup's files goes to. Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::error::RestoreError;
use super::order::{BackupFile, Contents};
use super::places::Directories;
use super::proof;
use crate::model::{Keyspace, TableDirectory};

/// Where a file of the backup can be found on the node already.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Found {
    /// An earlier try staged it.
    pub staged: bool,
    /// Cassandra has one of this name and size.
    pub live: bool,
}

/// The files of one SSTable, or a file that belongs to none: they go to one directory together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Group {
    /// The data directory.
    pub directory: Arc<Path>,
    /// The files' places in [`Contents::files`], a `Digest.crc32` first.
    pub files: Vec<(usize, Found)>,
}

/// Where everything goes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Assignment {
    /// All files.
    pub groups: Vec<Group>,
    /// Tables without files, each in one directory.
    pub empty_tables: Vec<(PathBuf, Keyspace, TableDirectory)>,
    /// Bytes to be copied, by data directory.
    pub needed_bytes: BTreeMap<PathBuf, u64>,
}

impl Assignment {
    /// Sums files and bytes of what is `found`.
    pub(super) fn count(&self, contents: &Contents, which: impl Fn(&Found) -> bool) -> (u64, u64) {
        let files = self.groups.iter().flat_map(|group| &group.files);
        let counted = files.filter(|(_, found)| which(found));
        let sizes = counted.filter_map(|(place, _)| contents.files.get(*place));
        sizes.fold((0, 0), |(files, bytes), file| (files + 1, bytes + file.size))
    }
}

/// What is known of a data directory's disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Disk {
    /// Directories of equal numbers share their space.
    pub device: u64,
    /// Bytes that it may still take.
    pub room: u64,
}

/// Assigns each SSTable to the directory that has most of it, staged before live, else to the one
/// with most room left. `found` tells of a file in a directory, `disk` of a directory's disk.
pub(super) fn assign(
    contents: &Contents,
    directories: &Directories,
    found: impl Fn(&Path, &BackupFile) -> Found,
    disk: impl Fn(&Path) -> Disk,
) -> Result<Assignment, RestoreError> {
    let mut known: BTreeMap<&Path, (Arc<Path>, u64)> = BTreeMap::new();
    let mut left: BTreeMap<u64, u64> = BTreeMap::new();
    for path in directories.holding_keyspaces() {
        let Disk { device, room } = disk(path);
        left.insert(device, room);
        known.insert(path, (Arc::from(path), device));
    }
    let mut sstables: BTreeMap<(&Keyspace, &TableDirectory, &str), Vec<usize>> = BTreeMap::new();
    for (place, file) in contents.files.iter().enumerate() {
        let of = (&file.keyspace, &file.table, proof::sstable(file));
        sstables.entry(of).or_default().push(place);
    }
    let mut result = Assignment::default();
    for ((keyspace, table, _), places) in &sstables {
        let files =
            || places.iter().filter_map(|place| Some((*place, contents.files.get(*place)?)));
        let allowed = directories.for_table(keyspace, table);
        let has = |directory: &Path, what: fn(&Found) -> bool| -> u64 {
            let there = files().filter(|(_, file)| what(&found(directory, file)));
            there.map(|(_, file)| file.size.max(1)).sum()
        };
        let best = allowed.iter().rev().max_by_key(|directory| {
            let device = known.get(**directory).map(|(_, device)| *device).unwrap_or_default();
            let left = left.get(&device).copied().unwrap_or_default();
            (has(directory, |found| found.staged), has(directory, |found| found.live), left)
        });
        let Some((directory, device)) = best.and_then(|best| known.get(*best)) else {
            return Err(RestoreError::Bug(format!("no directory for keyspace {keyspace}")));
        };
        let mut group: Vec<_> =
            files().map(|(place, file)| (place, file, found(directory, file))).collect();
        group.sort_by_key(|(_, file, _)| proof::component(file) != Some("Digest.crc32"));
        let copied = group.iter().filter(|(_, _, found)| !found.staged && !found.live);
        let copied: u64 = copied.map(|(_, file, _)| file.size).sum();
        if let Some(left) = left.get_mut(device) {
            *left = left.saturating_sub(copied);
        }
        *result.needed_bytes.entry(directory.to_path_buf()).or_default() += copied;
        let files = group.into_iter().map(|(place, _, found)| (place, found)).collect();
        result.groups.push(Group { directory: Arc::clone(directory), files });
    }
    let with_files: BTreeSet<_> =
        contents.files.iter().map(|file| (&file.keyspace, &file.table)).collect();
    for (keyspace, table) in &contents.tables {
        let allowed = directories.for_table(keyspace, table);
        let directory = allowed.first().map(|path| path.to_path_buf());
        if let Some(directory) = directory.filter(|_| !with_files.contains(&(keyspace, table))) {
            result.empty_tables.push((directory, keyspace.clone(), table.clone()));
        }
    }
    Ok(result)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::ObjectKey;

    fn file(keyspace: &str, name: &str, size: u64) -> BackupFile {
        BackupFile {
            keyspace: Keyspace::parse(keyspace).unwrap(),
            table: TableDirectory::parse("t-1").unwrap(),
            name: ObjectKey::parse(name).unwrap(),
            key: ObjectKey::parse(name).unwrap(),
            size,
            md5: None,
            may_be_written_anew: false,
        }
    }

    fn contents(files: Vec<BackupFile>) -> Contents {
        let tables = files.iter().map(|file| (file.keyspace.clone(), file.table.clone())).collect();
        Contents { tables, files }
    }

    fn two() -> Directories {
        let data = vec!["/a".into(), "/b".into()];
        Directories { data, local_system: None, emptied: Vec::new() }
    }

    fn where_is(assignment: &Assignment) -> Vec<(&str, usize)> {
        let groups = assignment.groups.iter();
        groups.map(|group| (group.directory.to_str().unwrap(), group.files.len())).collect()
    }

    /// Each directory on a disk of its own, with so much room.
    fn apart(a: u64, b: u64) -> impl Fn(&Path) -> Disk {
        move |directory| {
            let is_a = directory == Path::new("/a");
            Disk { device: u64::from(is_a), room: if is_a { a } else { b } }
        }
    }

    #[test]
    fn the_files_of_an_sstable_stay_together_and_its_digest_comes_first() {
        let contents = contents(vec![
            file("shop", "oa-1-big-Data.db", 9),
            file("shop", "oa-1-big-Digest.crc32", 1),
            file("shop", ".by_city/oa-1-big-Data.db", 9),
        ]);
        let found = assign(&contents, &two(), |_, _| Found::default(), apart(100, 100)).unwrap();
        assert_eq!(found.groups.len(), 2);
        let first: Vec<_> =
            found.groups.iter().map(|group| group.files.first().unwrap().0).collect();
        assert_eq!(first, [2, 1]);
    }

    #[test]
    fn an_sstable_goes_where_it_still_lies_and_else_where_there_is_room() {
        let contents = contents(vec![
            file("shop", "oa-1-big-Data.db", 50),
            file("shop", "oa-2-big-Data.db", 50),
            file("system", "oa-1-big-Data.db", 1),
        ]);
        let found = |directory: &Path, file: &BackupFile| Found {
            staged: false,
            live: directory == Path::new("/a") && file.name.as_str().starts_with("oa-1"),
        };
        let assignment = assign(&contents, &two(), found, apart(10, 60)).unwrap();
        assert_eq!(where_is(&assignment), [("/a", 1), ("/b", 1), ("/a", 1)]);
        assert_eq!(assignment.needed_bytes[Path::new("/b")], 50);
        assert_eq!(assignment.count(&contents, |found| found.live), (2, 51));
    }

    #[test]
    fn what_was_staged_before_keeps_its_directory() {
        let contents = contents(vec![file("shop", "oa-1-big-Data.db", 50)]);
        let found = |directory: &Path, _: &BackupFile| Found {
            staged: directory == Path::new("/b"),
            live: directory == Path::new("/a"),
        };
        let assignment = assign(&contents, &two(), found, apart(1000, 1000)).unwrap();
        assert_eq!(where_is(&assignment), [("/b", 1)]);
    }
}
