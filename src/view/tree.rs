//! What stands in each directory.

use std::collections::HashMap;
use std::sync::Arc;

use crate::catalog::Backup;
use crate::catalog::NodeFiles;
use crate::catalog::TableRef;
use crate::medusa::MetaFile;
use crate::medusa::Mode;
use crate::model::BackupName;
use crate::model::Fqdn;
use crate::model::JobId;
use crate::model::Keyspace;
use crate::model::TableDirectory;

use super::Area;
use super::ControlFile;
use super::FilesDirectory;
use super::FilesView;
use super::Kind;
use super::NodeBackupId;
use super::Owner;
use super::Side;
use super::ViewPath;
use super::World;
use super::mode_directory;

/// The control directory's name: in no listing, so that `find`, `rsync` and `cp -r` never meet it.
pub const CONTROL: &str = ".medusa";

/// The manifests that an answer needs, in hand.
pub type Loaded = HashMap<NodeBackupId, Arc<NodeFiles>>;

/// A name in a directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Child {
    /// The name.
    pub name: String,
    /// What it is.
    pub path: ViewPath,
}

/// The tree at one moment. Stored files of tables are not its children: [`FilesView`] has them.
#[derive(Debug)]
pub struct Tree<'a> {
    world: &'a World,
    files: &'a Loaded,
}

impl ViewPath {
    /// What it is; none for what is being copied in, of which only its keeper knows.
    pub fn kind(&self) -> Option<Kind> {
        Some(match self {
            Self::Readme
            | Self::Status
            | Self::Meta(..)
            | Self::ControlFile(..)
            | Self::JobFile(..) => Kind::File,
            Self::Latest | Self::ByModeLink(..) | Self::NodeByModeLink(..) => Kind::Link,
            Self::Staged(_) => return None,
            _ => Kind::Directory,
        })
    }
}

impl<'a> Tree<'a> {
    /// The tree of `world`, with these manifests in hand.
    pub fn new(world: &'a World, files: &'a Loaded) -> Self {
        Self { world, files }
    }

    /// The node backups whose manifests must be in hand to list `path`. Each child of a directory
    /// that is listed by table needs its own node's alone.
    pub fn needs(world: &World, path: &ViewPath) -> Vec<NodeBackupId> {
        let all = match path {
            ViewPath::NodeBackup(_, of)
            | ViewPath::Keyspace(_, of, _)
            | ViewPath::TableChoice(_, _, of)
            | ViewPath::Files(FilesDirectory { of, .. }) => vec![of.clone()],
            ViewPath::TableNodes(_, _, name) => world
                .nodes_of(name)
                .into_iter()
                .map(|node| NodeBackupId::new(name.clone(), node))
                .collect(),
            _ => Vec::new(),
        };
        all.into_iter().filter(|of| Self::has_manifest(world, of)).collect()
    }

    fn has_manifest(world: &World, of: &NodeBackupId) -> bool {
        world
            .stored(&of.backup)
            .and_then(|backup| backup.nodes.get(&of.node))
            .is_some_and(|node| node.finished.is_some())
    }

    /// Whether `path` is still there.
    pub fn exists(&self, path: &ViewPath) -> bool {
        match path {
            ViewPath::Latest => self.world.latest().is_some(),
            ViewPath::Backup(name)
            | ViewPath::ByModeLink(_, name)
            | ViewPath::NodeByModeLink(_, _, name)
            | ViewPath::TableNodes(_, _, name)
            | ViewPath::Control(Owner::Backup(name))
            | ViewPath::ControlFile(Owner::Backup(name), _) => self.world.has_backup(name),
            ViewPath::NodeBackup(_, of)
            | ViewPath::Meta(of, _)
            | ViewPath::Keyspace(_, of, _)
            | ViewPath::TableChoice(_, _, of)
            | ViewPath::Files(FilesDirectory { of, .. })
            | ViewPath::Control(Owner::NodeBackup(of))
            | ViewPath::ControlFile(Owner::NodeBackup(of), _) => self.world.has_node_backup(of),
            ViewPath::Job(id) | ViewPath::JobFile(id, _) => self.world.job(id).is_some(),
            _ => true,
        }
    }

