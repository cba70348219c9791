//! Where a restore keeps what on the node's disks.
//!
//! Each directory that a restore touches has a folder of its own for the job inside itself, so that
//! every move is a rename, also where directories are mounts. It lies below a directory called
//! `backups`, which is where Cassandra, when it starts, looks no further
//! (`StartupChecks.checkSSTablesFormat`).

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::disk::{Disk, Owner};
use super::error::RestoreError;
use crate::model::{JobId, Keyspace, TableDirectory};

/// The name in each directory below which restores keep their things.
pub(super) const HIDDEN: &str = ".medusafs";

/// Before a job's id, in the name of a folder that is to be removed; no id begins with a dot.
const GONE: &str = ".gone-";

/// Keyspaces that Cassandra reads from one place only: the local system directory if one is set,
/// else the first data directory.
const LOCAL_SYSTEM: [&str; 2] = ["system", "system_schema"];

/// Tables of `system` that are spread over the data directories all the same
/// (`SystemKeyspace.TABLES_SPLIT_ACROSS_MULTIPLE_DISKS`, of 4.0 to 5.0).
const SPREAD: [&str; 5] =
    ["batches", "paxos", "compaction_history", "prepared_statements", "repairs"];

/// The directories of cassandra.yaml that a restore touches.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Directories {
    /// `data_file_directories`; never empty.
    pub data: Vec<PathBuf>,
    /// `local_system_data_file_directory`, if it is set.
    pub local_system: Option<PathBuf>,
    /// Commit log, saved caches, hints, CDC: emptied by a restore, each as far as it exists.
    pub emptied: Vec<PathBuf>,
}

impl Directories {
    /// All directories that hold keyspaces, each once, in the order of cassandra.yaml.
    pub fn holding_keyspaces(&self) -> Vec<&Path> {
        let mut all: Vec<&Path> = self.data.iter().map(PathBuf::as_path).collect();
        if let Some(local) = &self.local_system
            && !self.data.contains(local)
        {
            all.push(local);
        }
        all
    }

    /// Whether a keyspace holds what is about this node alone.
    pub fn is_local_system(keyspace: &Keyspace) -> bool {
        LOCAL_SYSTEM.contains(&keyspace.as_str())
    }

    /// Where files of a table may be put: in the others Cassandra does not look for them.
    pub fn for_table(&self, keyspace: &Keyspace, table: &TableDirectory) -> Vec<&Path> {
        let is_spread = keyspace.as_str() == "system" && SPREAD.contains(&table.table());
        if Self::is_local_system(keyspace) && !is_spread {
            let only = self.local_system.as_ref().or_else(|| self.data.first());
            only.map(PathBuf::as_path).into_iter().collect()
        } else {
            self.data.iter().map(PathBuf::as_path).collect()
        }
    }

    /// All of them: those that hold keyspaces, the first one first, and those that are emptied.
    pub fn all(&self) -> Vec<&Path> {
        let emptied = self.emptied.iter().map(PathBuf::as_path);
        self.holding_keyspaces().into_iter().chain(emptied).collect()
    }

    /// Where journal, order and lock are.
    pub fn first(&self) -> Result<&Path, RestoreError> {
        self.data.first().map(PathBuf::as_path).ok_or_else(|| {
            RestoreError::refused(
                "cassandra.yaml names no data directory",
                "set data_file_directories",
            )
        })
    }
}

/// A job's folder in one directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Folder {
    directory: PathBuf,
    job: JobId,
}

impl Folder {
    /// The folder of `job` in `directory`, whether it exists or not.
    pub fn of(job: &JobId, directory: &Path) -> Self {
        Self { directory: directory.to_owned(), job: job.clone() }
    }

    /// Where the folders of all jobs are.
    pub fn all_in(directory: &Path) -> PathBuf {
        directory.join(HIDDEN).join("backups")
    }

    /// The directory that it is in.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// The folder itself.
    pub fn path(&self) -> PathBuf {
        Self::all_in(&self.directory).join(self.job.as_str())
    }

    /// The folder once it is to be removed: whatever is left of it counts for nothing.
    pub fn gone(&self) -> PathBuf {
        Self::all_in(&self.directory).join(format!("{GONE}{}", self.job))
    }

    /// The jobs whose folders in a directory are to be removed, and are not yet.
    pub fn all_gone_in(directory: &Path) -> Vec<JobId> {
        let Ok(entries) = std::fs::read_dir(Self::all_in(directory)) else { return Vec::new() };
        let names = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
        names.filter_map(|name| JobId::parse(name.strip_prefix(GONE)?).ok()).collect()
    }

