//! A set: what lies below one `restore/NODE`, from one backup.

use std::collections::BTreeSet;
use std::collections::HashSet;
use std::sync::Arc;

use crate::model::Fqdn;
use crate::model::ObjectKey;

use super::candidates::Candidates;
use super::content::{Content, Wanted};
use super::error::Refusal;
use super::facts::{Fact, Facts, Need};
use super::record::Record;
use super::snapshot::{Contents, MANIFEST, SnapshotId};
use super::tree::{Body, FileId, Held, Standing, TOP, Tree};

/// What lies below one `restore/NODE`, and what it proves.
pub struct Set {
    pub(super) tree: Tree,
    /// The directory that is the snapshot's own; known with the first file under its last name.
    pub(super) root: Option<FileId>,
    pub(super) candidates: Candidates,
    pub(super) snapshots: Vec<SnapshotId>,
    pub(super) target: Option<Fqdn>,
    pub(super) facts: Facts,
    /// To be judged when something more is known.
    pub(super) pending: BTreeSet<FileId>,
    pub(super) counts: Counts,
    pub(super) records: Vec<Record>,
    pub(super) findings: Vec<(String, String)>,
    pub(super) resolved: bool,
    /// How often a proven file was changed, renamed or taken away.
    pub(super) losses: u64,
}

/// What a set lacks, to be listed without holding the set.
pub struct Lacking {
    contents: Option<Arc<dyn Contents>>,
    proven: HashSet<u32>,
}

/// Files that have a name, by what they are.
#[derive(Default)]
pub(super) struct Counts {
    pub(super) files: u64,
    pub(super) proven: u64,
    pub(super) unproven: u64,
    pub(super) wrong: u64,
    pub(super) strangers: u64,
    /// Handles open for writing, also of files without a name.
    pub(super) writers: u32,
}

/// How far a set is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// There is no file.
    Empty,
    /// Something lacks, or is not proven, or is still being written.
    Partial,
    /// Every file of one snapshot's manifest is there and proven, nothing else is, and none is
    /// open for writing.
    Whole,
}

/// What there is to say of a set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// How far it is.
    pub state: State,
    /// Which snapshot it is, once that is fixed.
    pub snapshot: Option<SnapshotId>,
    /// Files in place and proven.
    pub proven: u64,
    /// Files that the snapshot has; none until that is known.
    pub total: Option<u64>,
    /// Entries of its manifest that are not shown, and so can never be in place.
    pub unshown: u64,
    /// Files that wait for stored bytes to be read. While there are some, more may become proven
    /// without anybody doing anything.
    pub unproven: u64,
    /// Files under a name of the backup with other bytes.
    pub wrong: u64,
    /// Files under names that the backup does not have.
    pub strangers: u64,
    /// Handles open for writing. The kernel tells of a close a moment after `close` returned.
    pub open_for_writing: u32,
}

/// What a name is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EntryKind {
    /// A directory.
    Directory,
    /// A file, of so many bytes.
    File {
        /// Bytes, so far.
        size: u64,
    },
}

/// A name of a set, for a listing or a `stat`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Its number.
    pub id: FileId,
    /// Its directory's number; its own at the top.
    pub parent: FileId,
    /// Its name; empty at the top.
    pub name: Arc<str>,
    /// What it is.
    pub kind: EntryKind,
    /// Last change as a tool set it: seconds since 1970, and nanoseconds.
    pub modified: (i64, u32),
}

impl Set {
    /// The set's own directory.
    pub const TOP: FileId = TOP;

    /// An empty set, that can become any of `snapshots`. Where two have the very same files, the
    /// first one counts, unless a directory's name or `target` speaks for another.
    pub fn new(target: Option<Fqdn>, snapshots: Vec<SnapshotId>) -> Self {
        Self {
            tree: Tree::new(),
            root: None,
            candidates: Candidates::new(snapshots.clone()),
            snapshots,
            target,
            facts: Facts::default(),
            pending: BTreeSet::new(),
            counts: Counts::default(),
            records: Vec::new(),
            findings: Vec::new(),
            resolved: false,
            losses: 0,
        }
    }

