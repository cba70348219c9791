//! Where backups and nodes stand, by what the share holds and what jobs say.

use crate::catalog::Backup;
use crate::catalog::Completeness;
use crate::catalog::NodeBackup;
use crate::model::BackupName;
use crate::model::Fqdn;
use crate::model::JobState;
use crate::model::JobStatus;
use crate::model::Phase;

use super::NodeBackupId;
use super::NodeReport;
use super::Report;
use super::State;
use super::World;

/// So many reasons and damaged files are told; there may be a thousand.
const TOLD: usize = 20;

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
            return Some(of_stored(stored, job));
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
                    nodes_done: Some(u64::from(node.finished.is_some())),
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
            !self.withdrawn.contains(&job.id)
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

fn of_stored(stored: &Backup, job: Option<&JobStatus>) -> Report {
    let before = job.map(Report::of_job).unwrap_or_default();
    let (files, bytes) = (stored.files(), stored.size().map(|size| size.0));
    let whole = stored.finished.is_some();
    let count = |number: usize| u64::try_from(number).ok();
    Report {
        state: Some(state_of(stored)),
        nodes_done: count(stored.nodes.values().filter(|node| node.finished.is_some()).count()),
        nodes_total: stored.ring.as_ref().map_or(before.nodes_total, |ring| count(ring.len())),
        files_done: files.filter(|_| whole).or(before.files_done),
        files_total: files.or(before.files_total),
        bytes_done: bytes.filter(|_| whole).or(before.bytes_done),
        bytes_total: bytes.or(before.bytes_total),
        started: Some(stored.started),
        finished: stored.finished,
        nodes: stored.nodes.iter().map(|(name, node)| of_node(stored, name, node)).collect(),
        error: error_of(stored, &before.error),
        bytes_per_second: None,
        eta_seconds: None,
        ..before
    }
}

fn state_of(stored: &Backup) -> State {
    match &stored.state {
        _ if !stored.damage.is_empty() => State::Damaged,
        Completeness::Complete => State::Job(JobState::Complete),
        Completeness::Incomplete(_) | Completeness::Unexamined => State::Job(JobState::Incomplete),
    }
}

fn error_of(stored: &Backup, before: &str) -> String {
    let mut lines: Vec<String> = match &stored.state {
        Completeness::Complete => Vec::new(),
        Completeness::Incomplete(reasons) => reasons.iter().map(ToString::to_string).collect(),
        Completeness::Unexamined => {
            vec!["it was not looked into yet, so nobody can say that it is complete".to_owned()]
        }
    };
    lines.extend(stored.damage.iter().map(|damage| format!("{}: {damage}", damage.node)));
    if lines.len() > TOLD {
        let more = lines.len() - TOLD;
        lines.truncate(TOLD);
        lines.push(format!("and {more} more"));
    }
    lines.extend((!before.is_empty()).then(|| before.trim_end().to_owned()));
    lines.join("\n")
}

fn of_node(stored: &Backup, name: &Fqdn, node: &NodeBackup) -> NodeReport {
    let damage = stored.damage.iter().find(|damage| damage.node == *name);
    let bytes = node.size.map(|size| size.0);
    let done = node.finished.is_some();
    NodeReport {
        name: name.clone(),
        state: match damage {
            Some(_) => State::Damaged,
            None if done => State::Job(JobState::Complete),
            None => State::Job(JobState::Incomplete),
        },
        phase: None,
        files_done: node.files.filter(|_| done),
        files_total: node.files,
        bytes_done: bytes.filter(|_| done),
        bytes_total: bytes,
        seconds: node.finished.and_then(|finished| finished.since(node.started)),
        error: damage.map(ToString::to_string),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use test_case::test_case;

    use super::*;
    use crate::medusa::Mode;
    use crate::model::JobId;
    use crate::model::JobKind;
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
}
