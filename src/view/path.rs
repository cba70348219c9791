//! What every directory level of the tree means.

use std::fmt;
use std::sync::Arc;

use crate::medusa::MetaFile;
use crate::medusa::Mode;
use crate::model::BackupName;
use crate::model::Fqdn;
use crate::model::JobId;
use crate::model::Keyspace;
use crate::model::TableDirectory;

use super::ControlFile;

/// One node's part of one backup: what Medusa calls a node backup.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeBackupId {
    /// The backup.
    pub backup: BackupName,
    /// The node.
    pub node: Fqdn,
}

/// The way by which something stored is looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Side {
    /// `backups/NAME/NODE/…`
    ByBackup,
    /// `nodes/NODE/NAME/…`
    ByNode,
    /// `keyspaces/KEYSPACE/TABLE/NAME/NODE/…`
    ByTable,
}

/// Where one copies into.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Area {
    /// `restore/`: whole snapshots.
    Restore,
    /// `import/`: tables.
    Import,
}

/// A node of what is being copied in. Its number stays the same when it is renamed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StagedId(pub u64);

/// Whose `.medusa/` it is.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Owner {
    /// `/.medusa`
    Root,
    /// `backups/NAME/.medusa`
    Backup(BackupName),
    /// `backups/NAME/NODE/.medusa` and `nodes/NODE/NAME/.medusa`
    NodeBackup(NodeBackupId),
    /// `nodes/NODE/.medusa`
    Node(Fqdn),
    /// `restore/.medusa`, `import/.medusa`
    Area(Area),
    /// `restore/NODE/.medusa`, `import/NODE/.medusa`
    AreaNode(Area, Fqdn),
    /// `restore/X/.medusa` of a directory that somebody made there.
    Staged(StagedId),
}

/// Every place of the tree but the stored files of tables, which are told by their directory and
/// their number in it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum ViewPath {
    /// `/`
    Root,
    /// `/README`
    Readme,
    /// `/status`
    Status,
    /// `backups/`
    Backups,
    /// `backups/latest`
    Latest,
    /// `backups/NAME`
    Backup(BackupName),
    /// `backups/.full`, `backups/.differential`
    ByMode(Mode),
    /// `backups/.full/NAME`: a link to `../NAME`
    ByModeLink(Mode, BackupName),
    /// `backups/.trash`
    Trash,
    /// `nodes/`
    Nodes,
    /// `nodes/NODE`
    Node(Fqdn),
    /// `nodes/NODE/.full`, `nodes/NODE/.differential`
    NodeByMode(Fqdn, Mode),
    /// `nodes/NODE/.full/NAME`: a link to `../NAME`
    NodeByModeLink(Fqdn, Mode, BackupName),
    /// `backups/NAME/NODE`, `nodes/NODE/NAME`
    NodeBackup(Side, NodeBackupId),
    /// `…/manifest.json` and its like: one inode, whichever way one comes.
    Meta(NodeBackupId, MetaFile),
    /// `…/KEYSPACE` of a node backup
    Keyspace(Side, NodeBackupId, Keyspace),
    /// A directory of stored files: a table's, or one of its indexes'.
    Files(FilesDirectory),
    /// `keyspaces/`
    Keyspaces,
    /// `keyspaces/KEYSPACE`
    Tables(Keyspace),
    /// `keyspaces/KEYSPACE/TABLE`
    TableBackups(Keyspace, Arc<str>),
    /// `keyspaces/KEYSPACE/TABLE/NAME`
    TableNodes(Keyspace, Arc<str>, BackupName),
    /// `keyspaces/KEYSPACE/TABLE/NAME/NODE` where the node had two tables of that name: their
    /// directories, with ids.
    TableChoice(Keyspace, Arc<str>, NodeBackupId),
    /// `restore/`, `import/`
    Area(Area),
    /// `restore/NODE`, `import/NODE`
    AreaNode(Area, Fqdn),
    /// What somebody has copied, anywhere below those.
    Staged(StagedId),
    /// A `.medusa/`
    Control(Owner),
    /// A file in a `.medusa/`
    ControlFile(Owner, ControlFile),
    /// `/.medusa/jobs`
    Jobs,
    /// `/.medusa/jobs/ID`
    Job(JobId),
    /// A file in it.
    JobFile(JobId, ControlFile),
}

