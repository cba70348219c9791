//! Where backups and nodes stand, by what the share holds and what jobs say.

use std::collections::BTreeMap;
use std::collections::BTreeSet;

use crate::catalog::Backup;
use crate::catalog::Completeness;
use crate::catalog::NodeBackup;
use crate::catalog::Reason;
use crate::model::BackupName;
use crate::model::Fqdn;
use crate::model::JobState;
use crate::model::JobStatus;
use crate::model::Phase;

use super::NodeBackupId;
use super::NodeReport;
use super::Report;
use super::State;
use super::Wait;
use super::World;

/// So many reasons and damaged files are told; there may be a thousand.
const TOLD: usize = 20;

const NOT_LOOKED_INTO: &str = "it was not looked into yet, so nobody can say that it is complete";

impl World {
    /// Where a backup stands; none if there is no such backup.
    pub fn report_of_backup(&self, name: &BackupName) -> Option<Report> {
        let job = self.job_of(name);
        if let Some(job) = job.filter(|job| job.state.outcome().is_none()) {
            return Some(Report::of_job(job));
        }
        let stored = self.stored(name).map(|stored| &**stored);
        if let Some(job) = job.filter(|job| self.is_ahead_of_the_share(job, stored)) {
            return Some(Report::of_job(job).not_seen_yet());
        }
        if let Some(stored) = stored {
            return Some(self.of_stored(stored, job));
        }
        if let Some(job) = job {
            return Some(Report::of_job(job));
        }
        let asked = self.asked.iter().find(|asked| asked.name == *name)?;
        Some(Report {
            job: Some(asked.job.clone()),
            state: Some(State::Job(JobState::Pending)),
            phase: Some(Phase::Check),
            ..Report::default()
        })
    }

    /// Whether a job has published what the tree does not show yet, for the share was last looked
    /// at before that: whoever waits for a backup may copy from it at once when the wait is over.
    fn is_ahead_of_the_share(&self, job: &JobStatus, stored: Option<&Backup>) -> bool {
        let has_ended_with = |name: &Fqdn| {
            stored.and_then(|stored| stored.nodes.get(name)).is_some_and(|n| n.finished.is_some())
        };
        let is_judged = |stored: &Backup| match job.state {
            JobState::Complete if job.node.is_none() => {
                stored.state == Completeness::Complete || !stored.damage.is_empty()
            }
            _ => stored.state != Completeness::Unexamined,
        };
        let published = job.nodes.iter().filter(|node| node.state == JobState::Complete);
        matches!(job.state, JobState::Complete | JobState::Incomplete)
            && self.has_just_ended(job)
            && !(stored.is_some_and(is_judged) && published.map(|n| &n.name).all(has_ended_with))
    }

    /// Where one node's part of a backup stands.
    pub fn report_of_node_backup(&self, of: &NodeBackupId) -> Option<Report> {
        let job = self.job_of(&of.backup);
        let worked_on = job.and_then(|job| Report::of_job_s_node(job, &of.node));
        let stored = self.stored(&of.backup);
        let node = stored.and_then(|stored| stored.nodes.get(&of.node));
        if let Some(job) = job
            && self.is_ahead_of_the_share(job, stored.map(|stored| &**stored))
        {
            return worked_on.map(Report::not_seen_yet);
        }
        let works = job.is_some_and(|job| job.state.outcome().is_none());
        match (stored, node) {
            (Some(stored), Some(node)) if !works || node.finished.is_some() => {
                let one = of_node(stored, &of.node, node);
                Some(Report {
                    job: worked_on.and_then(|report| report.job),
                    state: Some(one.state),
                    nodes_done: Some(u64::from(one.state.wait() == Wait::Wished)),
                    nodes_total: Some(1),
                    files_done: one.files_done,
                    files_total: one.files_total,
                    bytes_done: one.bytes_done,
                    bytes_total: one.bytes_total,
                    started: Some(node.started),
                    finished: node.finished,
                    error: one.error.clone().unwrap_or_default(),
                    nodes: vec![one],
                    ..Report::default()
                })
            }
            _ => worked_on.or_else(|| self.report_of_backup(&of.backup)),
        }
    }