    /// What the backup held, complete files only, as `KEYSPACE/TABLE/FILE`.
    pub fn stage(&self) -> PathBuf {
        self.path().join("stage")
    }

    /// Files that are being copied.
    pub fn part(&self) -> PathBuf {
        self.path().join("part")
    }

    /// What stood in the directory before.
    pub fn aside(&self) -> PathBuf {
        self.path().join("aside")
    }

    /// What stood in the way of a step that was repeated: numbered folders.
    pub fn in_the_way(&self) -> PathBuf {
        self.path().join("in-the-way")
    }

    /// What stood in the directory when a restore was undone.
    pub fn undone(&self) -> PathBuf {
        self.path().join("undone")
    }

    /// What was done: see `node_journal.rs`. In the first data directory only.
    pub fn journal(&self) -> PathBuf {
        self.path().join("journal")
    }

    /// What is to be done, and what the node was like. In the first data directory only.
    pub fn order(&self) -> PathBuf {
        self.path().join("order.json")
    }

    /// The backup's files, one a line. In the first data directory only.
    pub fn files(&self) -> PathBuf {
        self.path().join("files")
    }

    /// What happened, for people. In the first data directory only.
    pub fn log(&self) -> PathBuf {
        self.path().join("log")
    }

    /// Until when what was set aside is kept, in seconds since 1970. In the first data directory
    /// only.
    pub fn kept_until(&self) -> PathBuf {
        self.path().join("kept-until")
    }

    /// Makes the folder, closed to all but root, and the two above it, which Cassandra must be able
    /// to look into.
    pub fn make(&self, disk: &dyn Disk) -> Result<(), RestoreError> {
        let open = Owner { uid: 0, gid: 0, mode: 0o755 };
        let hidden = self.directory.join(HIDDEN);
        let all = Self::all_in(&self.directory);
        let mine = self.path();
        let levels = [(&hidden, open), (&all, open), (&mine, Owner::ROOT_ALONE)];
        for (path, owner) in levels {
            disk.make_dir(path, owner).map_err(RestoreError::disk("make", path))?;
            if let Some(parent) = path.parent() {
                disk.sync_dir(parent).map_err(RestoreError::disk("sync", parent))?;
            }
        }
        Ok(())
    }

    /// Removes the folder, and the two above it once nothing else is in them.
    pub fn remove(&self, disk: &dyn Disk) -> Result<(), RestoreError> {
        let all = Self::all_in(&self.directory);
        for mine in [self.path(), self.gone()] {
            if mine.exists() {
                disk.remove_tree(&mine).map_err(RestoreError::disk("remove", &mine))?;
                disk.sync_dir(&all).map_err(RestoreError::disk("sync", &all))?;
            }
        }
        for path in [all, self.directory.join(HIDDEN)] {
            let empty = std::fs::read_dir(&path).is_ok_and(|mut entries| entries.next().is_none());
            if empty {
                disk.remove_tree(&path).map_err(RestoreError::disk("remove", &path))?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn directories(local_system: Option<&str>) -> Directories {
        Directories {
            data: vec!["/a".into(), "/b".into()],
            local_system: local_system.map(Into::into),
            emptied: Vec::new(),
        }
    }

    #[test]
    fn a_table_goes_where_alone_cassandra_looks_for_it() {
        let id = "7ad54392bcdd35a684174e047860b377";
        let places = |local: Option<&str>, keyspace: &str, table: &str| {
            let table = TableDirectory::parse(&format!("{table}-{id}")).unwrap();
            let found = directories(local);
            let found = found.for_table(&Keyspace::parse(keyspace).unwrap(), &table);
            found.iter().map(|path| path.to_str().unwrap().to_owned()).collect::<Vec<_>>()
        };
        assert_eq!(places(None, "system", "local"), ["/a"]);
        assert_eq!(places(None, "system_schema", "tables"), ["/a"]);
        assert_eq!(places(Some("/s"), "system", "local"), ["/s"]);
        for table in SPREAD {
            assert_eq!(places(Some("/s"), "system", table), ["/a", "/b"]);
        }
        assert_eq!(places(Some("/s"), "system_schema", "batches"), ["/s"]);
        assert_eq!(places(Some("/s"), "shop", "orders"), ["/a", "/b"]);
        assert_eq!(directories(Some("/s")).holding_keyspaces().len(), 3);
        assert_eq!(directories(Some("/b")).holding_keyspaces().len(), 2);
    }
}
