//! Which files a snapshot consists of.
//!
//! Only the union over all data directories is the snapshot: SSTables of one table may lie in
//! several, and Cassandra's own `manifest.json` in any of them.
#![warn(clippy::indexing_slicing, clippy::arithmetic_side_effects)]

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, DirEntry};
use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::error::AgentError;
use super::protocol::{FaultKind, SnapshotTag};
use crate::model::{Keyspace, TableDirectory};

/// The keyspace that Medusa leaves out of backups.
const LEFT_OUT: &str = "system_traces";

/// What Cassandra puts into a snapshot besides the table's files; Medusa leaves both out.
const MANIFEST: &str = "manifest.json";
const SCHEMA: &str = "schema.cql";

/// A snapshot directory's own list of files has so many bytes at most.
const MANIFEST_LIMIT: u64 = 64 << 20;

/// Deeper than Cassandra nests anything.
const DEEPEST: u32 = 8;

/// A table of a snapshot; without files if it is empty.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct SnapshotTable {
    pub(super) keyspace: Keyspace,
    pub(super) table: TableDirectory,
    /// Sorted as the manifest will be: by index, then name.
    pub(super) files: Vec<SnapshotFile>,
}

/// A file of a snapshot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct SnapshotFile {
    /// Where it is on this node.
    pub(super) path: PathBuf,
    /// The directory between table and file that a backup keeps: `.index` of a secondary index.
    pub(super) index: Option<String>,
    /// The last name.
    pub(super) name: String,
    /// Its size.
    pub(super) bytes: u64,
}

impl SnapshotFile {
    /// As a key below the table goes on: `name` or `.index/name`.
    pub(super) fn below_table(&self) -> String {
        below_table(self.index.as_deref(), &self.name)
    }
}

/// How much a snapshot has; it never changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Content {
    /// Tables, empty ones among them.
    pub(super) tables: u64,
    /// Their files.
    pub(super) files: u64,
    /// Their bytes.
    pub(super) bytes: u64,
}

impl Content {
    /// That of all tables of a snapshot.
    pub(super) fn of(tables: &[SnapshotTable]) -> Self {
        let empty = Self { tables: tables.len() as u64, files: 0, bytes: 0 };
        tables.iter().flat_map(|table| &table.files).fold(empty, |so_far, file| Self {
            files: so_far.files.saturating_add(1),
            bytes: so_far.bytes.saturating_add(file.bytes),
            ..so_far
        })
    }
}

fn below_table(index: Option<&str>, name: &str) -> String {
    index.map_or_else(|| name.to_owned(), |index| format!("{index}/{name}"))
}

/// Reads the snapshot `tag`: every table that has a directory of it, sorted.
///
/// Fails if Cassandra's own list names a file that is not there, or if two data directories have
/// a file of the same name: then this is not a whole snapshot, and must not become a backup.
pub(super) fn snapshot_files(
    data_directories: &[PathBuf],
    tag: &SnapshotTag,
) -> Result<Vec<SnapshotTable>, AgentError> {
    let mut found: BTreeMap<(Keyspace, TableDirectory), Found> = BTreeMap::new();
    for data in data_directories {
        for (keyspace, table, directory) in snapshot_directories(data, tag)? {
            if keyspace.as_str() != LEFT_OUT {
                found.entry((keyspace, table)).or_default().take(&directory)?;
            }
        }
    }
    found.into_iter().map(|((keyspace, table), found)| found.whole(keyspace, table)).collect()
}

/// The directories of a snapshot below one data directory, `system_traces` among them.
pub(super) fn snapshot_directories(
    data: &Path,
    tag: &SnapshotTag,
) -> Result<Vec<(Keyspace, TableDirectory, PathBuf)>, AgentError> {
    let mut directories = Vec::new();
    for keyspace in directories_in(data)? {
        for table in directories_in(&keyspace)? {
            let directory = table.join("snapshots").join(tag.as_str());
            match fs::symlink_metadata(&directory) {
                Ok(stat) if stat.is_dir() => {}
                Ok(_) => continue,
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
                Err(error) => return Err(AgentError::node_file("look at", &directory)(error)),
            }
            let keyspace =
                Keyspace::parse(last_name(&keyspace)?).map_err(|_name| odd(&keyspace))?;
            let table = TableDirectory::parse(last_name(&table)?).map_err(|_name| odd(&table))?;
            directories.push((keyspace, table, directory));
        }
    }
    Ok(directories)
}

