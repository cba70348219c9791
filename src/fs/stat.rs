//! What `stat` shows.

use std::sync::Arc;

use crate::catalog::FileRef;
use crate::catalog::MetaObject;
use crate::medusa::MetaFile;
use crate::model::UnixSeconds;
use crate::view::Attr;
use crate::view::FilesDirectory;
use crate::view::FilesView;
use crate::view::Ino;
use crate::view::Kind;
use crate::view::Known;
use crate::view::LINKS_OF_STORED;
use crate::view::NodeBackupId;
use crate::view::Tree;
use crate::view::ViewPath;
use crate::view::World;

use super::Caller;
use super::Found;
use super::FsError;
use super::MedusaFs;
use super::StagedEntry;
use super::StagedKind;
use super::believe;
use super::facts::DirectoryFacts;
use super::facts::FileFacts;
use super::in_time::CALL;

/// What all stored files of a directory have in common.
#[derive(Debug, Clone, Copy)]
pub(super) struct Shared {
    started: UnixSeconds,
    is_settled: bool,
}

impl Shared {
    pub(super) fn of(world: &World, directory: &FilesDirectory) -> Self {
        let backup = &directory.of.backup;
        Self { started: world.started(backup), is_settled: world.is_settled(backup) }
    }
}

impl MedusaFs {
    /// The attributes of an inode.
    pub async fn getattr(&self, caller: Caller, ino: Ino) -> Result<Found, FsError> {
        let found = match self.known(ino)? {
            Known::Path(path) => {
                let world = self.world();
                let attr = self.attr_of(caller, &world, &path, ino).await;
                attr.map(|attr| Found { attr, believe: believe::of(&world, &path) })
            }
            Known::File(directory, place) => self.stat_stored(ino, &directory, place).await,
        };
        self.told(caller, "getattr", || self.shown_ino(ino), found)
    }

    async fn stat_stored(
        &self,
        ino: Ino,
        directory: &ViewPath,
        place: u32,
    ) -> Result<Found, FsError> {
        let (files, place) = self.stored_file(ino, directory, place).await?;
        let facts = self.facts_of_one(&files, place).await?;
        let gone = || FsError::Stale(format!("{directory} has other files now"));
        let shared = Shared::of(&self.world(), files.directory());
        self.found_stored(shared, &files, place, facts).ok_or_else(gone)
    }

    /// The attributes of a place of the tree.
    pub(super) async fn attr_of(
        &self,
        caller: Caller,
        world: &World,
        path: &ViewPath,
        ino: Ino,
    ) -> Result<Attr, FsError> {
        if let ViewPath::Staged(id) = path {
            let entry = self.copy_in.entry(*id).ok_or(FsError::NotFound)?;
            return Ok(staged_attr(ino, &entry));
        }
        if !Tree::new(world, &crate::view::Loaded::new()).exists(path) {
            return Err(FsError::NotFound);
        }
        if let ViewPath::Meta(of, file) = path {
            let object = self.meta_object(of, *file).await?;
            return Ok(self.meta_attr(path, ino, &object));
        }
        let size = match path.kind() {
            Some(Kind::File) => self.text_size(caller, world, path).await?,
            _ => Tree::new(world, &crate::view::Loaded::new())
                .target(path)
                .and_then(|target| u64::try_from(target.len()).ok())
                .unwrap_or(0),
        };
        Ok(self.path_attr(world, path, ino, size))
    }

    /// The attributes of what needs nobody asked: directories and links.
    pub(super) fn path_attr(&self, world: &World, path: &ViewPath, ino: Ino, size: u64) -> Attr {
        let (mode, gid) = self.settings.rights.of(path);
        Attr {
            ino,
            kind: path.kind().unwrap_or(Kind::Directory),
            size,
            modified: modified(world, path),
            mode,
            uid: self.settings.rights.uid,
            gid,
            links: 1,
        }
    }

    /// A file of a node backup's `meta`: where it lies, its size and time.
    pub(super) async fn meta_object(
        &self,
        of: &NodeBackupId,
        file: MetaFile,
    ) -> Result<MetaObject, FsError> {
        let known = self.catalog.node_files_cached(&of.backup, &of.node);
        let objects = match known {
            Some(files) => files.meta().to_vec(),
            None => self.meta_objects(of).await?,
        };
        objects.into_iter().find(|object| object.file == file).ok_or(FsError::NotFound)
    }

    /// All files of a node backup's `meta` that are there.
    pub(super) async fn meta_objects(&self, of: &NodeBackupId) -> Result<Vec<MetaObject>, FsError> {
        if let Some(files) = self.catalog.node_files_cached(&of.backup, &of.node) {
            return Ok(files.meta().to_vec());
        }
        let (catalog, of) = (self.catalog.clone(), of.clone());
        let doing = format!("for what {} stored with {}", of.node, of.backup);
        self.on_share(doing, move || catalog.meta(&of.backup, &of.node)).await
    }

