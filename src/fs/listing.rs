//! Directories that are open: each reader has his own picture, so that offsets stay true.

use std::ffi::OsStr;
use std::sync::Arc;

use crate::medusa::MetaFile;
use crate::observe::ErrorChain;
use crate::store::PoolError;
use crate::tasks::TimedOut;
use crate::view::Attr;
use crate::view::Child;
use crate::view::FilesView;
use crate::view::Ino;
use crate::view::Kind;
use crate::view::Loaded;
use crate::view::ROOT;
use crate::view::Tree;
use crate::view::ViewPath;
use crate::view::World;

use super::Caller;
use super::Found;
use super::FsError;
use super::Handle;
use super::MedusaFs;
use super::OpenedDirectory;
use super::StagedParent;
use super::believe;
use super::facts::DirectoryFacts;
use super::lookup::staged_parent;
use super::stat::Shared;
use super::stat::staged_attr;

/// A directory as it was when it was opened.
#[derive(Debug)]
pub(super) struct Listing {
    itself: Found,
    above: Found,
    names: Vec<Name>,
    stored: Option<Stored>,
}

/// A name of the tree.
#[derive(Debug)]
struct Name {
    text: String,
    path: ViewPath,
    found: Found,
}

/// Stored files, after the names: only their manifest is held.
#[derive(Debug)]
struct Stored {
    files: FilesView,
    facts: Arc<DirectoryFacts>,
    shared: Shared,
    directory: Ino,
}

/// Takes a name: the offset of the next, its number, its kind. True if it did not fit any more.
pub type TakeName<'a> = dyn FnMut(u64, Ino, Kind, &OsStr) -> bool + 'a;

/// Takes a name with its attributes: the offset of the next first. True if it did not fit.
pub type TakeEntry<'a> = dyn FnMut(u64, Found, &OsStr) -> bool + 'a;

/// Takes a name, and how the kernel is told of it.
type Take<'a> = dyn FnMut(u64, &str, Found, &dyn Fn()) -> bool + 'a;

impl MedusaFs {
    /// Opens a directory: what is listed from it is what stands there now.
    pub async fn opendir(&self, caller: Caller, ino: Ino) -> Result<OpenedDirectory, FsError> {
        let opened = self.open_listing(caller, ino).await;
        self.told(caller, "opendir", || self.shown_ino(ino), opened)
    }

    async fn open_listing(&self, caller: Caller, ino: Ino) -> Result<OpenedDirectory, FsError> {
        let path = self.path_of(ino)?;
        if matches!(path, ViewPath::Keyspaces | ViewPath::Tables(_)) {
            self.know_tables().await;
        }
        let world = self.world();
        // Of the nodes of a table, one manifest at a time is held, and only then.
        let loaded = match &path {
            ViewPath::TableNodes(..) => Loaded::new(),
            _ => self.load(&world, &path).await?,
        };
        let tree = Tree::new(&world, &loaded);
        let names = if let Some(parent) = staged_parent(&path) {
            self.staged_names(&world, &tree, &path, &parent)
        } else if tree.exists(&path) {
            let children = match &path {
                ViewPath::TableNodes(..) => self.nodes_of_table(&world, &path).await?,
                _ => tree.children(&path).ok_or(FsError::NotADirectory)?,
            };
            self.names(caller, &world, &path, children).await?
        } else {
            return Err(FsError::NotFound);
        };
        let believe = believe::of(&world, &path);
        let stored = match &path {
            ViewPath::Files(directory) => match tree.files(directory) {
                Some(files) => {
                    let facts = self.facts_of_all(&files).await?;
                    let shared = Shared::of(&world, directory);
                    Some(Stored { files, facts, shared, directory: ino })
                }
                None => None,
            },
            _ => None,
        };
        let itself = Found { attr: self.path_attr(&world, &path, ino, 0), believe };
        let above = match path.parent() {
            Some(above) => {
                let ino = self.inodes.number(&above);
                Found { attr: self.path_attr(&world, &above, ino, 0), believe }
            }
            None => Found { attr: Attr { ino: ROOT, ..itself.attr }, believe },
        };
        let keep = believe::is_settled(&world, &path);
        let handle = self.directories.open(Listing { itself, above, names, stored })?;
        Ok(OpenedDirectory { handle, keep })
    }

    /// The nodes of a backup that have a table: each manifest is let go of before the next. A node
    /// whose manifest cannot be read is left out, for the others' sake.
    async fn nodes_of_table(&self, world: &World, path: &ViewPath) -> Result<Vec<Child>, FsError> {
        let mut children = Vec::new();
        let each = async {
            for of in Tree::needs(world, path) {
                let node = of.node.clone();
                match self.load_one(of).await {
                    Ok(loaded) => {
                        children.extend(Tree::new(world, &loaded).child(path, node.as_str()));
                    }
                    Err(FsError::Catalog(error)) if !error.is_retryable() => {
                        let error = ErrorChain(&error);
                        tracing::warn!(%node, %path, %error, "left out of a listing");
                    }
                    Err(error) => return Err(error),
                }
            }
            Ok(())
        };
        let limit = self.settings.deadline;
        let doing = || format!("for the manifests of {path}");
        match tokio::time::timeout(limit, each).await {
            Ok(listed) => listed.map(|()| children),
            Err(_late) => {
                Err(PoolError::TimedOut(TimedOut { after: limit, doing: doing() }).into())
            }
        }
    }

