//! What is shown of sets.

use crate::model::JobId;
use crate::model::JobKind;
use crate::model::JobState;
use crate::model::JobStatus;
use crate::staging::Entry;
use crate::staging::EntryKind;
use crate::staging::State;

use super::SetView;
use super::StagedEntry;
use super::StagedKind;
use super::StagedParent;
use super::copies::{Copies, Stage, stage};
use super::desk::{Staged, Top};

const MOST_BAD: usize = 20;
/// Whoever copied may go on: what a tool sets is not kept, so that a second copy can write.
const FILE_MODE: u16 = 0o640;
const DIRECTORY_MODE: u16 = 0o750;

impl Staged {
    pub(super) fn shown(&self, entry: &Entry) -> StagedEntry {
        let (kind, size, mode) = match entry.kind {
            EntryKind::Directory => (StagedKind::Directory, 0, DIRECTORY_MODE),
            EntryKind::File { size } => (StagedKind::File, size, FILE_MODE),
        };
        let modified = match entry.modified {
            (0, _) => self.modified,
            (seconds, _) => crate::model::UnixSeconds(seconds),
        };
        let id = self.id(entry.id);
        StagedEntry { id, kind, size, mode, modified, uid: self.uid, gid: self.gid }
    }

    /// The job that it is about: not one that ended before it was changed.
    fn own_job(&self, jobs: &[JobStatus]) -> Option<&JobId> {
        let is_over = |job: &JobId| stage(jobs, job) == Stage::Ended;
        self.job.as_ref().filter(|job| !(self.is_new() && is_over(job)))
    }

    fn words(&self, top: &Top, jobs: &[JobStatus]) -> SetView {
        let report = self.set.report();
        let all_there = report.total == Some(report.proven) && report.strangers == 0;
        let settles = report.unproven > 0 && self.is_proving
            || all_there && (report.open_for_writing > 0 || self.is_beginning);
        let own = self.own_job(jobs);
        let job = own.and_then(|id| jobs.iter().find(|job| job.id == *id));
        let state = match (job, report.state) {
            (Some(job), _) => shown_state(job),
            (None, _) if own.is_some() => JobState::Staging.to_string(),
            (None, State::Empty) => "empty".to_owned(),
            // Whoever waits is not told that it failed when it is only being looked at.
            (None, _) if settles => JobState::Staging.to_string(),
            (None, State::Partial) => "partial".to_owned(),
            (None, State::Whole) if self.is_beginning || self.is_new() => {
                JobState::Staging.to_string()
            }
            (None, State::Whole) => JobState::Failed.to_string(),
        };
        let mut error = self.trouble.clone();
        let bad = self.set.out_of_place(MOST_BAD);
        if !bad.is_empty() {
            error.push(format!(
                "not of the backup that is copied to {top}, or with other bytes: {}; remove them, \
                 or everything with rm -r {top}",
                bad.join(", ")
            ));
        }
        if state == "partial" && bad.is_empty() {
            let lacking = report.total.unwrap_or_default().saturating_sub(report.proven);
            error.push(match &report.snapshot {
                Some(snapshot) if report.unshown > 0 => format!(
                    "the manifest of {snapshot} names {} entries that are not shown: it cannot be \
                     restored by copying; take it back with rm -r {top}",
                    report.unshown
                ),
                Some(snapshot) => format!(
                    "{lacking} files of {snapshot} are not here ({top}/.medusa/missing lists \
                     them), so nothing is restored; copy the same once more to complete it, or \
                     take it back with rm -r {top}"
                ),
                None => format!(
                    "too little is here to tell which backup it is of, so nothing is restored; \
                     copy it once more to complete it, or take it back with rm -r {top}"
                ),
            });
        }
        let error = error.into_iter().map(|line| line + "\n").collect();
        SetView { state, error, job: own.cloned() }
    }
}

/// The contract's word for where a restore stands.
fn shown_state(job: &JobStatus) -> String {
    match job.state {
        JobState::Pending => JobState::Staging,
        state => state,
    }
    .to_string()
}

impl Copies {
    /// What a `.medusa/` below `restore/` shows.
    pub(super) fn view(&self, of: &StagedParent) -> Option<SetView> {
        self.recall();
        let jobs = self.jobs();
        let desk = self.inner.desk.lock();
        let (top, file) = desk.place(of).ok()?;
        if file != crate::staging::Set::TOP {
            return None;
        }
        if let Some(staged) = desk.get(&top)
            && (staged.own_job(&jobs).is_some() || !staged.set.is_blank())
        {
            return Some(staged.words(&top, &jobs));
        }
        let cleared = match &top {
            Top::Node(node) => desk.cleared.get(node),
            Top::Backup(_) => return None,
        };
        let last = last_restore(&jobs, &top, cleared)?;
        Some(SetView {
            state: shown_state(last),
            error: last.error.clone(),
            job: Some(last.id.clone()),
        })
    }

    /// The job that a control file is about.
    pub(super) fn job_of(&self, top: &Top) -> Option<(JobId, Stage)> {
        let jobs = self.jobs();
        let desk = self.inner.desk.lock();
        let own = desk.get(top).and_then(|staged| staged.job.clone());
        let id = own.or_else(|| Some(last_restore(&jobs, top, None)?.id.clone()))?;
        let stage = stage(&jobs, &id);
        Some((id, stage))
    }
}

/// The newest restore of a node that left something to be seen.
fn last_restore<'a>(
    jobs: &'a [JobStatus],
    top: &Top,
    cleared: Option<&JobId>,
) -> Option<&'a JobStatus> {
    let Top::Node(node) = top else { return None };
    let last = jobs
        .iter()
        .filter(|job| job.kind == JobKind::Restore && job.node.as_ref() == Some(node))
        .max_by(|a, b| a.id.cmp(&b.id))?;
    (Some(&last.id) != cleared).then_some(last)
}