    /// The set that a journal tells of. Its files are judged by [`Set::pending`], as if they had
    /// just been closed.
    pub fn recall(
        target: Option<Fqdn>,
        snapshots: Vec<SnapshotId>,
        records: impl IntoIterator<Item = Record>,
    ) -> Self {
        let mut set = Self::new(target, snapshots);
        for record in records {
            match record {
                Record::Of(id) => {
                    set.candidates = Candidates::new(set.snapshots.clone());
                    // A backup that is gone leaves nothing to be restored from.
                    if !set.candidates.narrow(|candidate| *candidate == id) {
                        return Self::new(set.target, set.snapshots);
                    }
                }
                Record::Placed { path, content } => set.replay(&path, &content),
                Record::Gone { path } => {
                    if let Some(id) = set.find(&path) {
                        set.drop_name(id);
                    }
                }
            }
        }
        set.records.clear();
        set
    }

    /// How far it is.
    pub fn report(&self) -> Report {
        let one = self.candidates.one();
        let count = |files: &Arc<dyn Contents>| {
            u64::try_from(files.len()).unwrap_or(u64::MAX).saturating_add(files.unshown())
        };
        let total = one.map(|(_, files)| count(files));
        let whole = total == Some(self.counts.proven)
            && self.counts.strangers == 0
            && self.counts.writers == 0;
        Report {
            state: match (self.counts.files, whole) {
                (0, _) => State::Empty,
                (_, true) => State::Whole,
                (_, false) => State::Partial,
            },
            snapshot: self.candidates.only().filter(|_| self.counts.files > 0).cloned(),
            proven: self.counts.proven,
            total,
            unshown: one.map_or(0, |(_, files)| files.unshown()),
            unproven: self.counts.unproven,
            wrong: self.counts.wrong,
            strangers: self.counts.strangers,
            open_for_writing: self.counts.writers,
        }
    }

    /// How often a file that was proven was changed, renamed or taken away. As long as this stays,
    /// a set that is whole is the one that it was when it was last whole: directories that come and
    /// go, temporary names, and files that are opened and closed again change nothing.
    pub fn losses(&self) -> u64 {
        self.losses
    }

    /// It bears a name that a tool will change or take away, and is no part of what is copied.
    pub fn is_temporary(&self, id: FileId) -> bool {
        self.tree.file(id).is_ok_and(|file| file.standing == Standing::Temporary)
    }

    /// There is nothing at all: no name, and no file open.
    pub fn is_blank(&self) -> bool {
        self.tree.len() == 1
    }

    /// The paths that a partial set lacks, below the snapshot's directory, `limit` at most. Until
    /// it is known which snapshot it is, that is its manifest.
    pub fn missing(&self, limit: usize) -> Vec<String> {
        self.lacking().paths(limit)
    }

    /// The same, to be listed later: there may be a hundred thousand.
    pub fn lacking(&self) -> Lacking {
        let proven = |id: FileId| match self.tree.file(id).ok()?.standing {
            Standing::Proven(place) => Some(place),
            _ => None,
        };
        Lacking {
            contents: self.candidates.one().map(|(_, contents)| Arc::clone(contents)),
            proven: self.tree.files_below(TOP).into_iter().filter_map(proven).collect(),
        }
    }

    /// The paths below `restore/NODE` that are in no backup that fits, or have other bytes than
    /// its, `limit` at most.
    pub fn out_of_place(&self, limit: usize) -> Vec<String> {
        if self.counts.wrong == 0 && self.counts.strangers == 0 {
            return Vec::new();
        }
        let bad = |id: &FileId| {
            let file = self.tree.file(*id);
            file.is_ok_and(|f| matches!(f.standing, Standing::Wrong | Standing::Stranger))
        };
        let files = self.tree.files_below(TOP).into_iter().filter(bad).take(limit);
        files.map(|id| self.tree.path(id)).collect()
    }

    /// What stands at a path below `restore/NODE`.
    pub fn find(&self, path: &str) -> Option<FileId> {
        self.descend(TOP, path)
    }

    fn descend(&self, from: FileId, path: &str) -> Option<FileId> {
        path.split('/').try_fold(from, |at, name| self.tree.child(at, name).ok().flatten())
    }

    /// What a name of a directory is.
    pub fn lookup(&self, parent: FileId, name: &str) -> Result<Option<Entry>, Refusal> {
        self.tree.child(parent, name)?.map(|id| self.entry(id)).transpose()
    }