/// Sub-directories, links to directories among them: some operators put tables on other disks. None
/// of what is not there.
pub(super) fn directories_in(directory: &Path) -> Result<Vec<PathBuf>, AgentError> {
    let mut found = Vec::new();
    for entry in entries(directory)? {
        let path = entry.path();
        match fs::metadata(&path) {
            Ok(stat) if stat.is_dir() => found.push(path),
            Ok(_) => {}
            // What vanishes meanwhile is a table that was dropped.
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => return Err(AgentError::node_file("look at", &path)(error)),
        }
    }
    Ok(found)
}

fn entries(directory: &Path) -> Result<Vec<DirEntry>, AgentError> {
    match fs::read_dir(directory).and_then(Iterator::collect) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Vec::new()),
        other => other.map_err(AgentError::node_file("list", directory)),
    }
}

fn last_name(path: &Path) -> Result<&str, AgentError> {
    path.file_name().and_then(|name| name.to_str()).ok_or_else(|| odd(path))
}

fn odd(path: &Path) -> AgentError {
    let what = format!("{} has a name that Cassandra gives to nothing", path.display());
    AgentError::wrong(FaultKind::NodeFiles, what, "move it out of Cassandra's data directory")
}

fn incomplete(what: String) -> AgentError {
    AgentError::wrong(FaultKind::Damaged, what, "look into Cassandra's log, and back up again")
}

/// One table's parts, as they are found.
#[derive(Default)]
struct Found {
    files: BTreeMap<(Option<String>, String), (PathBuf, u64)>,
    listed: BTreeSet<String>,
    /// Directories, to name one in an error.
    directories: Vec<PathBuf>,
    has_manifest: bool,
}

impl Found {
    fn take(&mut self, directory: &Path) -> Result<(), AgentError> {
        self.directories.push(directory.to_owned());
        self.walk(directory, None, DEEPEST)
    }

    fn walk(
        &mut self,
        directory: &Path,
        parent: Option<&str>,
        deepest: u32,
    ) -> Result<(), AgentError> {
        let below = deepest.checked_sub(1).ok_or_else(|| odd(directory))?;
        for entry in entries(directory)? {
            let path = entry.path();
            let stat = entry.metadata().map_err(AgentError::node_file("look at", &path))?;
            let name = last_name(&path)?;
            if stat.is_dir() {
                self.walk(&path, Some(name), below)?;
            } else if !stat.is_file() {
                return Err(odd(&path));
            } else if name == MANIFEST {
                self.read_manifest(&path, stat.len())?;
            } else if name != SCHEMA {
                self.add(parent, name, path.clone(), stat.len())?;
            }
        }
        Ok(())
    }

    fn add(
        &mut self,
        parent: Option<&str>,
        name: &str,
        path: PathBuf,
        bytes: u64,
    ) -> Result<(), AgentError> {
        // Medusa: storage/abstract_storage.py, path_maybe_with_parent. Any other directory is
        // flattened into the table's.
        let index = parent.filter(|parent| parent.starts_with('.') || parent.ends_with("nodes"));
        let key = (index.map(str::to_owned), name.to_owned());
        if let Some((other, _)) = self.files.get(&key) {
            let what = format!(
                "{} and {} would be the same file of a backup",
                other.display(),
                path.display()
            );
            let remedy = "move one of them out of Cassandra's data directory, and back up again";
            return Err(AgentError::wrong(FaultKind::NodeFiles, what, remedy));
        }
        self.files.insert(key, (path, bytes));
        Ok(())
    }

    fn read_manifest(&mut self, path: &Path, bytes: u64) -> Result<(), AgentError> {
        #[derive(Deserialize)]
        struct Manifest {
            files: Vec<String>,
        }
        if bytes > MANIFEST_LIMIT {
            return Err(incomplete(format!("{} has {bytes} bytes", path.display())));
        }
        let text = fs::read(path).map_err(AgentError::node_file("read", path))?;
        let manifest: Manifest = serde_json::from_slice(&text).map_err(|error| {
            incomplete(format!("{} is not as Cassandra writes it: {error}", path.display()))
        })?;
        self.has_manifest = true;
        self.listed.extend(manifest.files);
        Ok(())
    }

