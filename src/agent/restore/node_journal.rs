//! What a restore did on this node, line by line: what an agent that comes later goes on from.
//!
//! JSON lines, each durable before what it announces begins. The first names version and job. A
//! last line that is cut off was never acted upon: it is dropped.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::disk::{Disk, read_own};
use super::error::RestoreError;
use super::process::Process;
use crate::model::{Clock, JobId, UnixSeconds};

/// The version that this program writes. Entries may be added, never renamed or given another
/// meaning.
pub(super) const JOURNAL_VERSION: u32 = 1;

/// A step on the node. The names stand in journals and never change.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NodeStep {
    /// The backup's files come to the node, beside its data.
    Stage,
    /// From here on Cassandra refuses to start. One that runs is not touched.
    Fence,
    /// `nodetool drain`, if Cassandra runs and answers.
    Drain,
    /// Cassandra ends.
    Stop,
    /// The data directories are closed to all but root.
    Close,
    /// What was there is renamed away.
    SetAside,
    /// What was staged is renamed into its place.
    Place,
    /// Undo: what was set aside is renamed back.
    Return,
    /// The data directories are given back and the fence is taken away.
    Open,
    /// Cassandra starts, and serves.
    Start,
    /// What is not needed any more is removed.
    Clean,
}

/// What a restore has reached on its way. Each is a point at which it can stay.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(rename_all = "snake_case")]
pub enum Reached {
    /// Nothing yet, or part of the stage.
    #[default]
    Nothing,
    /// All files are on the node; Cassandra runs as before.
    Staged,
    /// Cassandra is stopped and fenced; its data is untouched.
    Stopped,
    /// The data is swapped and durable; Cassandra is stopped and fenced.
    Placed,
    /// Cassandra serves what was restored.
    Started,
}

impl Reached {
    /// The steps from the milestone before to this one.
    pub(crate) fn steps(self) -> &'static [NodeStep] {
        match self {
            Self::Nothing => &[],
            Self::Staged => &[NodeStep::Stage],
            Self::Stopped => &[NodeStep::Fence, NodeStep::Drain, NodeStep::Stop, NodeStep::Close],
            Self::Placed => &[NodeStep::SetAside, NodeStep::Place],
            Self::Started => &[NodeStep::Open, NodeStep::Start, NodeStep::Clean],
        }
    }

    /// All milestones after `Nothing`, in order.
    pub(crate) const ALL: [Self; 4] = [Self::Staged, Self::Stopped, Self::Placed, Self::Started];
}

/// The steps of an undo once data was touched.
pub(crate) const WAY_BACK: [NodeStep; 8] = [
    NodeStep::Fence,
    NodeStep::Drain,
    NodeStep::Stop,
    NodeStep::Close,
    NodeStep::Return,
    NodeStep::Open,
    NodeStep::Start,
    NodeStep::Clean,
];

/// How a restore ended on this node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Ending {
    /// As asked for.
    Done,
    /// Taken back after Cassandra's data was touched.
    Undone,
    /// Taken back before.
    Aborted,
}

/// What stood in one directory before the restore, as far as it concerns the restore.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Originals {
    /// The directory.
    pub directory: PathBuf,
    /// Names in it.
    pub names: BTreeSet<String>,
}

/// A line of the journal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Entry {
    /// The first line.
    Journal {
        /// [`JOURNAL_VERSION`].
        version: u32,
        /// The job.
        job: JobId,
    },
    /// Told to go on until there.
    Asked(Reached),
    /// Told to take everything back.
    TurnedBack,
    /// A step begins, for the first time or again.
    Began(NodeStep),
    /// A step is done and durable.
    Ended(NodeStep),
    /// A step failed.
    Failed {
        /// Which.
        step: NodeStep,
        /// Why, in words.
        why: String,
    },
    /// Whether Cassandra ran when the restore came to it.
    CassandraRan(bool),
    /// This process is about to be drained: if it still runs later, it takes no clients.
    Draining(Process),
    /// The service manager is going to be told not to start this unit.
    Barred(String),
    /// What is about to be set aside.
    Originals(Vec<Originals>),
    /// A stop failed, and the fence was taken away: Cassandra may start.
    Unfenced,
    /// A failed stop was taken back, and Cassandra is as it was: its data was not touched, the stage
    /// is still there. Why it failed stands before this.
    LeftAlone,
    /// The end.
    Finished(Ending),
}