    /// Where a node stands: the newest thing that was done to it.
    pub fn report_of_node(&self, node: &Fqdn) -> Option<Report> {
        let newest = self.jobs.iter().rev().find(|job| {
            !self.is_withdrawn(job)
                && (job.node.as_ref() == Some(node) || job.nodes.iter().any(|n| n.name == *node))
        });
        if let Some(job) = newest {
            return Report::of_job_s_node(job, node).or_else(|| Some(Report::of_job(job)));
        }
        let backups = self.backups_of(node).into_iter();
        let last = backups.max_by_key(|name| self.started(name))?;
        self.report_of_node_backup(&NodeBackupId::new(last, node.clone()))
    }
}

impl Report {
    /// It goes on until the tree shows what it made.
    fn not_seen_yet(self) -> Self {
        match self.state() {
            State::Job(JobState::Complete | JobState::Incomplete) => {
                Self { state: Some(State::Job(JobState::Running)), finished: None, ..self }
            }
            _ => self,
        }
    }
}

impl World {
    fn of_stored(&self, stored: &Backup, job: Option<&JobStatus>) -> Report {
        let wanting = self.found_wanting(stored);
        let before = job.map(Report::of_job).unwrap_or_default();
        let (files, bytes) = (stored.files(), stored.size().map(|size| size.0));
        let whole = stored.finished.is_some();
        let count = |number: usize| u64::try_from(number).ok();
        let nodes = self.nodes_of_stored(stored);
        let done = nodes.iter().filter(|node| node.state.wait() == Wait::Wished).count();
        let known = stored.ring.is_some() || wanting.is_some();
        let jobs = wanting.into_iter().chain(job);
        let errors: BTreeSet<&str> = jobs.map(|job| job.error.trim_end()).collect();
        Report {
            state: Some(state_of(stored, wanting.is_some())),
            nodes_done: count(done),
            nodes_total: if known { count(nodes.len()) } else { before.nodes_total },
            files_done: files.filter(|_| whole).or(before.files_done),
            files_total: files.or(before.files_total),
            bytes_done: bytes.filter(|_| whole).or(before.bytes_done),
            bytes_total: bytes.or(before.bytes_total),
            started: Some(stored.started),
            finished: stored.finished,
            nodes,
            error: error_of(stored, errors),
            bytes_per_second: None,
            eta_seconds: None,
            ..before
        }
    }

    /// A line for each node that the share has something of, that a job of this host failed with,
    /// or that the ring had and nobody has anything of.
    fn nodes_of_stored(&self, stored: &Backup) -> Vec<NodeReport> {
        let mut nodes = self.failures(stored);
        for (name, node) in &stored.nodes {
            let one = of_node(stored, name, node);
            // Why it has not finished, the job knows best.
            if node.finished.is_some() || !nodes.contains_key(name) {
                nodes.insert(name.clone(), one);
            }
        }
        for name in stored.ring.iter().flat_map(|ring| ring.iter()) {
            nodes.entry(name.clone()).or_insert_with(|| NodeReport {
                name: name.clone(),
                state: State::Job(JobState::Incomplete),
                phase: None,
                files_done: None,
                files_total: None,
                bytes_done: None,
                bytes_total: None,
                seconds: None,
                error: Some("it has no part in the backup".to_owned()),
            });
        }
        nodes.into_values().collect()
    }

    /// The nodes with which this host's jobs for a backup failed last, with the reasons.
    fn failures(&self, stored: &Backup) -> BTreeMap<Fqdn, NodeReport> {
        let (mut failed, mut seen) = (BTreeMap::new(), BTreeSet::new());
        for job in self.jobs_for(stored) {
            for status in job.nodes.iter().filter(|status| seen.insert(&status.name)) {
                let one = NodeReport::of(job, status);
                if one.state.wait() != Wait::Wished {
                    failed.insert(status.name.clone(), one);
                }
            }
        }
        failed
    }
}

fn state_of(stored: &Backup, is_wanting: bool) -> State {
    match &stored.state {
        _ if !stored.damage.is_empty() => State::Damaged,
        Completeness::Complete if !is_wanting => State::Job(JobState::Complete),
        Completeness::Complete | Completeness::Incomplete(_) | Completeness::Unexamined => {
            State::Job(JobState::Incomplete)
        }
    }
}

fn error_of(stored: &Backup, of_jobs: BTreeSet<&str>) -> String {
    let mut lines: Vec<String> = match &stored.state {
        Completeness::Complete => Vec::new(),
        Completeness::Incomplete(reasons) => reasons.iter().map(ToString::to_string).collect(),
        Completeness::Unexamined => vec![NOT_LOOKED_INTO.to_owned()],
    };
    lines.extend(stored.damage.iter().map(|damage| format!("{}: {damage}", damage.node)));
    if lines.len() > TOLD {
        let more = lines.len() - TOLD;
        lines.truncate(TOLD);
        lines.push(format!("and {more} more"));
    }
    lines.extend(of_jobs.into_iter().filter(|error| !error.is_empty()).map(str::to_owned));
    lines.join("\n")
}

