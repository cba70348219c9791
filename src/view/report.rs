//! Where something stands: what every file of a `.medusa/` is written from.

use crate::model::Fqdn;
use crate::model::JobId;
use crate::model::JobKind;
use crate::model::JobState;
use crate::model::JobStatus;
use crate::model::NodeStatus;
use crate::model::Phase;
use crate::model::UnixSeconds;

/// The word of `state`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// What a job says.
    Job(JobState),
    /// A backup in which something named is missing or wrong.
    Damaged,
    /// Nothing has been copied in.
    Empty,
    /// A set that lacks files.
    Partial,
}

/// What reading `wait` does in a state.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wait {
    /// Goes on waiting.
    GoesOn,
    /// Ends as wished: end of file.
    Wished,
    /// Ends otherwise: EIO.
    Unwished,
}

/// Where something stands. What is not known is none, and shown as `-`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Report {
    /// The job that is or was at it, if it is one of this host's.
    pub job: Option<JobId>,
    /// The word; none reads as `empty`.
    pub state: Option<State>,
    /// What the job is at.
    pub phase: Option<Phase>,
    /// Nodes that have ended as wished.
    pub nodes_done: Option<u64>,
    /// Nodes that take part.
    pub nodes_total: Option<u64>,
    /// Files that need no more work.
    pub files_done: Option<u64>,
    /// Files in all.
    pub files_total: Option<u64>,
    /// Bytes that need no more work.
    pub bytes_done: Option<u64>,
    /// Bytes in all.
    pub bytes_total: Option<u64>,
    /// Bytes that really went over.
    pub bytes_new: Option<u64>,
    /// The rate of the last ten seconds.
    pub bytes_per_second: Option<u64>,
    /// Seconds left at that rate.
    pub eta_seconds: Option<u64>,
    /// When it began.
    pub started: Option<UnixSeconds>,
    /// When it ended.
    pub finished: Option<UnixSeconds>,
    /// Bytes that no other backup shares.
    pub unique_bytes: Option<u64>,
    /// Its nodes, by name.
    pub nodes: Vec<NodeReport>,
    /// Why it failed or is held; empty if it did not.
    pub error: String,
}

/// One node of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeReport {
    /// The node.
    pub name: Fqdn,
    /// Where it stands.
    pub state: State,
    /// What it is at.
    pub phase: Option<Phase>,
    /// Files that need no more work.
    pub files_done: Option<u64>,
    /// Files in all.
    pub files_total: Option<u64>,
    /// Bytes that need no more work.
    pub bytes_done: Option<u64>,
    /// Bytes in all.
    pub bytes_total: Option<u64>,
    /// For how long it has worked.
    pub seconds: Option<u64>,
    /// Why it failed.
    pub error: Option<String>,
}

impl State {
    /// The word itself.
    pub fn word(self) -> String {
        match self {
            Self::Job(state) => state.to_string(),
            Self::Damaged => "damaged".to_owned(),
            Self::Empty => "empty".to_owned(),
            Self::Partial => "partial".to_owned(),
        }
    }

    /// The state that a word says; none for a word that is none.
    pub fn of_word(word: &str) -> Option<Self> {
        const OTHERS: [State; 3] = [State::Damaged, State::Empty, State::Partial];
        const OF_JOBS: [JobState; 14] = [
            JobState::Pending,
            JobState::Running,
            JobState::Complete,
            JobState::Incomplete,
            JobState::Held,
            JobState::Staging,
            JobState::Waiting,
            JobState::Stopping,
            JobState::Placing,
            JobState::Starting,
            JobState::Done,
            JobState::Undone,
            JobState::Failed,
            JobState::Cancelled,
        ];
        let all = OTHERS.into_iter().chain(OF_JOBS.into_iter().map(Self::Job));
        all.into_iter().find(|state| state.word() == word)
    }

    /// What a reader of `wait` gets.
    pub fn wait(self) -> Wait {
        match self {
            Self::Job(JobState::Complete | JobState::Done | JobState::Undone) => Wait::Wished,
            Self::Job(
                JobState::Pending
                | JobState::Running
                | JobState::Staging
                | JobState::Waiting
                | JobState::Stopping
                | JobState::Placing
                | JobState::Starting,
            ) => Wait::GoesOn,
            // A held restore waits for a person, and a script that waits for it would for ever.
            Self::Job(
                JobState::Held | JobState::Incomplete | JobState::Failed | JobState::Cancelled,
            )
            | Self::Damaged
            | Self::Empty
            | Self::Partial => Wait::Unwished,
        }
    }
}

