//! What is done about a backup whose process died.
//!
//! It is not gone on with: its snapshots are of a moment that has passed, and its agents have
//! already cleared what they could when their lines broke. It is brought to an end: snapshots that
//! are left are cleared, unpublished bytes withdrawn, and `error` says what there is.

use std::collections::{BTreeMap, BTreeSet};

use crate::agent::protocol::SnapshotTag;
use crate::cluster::AgentLine;
use crate::model::{Fqdn, JobState, Phase};

use super::lease::{IfBusy, take_cluster};
use super::settle::{Settled, settle};
use super::snapshot::clear;
use super::withdraw::withdraw;
use super::{BackupRequest, Context, JobError, Record, survey};

/// Brings a dead backup to its end.
pub(in crate::jobs) async fn recover(
    cx: &Context,
    request: &BackupRequest,
) -> Result<(JobState, String), JobError> {
    let journaled = Journaled::read(cx.journal.lock().records());
    let phase = cx.board.status().phase;
    let mut found = vec![format!("the process that did it died in its phase {phase}")];
    if journaled.snapshots.is_empty() {
        found.push(
            "nothing had been begun on any node: `rmdir` its directory, then `mkdir` it again"
                .to_owned(),
        );
        return Err(died(cx, &found));
    }
    cx.board.set_nodes(journaled.snapshots.iter().cloned());
    cx.board.moves_to(JobState::Running, Phase::Clear);
    let agents = reach(cx, &journaled.open(), &mut found).await;
    // The tag is this job's own, so that no lease is needed.
    let tag = SnapshotTag::of(cx.board.folder().id())
        .map_err(|error| JobError::Host(error.to_string()))?;
    found.extend(clear(cx, &among(&agents, &journaled.uncleared), &tag).await);
    let settled = if journaled.unpublished().is_empty() {
        Settled { published: journaled.published.clone(), ..Settled::default() }
    } else {
        let purpose = format!("recovery of backup {}", request.name);
        let lease = take_cluster(cx, &purpose, IfBusy::Wait).await?;
        let settled = settle(cx, &request.name, &agents, &mut found).await;
        let unpublished = among(&agents, &journaled.unpublished());
        withdraw(cx, &unpublished, &request.name, &settled.keep()).await;
        lease.give_back(cx).await;
        settled
    };
    end(cx, request, &journaled, &settled.published, found)
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

fn end(
    cx: &Context,
    request: &BackupRequest,
    journaled: &Journaled,
    published: &BTreeSet<Fqdn>,
    mut found: Vec<String>,
) -> Result<(JobState, String), JobError> {
    for node in &journaled.snapshots {
        if published.contains(node) {
            cx.show(node, |node| node.state = JobState::Complete);
        } else {
            cx.board.node_failed(node, "the backup was broken off before it was published here");
        }
    }
    let lacking = journaled.lacking.as_deref().unwrap_or_default();
    if journaled.was_to_be_complete() && journaled.snapshots.is_subset(published) {
        return Ok((JobState::Complete, found.split_off(1).join("\n")));
    }
    if published.is_empty() {
        found.push("nothing of it is in the index; the name can be used again".to_owned());
        return Err(died(cx, &found));
    }
    found.extend(lacking.iter().cloned());
    let names: Vec<_> = published.iter().map(Fqdn::as_str).collect();
    found.push(format!(
        "published, and whole: {}; `mkdir backups/{}/NODE` adds each other node",
        names.join(", "),
        request.name
    ));
    Ok((JobState::Incomplete, found.join("\n")))
}

fn died(cx: &Context, found: &[String]) -> JobError {
    JobError::Died { job: cx.board.folder().id().clone(), found: found.join("\n") }
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
}

impl Journaled {
    fn read(records: &[Record]) -> Self {
        let mut this = Self::default();
        for record in records {
            match record {
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
                Record::PublishBegins { .. }
                | Record::Taken { .. }
                | Record::StageBegins { .. }
                | Record::SwapBegins { .. }
                | Record::Swapped { .. }
                | Record::UndoBegins { .. }
                | Record::TakenBack { .. }
                | Record::Undone { .. }
                | Record::Gone { .. }
                | Record::Ended { .. }
                | Record::WasHeld {} => {}
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
    fn a_backup_that_lacked_something_from_the_start_was_never_to_be_complete() {
        let lacking = |what: &[&str]| Record::Lacking {
            what: what.iter().map(|&what| what.to_owned()).collect(),
        };
        assert!(!Journaled::read(&[snapshot("n1")]).was_to_be_complete());
        assert!(Journaled::read(&[snapshot("n1"), lacking(&[])]).was_to_be_complete());
        assert!(!Journaled::read(&[lacking(&["n2 is not in it: down"])]).was_to_be_complete());
    }
}