#[derive(Debug, Serialize, Deserialize)]
struct Line {
    at: UnixSeconds,
    entry: Entry,
}

/// What a journal amounts to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Story {
    /// The job.
    pub job: JobId,
    /// How far it was told to go.
    pub asked: Reached,
    /// Whether it was told to take everything back.
    pub turned_back: bool,
    /// Steps that are done, on the way it is on.
    pub done: BTreeSet<NodeStep>,
    /// The step that began last, unless it ended.
    pub at: Option<NodeStep>,
    /// Why that step failed.
    pub error: Option<String>,
    /// Whether Cassandra ran before.
    pub cassandra_ran: Option<bool>,
    /// The process that was, or is being, drained, unless it has been ended since.
    pub drained: Option<Process>,
    /// The unit that the service manager was, or is going to be, told not to start.
    pub barred: Option<String>,
    /// What stood in the directories before; none if nothing was set aside.
    pub originals: Option<Vec<Originals>>,
    /// Steps that were done and how it had ended, when it was told to take everything back.
    pub before: Option<(BTreeSet<NodeStep>, Option<Ending>)>,
    /// Whether a fence was begun and not taken away.
    pub fenced: bool,
    /// How it ended.
    pub ending: Option<Ending>,
    /// When the last line was written.
    pub last: UnixSeconds,
}

impl Story {
    fn new(job: JobId, at: UnixSeconds) -> Self {
        Self {
            job,
            asked: Reached::Nothing,
            turned_back: false,
            done: BTreeSet::new(),
            at: None,
            error: None,
            cassandra_ran: None,
            drained: None,
            barred: None,
            originals: None,
            before: None,
            fenced: false,
            ending: None,
            last: at,
        }
    }

    fn tell(&mut self, at: UnixSeconds, entry: &Entry) {
        self.last = at;
        match entry {
            Entry::Journal { .. } => {}
            Entry::Asked(until) => {
                self.asked = self.asked.max(*until);
                self.error = None;
            }
            Entry::TurnedBack => {
                self.turned_back = true;
                self.before = Some((std::mem::take(&mut self.done), self.ending));
                (self.at, self.error, self.ending) = (None, None, None);
            }
            Entry::Began(step) => {
                (self.at, self.error) = (Some(*step), None);
                self.fenced |= *step == NodeStep::Fence;
            }
            Entry::Ended(step) => {
                self.done.insert(*step);
                self.at = None;
                match step {
                    NodeStep::Open => (self.fenced, self.barred) = (false, None),
                    NodeStep::Stop | NodeStep::Start => self.drained = None,
                    _ => {}
                }
            }
            Entry::Failed { step, why } => (self.at, self.error) = (Some(*step), Some(why.clone())),
            Entry::CassandraRan(ran) => self.cassandra_ran = self.cassandra_ran.or(Some(*ran)),
            Entry::Draining(process) => self.drained = Some(process.clone()),
            Entry::Barred(unit) => self.barred = Some(unit.clone()),
            Entry::Originals(originals) => self.originals = Some(originals.clone()),
            Entry::Unfenced => {
                self.done.retain(|step| !Reached::Stopped.steps().contains(step));
                (self.fenced, self.barred) = (false, None);
            }
            Entry::LeftAlone => {
                if let Some(before) = self.before.take() {
                    self.turned_back = false;
                    (self.done, self.ending) = before;
                } else {
                    self.done.retain(|step| *step == NodeStep::Stage);
                }
                (self.at, self.drained) = (None, None);
                (self.fenced, self.barred) = (false, None);
            }
            Entry::Finished(ending) => self.ending = Some(*ending),
        }
    }

    /// The last milestone of which all steps are done; none on the way back.
    pub(super) fn reached(&self) -> Reached {
        let whole =
            |milestone: &Reached| milestone.steps().iter().all(|step| self.done.contains(step));
        let all = Reached::ALL.into_iter().take_while(whole);
        if self.turned_back { Reached::Nothing } else { all.last().unwrap_or_default() }
    }

