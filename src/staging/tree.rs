//! The names of a set, as tools made them.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use super::content::Content;
use super::draft::Draft;
use super::error::{Kind, Refusal};

/// A file or directory of a set. Never used again while the set lives, and the same when renamed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FileId(pub u32);

/// The set's own directory: `restore/NODE`.
pub(super) const TOP: FileId = FileId(0);

pub(super) struct Node {
    pub(super) parent: FileId,
    pub(super) name: Arc<str>,
    /// It has a name; else it only lives until it is closed.
    pub(super) linked: bool,
    /// As a tool set it: seconds and nanoseconds since 1970.
    pub(super) modified: (i64, u32),
    pub(super) body: Body,
}

pub(super) enum Body {
    Directory(BTreeMap<Arc<str>, FileId>),
    File(Staged),
}

/// A file, as far as it has come.
#[derive(Default)]
pub(super) struct Staged {
    pub(super) held: Held,
    pub(super) draft: Option<Box<Draft>>,
    /// The draft has changed since it was last judged.
    pub(super) dirty: bool,
    /// Handles open for writing.
    pub(super) writers: u32,
    pub(super) standing: Standing,
    /// A record says that it is there.
    pub(super) recorded: bool,
}

/// What is known of a file's bytes once it was closed.
#[derive(Default)]
pub(super) enum Held {
    #[default]
    Nothing,
    Known(Box<Content>),
    /// The file at this place of the set's snapshot.
    Placed(u32),
}

/// What a file is to the set.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum Standing {
    /// Made, or being written: nothing can be said.
    #[default]
    Blank,
    /// Under a name that a tool will change.
    Temporary,
    /// Of a backup, and it is open which.
    Open,
    /// Something must be found out first.
    Unproven,
    /// The file of the set's snapshot at this place.
    Proven(u32),
    /// Under a name of the backup, with other bytes.
    Wrong,
    /// Under a name that the backup does not have.
    Stranger,
}

pub(super) struct Tree {
    nodes: HashMap<FileId, Node>,
    next: u32,
}

/// More names than this no snapshot has: 100,000 tables' worth of SSTables.
const MOST_NAMES: usize = 4_000_000;

impl Tree {
    pub(super) fn new() -> Self {
        let top = Node {
            parent: TOP,
            name: Arc::from(""),
            linked: true,
            modified: (0, 0),
            body: Body::Directory(BTreeMap::new()),
        };
        Self { nodes: HashMap::from([(TOP, top)]), next: 1 }
    }

    pub(super) fn len(&self) -> usize {
        self.nodes.len()
    }

    pub(super) fn node(&self, id: FileId) -> Result<&Node, Refusal> {
        self.nodes.get(&id).ok_or_else(Refusal::gone)
    }

    pub(super) fn node_mut(&mut self, id: FileId) -> Result<&mut Node, Refusal> {
        self.nodes.get_mut(&id).ok_or_else(Refusal::gone)
    }

    pub(super) fn file(&self, id: FileId) -> Result<&Staged, Refusal> {
        match &self.node(id)?.body {
            Body::File(file) => Ok(file),
            Body::Directory(_) => Err(Refusal::new(Kind::IsADirectory, "it is a directory")),
        }
    }

    pub(super) fn file_mut(&mut self, id: FileId) -> Result<&mut Staged, Refusal> {
        match &mut self.node_mut(id)?.body {
            Body::File(file) => Ok(file),
            Body::Directory(_) => Err(Refusal::new(Kind::IsADirectory, "it is a directory")),
        }
    }

    pub(super) fn children(&self, id: FileId) -> Result<&BTreeMap<Arc<str>, FileId>, Refusal> {
        match &self.node(id)?.body {
            Body::Directory(children) => Ok(children),
            Body::File(_) => Err(Refusal::new(Kind::NotADirectory, "it is no directory")),
        }
    }

    fn children_mut(&mut self, id: FileId) -> Result<&mut BTreeMap<Arc<str>, FileId>, Refusal> {
        match &mut self.node_mut(id)?.body {
            Body::Directory(children) => Ok(children),
            Body::File(_) => Err(Refusal::new(Kind::NotADirectory, "it is no directory")),
        }
    }

    pub(super) fn child(&self, parent: FileId, name: &str) -> Result<Option<FileId>, Refusal> {
        Ok(self.children(parent)?.get(name).copied())
    }

    /// Adds a name that is not there.
    pub(super) fn add(
        &mut self,
        parent: FileId,
        name: &str,
        body: Body,
    ) -> Result<FileId, Refusal> {
        if self.child(parent, name)?.is_some() {
            return Err(Refusal::new(Kind::Exists, format!("{name:?} is there already")));
        }
        if !self.node(parent)?.linked {
            return Err(Refusal::gone());
        }
        if self.nodes.len() >= MOST_NAMES || self.next == u32::MAX {
            return Err(Refusal::new(Kind::Full, "no snapshot has so many names"));
        }
        let id = FileId(self.next);
        self.next = self.next.saturating_add(1);
        let name: Arc<str> = Arc::from(name);
        self.children_mut(parent)?.insert(Arc::clone(&name), id);
        self.nodes.insert(id, Node { parent, name, linked: true, modified: (0, 0), body });
        Ok(id)
    }

    /// Takes a name off; what it named lives on until [`Tree::forget`].
    pub(super) fn unlink(&mut self, id: FileId) -> Result<(), Refusal> {
        let node = self.node_mut(id)?;
        node.linked = false;
        let (parent, name) = (node.parent, Arc::clone(&node.name));
        self.children_mut(parent)?.remove(&name);
        Ok(())
    }

    pub(super) fn forget(&mut self, id: FileId) {
        if id != TOP {
            self.nodes.remove(&id);
        }
    }

    /// Gives something another name, which must be free.
    pub(super) fn put(&mut self, id: FileId, parent: FileId, name: &str) -> Result<(), Refusal> {
        let name: Arc<str> = Arc::from(name);
        let node = self.node(id)?;
        let (old_parent, old_name) = (node.parent, Arc::clone(&node.name));
        self.children_mut(old_parent)?.remove(&old_name);
        self.children_mut(parent)?.insert(Arc::clone(&name), id);
        let node = self.node_mut(id)?;
        node.parent = parent;
        node.name = name;
        Ok(())
    }

    /// The names from `above` down to `id`; none if `id` is not below it.
    pub(super) fn names(&self, above: FileId, id: FileId) -> Option<Vec<Arc<str>>> {
        let (mut names, mut at) = (Vec::new(), id);
        while at != above {
            if at == TOP {
                return None;
            }
            let node = self.nodes.get(&at)?;
            names.push(Arc::clone(&node.name));
            at = node.parent;
        }
        names.reverse();
        Some(names)
    }

    /// The path below the top.
    pub(super) fn path(&self, id: FileId) -> String {
        self.names(TOP, id).unwrap_or_default().join("/")
    }

    /// Every file below `id`, itself if it is one.
    pub(super) fn files_below(&self, id: FileId) -> Vec<FileId> {
        let (mut found, mut open) = (Vec::new(), vec![id]);
        while let Some(at) = open.pop() {
            match self.nodes.get(&at).map(|node| &node.body) {
                Some(Body::Directory(children)) => open.extend(children.values()),
                Some(Body::File(_)) => found.push(at),
                None => {}
            }
        }
        found
    }
}