fn of_node(stored: &Backup, name: &Fqdn, node: &NodeBackup) -> NodeReport {
    let damage = stored.damage.iter().find(|damage| damage.node == *name);
    let bytes = node.size.map(|size| size.0);
    let done = node.finished.is_some();
    let wrong = match &stored.state {
        Completeness::Complete => Vec::new(),
        Completeness::Unexamined => vec![NOT_LOOKED_INTO.to_owned()],
        Completeness::Incomplete(reasons) => reasons_for(name, reasons),
    };
    NodeReport {
        name: name.clone(),
        state: match damage {
            Some(_) => State::Damaged,
            None if done && wrong.is_empty() => State::Job(JobState::Complete),
            None => State::Job(JobState::Incomplete),
        },
        phase: None,
        files_done: node.files.filter(|_| done),
        files_total: node.files,
        bytes_done: bytes.filter(|_| done),
        bytes_total: bytes,
        seconds: node.finished.and_then(|finished| finished.since(node.started)),
        error: damage
            .map(ToString::to_string)
            .or_else(|| (!wrong.is_empty()).then(|| wrong.join("; "))),
    }
}

/// Why a backup is not complete, as far as it is this node's doing.
fn reasons_for(name: &Fqdn, reasons: &[Reason]) -> Vec<String> {
    let of_it = reasons.iter().filter(|reason| reason.nodes().contains(name));
    let words = of_it.map(|reason| match reason {
        Reason::Unfinished(_) => "it has not finished".to_owned(),
        reason => reason.to_string(),
    });
    words.collect()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use test_case::test_case;

    use super::*;
    use crate::medusa::Mode;
    use crate::model::JobId;
    use crate::model::JobKind;
    use crate::model::NodeStatus;
    use crate::model::Progress;
    use crate::model::STATUS_VERSION;
    use crate::model::UnixSeconds;

    fn seen(state: Completeness) -> Backup {
        Backup {
            name: BackupName::parse("nightly").unwrap(),
            mode: Mode::Full,
            started: UnixSeconds(90),
            finished: None,
            nodes: BTreeMap::new(),
            state,
            ring: None,
            damage: Vec::new(),
        }
    }

    fn job(state: JobState) -> JobStatus {
        JobStatus {
            version: STATUS_VERSION,
            id: JobId::new(UnixSeconds(90), JobKind::Backup, "nightly").unwrap(),
            kind: JobKind::Backup,
            backup: BackupName::parse("nightly").unwrap(),
            node: None,
            state,
            phase: Phase::Publish,
            progress: Progress::default(),
            bytes_per_second: None,
            eta_seconds: None,
            started: UnixSeconds(90),
            finished: Some(UnixSeconds(100)),
            unique_bytes: None,
            nodes: Vec::new(),
            error: String::new(),
            withdrawn: false,
            cause: None,
        }
    }

    #[test_case(JobState::Complete, None, 101 => true; "the share was seen before")]
    #[test_case(JobState::Complete, Some(Completeness::Unexamined), 101 => true; "it was seen half published")]
    #[test_case(JobState::Complete, Some(Completeness::Incomplete(Vec::new())), 101 => true; "and judged by that")]
    #[test_case(JobState::Complete, Some(Completeness::Complete), 101 => false; "the share says it too")]
    #[test_case(JobState::Complete, Some(Completeness::Incomplete(Vec::new())), 200 => false; "the share was seen since")]
    #[test_case(JobState::Incomplete, Some(Completeness::Incomplete(Vec::new())), 101 => false; "both say that it lacks a node")]
    #[test_case(JobState::Failed, None, 101 => false; "there is nothing to be seen")]
    fn a_backup_goes_on_until_the_tree_shows_it(
        state: JobState,
        share: Option<Completeness>,
        now: i64,
    ) -> bool {
        let world = World { now: UnixSeconds(now), ..World::default() };
        world.is_ahead_of_the_share(&job(state), share.map(seen).as_ref())
    }
    fn fqdn(name: &str) -> Fqdn {
        Fqdn::parse(name).unwrap()
    }

    fn status(name: &str, state: JobState, error: &str) -> NodeStatus {
        NodeStatus {
            name: fqdn(name),
            state,
            phase: Phase::Copy,
            progress: Progress::default(),
            seconds: 3,
            error: (!error.is_empty()).then(|| error.to_owned()),
        }
    }

    fn part(finished: bool) -> NodeBackup {
        NodeBackup {
            mode: Mode::Full,
            started: UnixSeconds(90),
            finished: finished.then_some(UnixSeconds(99)),
            is_indexed: true,
            files: None,
            size: None,
        }
    }

    fn lines(report: &Report) -> Vec<String> {
        let line = |node: &NodeReport| {
            format!("{} {} {}", node.name, node.state.word(), node.error.as_deref().unwrap_or("-"))
        };
        report.nodes.iter().map(line).collect()
    }

    /// A job of the cluster that n2 failed, or that found another ring at its end.
    fn incomplete(nodes: Vec<NodeStatus>) -> JobStatus {
        let error = "n9 joined the ring while it was backed up".to_owned();
        JobStatus { nodes, error, ..job(JobState::Incomplete) }
    }

    fn of_node_alone(node: &str, state: JobState) -> JobStatus {
        JobStatus {
            node: Some(fqdn(node)),
            nodes: vec![status(node, state, "")],
            finished: Some(UnixSeconds(200)),
            ..job(state)
        }
    }

    #[test_case(&[], "incomplete"; "until somebody adds what lacks")]
    #[test_case(&[("n9", JobState::Failed)], "incomplete"; "not by another failure")]
    #[test_case(&[("n9", JobState::Complete)], "complete"; "then it is what the share says")]
    fn a_ring_that_changed_is_known_to_the_job_alone(later: &[(&str, JobState)], word: &str) {
        let stored = seen(Completeness::Complete);
        let done = vec![status("n1", JobState::Complete, "")];
        let later = later.iter().map(|(node, state)| of_node_alone(node, *state));
        let jobs: Vec<_> = [incomplete(done)].into_iter().chain(later).collect();
        let newest = jobs.last().cloned();
        let world = World { jobs: Arc::new(jobs), ..World::default() };
        let report = world.of_stored(&stored, newest.as_ref());
        assert_eq!(report.state().word(), word);
        assert_eq!(report.error.contains("n9 joined the ring"), word == "incomplete");
    }

    #[test]
    fn a_node_that_failed_stays_in_the_list_with_its_reason_until_it_is_added() {
        let ring = ["n1", "n2", "n3"].map(fqdn).into_iter().collect();
        let nodes = BTreeMap::from([(fqdn("n1"), part(true))]);
        let reasons = vec![Reason::Missing(vec![fqdn("n2"), fqdn("n3")])];
        let state = Completeness::Incomplete(reasons);
        let stored = Backup { nodes, ring: Some(Arc::new(ring)), ..seen(state) };
        let first = incomplete(vec![
            status("n1", JobState::Complete, ""),
            status("n2", JobState::Failed, "no space is left"),
        ]);
        let world = World { jobs: Arc::new(vec![first.clone()]), ..World::default() };
        let report = world.of_stored(&stored, Some(&first));
        assert_eq!(
            lines(&report),
            [
                "n1 complete -",
                "n2 failed no space is left",
                "n3 incomplete it has no part in the backup"
            ]
        );
        assert_eq!((report.nodes_done, report.nodes_total), (Some(1), Some(3)));
    }

    #[test]
    fn a_job_of_another_backup_of_the_same_name_says_nothing_of_this_one() {
        let stored = Backup { started: UnixSeconds(90_000), ..seen(Completeness::Complete) };
        let old = incomplete(vec![status("n1", JobState::Complete, "")]);
        let world = World { jobs: Arc::new(vec![old]), ..World::default() };
        assert_eq!(world.of_stored(&stored, None).state(), State::Job(JobState::Complete));
    }

    #[test]
    fn a_node_is_only_as_whole_as_its_manifest() {
        let nodes = ["n1", "n2", "n3"].map(|name| (fqdn(name), part(name != "n3")));
        let reasons = vec![Reason::Empty(fqdn("n2")), Reason::Unfinished(vec![fqdn("n3")])];
        let state = Completeness::Incomplete(reasons);
        let stored = Backup { nodes: BTreeMap::from(nodes), ..seen(state) };
        let report = World::default().of_stored(&stored, None);
        assert_eq!(
            lines(&report),
            [
                "n1 complete -",
                "n2 incomplete the manifest of n2 names no file: its snapshot had failed",
                "n3 incomplete it has not finished",
            ]
        );
    }
}