    /// The names in a directory, sorted, but a snapshot's own files before its keyspaces; none if
    /// it is no directory. Hidden ones are left out.
    pub fn children(&self, path: &ViewPath) -> Option<Vec<Child>> {
        let children = match path {
            ViewPath::Root => {
                ["README", "backups", "import", "keyspaces", "nodes", "restore", "status"]
                    .into_iter()
                    .filter_map(|name| self.child(path, name))
                    .collect()
            }
            ViewPath::Backups => {
                let latest = self.world.latest().map(|_| child("latest", ViewPath::Latest));
                let backups = self.world.backup_names().into_iter();
                let mut all: Vec<_> = backups
                    .map(|name| child(name.as_str(), ViewPath::Backup(name.clone())))
                    .chain(latest)
                    .collect();
                all.sort_by(|a, b| a.name.cmp(&b.name));
                all
            }
            ViewPath::Backup(name) => self
                .world
                .nodes_of(name)
                .into_iter()
                .map(|node| Self::node_backup(Side::ByBackup, name, node.as_str(), &node))
                .collect(),
            ViewPath::Nodes => nodes(self.world.nodes(), ViewPath::Node),
            ViewPath::Node(node) => self
                .world
                .backups_of(node)
                .into_iter()
                .map(|name| Self::node_backup(Side::ByNode, &name, name.as_str(), node))
                .collect(),
            ViewPath::ByMode(_) | ViewPath::NodeByMode(..) | ViewPath::Trash => Vec::new(),
            ViewPath::NodeBackup(side, of) => self.of_node_backup(*side, of),
            ViewPath::Keyspace(side, of, keyspace) => self.of_keyspace(*side, of, keyspace),
            ViewPath::Files(directory) => self.indexes(directory),
            ViewPath::Keyspaces
            | ViewPath::Tables(_)
            | ViewPath::TableBackups(..)
            | ViewPath::TableNodes(..)
            | ViewPath::TableChoice(..) => self.by_table(path)?,
            ViewPath::Area(area) => {
                nodes(self.world.nodes_to_restore(), |node| ViewPath::AreaNode(*area, node))
            }
            ViewPath::AreaNode(..) => Vec::new(),
            ViewPath::Control(owner) => {
                let file = |file: &ControlFile| {
                    child(file.name(), ViewPath::ControlFile(owner.clone(), *file))
                };
                let mut files: Vec<_> = owner.files().iter().map(file).collect();
                if *owner == Owner::Root {
                    files.push(child("jobs", ViewPath::Jobs));
                    files.sort_by(|a, b| a.name.cmp(&b.name));
                }
                files
            }
            ViewPath::Jobs => self
                .world
                .jobs
                .iter()
                .map(|job| child(job.id.as_str(), ViewPath::Job(job.id.clone())))
                .collect(),
            ViewPath::Job(id) => ControlFile::OF_A_JOB
                .into_iter()
                .map(|file| child(file.name(), ViewPath::JobFile(id.clone(), file)))
                .collect(),
            ViewPath::Readme
            | ViewPath::Status
            | ViewPath::Latest
            | ViewPath::ByModeLink(..)
            | ViewPath::NodeByModeLink(..)
            | ViewPath::Meta(..)
            | ViewPath::Staged(_)
            | ViewPath::ControlFile(..)
            | ViewPath::JobFile(..) => return None,
        };
        Some(children)
    }

