//! The sets that are being copied, and what is open of them.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::model::BackupName;
use crate::model::Fqdn;
use crate::model::JobId;
use crate::model::JobStatus;
use crate::model::UnixSeconds;
use crate::staging::FileId;
use crate::staging::Set;
use crate::view::Area;
use crate::view::StagedId;

use super::Caller;
use super::FsError;
use super::StagedHandle;
use super::StagedParent;
use super::copies::{Stage, stage};
use super::journal::Line;

/// What stands directly in `restore/`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Top {
    /// `restore/NODE`, which is always there.
    Node(Fqdn),
    /// `restore/NAME`, made by `cp -r nodes/NODE/NAME restore/`: for the node whose it is.
    Backup(BackupName),
}

impl Top {
    pub(super) fn name(&self) -> &str {
        match self {
            Self::Node(node) => node.as_str(),
            Self::Backup(name) => name.as_str(),
        }
    }
}

impl fmt::Display for Top {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "restore/{}", self.name())
    }
}

/// What is to be done to a set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Intent {
    /// Files are made or written.
    Write,
    /// Files are taken away.
    Remove,
}

/// A set, and what has come of it.
pub(super) struct Staged {
    /// Never used twice while the mount lives.
    pub(super) number: u32,
    pub(super) set: Set,
    /// Who began it.
    pub(super) uid: u32,
    pub(super) gid: u32,
    /// Who changed it last.
    pub(super) pid: u32,
    pub(super) program: String,
    pub(super) modified: UnixSeconds,
    /// Why its restore must be accepted in any case.
    pub(super) hold: Vec<String>,
    /// The job that it began, as long as the set is what the job was given.
    pub(super) job: Option<JobId>,
    /// That job was told that the set is written to.
    pub(super) is_touched: bool,
    /// A mount that has died may have told that job that the set is written to, and nothing since:
    /// it is told what has become of it.
    pub(super) is_untold: bool,
    /// How much of it was lost when a job was last begun for it, or asked for in vain: as long as
    /// that is so, nothing has been done to it that asks for another.
    pub(super) answered: Option<u64>,
    /// How often somebody did something to it.
    pub(super) changes: u64,
    /// A task sees to it that the job hears what has become of it.
    pub(super) is_settling: bool,
    /// Held while the job is told something, so that what is told last is true.
    pub(super) telling: Arc<tokio::sync::Mutex<()>>,
    /// A job is being made for it.
    pub(super) is_beginning: bool,
    /// A task finds out what it needs to know.
    pub(super) is_proving: bool,
    /// What went wrong that no call could say.
    pub(super) trouble: Vec<String>,
}

/// An open file.
#[derive(Debug, Clone, Copy)]
pub(super) struct Open {
    pub(super) set: u32,
    pub(super) file: FileId,
    pub(super) write: bool,
}

/// All sets.
#[derive(Default)]
pub(super) struct Desk {
    sets: BTreeMap<Top, Staged>,
    tops: HashMap<u32, Top>,
    last_set: u32,
    open: HashMap<u64, Open>,
    last_open: u64,
    /// The last job of a node whose receipt was cleared.
    pub(super) cleared: BTreeMap<Fqdn, JobId>,
    /// Jobs that were told to take back what they did before they had stopped a node. They may take
    /// a while for it, and change nothing of a set any more.
    pub(super) taken_back: BTreeSet<JobId>,
    /// The last job of a node that a removal took back: the `rmdir` that ends an `rm -r` is no wish
    /// to see no more of it.
    pub(super) removed: BTreeMap<Fqdn, JobId>,
    /// To be written down.
    pub(super) outbox: Vec<(Top, Line)>,
}

/// What is remembered of troubles.
const MOST_TROUBLES: usize = 20;

impl Staged {
    pub(super) fn id(&self, file: FileId) -> StagedId {
        StagedId(u64::from(self.number) << 32 | u64::from(file.0))
    }

    pub(super) fn add_trouble(&mut self, text: String) {
        if self.trouble.len() < MOST_TROUBLES && !self.trouble.contains(&text) {
            self.trouble.push(text);
        }
    }

    /// Whether it is another set than the one that was last answered with a job. Directories,
    /// temporary names and files that are opened and closed again do not make it one.
    pub(super) fn is_new(&self) -> bool {
        self.answered != Some(self.set.losses())
    }

    /// Whether its job is still to hear whether it is whole.
    pub(super) fn must_tell(&self) -> bool {
        (self.is_touched || self.is_untold) && !self.is_settling
    }

    /// Somebody has done something to it.
    pub(super) fn note_change(&mut self, caller: Caller, now: UnixSeconds) {
        self.changes = self.changes.wrapping_add(1);
        self.modified = now;
        if self.pid != caller.pid {
            self.pid = caller.pid;
            self.program = caller.program();
        }
    }

    /// The node that it is for, once that is known.
    pub(super) fn target(&self, top: &Top) -> Option<Fqdn> {
        match top {
            Top::Node(node) => Some(node.clone()),
            Top::Backup(_) => self.set.report().snapshot.map(|snapshot| snapshot.node),
        }
    }
}