    fn whole(self, keyspace: Keyspace, table: TableDirectory) -> Result<SnapshotTable, AgentError> {
        let directory = self.directories.first().cloned().unwrap_or_default();
        let directory = directory.display();
        if !self.has_manifest {
            return Err(incomplete(format!(
                "the snapshot of {keyspace}.{table} has no manifest.json in {directory}: it is not \
                 finished"
            )));
        }
        let there: BTreeSet<String> =
            self.files.keys().map(|(index, name)| below_table(index.as_deref(), name)).collect();
        if let Some(lacking) = self.listed.difference(&there).next() {
            return Err(incomplete(format!(
                "the snapshot of {keyspace}.{table} in {directory} lacks {lacking}, which its \
                 manifest.json lists"
            )));
        }
        let file = |((index, name), (path, bytes))| SnapshotFile { path, index, name, bytes };
        Ok(SnapshotTable { keyspace, table, files: self.files.into_iter().map(file).collect() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(root: &Path, path: &str, content: &str) {
        let path = root.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }

    fn tag() -> SnapshotTag {
        SnapshotTag::parse("medusafs-b").unwrap()
    }

    fn read(root: &Path) -> Result<Vec<SnapshotTable>, AgentError> {
        snapshot_files(&[root.join("data"), root.join("data2")], &tag())
    }

    #[test]
    fn a_snapshot_is_the_union_over_all_data_directories() {
        let root = tempfile::tempdir().unwrap();
        let root = root.path();
        let at = "ks/t-1/snapshots/medusafs-b";
        write(root, &format!("data/{at}/nb-1-big-Data.db"), "one");
        write(root, &format!("data/{at}/schema.cql"), "CREATE");
        write(root, &format!("data2/{at}/nb-2-big-Data.db"), "three");
        write(root, &format!("data2/{at}/.t_idx/nb-1-big-Data.db"), "index");
        let listed =
            r#"{"files":["nb-1-big-Data.db","nb-2-big-Data.db",".t_idx\/nb-1-big-Data.db"]}"#;
        write(root, &format!("data2/{at}/manifest.json"), listed);
        write(root, "data/ks/empty-2/snapshots/medusafs-b/manifest.json", r#"{"files":[]}"#);
        write(root, "data/ks/t-1/snapshots/other/nb-9-big-Data.db", "not ours");
        write(root, "data/system_traces/s-3/snapshots/medusafs-b/nb-1-big-Data.db", "left out");
        let tables = read(root).unwrap();
        let shown: Vec<_> = tables
            .iter()
            .map(|table| {
                let files = table.files.iter().map(|file| (file.below_table(), file.bytes));
                (table.table.as_str(), files.collect::<Vec<_>>())
            })
            .collect();
        let file = |name: &str, bytes| (name.to_owned(), bytes);
        let files = vec![
            file("nb-1-big-Data.db", 3),
            file("nb-2-big-Data.db", 5),
            file(".t_idx/nb-1-big-Data.db", 5),
        ];
        assert_eq!(shown, [("empty-2", vec![]), ("t-1", files)]);
    }

    #[test]
    fn a_snapshot_that_lacks_a_file_of_its_own_list_is_refused() {
        let root = tempfile::tempdir().unwrap();
        let at = "data/ks/t-1/snapshots/medusafs-b";
        write(root.path(), &format!("{at}/manifest.json"), r#"{"files":["nb-1-big-Data.db"]}"#);
        let fault = crate::agent::protocol::Fault::from(read(root.path()).unwrap_err());
        assert_eq!(fault.kind, FaultKind::Damaged);
        assert!(fault.what.contains("lacks nb-1-big-Data.db"), "{fault}");
    }

    #[test]
    fn two_data_directories_with_a_file_of_one_name_are_refused() {
        let root = tempfile::tempdir().unwrap();
        for data in ["data", "data2"] {
            let at = format!("{data}/ks/t-1/snapshots/medusafs-b");
            write(root.path(), &format!("{at}/nb-1-big-Data.db"), "x");
            write(root.path(), &format!("{at}/manifest.json"), r#"{"files":[]}"#);
        }
        let fault = crate::agent::protocol::Fault::from(read(root.path()).unwrap_err());
        assert!(fault.what.contains("the same file of a backup"), "{fault}");
    }

    #[test]
    fn a_table_that_cannot_be_looked_at_is_an_error_and_not_left_out() {
        let root = tempfile::tempdir().unwrap();
        write(root.path(), "data/ks/t-1/snapshots/medusa-b/manifest.json", r#"{"files":[]}"#);
        let table = root.path().join("data/ks/t-2");
        // It leads to itself: whoever asks what it is gets an error.
        std::os::unix::fs::symlink(&table, &table).unwrap();
        let fault = crate::agent::protocol::Fault::from(read(root.path()).unwrap_err());
        assert_eq!(fault.kind, FaultKind::NodeFiles);
        assert!(fault.what.contains("ks/t-2"), "{fault}");
    }

    #[test]
    fn a_link_in_a_snapshot_is_refused() {
        let root = tempfile::tempdir().unwrap();
        let at = "data/ks/t-1/snapshots/medusafs-b";
        write(root.path(), &format!("{at}/manifest.json"), r#"{"files":[]}"#);
        let link = root.path().join(at).join("nb-1-big-Data.db");
        std::os::unix::fs::symlink("/etc/shadow", link).unwrap();
        assert!(read(root.path()).is_err());
    }
}