/// A directory that holds stored files: [`ViewPath::Files`].
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct FilesDirectory {
    /// The way here.
    pub side: Side,
    /// Whose files.
    pub of: NodeBackupId,
    /// The keyspace.
    pub keyspace: Keyspace,
    /// The table, with its id.
    pub table: TableDirectory,
    /// The secondary index, with its leading dot; none for the table's own files.
    pub index: Option<Arc<str>>,
}

/// The hidden directory in which one chooses a mode.
pub fn mode_directory(mode: Mode) -> &'static str {
    match mode {
        Mode::Full => ".full",
        Mode::Differential => ".differential",
    }
}

impl Area {
    /// The directory's name.
    pub fn directory(self) -> &'static str {
        match self {
            Self::Restore => "restore",
            Self::Import => "import",
        }
    }
}

impl NodeBackupId {
    /// The part that `node` has in `backup`.
    pub fn new(backup: BackupName, node: Fqdn) -> Self {
        Self { backup, node }
    }
}

impl ViewPath {
    /// What the control directory in this one is about, if there is one.
    pub fn control_owner(&self) -> Option<Owner> {
        match self {
            Self::Root => Some(Owner::Root),
            Self::Backup(name) => Some(Owner::Backup(name.clone())),
            Self::NodeBackup(_, of) => Some(Owner::NodeBackup(of.clone())),
            Self::Node(node) => Some(Owner::Node(node.clone())),
            Self::Area(area) => Some(Owner::Area(*area)),
            Self::AreaNode(area, node) => Some(Owner::AreaNode(*area, node.clone())),
            // Whether a staged node is a directory at a set's top, only `CopyIn` knows.
            Self::Staged(id) => Some(Owner::Staged(*id)),
            _ => None,
        }
    }

    /// The directory in which this stands; none for the root, and for what moves about.
    pub fn parent(&self) -> Option<Self> {
        Some(match self {
            Self::Root | Self::Staged(_) => return None,
            Self::Readme
            | Self::Status
            | Self::Backups
            | Self::Nodes
            | Self::Keyspaces
            | Self::Area(_) => Self::Root,
            Self::Latest | Self::Backup(_) | Self::ByMode(_) | Self::Trash => Self::Backups,
            Self::ByModeLink(mode, _) => Self::ByMode(*mode),
            Self::Node(_) => Self::Nodes,
            Self::NodeByMode(node, _) => Self::Node(node.clone()),
            Self::NodeByModeLink(node, mode, _) => Self::NodeByMode(node.clone(), *mode),
            Self::NodeBackup(Side::ByNode, of) => Self::Node(of.node.clone()),
            Self::NodeBackup(Side::ByBackup | Side::ByTable, of) => Self::Backup(of.backup.clone()),
            Self::Meta(of, _) => Self::NodeBackup(Side::ByBackup, of.clone()),
            Self::Keyspace(side, of, _) => Self::NodeBackup(*side, of.clone()),
            Self::Files(files) => files.parent(),
            Self::Tables(_) => Self::Keyspaces,
            Self::TableBackups(keyspace, _) => Self::Tables(keyspace.clone()),
            Self::TableNodes(keyspace, table, _) => {
                Self::TableBackups(keyspace.clone(), Arc::clone(table))
            }
            Self::TableChoice(keyspace, table, of) => {
                Self::TableNodes(keyspace.clone(), Arc::clone(table), of.backup.clone())
            }
            Self::AreaNode(area, _) => Self::Area(*area),
            Self::Control(owner) => owner.directory(),
            Self::ControlFile(owner, _) => Self::Control(owner.clone()),
            Self::Jobs => Self::Control(Owner::Root),
            Self::Job(_) => Self::Jobs,
            Self::JobFile(id, _) => Self::Job(id.clone()),
        })
    }
}

impl FilesDirectory {
    fn parent(&self) -> ViewPath {
        if self.index.is_some() {
            return ViewPath::Files(Self { index: None, ..self.clone() });
        }
        match self.side {
            Side::ByBackup | Side::ByNode => {
                ViewPath::Keyspace(self.side, self.of.clone(), self.keyspace.clone())
            }
            Side::ByTable => ViewPath::TableNodes(
                self.keyspace.clone(),
                Arc::from(self.table.table()),
                self.of.backup.clone(),
            ),
        }
    }
}