    pub(super) fn meta_attr(&self, path: &ViewPath, ino: Ino, object: &MetaObject) -> Attr {
        let (mode, gid) = self.settings.rights.of(path);
        Attr {
            ino,
            kind: Kind::File,
            size: object.size,
            modified: UnixSeconds::from(object.modified),
            mode,
            uid: self.settings.rights.uid,
            gid,
            links: LINKS_OF_STORED,
        }
    }

    /// What the share says of all files of a directory, asked for once. While the share hangs the
    /// listing is shown, after the time of a call, with the backup's time instead.
    pub(super) async fn facts_of_all(
        &self,
        files: &FilesView,
    ) -> Result<Arc<DirectoryFacts>, FsError> {
        let directory = files.directory();
        if let Some(facts) = self.facts.get(directory) {
            return Ok(facts);
        }
        let hangs = self.pool.hung() > 0;
        let limit = if hangs { CALL } else { self.settings.deadline };
        let (catalog, asked) = (self.catalog.clone(), files.clone());
        let doing = format!("for the files of {directory}");
        let read = self.pool.run(limit, doing, move || DirectoryFacts::read(&catalog, &asked));
        match read.await.map_err(FsError::from).and_then(|read| Ok(read?)) {
            Ok(facts) => {
                let facts = Arc::new(facts);
                self.facts.put(directory, Arc::clone(&facts));
                Ok(facts)
            }
            Err(error @ FsError::Share(_)) => {
                tracing::warn!(%error, %directory, "listed without the files' times");
                Ok(Arc::default())
            }
            Err(error) => Err(error),
        }
    }

    /// What the share says of one file: from memory if its directory was listed, else it alone is
    /// asked for. While the share is known to be silent nobody waits for a time.
    pub(super) async fn facts_of_one(
        &self,
        files: &FilesView,
        place: u32,
    ) -> Result<FileFacts, FsError> {
        let directory = files.directory();
        let listed = self.facts.get(directory).map(|facts| facts.of(place)).unwrap_or_default();
        if listed.modified.is_some() || self.share.read().silent.is_some() {
            return Ok(listed);
        }
        let limit = if self.pool.hung() > 0 { CALL } else { self.settings.deadline };
        let (catalog, of, asked) = (self.catalog.clone(), directory.of.clone(), files.clone());
        let doing = format!("for a file of {directory}");
        let read = move || match asked.at(place) {
            Some(file) => FileFacts::read(&catalog, &of, file),
            None => Ok(FileFacts::default()),
        };
        match self.pool.run(limit, doing, read).await.map_err(FsError::from) {
            Ok(Ok(facts)) => Ok(facts),
            Ok(Err(error)) => {
                tracing::warn!(%error, %directory, "shown without the file's time");
                Ok(listed)
            }
            Err(error @ FsError::Share(_)) => {
                tracing::warn!(%error, %directory, "shown without the file's time");
                Ok(listed)
            }
            Err(error) => Err(error),
        }
    }

    /// A stored file, with what is known of it. From memory.
    pub(super) fn found_stored(
        &self,
        shared: Shared,
        files: &FilesView,
        place: u32,
        facts: FileFacts,
    ) -> Option<Found> {
        let file: FileRef<'_> = files.at(place)?;
        let (mode, gid) = self.settings.rights.of_stored();
        let attr = Attr {
            ino: self.inodes.file_number(&file.key()),
            kind: Kind::File,
            size: facts.other_size.unwrap_or_else(|| file.size()),
            modified: facts.modified.unwrap_or(shared.started),
            mode,
            uid: self.settings.rights.uid,
            gid,
            links: LINKS_OF_STORED,
        };
        let believe = believe::of_file(shared.is_settled, facts.modified.is_some());
        Some(Found { attr, believe })
    }
}

/// What `stat` shows of something that is being copied in.
pub(super) fn staged_attr(ino: Ino, entry: &StagedEntry) -> Attr {
    Attr {
        ino,
        kind: match entry.kind {
            StagedKind::Directory => Kind::Directory,
            StagedKind::File => Kind::File,
        },
        size: entry.size,
        modified: entry.modified,
        mode: entry.mode,
        uid: entry.uid,
        gid: entry.gid,
        links: 1,
    }
}

fn modified(world: &World, path: &ViewPath) -> UnixSeconds {
    let of = |of: &NodeBackupId| {
        let node = world.stored(&of.backup).and_then(|backup| backup.nodes.get(&of.node));
        node.map_or_else(|| world.started(&of.backup), |node| node.started)
    };
    match path {
        ViewPath::Backup(name)
        | ViewPath::ByModeLink(_, name)
        | ViewPath::NodeByModeLink(_, _, name)
        | ViewPath::TableNodes(_, _, name) => world.started(name),
        ViewPath::NodeBackup(_, node)
        | ViewPath::Keyspace(_, node, _)
        | ViewPath::TableChoice(_, _, node)
        | ViewPath::Meta(node, _) => of(node),
        ViewPath::Files(files) => of(&files.of),
        ViewPath::Latest => world.latest().map_or(world.mounted, |backup| backup.started),
        ViewPath::Job(id) => world.job(id).map_or(world.now, |job| job.started),
        ViewPath::Status | ViewPath::ControlFile(..) | ViewPath::JobFile(..) => world.now,
        _ => world.mounted,
    }
}