    /// Whether any of Cassandra's data may have been moved.
    pub(super) fn touched_data(&self) -> bool {
        self.originals.is_some()
    }

    /// Whether, when it was told to take everything back, the restored data lay whole in its place.
    pub(super) fn was_whole(&self) -> bool {
        self.before.as_ref().is_some_and(|(done, _)| done.contains(&NodeStep::Place))
            && !self.done.contains(&NodeStep::Return)
            && self.at != Some(NodeStep::Return)
    }

    /// Whether Cassandra was asked to stop serving, and that has not been taken back.
    pub(super) fn touched_cassandra(&self) -> bool {
        let after_stage = |step: &NodeStep| *step != NodeStep::Stage;
        self.touched_data()
            || self.done.iter().any(after_stage)
            || self.at.as_ref().is_some_and(after_stage)
    }

    /// Reads a journal, a cut off last line left out; none if there is none.
    pub(super) fn read(path: &Path) -> Result<Option<Self>, RestoreError> {
        Ok(parse(path)?.map(|(story, _)| story))
    }
}

/// The story, and how many bytes of the file tell it.
fn parse(path: &Path) -> Result<Option<(Story, u64)>, RestoreError> {
    let bytes = match read_own(path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(RestoreError::disk("read", path)(error)),
    };
    let whole = bytes.iter().rposition(|byte| *byte == b'\n').map_or(0, |last| last + 1);
    let mut story: Option<Story> = None;
    for text in bytes[..whole].split(|byte| *byte == b'\n').filter(|text| !text.is_empty()) {
        let line: Line = serde_json::from_slice(text).map_err(|_garbled| unreadable(path))?;
        match (&mut story, &line.entry) {
            (None, Entry::Journal { version: JOURNAL_VERSION, job }) => {
                story = Some(Story::new(job.clone(), line.at));
            }
            (None, _) => return Err(unreadable(path)),
            (Some(story), entry) => story.tell(line.at, entry),
        }
    }
    Ok(story.map(|story| (story, whole as u64)))
}

fn unreadable(path: &Path) -> RestoreError {
    RestoreError::Unexpected {
        what: "a journal that this program cannot read",
        path: path.to_owned(),
        remedy:
            "go on with the medusafs that began this restore; if the file is damaged, \"aside\" \
                 beside it holds what the node had"
                .to_owned(),
    }
}

/// A journal that is written to.
pub(super) struct Journal {
    path: PathBuf,
    disk: Arc<dyn Disk>,
    clock: Arc<dyn Clock>,
    story: Story,
    /// How many bytes of the file tell the story.
    whole: u64,
    /// Whether more than these may be in the file: a line that failed, of which half may be there.
    is_torn: bool,
}

