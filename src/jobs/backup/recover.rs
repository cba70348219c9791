//! What is done about a backup whose process died, or that a person resumes.
//!
//! It is not gone on with: its snapshots are of a moment that has passed, and its agents have
//! already cleared what they could when their lines broke. It is brought to an end: snapshots that
//! are left are cleared, unpublished bytes withdrawn, and `error` says what there is.

use std::collections::{BTreeMap, BTreeSet};

use crate::agent::protocol::SnapshotTag;
use crate::cluster::AgentLine;
use crate::model::{Fqdn, JobState, Phase};

use super::lease::{IfBusy, take_cluster};
use super::run::not_in_it;
use super::settle::{Settled, is_in_index, settle};
use super::snapshot::clear;
use super::withdraw::withdraw;
use super::{BackupRequest, Context, JobError, Record, survey};

/// Brings a dead or failed backup to its end.
pub(in crate::jobs) async fn recover(
    cx: &Context,
    request: &BackupRequest,
) -> Result<(JobState, String), JobError> {
    let journaled = Journaled::read(cx.journal.lock().records());
    let phase = cx.board.status().phase;
    let mut found = Vec::new();
    if journaled.snapshots.is_empty() {
        let again = again(cx, request).await;
        found.push(format!("nothing had been begun on any node: {again}"));
        return journaled.broken_off(cx, phase, found);
    }
    cx.board.set_nodes(journaled.snapshots.iter().cloned());
    cx.board.moves_to(JobState::Running, Phase::Clear);
    let agents = reach(cx, &journaled.open(), &mut found).await;
    // The tag is this job's own, so that no lease is needed.
    let tag = SnapshotTag::of(cx.board.folder().id())
        .map_err(|error| JobError::Host(error.to_string()))?;
    clear(cx, &among(&agents, &journaled.uncleared), &tag).await;
    let settled = if journaled.unpublished().is_empty() {
        Settled { published: journaled.published.clone(), ..Settled::default() }
    } else {
        let purpose = format!("recovery of backup {}", request.name);
        let lease = take_cluster(cx, &purpose, IfBusy::Wait).await?;
        let settled = settle(cx, &request.name, &agents).await;
        let unpublished = among(&agents, &journaled.unpublished());
        withdraw(cx, &unpublished, &request.name, &settled.keep()).await;
        lease.give_back(cx).await;
        settled
    };
    show(cx, &journaled, &settled);
    match journaled.came_to(&settled) {
        CameTo::All => Ok((JobState::Complete, found.join("\n"))),
        CameTo::Part => {
            if journaled.ended.is_none() {
                found.insert(0, format!("the process that did it died in its phase {phase}"));
            }
            found.extend(part_in_words(cx, request, &journaled, &settled));
            Ok((JobState::Incomplete, found.join("\n")))
        }
        CameTo::Nothing => {
            let of = request.node.as_ref().map_or("it", Fqdn::as_str);
            let again = again(cx, request).await;
            found.push(format!("nothing of {of} is in the index: {again}"));
            journaled.broken_off(cx, phase, found)
        }
        CameTo::Unknown => journaled.broken_off(cx, phase, found),
    }
}

/// The agents of the nodes that answer; why others do not is added to `found`.
async fn reach(
    cx: &Context,
    nodes: &BTreeSet<Fqdn>,
    found: &mut Vec<String>,
) -> BTreeMap<Fqdn, AgentLine> {
    let mut agents = BTreeMap::new();
    for (name, reached) in survey::reach_known(cx, nodes).await {
        match reached {
            Ok(reached) => {
                agents.insert(name, reached.agent.clone());
            }
            Err(why) => found.push(format!("{name} cannot be reached: {why}")),
        }
    }
    agents
}

fn among(agents: &BTreeMap<Fqdn, AgentLine>, nodes: &BTreeSet<Fqdn>) -> BTreeMap<Fqdn, AgentLine> {
    let some = agents.iter().filter(|(name, _)| nodes.contains(*name));
    some.map(|(name, agent)| (name.clone(), agent.clone())).collect()
}

/// Shows what became of each node. One that had failed keeps its reason.
fn show(cx: &Context, journaled: &Journaled, settled: &Settled) {
    for node in &journaled.snapshots {
        if settled.published.contains(node) {
            cx.show(node, |node| {
                node.state = JobState::Complete;
                node.error = None;
            });
        } else if settled.unknown.contains(node) {
            cx.show(node, |node| node.state = JobState::Failed);
        } else {
            cx.show(node, |node| {
                node.state = JobState::Failed;
                node.error.get_or_insert_with(|| {
                    "the backup was broken off before it was published here".to_owned()
                });
            });
        }
    }
}

