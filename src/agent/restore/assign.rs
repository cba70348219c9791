//! Which of the node's data directories each of the backup's files goes to. Pure.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::error::RestoreError;
use super::order::{BackupFile, Contents};
use super::places::Directories;
use super::proof;
use crate::model::{ByteSize, Keyspace, TableDirectory};

/// What each directory is left with besides what is copied into it.
const MARGIN: u64 = 16 << 20;

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
    pub directory: PathBuf,
    /// The files, a `Digest.crc32` first.
    pub files: Vec<(BackupFile, Found)>,
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
    pub(super) fn count(&self, which: impl Fn(&Found) -> bool) -> (u64, u64) {
        let files = self.groups.iter().flat_map(|group| &group.files);
        let counted = files.filter(|(_, found)| which(found));
        counted.fold((0, 0), |(files, bytes), (file, _)| (files + 1, bytes + file.size))
    }

    /// Why it does not fit, if it does not.
    pub(super) fn too_big(&self, free: impl Fn(&Path) -> u64) -> Option<RestoreError> {
        self.needed_bytes.iter().find_map(|(directory, needed)| {
            let (has, wants) = (free(directory), needed.saturating_add(MARGIN));
            (*needed > 0 && has < wants).then(|| {
                RestoreError::refused(
                    format!(
                        "{} has {} free and needs {}",
                        directory.display(),
                        ByteSize(has),
                        ByteSize(wants)
                    ),
                    "free some space there (old snapshots: \"nodetool listsnapshots\")",
                )
            })
        })
    }
}

/// Assigns each SSTable to the directory that has most of it, staged before live, else to the one
/// with most space left. `found` tells of a file in a directory, `free` the free bytes of one.
pub(super) fn assign(
    contents: &Contents,
    directories: &Directories,
    found: impl Fn(&Path, &BackupFile) -> Found,
    free: impl Fn(&Path) -> u64,
) -> Result<Assignment, RestoreError> {
    let mut left: BTreeMap<PathBuf, u64> = BTreeMap::new();
    for path in directories.holding_keyspaces() {
        left.insert(path.to_owned(), free(path));
    }
    let mut sstables: BTreeMap<(&Keyspace, &TableDirectory, &str), Vec<&BackupFile>> =
        BTreeMap::new();
    for file in &contents.files {
        let of = (&file.keyspace, &file.table, proof::sstable(file));
        sstables.entry(of).or_default().push(file);
    }
    let mut result = Assignment::default();
    for ((keyspace, _, _), files) in &sstables {
        let allowed = directories.for_keyspace(keyspace);
        let has = |directory: &Path, what: fn(&Found) -> bool| -> u64 {
            let there = files.iter().filter(|file| what(&found(directory, file)));
            there.map(|file| file.size.max(1)).sum()
        };
        let best = allowed.iter().rev().max_by_key(|directory| {
            let left = left.get(**directory).copied().unwrap_or_default();
            (has(directory, |found| found.staged), has(directory, |found| found.live), left)
        });
        let Some(&directory) = best else {
            return Err(RestoreError::Bug(format!("no directory for keyspace {keyspace}")));
        };
        let mut group: Vec<_> =
            files.iter().map(|file| ((*file).clone(), found(directory, file))).collect();
        group.sort_by_key(|(file, _)| proof::component(file) != Some("Digest.crc32"));
        let copied: u64 = group
            .iter()
            .filter(|(_, found)| !found.staged && !found.live)
            .map(|(file, _)| file.size)
            .sum();
        if let Some(left) = left.get_mut(directory) {
            *left = left.saturating_sub(copied);
        }
        *result.needed_bytes.entry(directory.to_owned()).or_default() += copied;
        result.groups.push(Group { directory: directory.to_owned(), files: group });
    }
    let with_files: std::collections::BTreeSet<_> =
        contents.files.iter().map(|file| (&file.keyspace, &file.table)).collect();
    for (keyspace, table) in &contents.tables {
        let directory = directories.for_keyspace(keyspace).first().map(|path| path.to_path_buf());
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

    #[test]
    fn the_files_of_an_sstable_stay_together_and_its_digest_comes_first() {
        let contents = contents(vec![
            file("shop", "oa-1-big-Data.db", 9),
            file("shop", "oa-1-big-Digest.crc32", 1),
            file("shop", ".by_city/oa-1-big-Data.db", 9),
        ]);
        let found = assign(&contents, &two(), |_, _| Found::default(), |_| 100).unwrap();
        assert_eq!(found.groups.len(), 2);
        let sizes: Vec<_> =
            found.groups.iter().map(|group| group.files.first().unwrap().0.size).collect();
        assert_eq!(sizes, [9, 1]);
    }

    #[test]
    fn an_sstable_goes_where_it_still_lies_and_else_where_there_is_space() {
        let contents = contents(vec![
            file("shop", "oa-1-big-Data.db", 50),
            file("shop", "oa-2-big-Data.db", 50),
            file("system", "oa-1-big-Data.db", 1),
        ]);
        let found = |directory: &Path, file: &BackupFile| Found {
            staged: false,
            live: directory == Path::new("/a") && file.name.as_str().starts_with("oa-1"),
        };
        let free = |directory: &Path| if directory == Path::new("/a") { 10 } else { 60 };
        let assignment = assign(&contents, &two(), found, free).unwrap();
        assert_eq!(where_is(&assignment), [("/a", 1), ("/b", 1), ("/a", 1)]);
        assert_eq!(assignment.needed_bytes[Path::new("/b")], 50);
        assert!(assignment.too_big(free).is_some());
        assert!(assignment.too_big(|_| 1 << 30).is_none());
    }

    #[test]
    fn what_was_staged_before_keeps_its_directory() {
        let contents = contents(vec![file("shop", "oa-1-big-Data.db", 50)]);
        let found = |directory: &Path, _: &BackupFile| Found {
            staged: directory == Path::new("/b"),
            live: directory == Path::new("/a"),
        };
        let assignment = assign(&contents, &two(), found, |_| 1000).unwrap();
        assert_eq!(where_is(&assignment), [("/b", 1)]);
    }
}