impl Journal {
    /// Goes on with the journal at `path`, or begins it.
    pub(super) fn open(
        path: PathBuf,
        job: &JobId,
        disk: Arc<dyn Disk>,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, RestoreError> {
        if let Some((story, whole)) = parse(&path)? {
            let is_torn = fs::metadata(&path).is_ok_and(|found| found.len() > whole);
            let mut journal = Self { path, disk, clock, story, whole, is_torn };
            journal.mend()?;
            return Ok(journal);
        }
        disk.remove_file(&path).map_err(RestoreError::disk("remove", &path))?;
        let story = Story::new(job.clone(), clock.now());
        let mut journal = Self { path, disk, clock, story, whole: 0, is_torn: false };
        journal.write(Entry::Journal { version: JOURNAL_VERSION, job: job.clone() })?;
        if let Some(folder) = journal.path.parent() {
            journal.disk.sync_dir(folder).map_err(RestoreError::disk("sync", folder))?;
        }
        Ok(journal)
    }

    /// What has been written so far amounts to this.
    pub(super) fn story(&self) -> &Story {
        &self.story
    }

    /// Adds a line and makes it last.
    pub(super) fn write(&mut self, entry: Entry) -> Result<(), RestoreError> {
        let line = Line { at: self.clock.now(), entry };
        let mut bytes = serde_json::to_vec(&line).map_err(|e| RestoreError::Bug(e.to_string()))?;
        bytes.push(b'\n');
        self.mend()?;
        self.is_torn = true;
        self.disk.append(&self.path, &bytes).map_err(RestoreError::disk("write", &self.path))?;
        self.is_torn = false;
        self.whole = self.whole.saturating_add(bytes.len() as u64);
        self.story.tell(line.at, &line.entry);
        Ok(())
    }

    /// Cuts off what a line left that could not be written whole: on a full disk the next one would
    /// be glued to it, and no reader could tell them apart.
    fn mend(&mut self) -> Result<(), RestoreError> {
        let is_longer = || fs::metadata(&self.path).is_ok_and(|found| found.len() > self.whole);
        if self.is_torn && is_longer() {
            let failed = RestoreError::disk("mend", &self.path);
            self.disk.truncate(&self.path, self.whole).map_err(failed)?;
        }
        self.is_torn = false;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::disk::LocalDisk;
    use super::*;
    use crate::model::HandClock;

    fn job() -> JobId {
        JobId::parse("20261122T161400Z-restore-nightly").unwrap()
    }

    fn journal(path: &Path) -> Journal {
        let clock = Arc::new(HandClock::at(UnixSeconds(1_795_364_040)));
        Journal::open(path.to_owned(), &job(), Arc::new(LocalDisk), clock).unwrap()
    }

    #[test]
    fn a_journal_reads_back_as_what_was_written() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("journal");
        let mut first = journal(&path);
        let process = Process { pid: 812, uid: 107, started: 4711, boot: "a".to_owned() };
        for entry in [
            Entry::Asked(Reached::Started),
            Entry::Began(NodeStep::Stage),
            Entry::Ended(NodeStep::Stage),
            Entry::Began(NodeStep::Drain),
            Entry::Draining(process.clone()),
        ] {
            first.write(entry).unwrap();
        }
        let story = Story::read(&path).unwrap().unwrap();
        assert_eq!(&story, first.story());
        assert_eq!((story.reached(), story.at), (Reached::Staged, Some(NodeStep::Drain)));
        assert!(story.touched_cassandra() && !story.touched_data());
        assert_eq!(story.drained, Some(process));
    }

    #[test]
    fn a_cut_off_last_line_is_dropped_and_the_next_one_stands_alone() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("journal");
        journal(&path).write(Entry::Ended(NodeStep::Stage)).unwrap();
        let whole = fs::read(&path).unwrap();
        fs::write(&path, [&whole[..], b"{\"at\":17,\"ent"].concat()).unwrap();
        let mut again = journal(&path);
        assert_eq!(again.story().reached(), Reached::Staged);
        again.write(Entry::Began(NodeStep::Drain)).unwrap();
        assert_eq!(Story::read(&path).unwrap().unwrap().at, Some(NodeStep::Drain));
    }

    #[test]
    fn a_journal_whose_first_line_was_cut_off_begins_anew() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("journal");
        fs::write(&path, "{\"at\":1").unwrap();
        assert_eq!(Story::read(&path).unwrap(), None);
        journal(&path);
        assert!(Story::read(&path).unwrap().is_some());
    }

    #[test]
    fn a_journal_of_another_version_is_refused() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("journal");
        fs::write(&path, "{\"at\":1,\"entry\":{\"journal\":{\"version\":9,\"job\":\"a\"}}}\n")
            .unwrap();
        assert!(Story::read(&path).is_err());
    }

    #[test]
    fn turning_back_forgets_the_way_forward_but_not_what_was_set_aside() {
        let home = tempfile::tempdir().unwrap();
        let mut journal = journal(&home.path().join("journal"));
        for entry in [
            Entry::Ended(NodeStep::Stop),
            Entry::Originals(Vec::new()),
            Entry::Finished(Ending::Done),
            Entry::TurnedBack,
        ] {
            journal.write(entry).unwrap();
        }
        let story = journal.story();
        assert!(story.done.is_empty() && story.touched_data() && story.ending.is_none());
    }
}