    /// One name of a directory, hidden ones too.
    pub fn child(&self, path: &ViewPath, name: &str) -> Option<Child> {
        if name == CONTROL {
            return Some(child(name, ViewPath::Control(path.control_owner()?)));
        }
        let found = match path {
            ViewPath::Root => match name {
                "README" => ViewPath::Readme,
                "status" => ViewPath::Status,
                "backups" => ViewPath::Backups,
                "nodes" => ViewPath::Nodes,
                "keyspaces" => ViewPath::Keyspaces,
                "restore" => ViewPath::Area(Area::Restore),
                "import" => ViewPath::Area(Area::Import),
                _ => return None,
            },
            ViewPath::Backups => match name {
                "latest" => self.world.latest().map(|_| ViewPath::Latest)?,
                ".trash" => ViewPath::Trash,
                _ => match mode_named(name) {
                    Some(mode) => ViewPath::ByMode(mode),
                    None => ViewPath::Backup(self.backup(name)?),
                },
            },
            ViewPath::ByMode(mode) => ViewPath::ByModeLink(*mode, self.backup(name)?),
            ViewPath::NodeByMode(node, mode) => {
                ViewPath::NodeByModeLink(node.clone(), *mode, self.backup(name)?)
            }
            ViewPath::Backup(backup) => {
                let of = NodeBackupId::new(backup.clone(), Fqdn::parse(name).ok()?);
                self.world.has_node_backup(&of).then_some(())?;
                ViewPath::NodeBackup(Side::ByBackup, of)
            }
            ViewPath::Nodes => {
                let node = Fqdn::parse(name).ok()?;
                self.world.nodes().contains(&node).then_some(())?;
                ViewPath::Node(node)
            }
            ViewPath::Node(node) => {
                if let Some(mode) = mode_named(name) {
                    ViewPath::NodeByMode(node.clone(), mode)
                } else {
                    let of = NodeBackupId::new(BackupName::parse(name).ok()?, node.clone());
                    self.world.has_node_backup(&of).then_some(())?;
                    ViewPath::NodeBackup(Side::ByNode, of)
                }
            }
            ViewPath::NodeBackup(side, of) => {
                if let Some(file) = MetaFile::of_name(name) {
                    ViewPath::Meta(of.clone(), file)
                } else {
                    self.files.get(of)?.tables_of(name).next()?;
                    ViewPath::Keyspace(*side, of.clone(), Keyspace::parse(name).ok()?)
                }
            }
            ViewPath::AreaNode(..) => return None,
            ViewPath::Area(area) => {
                let node = Fqdn::parse(name).ok()?;
                self.world.nodes_to_restore().contains(&node).then_some(())?;
                ViewPath::AreaNode(*area, node)
            }
            ViewPath::TableBackups(keyspace, table) => {
                let backup = self.world.stored(&BackupName::parse(name).ok()?)?;
                has_files(backup).then_some(())?;
                ViewPath::TableNodes(keyspace.clone(), Arc::clone(table), backup.name.clone())
            }
            ViewPath::TableNodes(keyspace, table, backup) => {
                let of = NodeBackupId::new(backup.clone(), Fqdn::parse(name).ok()?);
                self.table_of(keyspace, table, &of)?
            }
            ViewPath::Control(Owner::Root) if name == "jobs" => ViewPath::Jobs,
            ViewPath::Control(owner) => {
                let file = ControlFile::named(name)?;
                owner.files().contains(&file).then_some(())?;
                ViewPath::ControlFile(owner.clone(), file)
            }
            ViewPath::Jobs => {
                let id = JobId::parse(name).ok()?;
                ViewPath::Job(self.world.job(&id)?.id.clone())
            }
            _ => return self.children(path)?.into_iter().find(|child| child.name == name),
        };
        Some(child(name, found))
    }

    /// Where a link leads, from where it stands.
    pub fn target(&self, path: &ViewPath) -> Option<String> {
        match path {
            ViewPath::Latest => Some(self.world.latest()?.name.to_string()),
            ViewPath::ByModeLink(_, name) | ViewPath::NodeByModeLink(_, _, name) => {
                Some(format!("../{name}"))
            }
            _ => None,
        }
    }

    /// The stored files of a directory, if its manifest is in hand and has it.
    pub fn files(&self, directory: &FilesDirectory) -> Option<FilesView> {
        FilesView::of(self.files.get(&directory.of)?, directory)
    }

    fn backup(&self, name: &str) -> Option<BackupName> {
        let name = BackupName::parse(name).ok()?;
        self.world.has_backup(&name).then_some(name)
    }

    /// The levels of `keyspaces/`, above the files.
    fn by_table(&self, path: &ViewPath) -> Option<Vec<Child>> {
        let children = match path {
            ViewPath::Keyspaces => self
                .world
                .tables
                .keys()
                .map(|keyspace| child(keyspace.as_str(), ViewPath::Tables(keyspace.clone())))
                .collect(),
            ViewPath::Tables(keyspace) => {
                let tables = self.world.tables.get(keyspace)?;
                let path =
                    |table: &Arc<str>| ViewPath::TableBackups(keyspace.clone(), Arc::clone(table));
                tables.iter().map(|table| child(table, path(table))).collect()
            }
            ViewPath::TableBackups(keyspace, table) => self
                .world
                .backups
                .iter()
                .filter(|backup| has_files(backup))
                .map(|backup| {
                    let name = backup.name.clone();
                    let path = ViewPath::TableNodes(keyspace.clone(), Arc::clone(table), name);
                    child(backup.name.as_str(), path)
                })
                .collect(),
            ViewPath::TableNodes(keyspace, table, name) => self
                .world
                .nodes_of(name)
                .into_iter()
                .filter_map(|node| {
                    let of = NodeBackupId::new(name.clone(), node);
                    let path = self.table_of(keyspace, table, &of)?;
                    Some(child(of.node.as_str(), path))
                })
                .collect(),
            ViewPath::TableChoice(keyspace, table, of) => self
                .directories(keyspace, table, of)
                .map(|directory| child(directory.as_str(), by_table(keyspace, directory, of)))
                .collect(),
            _ => return None,
        };
        Some(children)
    }

