//! What a restore of one node is to do, and what the node was like before: all that an agent needs
//! to go on alone.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::disk::{Disk, Owner};
use super::error::RestoreError;
use super::places::{Directories, Folder};
use crate::model::{BackupName, ByteSize, Fqdn, JobId, Keyspace, Md5, ObjectKey, TableDirectory};

/// The version that this program writes. Old readers refuse a newer one; keys may be added, never
/// renamed.
pub(super) const ORDER_VERSION: u32 = 1;

/// What happens to keyspaces of the node that the backup does not hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OtherKeyspaces {
    /// They stay: the rest of the cluster knows them. For one node in place.
    Stay,
    /// They are set aside too: nothing later than the backup is left. For a whole cluster.
    SetAside,
}

/// What a restore of one node is to do. It holds no secret.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Order {
    /// The job; everything on the node bears its name.
    pub job: JobId,
    /// The backup.
    pub backup: BackupName,
    /// The node whose files it brings back.
    pub node: Fqdn,
    /// The store's root as this node names it.
    pub store: PathBuf,
    /// The store's prefix.
    pub prefix: Option<String>,
    /// The MD5 of the manifest that the plan was made from; another manifest is refused. None
    /// before there is a plan.
    pub manifest: Option<Md5>,
    /// What becomes of keyspaces that the backup does not hold.
    pub other_keyspaces: OtherKeyspaces,
    /// Stops Cassandra: `stop_cmd`, as words.
    pub stop_command: Vec<String>,
    /// Starts Cassandra: `start_cmd`, as words.
    pub start_command: Vec<String>,
    /// Bytes a second from the share; 0 is no limit.
    pub bandwidth: ByteSize,
    /// Files that are copied at once.
    pub threads: u16,
    /// For how long what was set aside is kept, in seconds.
    pub undo_keep_seconds: u64,
    /// How long the share may be silent.
    pub share_seconds: u64,
    /// How long `nodetool drain` may take; after that the stop drains.
    pub drain_seconds: u64,
    /// How long Cassandra may take to end once `stop_command` was run.
    pub stop_seconds: u64,
    /// How long Cassandra may take until it serves once `start_command` was run.
    pub start_seconds: u64,
}

/// One file of the backup.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct BackupFile {
    /// Its keyspace.
    pub keyspace: Keyspace,
    /// Its table's directory.
    pub table: TableDirectory,
    /// Its path in the table's directory: a name, or an index's directory and a name.
    pub name: ObjectKey,
    /// Where it is stored.
    pub key: ObjectKey,
    /// Its bytes.
    pub size: u64,
    /// Its MD5, where the manifest has one of the content.
    pub md5: Option<Md5>,
    /// Whether what is stored may rightly be another than that: see
    /// [`Layout::may_be_written_anew`](crate::medusa::Layout::may_be_written_anew).
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub may_be_written_anew: bool,
}

impl BackupFile {
    /// Whether it may have so many bytes.
    pub fn may_have(&self, bytes: u64) -> bool {
        bytes == self.size || (self.may_be_written_anew && bytes > 0)
    }

    /// Its path below a data directory.
    pub fn path(&self) -> PathBuf {
        [self.keyspace.as_str(), self.table.as_str(), self.name.as_str()].iter().collect()
    }
}

/// What the backup holds of the node.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Contents {
    /// Its tables, empty ones among them.
    pub tables: Vec<(Keyspace, TableDirectory)>,
    /// Their files.
    pub files: Vec<BackupFile>,
}

impl Contents {
    /// Its keyspaces, each once, by name.
    pub fn keyspaces(&self) -> Vec<Keyspace> {
        let mut all: Vec<_> = self.tables.iter().map(|(keyspace, _)| keyspace.clone()).collect();
        all.sort();
        all.dedup();
        all
    }

    /// All its bytes.
    pub fn bytes(&self) -> u64 {
        self.files.iter().map(|file| file.size).sum()
    }
}

/// What the node was like before anything was changed: what a fence changes and an undo gives back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Site {
    /// Its directories.
    pub directories: Directories,
    /// Who owns each directory that holds keyspaces, in [`Directories::holding_keyspaces`]'s order.
    pub owners: Vec<(PathBuf, Owner)>,
}

impl Site {
    /// Looks at a node that no restore has touched.
    pub fn of(directories: &Directories) -> Result<Self, RestoreError> {
        let owners = directories.holding_keyspaces().into_iter().map(|path| {
            // Of the directory, also where it is reached by a link.
            let found = fs::metadata(path).map_err(RestoreError::disk("look at", path))?;
            Ok((path.to_owned(), Owner::from(&found)))
        });
        let owners = owners.collect::<Result<_, RestoreError>>()?;
        Ok(Self { directories: directories.clone(), owners })
    }