impl Owner {
    /// The directory whose `.medusa/` it is.
    pub fn directory(&self) -> ViewPath {
        match self {
            Self::Root => ViewPath::Root,
            Self::Backup(name) => ViewPath::Backup(name.clone()),
            Self::NodeBackup(of) => ViewPath::NodeBackup(Side::ByBackup, of.clone()),
            Self::Node(node) => ViewPath::Node(node.clone()),
            Self::Area(area) => ViewPath::Area(*area),
            Self::AreaNode(area, node) => ViewPath::AreaNode(*area, node.clone()),
            Self::Staged(id) => ViewPath::Staged(*id),
        }
    }
}

/// The path from the root, as a person types it; unique, so that an inode's number is made of it.
impl fmt::Display for ViewPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Root => f.write_str("/"),
            Self::Readme => f.write_str("/README"),
            Self::Status => f.write_str("/status"),
            Self::Backups => f.write_str("/backups"),
            Self::Latest => f.write_str("/backups/latest"),
            Self::Backup(name) => write!(f, "/backups/{name}"),
            Self::ByMode(mode) => write!(f, "/backups/{}", mode_directory(*mode)),
            Self::ByModeLink(mode, name) => write!(f, "/backups/{}/{name}", mode_directory(*mode)),
            Self::Trash => f.write_str("/backups/.trash"),
            Self::Nodes => f.write_str("/nodes"),
            Self::Node(node) => write!(f, "/nodes/{node}"),
            Self::NodeByMode(node, mode) => write!(f, "/nodes/{node}/{}", mode_directory(*mode)),
            Self::NodeByModeLink(node, mode, name) => {
                write!(f, "/nodes/{node}/{}/{name}", mode_directory(*mode))
            }
            Self::NodeBackup(Side::ByNode, of) => write!(f, "/nodes/{}/{}", of.node, of.backup),
            Self::NodeBackup(Side::ByBackup | Side::ByTable, of) => {
                write!(f, "/backups/{}/{}", of.backup, of.node)
            }
            Self::Meta(of, file) => {
                write!(f, "/backups/{}/{}/{}", of.backup, of.node, file.name())
            }
            Self::Keyspace(side, of, keyspace) => {
                write!(f, "{}/{keyspace}", Self::NodeBackup(*side, of.clone()))
            }
            Self::Files(files) => fmt::Display::fmt(files, f),
            Self::Keyspaces => f.write_str("/keyspaces"),
            Self::Tables(keyspace) => write!(f, "/keyspaces/{keyspace}"),
            Self::TableBackups(keyspace, table) => write!(f, "/keyspaces/{keyspace}/{table}"),
            Self::TableNodes(keyspace, table, name) => {
                write!(f, "/keyspaces/{keyspace}/{table}/{name}")
            }
            Self::TableChoice(keyspace, table, of) => {
                write!(f, "/keyspaces/{keyspace}/{table}/{}/{}", of.backup, of.node)
            }
            Self::Area(area) => write!(f, "/{}", area.directory()),
            Self::AreaNode(area, node) => write!(f, "/{}/{node}", area.directory()),
            Self::Staged(id) => write!(f, "/staged:{}", id.0),
            Self::Control(Owner::Root) => f.write_str("/.medusa"),
            Self::Control(owner) => write!(f, "{}/.medusa", owner.directory()),
            Self::ControlFile(owner, file) => {
                write!(f, "{}/{}", Self::Control(owner.clone()), file.name())
            }
            Self::Jobs => f.write_str("/.medusa/jobs"),
            Self::Job(id) => write!(f, "/.medusa/jobs/{id}"),
            Self::JobFile(id, file) => write!(f, "/.medusa/jobs/{id}/{}", file.name()),
        }
    }
}

impl fmt::Display for FilesDirectory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { side, of: NodeBackupId { backup, node }, keyspace, table, index } = self;
        match side {
            Side::ByBackup => write!(f, "/backups/{backup}/{node}/{keyspace}/{table}")?,
            Side::ByNode => write!(f, "/nodes/{node}/{backup}/{keyspace}/{table}")?,
            Side::ByTable => {
                write!(f, "/keyspaces/{keyspace}/{}/{backup}/{node}/{table}", table.table())?;
            }
        }
        index.as_ref().map_or(Ok(()), |index| write!(f, "/{index}"))
    }
}