    fn node_backup(side: Side, backup: &BackupName, shown: &str, node: &Fqdn) -> Child {
        let of = NodeBackupId::new(backup.clone(), node.clone());
        child(shown, ViewPath::NodeBackup(side, of))
    }

    fn of_node_backup(&self, side: Side, of: &NodeBackupId) -> Vec<Child> {
        let stored = self.world.stored(&of.backup).is_some_and(|b| b.nodes.contains_key(&of.node));
        let meta = MetaFile::ALL
            .into_iter()
            .filter(|_| stored)
            .map(|file| child(file.name(), ViewPath::Meta(of.clone(), file)));
        let keyspaces = self.files.get(of).into_iter().flat_map(|files| files.keyspaces());
        let keyspaces = keyspaces.map(|keyspace| {
            child(keyspace.as_str(), ViewPath::Keyspace(side, of.clone(), keyspace.clone()))
        });
        // A keyspace that bears a meta file's name cannot be told from it: the file is shown.
        let keyspaces = keyspaces.filter(|found| MetaFile::of_name(&found.name).is_none());
        let (mut meta, mut keyspaces): (Vec<_>, Vec<_>) = (meta.collect(), keyspaces.collect());
        meta.sort_by(|a, b| a.name.cmp(&b.name));
        keyspaces.sort_by(|a, b| a.name.cmp(&b.name));
        // Tools that take names as they come bring the manifest before what it names.
        meta.into_iter().chain(keyspaces).collect()
    }

    fn of_keyspace(&self, side: Side, of: &NodeBackupId, keyspace: &Keyspace) -> Vec<Child> {
        let Some(files) = self.files.get(of) else { return Vec::new() };
        files
            .tables_of(keyspace.as_str())
            .map(|found| {
                let path = ViewPath::Files(FilesDirectory {
                    side,
                    of: of.clone(),
                    keyspace: keyspace.clone(),
                    table: found.directory().clone(),
                    index: None,
                });
                child(found.directory().as_str(), path)
            })
            .collect()
    }

    fn indexes(&self, directory: &FilesDirectory) -> Vec<Child> {
        let Some(files) = self.files(directory).filter(|_| directory.index.is_none()) else {
            return Vec::new();
        };
        files
            .indexes()
            .into_iter()
            .map(|index| {
                let path = FilesDirectory { index: Some(Arc::from(&*index)), ..directory.clone() };
                child(&index, ViewPath::Files(path))
            })
            .collect()
    }

    /// The directory of a node's table in the view by table; none if the node has no such table.
    fn table_of(
        &self,
        keyspace: &Keyspace,
        table: &Arc<str>,
        of: &NodeBackupId,
    ) -> Option<ViewPath> {
        let mut directories = self.directories(keyspace, table, of);
        let first = directories.next()?;
        if directories.next().is_some() {
            return Some(ViewPath::TableChoice(keyspace.clone(), Arc::clone(table), of.clone()));
        }
        Some(by_table(keyspace, first, of))
    }

    fn directories(
        &self,
        keyspace: &Keyspace,
        table: &str,
        of: &NodeBackupId,
    ) -> impl Iterator<Item = &'a TableDirectory> {
        let files = self.files.get(of).into_iter();
        files
            .flat_map(move |files| files.tables_of(keyspace.as_str()))
            .map(TableRef::directory)
            .filter(move |directory| directory.table() == table)
    }
}

/// Whether anything of it can be listed: a node has finished.
fn has_files(backup: &Backup) -> bool {
    backup.nodes.values().any(|node| node.finished.is_some())
}

fn by_table(keyspace: &Keyspace, table: &TableDirectory, of: &NodeBackupId) -> ViewPath {
    ViewPath::Files(FilesDirectory {
        side: Side::ByTable,
        of: of.clone(),
        keyspace: keyspace.clone(),
        table: table.clone(),
        index: None,
    })
}

fn nodes(nodes: impl IntoIterator<Item = Fqdn>, path: impl Fn(Fqdn) -> ViewPath) -> Vec<Child> {
    nodes.into_iter().map(|node| child(node.as_str(), path(node.clone()))).collect()
}

fn child(name: &str, path: ViewPath) -> Child {
    Child { name: name.to_owned(), path }
}

fn mode_named(name: &str) -> Option<Mode> {
    [Mode::Full, Mode::Differential].into_iter().find(|mode| mode_directory(*mode) == name)
}