impl Desk {
    /// Whether no job goes on with the set as if it were not changed.
    pub(super) fn is_ready(&self, jobs: &[JobStatus], top: &Top, intent: Intent) -> bool {
        let Some(staged) = self.get(top) else { return false };
        let is_told = staged.is_touched && intent == Intent::Write;
        let is_over = |job: &JobId| self.stage_of(jobs, job) == Stage::Ended;
        !staged.is_beginning && (is_told || staged.job.as_ref().is_none_or(is_over))
    }

    /// How far a job is: one that was told to take everything back is over for its set.
    pub(super) fn stage_of(&self, jobs: &[JobStatus], job: &JobId) -> Stage {
        if self.taken_back.contains(job) { Stage::Ended } else { stage(jobs, job) }
    }

    /// A removal in a directory has told a job to take back what it did.
    pub(super) fn take_back(&mut self, top: &Top, job: JobId) {
        if let Top::Node(node) = top {
            self.removed.insert(node.clone(), job.clone());
        }
        self.taken_back.insert(job);
    }

    /// Where a directory is.
    pub(super) fn place(&self, parent: &StagedParent) -> Result<(Top, FileId), FsError> {
        match parent {
            StagedParent::Area(area) | StagedParent::Node(area @ Area::Import, _) => {
                Err(no_set(*area))
            }
            StagedParent::Node(Area::Restore, node) => Ok((Top::Node(node.clone()), Set::TOP)),
            StagedParent::Inside(id) => {
                let (staged, file) = self.split(*id)?;
                Ok((staged.clone(), file))
            }
        }
    }

    /// The set and the file that an id stands for.
    pub(super) fn split(&self, id: StagedId) -> Result<(&Top, FileId), FsError> {
        let number = u32::try_from(id.0 >> 32).unwrap_or(0);
        let file = u32::try_from(id.0 & u64::from(u32::MAX)).unwrap_or(0);
        let top = self.tops.get(&number).ok_or(FsError::NotFound)?;
        Ok((top, FileId(file)))
    }

    pub(super) fn get(&self, top: &Top) -> Option<&Staged> {
        self.sets.get(top)
    }

    pub(super) fn get_mut(&mut self, top: &Top) -> Result<&mut Staged, FsError> {
        self.sets.get_mut(top).ok_or(FsError::NotFound)
    }

    pub(super) fn by_number(&mut self, number: u32) -> Result<(Top, &mut Staged), FsError> {
        let top = self.tops.get(&number).ok_or(FsError::NotFound)?;
        let staged = self.sets.get_mut(top).ok_or(FsError::NotFound)?;
        Ok((top.clone(), staged))
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&Top, &Staged)> {
        self.sets.iter()
    }

    /// Puts a set in its place.
    pub(super) fn add(&mut self, top: &Top, set: Set, (uid, gid): (u32, u32), now: UnixSeconds) {
        self.last_set = self.last_set.wrapping_add(1).max(1);
        self.tops.insert(self.last_set, top.clone());
        let staged = Staged {
            number: self.last_set,
            set,
            uid,
            gid,
            pid: 0,
            program: String::new(),
            modified: now,
            hold: Vec::new(),
            job: None,
            is_touched: false,
            is_untold: false,
            answered: None,
            changes: 0,
            is_settling: false,
            telling: Arc::default(),
            is_beginning: false,
            is_proving: false,
            trouble: Vec::new(),
        };
        self.sets.insert(top.clone(), staged);
        self.outbox.push((top.clone(), Line::Began { version: Line::VERSION, uid, gid }));
    }

    /// Takes a set away with all its names.
    pub(super) fn remove(&mut self, top: &Top) {
        if let Some(staged) = self.sets.remove(top) {
            self.tops.remove(&staged.number);
            self.forget(top);
        }
    }

    /// Leaves nothing written down but what was cleared away.
    pub(super) fn forget(&mut self, top: &Top) {
        self.outbox.push((top.clone(), Line::Forgotten));
        if let Top::Node(node) = top
            && let Some(job) = self.cleared.get(node)
        {
            self.outbox.push((top.clone(), Line::Cleared(job.clone())));
        }
    }

    pub(super) fn open(&mut self, open: Open) -> StagedHandle {
        self.last_open = self.last_open.wrapping_add(1);
        self.open.insert(self.last_open, open);
        StagedHandle(self.last_open)
    }

    pub(super) fn opened(&self, handle: StagedHandle) -> Result<Open, FsError> {
        self.open.get(&handle.0).copied().ok_or(FsError::NotFound)
    }

    pub(super) fn close(&mut self, handle: StagedHandle) -> Option<Open> {
        self.open.remove(&handle.0)
    }
}

fn no_set(area: Area) -> FsError {
    FsError::NotPermitted(match area {
        Area::Restore => {
            "only a node's snapshot is copied here: cp -r backups/NAME/NODE restore/".to_owned()
        }
        Area::Import => "adding tables to a live cluster comes later: restore the node's snapshot \
                         with cp -r backups/NAME/NODE restore/"
            .to_owned(),
    })
}