/// What a backup has that is not all of it, and what it lacks.
fn part_in_words(
    cx: &Context,
    request: &BackupRequest,
    journaled: &Journaled,
    settled: &Settled,
) -> Vec<String> {
    let mut lines = journaled.lacking.clone().unwrap_or_default();
    for node in journaled.snapshots.difference(&settled.keep()) {
        let line = not_in_it(cx, node);
        if !lines.contains(&line) {
            lines.push(line);
        }
    }
    let names: Vec<_> = settled.published.iter().map(Fqdn::as_str).collect();
    let whole = format!("published, and whole: {}", names.join(", "));
    lines.push(if settled.unknown.is_empty() {
        format!("{whole}; `mkdir backups/{}/NODE` adds each other node", request.name)
    } else {
        whole
    });
    lines
}

/// How the same is asked for once more, or why that is not known.
async fn again(cx: &Context, request: &BackupRequest) -> String {
    let (store, layout, name) = (cx.store.clone(), cx.layout.clone(), request.name.clone());
    let look = move || is_in_index(&store, &layout, &name);
    let looked = cx.on_share("for the share to tell which backups it has", look).await;
    match looked.and_then(|looked| looked) {
        Ok(is_in_store) => asked_again(request, is_in_store),
        Err(error) => error.in_words(),
    }
}

/// A backup that the store has of other nodes is not removed, and lacks only this one.
fn asked_again(request: &BackupRequest, is_in_store: bool) -> String {
    let name = &request.name;
    match &request.node {
        Some(node) if is_in_store => format!("`mkdir backups/{name}/{node}` begins it again"),
        None if is_in_store => format!("`mkdir backups/{name}/NODE` adds each node that it lacks"),
        Some(node) => format!("`rmdir backups/{name}`, then `mkdir nodes/{node}/{name}`"),
        None => format!("`rmdir backups/{name}`, then `mkdir` it again"),
    }
}

/// What has come of a backup that was broken off.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum CameTo {
    /// Every node that it is for is published, and the ring stood still.
    All,
    /// Something is published.
    Part,
    /// Nothing is.
    Nothing,
    /// Nothing is known to be, and of some node it is not known.
    Unknown,
}

/// What the journal tells.
#[derive(Debug, Default)]
struct Journaled {
    /// Nodes that have or had a snapshot of ours.
    snapshots: BTreeSet<Fqdn>,
    /// Those that may still have it.
    uncleared: BTreeSet<Fqdn>,
    /// Nodes whose backup is in the index.
    published: BTreeSet<Fqdn>,
    /// Nodes whose bytes are taken back.
    withdrawn: BTreeSet<Fqdn>,
    /// What the backup lacks whatever comes of the publishing; none if it did not come so far.
    lacking: Option<Vec<String>>,
    /// As what it ended when it first came to an end, and why; none if that is still to come.
    ended: Option<(JobState, String)>,
}

impl Journaled {
    fn read(records: &[Record]) -> Self {
        let mut this = Self::default();
        let mut processes = 0;
        for record in records {
            match record {
                Record::Taken { .. } => processes += 1,
                Record::SnapshotBegins { node, .. } => {
                    this.snapshots.insert(node.clone());
                    this.uncleared.insert(node.clone());
                }
                Record::SnapshotCleared { node } => {
                    this.uncleared.remove(node);
                }
                Record::Published { node } => {
                    this.published.insert(node.clone());
                }
                Record::Withdrawn { node } => {
                    this.withdrawn.insert(node.clone());
                }
                Record::Lacking { what } => this.lacking = Some(what.clone()),
                Record::Ended { state, why } => {
                    // Of one that died the first line tells it. The others say what could not be
                    // done about it then.
                    let lines = if processes > 1 { 1 } else { usize::MAX };
                    let why = || why.lines().take(lines).collect::<Vec<_>>().join("\n");
                    this.ended.get_or_insert_with(|| (*state, why()));
                }
                Record::UploadBegins { .. }
                | Record::PublishBegins { .. }
                | Record::Whole { .. }
                | Record::WasHeld {}
                | Record::StageBegins { .. }
                | Record::SwapBegins { .. }
                | Record::Swapped { .. }
                | Record::UndoBegins { .. }
                | Record::TakenBack { .. }
                | Record::Undone { .. }
                | Record::Gone { .. } => {}
            }
        }
        this
    }

    /// Nodes of which nothing is known to be published, nor taken back.
    fn unpublished(&self) -> BTreeSet<Fqdn> {
        let settled =
            |node: &&Fqdn| self.published.contains(*node) || self.withdrawn.contains(*node);
        self.snapshots.iter().filter(|node| !settled(node)).cloned().collect()
    }

    /// Nodes that something is to be done on.
    fn open(&self) -> BTreeSet<Fqdn> {
        self.unpublished().union(&self.uncleared).cloned().collect()
    }

    fn came_to(&self, settled: &Settled) -> CameTo {
        let is_all = self.was_to_be_complete() && self.snapshots.is_subset(&settled.published);
        match (settled.published.is_empty(), settled.unknown.is_empty()) {
            (false, _) if is_all => CameTo::All,
            (false, _) => CameTo::Part,
            (true, true) => CameTo::Nothing,
            (true, false) => CameTo::Unknown,
        }
    }