    /// Who what is placed in `directory` belongs to.
    pub fn owner(&self, directory: &Path) -> Result<Owner, RestoreError> {
        let known = self.owners.iter().find(|(path, _)| path == directory);
        known.map(|(_, owner)| *owner).ok_or_else(|| {
            RestoreError::Bug(format!("{} is no data directory", directory.display()))
        })
    }
}

#[derive(Debug, Serialize, Deserialize)]
struct Written {
    version: u32,
    order: Order,
    site: Site,
    tables: Vec<(Keyspace, TableDirectory)>,
}

/// A restore of one node: order, node, what the backup holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Job {
    /// What to do.
    pub order: Order,
    /// Where.
    pub site: Site,
    /// With what.
    pub contents: Arc<Contents>,
}

impl Job {
    /// The job's folder in one of the node's directories.
    pub fn folder(&self, directory: &Path) -> Folder {
        Folder::of(&self.order.job, directory)
    }

    /// The folder that has journal and order.
    pub fn first(&self) -> Result<Folder, RestoreError> {
        Ok(self.folder(self.site.directories.first()?))
    }

    /// The folders in all directories that hold keyspaces.
    pub fn keyspace_folders(&self) -> Vec<Folder> {
        let all = self.site.directories.holding_keyspaces();
        all.into_iter().map(|path| self.folder(path)).collect()
    }

    /// The folders in all directories that are emptied, as far as these exist.
    pub fn emptied_folders(&self) -> Vec<Folder> {
        let all = self.site.directories.emptied.iter().filter(|path| path.is_dir());
        all.map(|path| self.folder(path)).collect()
    }

    /// Whether what is called `name` in a data directory is replaced or set aside by this job.
    pub fn concerns(&self, name: &str) -> bool {
        match self.order.other_keyspaces {
            OtherKeyspaces::Stay => {
                self.contents.tables.iter().any(|(keyspace, _)| keyspace.as_str() == name)
            }
            OtherKeyspaces::SetAside => !name.starts_with('.') && name != "lost+found",
        }
    }

    /// Writes it where a later agent finds it.
    pub fn write(&self, disk: &dyn Disk) -> Result<(), RestoreError> {
        let first = self.first()?;
        let bug = |error: serde_json::Error| RestoreError::Bug(error.to_string());
        let mut files = Vec::new();
        for file in &self.contents.files {
            serde_json::to_writer(&mut files, file).map_err(bug)?;
            files.push(b'\n');
        }
        let path = first.files();
        disk.write(&path, &files).map_err(RestoreError::disk("write", &path))?;
        // Last: an order that can be read has its files.
        let written = Written {
            version: ORDER_VERSION,
            order: self.order.clone(),
            site: self.site.clone(),
            tables: self.contents.tables.clone(),
        };
        let bytes = serde_json::to_vec_pretty(&written).map_err(bug)?;
        let path = first.order();
        disk.write(&path, &bytes).map_err(RestoreError::disk("write", &path))
    }

    /// Reads what [`write`](Self::write) wrote below `first`, a node's first data directory; none
    /// if nothing is there.
    pub fn read(job: &JobId, first: &Path) -> Result<Option<Self>, RestoreError> {
        let folder = Folder::of(job, first);
        let path = folder.order();
        let bytes = match fs::read(&path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(RestoreError::disk("read", &path)(error)),
        };
        let garbled = |path: &Path, error: serde_json::Error| {
            RestoreError::disk("read", path)(std::io::Error::other(error))
        };
        let written: Written =
            serde_json::from_slice(&bytes).map_err(|error| garbled(&path, error))?;
        if written.version != ORDER_VERSION {
            return Err(RestoreError::refused(
                format!("{} is of version {}", path.display(), written.version),
                "go on with the medusafs that began this restore",
            ));
        }
        let path = folder.files();
        let file = fs::File::open(&path).map_err(RestoreError::disk("open", &path))?;
        let mut files = Vec::new();
        for line in BufReader::new(file).lines() {
            let line = line.map_err(RestoreError::disk("read", &path))?;
            files.push(serde_json::from_str(&line).map_err(|error| garbled(&path, error))?);
        }
        let contents = Arc::new(Contents { tables: written.tables, files });
        Ok(Some(Self { order: written.order, site: written.site, contents }))
    }
}