impl Report {
    /// What a job says of itself.
    pub fn of_job(job: &JobStatus) -> Self {
        let ended_well =
            |node: &&NodeStatus| matches!(node.state, JobState::Complete | JobState::Done);
        let count = |number: usize| u64::try_from(number).ok();
        let nodes_known = !job.nodes.is_empty();
        Self {
            job: Some(job.id.clone()),
            state: Some(State::Job(shown(job.kind, job.state))),
            phase: Some(job.phase),
            nodes_done: count(job.nodes.iter().filter(ended_well).count()).filter(|_| nodes_known),
            nodes_total: count(job.nodes.len()).filter(|_| nodes_known),
            files_done: Some(job.progress.files_done),
            files_total: job.progress.files_total,
            bytes_done: Some(job.progress.bytes_done),
            bytes_total: job.progress.bytes_total,
            bytes_new: Some(job.progress.bytes_new),
            bytes_per_second: job.bytes_per_second,
            eta_seconds: job.eta_seconds,
            started: Some(job.started),
            finished: job.finished,
            unique_bytes: job.unique_bytes,
            nodes: job.nodes.iter().map(|node| NodeReport::of(job, node)).collect(),
            error: job.error.clone(),
        }
    }

    /// What a job says of one of its nodes; none if it has no such node.
    pub fn of_job_s_node(job: &JobStatus, node: &Fqdn) -> Option<Self> {
        let status = job.nodes.iter().find(|status| status.name == *node)?;
        let one = NodeReport::of(job, status);
        Some(Self {
            job: Some(job.id.clone()),
            state: Some(one.state),
            phase: one.phase,
            nodes_done: Some(u64::from(one.state.wait() == Wait::Wished)),
            nodes_total: Some(1),
            files_done: one.files_done,
            files_total: one.files_total,
            bytes_done: one.bytes_done,
            bytes_total: one.bytes_total,
            bytes_new: Some(status.progress.bytes_new),
            started: Some(job.started),
            finished: job.finished,
            error: match one.state.wait() {
                // Where nothing was begun, the whole says why.
                Wait::Unwished => one.error.clone().unwrap_or_else(|| job.error.clone()),
                _ => one.error.clone().unwrap_or_default(),
            },
            nodes: vec![one],
            ..Self::default()
        })
    }

    /// The state; `empty` if nothing has happened.
    pub fn state(&self) -> State {
        self.state.unwrap_or(State::Empty)
    }

    /// How much of it is done, in whole percent rounded down; 100 only when it is.
    pub fn percent(&self) -> Option<u64> {
        if self.state().wait() == Wait::Wished {
            return Some(100);
        }
        let part = |done: Option<u64>, total: Option<u64>| {
            let (done, total) = (u128::from(done?), u128::from(total?));
            u64::try_from((done * 100).checked_div(total)?).ok().map(|percent| percent.min(99))
        };
        part(self.bytes_done, self.bytes_total).or_else(|| part(self.files_done, self.files_total))
    }
}

/// The word for a job of that kind: what a restore waits for before it stages is part of staging.
fn shown(kind: JobKind, state: JobState) -> JobState {
    match (kind, state) {
        (JobKind::Restore, JobState::Pending) => JobState::Staging,
        _ => state,
    }
}

impl NodeReport {
    /// A node that a job never came to, or was at when it ended, ended as the job did.
    pub(super) fn of(job: &JobStatus, status: &NodeStatus) -> Self {
        let state = match (job.state.outcome(), status.state.outcome()) {
            (Some(_), None) => job.state,
            _ => status.state,
        };
        Self {
            name: status.name.clone(),
            state: State::Job(shown(job.kind, state)),
            phase: Some(status.phase),
            files_done: Some(status.progress.files_done),
            files_total: status.progress.files_total,
            bytes_done: Some(status.progress.bytes_done),
            bytes_total: status.progress.bytes_total,
            seconds: Some(status.seconds),
            error: status.error.clone(),
        }
    }
}