    /// Ends a backup of which nothing is known to be published: as it had ended, with its reason,
    /// or for the death of its process.
    fn broken_off(
        &self,
        cx: &Context,
        phase: Phase,
        mut found: Vec<String>,
    ) -> Result<(JobState, String), JobError> {
        let Some((state, why)) = &self.ended else {
            found.insert(0, format!("it was in its phase {phase}"));
            let job = cx.board.folder().id().clone();
            return Err(JobError::Died { job, found: found.join("\n") });
        };
        // A line that was said then is not said twice.
        found.retain(|line| !why.lines().any(|said| said == line));
        let lines: Vec<String> = [why.clone()].into_iter().chain(found).collect();
        let was_cancelled = *state == JobState::Cancelled;
        let state = if was_cancelled { JobState::Cancelled } else { JobState::Failed };
        Ok((state, lines.join("\n")))
    }

    /// Whether every node that the backup is for was to be published, and the ring stood still.
    fn was_to_be_complete(&self) -> bool {
        self.lacking.as_ref().is_some_and(Vec::is_empty)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(name: &str) -> Fqdn {
        Fqdn::parse(name).unwrap()
    }

    fn snapshot(name: &str) -> Record {
        Record::SnapshotBegins { node: node(name), tag: "medusafs-j".to_owned() }
    }

    #[test]
    fn only_what_has_no_end_is_open() {
        let journaled = Journaled::read(&[
            snapshot("n1"),
            snapshot("n2"),
            snapshot("n3"),
            snapshot("n4"),
            Record::SnapshotCleared { node: node("n1") },
            Record::SnapshotCleared { node: node("n3") },
            Record::SnapshotCleared { node: node("n4") },
            Record::Published { node: node("n1") },
            Record::Published { node: node("n2") },
            Record::Withdrawn { node: node("n3") },
        ]);
        assert_eq!(journaled.uncleared, BTreeSet::from([node("n2")]));
        assert_eq!(journaled.unpublished(), BTreeSet::from([node("n4")]));
        assert_eq!(journaled.open(), BTreeSet::from([node("n2"), node("n4")]));
    }

    #[test]
    fn what_is_not_known_to_be_published_is_not_said_to_be_absent() {
        let both = [
            snapshot("n1"),
            snapshot("n2"),
            Record::Lacking { what: Vec::new() },
            Record::PublishBegins { node: node("n1") },
            Record::PublishBegins { node: node("n2") },
        ];
        let came_to = |published: &[&str], unknown: &[&str]| {
            let nodes = |names: &[&str]| names.iter().map(|name| node(name)).collect();
            let settled = Settled { published: nodes(published), unknown: nodes(unknown) };
            Journaled::read(&both).came_to(&settled)
        };
        assert_eq!(came_to(&["n1", "n2"], &[]), CameTo::All);
        assert_eq!(came_to(&["n1"], &["n2"]), CameTo::Part);
        assert_eq!(came_to(&[], &["n2"]), CameTo::Unknown);
        assert_eq!(came_to(&[], &[]), CameTo::Nothing);
    }

    #[test]
    fn the_same_is_asked_for_again_where_it_was_and_only_what_lacks() {
        let asked = |only: Option<&str>, is_in_store| {
            let request = BackupRequest {
                name: crate::model::BackupName::for_new("b").unwrap(),
                mode: crate::config::BackupMode::Full,
                node: only.map(node),
                no_snapshot_before: crate::model::UnixSeconds(0),
            };
            asked_again(&request, is_in_store)
        };
        assert!(asked(Some("n2"), true).contains("`mkdir backups/b/n2` begins"));
        let anew = asked(Some("n2"), false);
        assert_eq!(anew, "`rmdir backups/b`, then `mkdir nodes/n2/b`");
        assert_eq!(asked(None, false), "`rmdir backups/b`, then `mkdir` it again");
        assert!(!asked(None, true).contains("rmdir"));
    }

    #[test]
    fn what_ended_did_not_die_and_keeps_its_first_reason() {
        let taken = || Record::Taken { at: crate::model::UnixSeconds(0), pid: 1 };
        let ended = |why: &str| Record::Ended { state: JobState::Failed, why: why.to_owned() };
        let why = |records: &[Record]| Journaled::read(records).ended.map(|(_, why)| why);
        assert_eq!(why(&[taken(), snapshot("n1"), taken()]), None);
        let failed = [taken(), ended("the disk\nis full"), taken(), ended("again"), taken()];
        assert_eq!(why(&failed).as_deref(), Some("the disk\nis full"));
        let died = [taken(), taken(), ended("it died\nn1 cannot be reached"), taken()];
        assert_eq!(why(&died).as_deref(), Some("it died"));
    }

    #[test]
    fn a_backup_that_lacked_something_from_the_start_was_never_to_be_complete() {
        let lacking = |what: &[&str]| Record::Lacking {
            what: what.iter().map(|&what| what.to_owned()).collect(),
        };
        assert!(!Journaled::read(&[snapshot("n1")]).was_to_be_complete());
        assert!(Journaled::read(&[snapshot("n1"), lacking(&[])]).was_to_be_complete());
        assert!(!Journaled::read(&[lacking(&["n2 is not in it: down"])]).was_to_be_complete());
    }
}