    async fn names(
        &self,
        caller: Caller,
        world: &World,
        directory: &ViewPath,
        children: Vec<Child>,
    ) -> Result<Vec<Name>, FsError> {
        let meta = match directory {
            ViewPath::NodeBackup(_, of)
                if children.iter().any(|child| matches!(child.path, ViewPath::Meta(..))) =>
            {
                self.meta_objects(of).await?
            }
            _ => Vec::new(),
        };
        let mut names = Vec::with_capacity(children.len());
        for Child { name, path } in children {
            let ino = self.inodes.number(&path);
            let stored = |file: MetaFile| meta.iter().find(|object| object.file == file);
            let attr = match &path {
                ViewPath::Meta(_, file) => match stored(*file) {
                    Some(object) => self.meta_attr(&path, ino, object),
                    None => continue,
                },
                _ if path.kind() == Some(Kind::Directory) => self.path_attr(world, &path, ino, 0),
                _ => self.attr_of(caller, world, &path, ino).await?,
            };
            let believe = believe::of(world, &path);
            names.push(Name { text: name, path, found: Found { attr, believe } });
        }
        Ok(names)
    }

    /// The nodes that stand there by themselves, and what somebody has copied.
    fn staged_names(
        &self,
        world: &World,
        tree: &Tree<'_>,
        path: &ViewPath,
        parent: &StagedParent,
    ) -> Vec<Name> {
        let nodes = tree.children(path).unwrap_or_default().into_iter().map(|child| {
            let ino = self.inodes.number(&child.path);
            let attr = self.path_attr(world, &child.path, ino, 0);
            let believe = believe::of(world, &child.path);
            Name { text: child.name, path: child.path, found: Found { attr, believe } }
        });
        let copied = self.copy_in.children(parent).into_iter().map(|(name, entry)| {
            let path = ViewPath::Staged(entry.id);
            let attr = staged_attr(self.inodes.number(&path), &entry);
            let believe = believe::of(world, &path);
            Name { text: name, path, found: Found { attr, believe } }
        });
        let mut names: Vec<_> = nodes.chain(copied).collect();
        names.sort_by(|a, b| a.text.cmp(&b.text));
        names.dedup_by(|a, b| a.text == b.text);
        names
    }

    /// Lists names from `offset` on, until one does not fit.
    pub fn list(
        &self,
        handle: Handle,
        offset: u64,
        take: &mut TakeName<'_>,
    ) -> Result<(), FsError> {
        let listing = self.directories.get(handle)?;
        self.each(&listing, offset, &mut |next, name, found, _remember| {
            take(next, found.attr.ino, found.attr.kind, OsStr::new(name))
        });
        Ok(())
    }

    /// Lists names with attributes from `offset` on, until one does not fit. The kernel knows each
    /// that fitted once more, but not the directory itself and the one above.
    pub fn list_with_attributes(
        &self,
        handle: Handle,
        offset: u64,
        take: &mut TakeEntry<'_>,
    ) -> Result<(), FsError> {
        let listing = self.directories.get(handle)?;
        self.each(&listing, offset, &mut |next, name, found, remember| {
            let is_full = take(next, found, OsStr::new(name));
            if !is_full {
                remember();
            }
            is_full
        });
        Ok(())
    }

    /// Closes a directory.
    pub fn releasedir(&self, handle: Handle) {
        self.directories.close(handle);
    }

    fn each(&self, listing: &Listing, offset: u64, take: &mut Take<'_>) {
        for (place, (name, found)) in (0..).zip([(".", listing.itself), ("..", listing.above)]) {
            if place >= offset && take(place + 1, name, found, &|| {}) {
                return;
            }
        }
        let skipped = usize::try_from(offset.saturating_sub(2)).unwrap_or(usize::MAX);
        let mut next = 2_u64.saturating_add(skipped.try_into().unwrap_or(u64::MAX));
        for Name { text, path, found } in listing.names.iter().skip(skipped) {
            next = next.saturating_add(1);
            let remember = || {
                self.inodes.remember(path);
            };
            if take(next, text, *found, &remember) {
                return;
            }
        }
        let Some(Stored { files, facts, shared, directory }) = &listing.stored else { return };
        let first = u32::try_from(skipped.saturating_sub(listing.names.len())).unwrap_or(u32::MAX);
        for place in first..files.len() {
            let found = self.found_stored(*shared, files, place, facts.of(place));
            let (Some(file), Some(found)) = (files.at(place), found) else { return };
            next = next.saturating_add(1);
            let remember = || {
                self.inodes.remember_file(*directory, place, &file.key());
            };
            if take(next, file.name(), found, &remember) {
                return;
            }
        }
    }
}