    /// One name.
    pub fn entry(&self, id: FileId) -> Result<Entry, Refusal> {
        let node = self.tree.node(id)?;
        let kind = match &node.body {
            Body::Directory(_) => EntryKind::Directory,
            Body::File(file) => EntryKind::File {
                size: match (&file.draft, &file.held) {
                    (Some(draft), _) => draft.size(),
                    (None, Held::Nothing) => 0,
                    (None, Held::Known(content)) => content.size,
                    (None, Held::Placed(place)) => {
                        self.content_at(*place).map_or(0, |content| content.size)
                    }
                },
            },
        };
        let (parent, name) = (node.parent, Arc::clone(&node.name));
        Ok(Entry { id, parent, name, kind, modified: node.modified })
    }

    /// The names of a directory, sorted.
    pub fn list(&self, id: FileId) -> Result<Vec<Entry>, Refusal> {
        self.tree.children(id)?.values().map(|child| self.entry(*child)).collect()
    }

    /// The stored object to read this file's bytes from, once it is known which.
    pub fn object(&self, id: FileId) -> Option<ObjectKey> {
        let file = self.tree.file(id).ok()?;
        if let Some(draft) = &file.draft
            && file.dirty
        {
            return draft.object().cloned();
        }
        self.content(file.held.as_known()).and_then(|content| content.object)
    }

    /// The path below `restore/NODE`, for a message.
    pub fn path(&self, id: FileId) -> String {
        self.tree.path(id)
    }

    /// Tells what was found out. Then ask again.
    pub fn learn(&mut self, fact: Fact) {
        match fact {
            Fact::Contents(id, contents) => {
                self.candidates.attach(&id, contents);
                self.notice_resolution();
            }
            Fact::Manifest { size, md5, of } => self.facts.add_manifest(size, md5, of),
            Fact::Digest { key, len, md5 } => self.facts.add_digest(key, len, md5),
            Fact::Zeros { key, start, end, zeros } => self.facts.add_zeros(key, start, end, zeros),
        }
    }

    /// What must be found out for files that were closed or renamed and could not be judged then.
    /// None when all are judged.
    pub fn pending(&mut self) -> Option<Need> {
        self.settle()
    }

    /// What has changed of the files in place since this was last asked, to be written down.
    pub fn take_records(&mut self) -> Vec<Record> {
        std::mem::take(&mut self.records)
    }

    /// Files that turned out wrong after the call that brought them had been answered: path below
    /// `restore/NODE`, and why.
    pub fn take_findings(&mut self) -> Vec<(String, String)> {
        std::mem::take(&mut self.findings)
    }

    pub(super) fn wanted_at(&self, place: u32) -> Option<Wanted> {
        let (_, contents) = self.candidates.one()?;
        let (_, wanted) = contents.at(usize::try_from(place).ok()?)?;
        Some(wanted)
    }

    pub(super) fn content_at(&self, place: u32) -> Option<Content> {
        let wanted = self.wanted_at(place)?;
        Some(Content { size: wanted.size, md5: wanted.md5, object: Some(wanted.key) })
    }

    pub(super) fn content(&self, held: Result<&Content, u32>) -> Option<Content> {
        match held {
            Ok(content) => Some(content.clone()),
            Err(place) => self.content_at(place),
        }
    }
}

impl Lacking {
    /// The paths below the snapshot's directory, `limit` at most; its manifest as long as it is not
    /// known which snapshot it is.
    pub fn paths(&self, limit: usize) -> Vec<String> {
        let Some(contents) = &self.contents else { return vec![MANIFEST.to_owned()] };
        let is_proven =
            |place: usize| u32::try_from(place).is_ok_and(|place| self.proven.contains(&place));
        (0..contents.len())
            .filter(|place| !is_proven(*place))
            .filter_map(|place| contents.at(place))
            .map(|(path, _)| path)
            .take(limit)
            .collect()
    }
}

/// A place that no snapshot has.
const NOWHERE: u32 = u32::MAX;

impl Held {
    /// What is known of the bytes, or the place in the snapshot that says it.
    pub(super) fn as_known(&self) -> Result<&Content, u32> {
        match self {
            Self::Nothing => Err(NOWHERE),
            Self::Known(content) => Ok(content),
            Self::Placed(place) => Err(*place),
        }
    }
}
