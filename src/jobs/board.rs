//! What a running job shows: one owner of status, log and error, written to its folder.

use std::collections::VecDeque;
use std::fs::File;
use std::io::Write;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use crate::model::{Clock, Fqdn, JobState, JobStatus, NodeStatus, Outcome, Phase, Progress};
use crate::observe::ErrorChain;

use super::{Folder, JobsError};

/// The rate is that of the last ten seconds.
const RATE_OVER: Duration = Duration::from_secs(10);

/// The job's own view of itself. Shared by the tasks of the job's process; each change is made
/// under a lock that is never held over an await.
pub struct Board {
    folder: Folder,
    clock: Arc<dyn Clock>,
    inner: Mutex<Inner>,
}

struct Inner {
    status: JobStatus,
    log: File,
    /// New bytes at points of time, oldest first.
    samples: VecDeque<(Instant, u64)>,
    changed: bool,
}

impl std::fmt::Debug for Board {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Board").field("folder", &self.folder).finish_non_exhaustive()
    }
}

impl Board {
    /// Takes up a folder's status where it stands.
    pub fn open(folder: Folder, clock: Arc<dyn Clock>) -> Result<Self, JobsError> {
        let status = folder.status()?;
        let log = folder.open_log()?;
        let inner = Inner { status, log, samples: VecDeque::new(), changed: false };
        Ok(Self { folder, clock, inner: Mutex::new(inner) })
    }

    /// The folder.
    pub fn folder(&self) -> &Folder {
        &self.folder
    }

    /// The status as it is now.
    pub fn status(&self) -> JobStatus {
        self.inner.lock().status.clone()
    }

    /// Writes a line to the job's log, with the time.
    pub fn log(&self, line: &str) {
        let now = self.clock.now();
        let mut inner = self.inner.lock();
        for line in line.lines() {
            if let Err(error) = writeln!(inner.log, "{now} {line}") {
                tracing::warn!(%error, "cannot write the job's log");
            }
        }
    }

    /// Moves the job on, and says so in the log.
    pub fn moves_to(&self, state: JobState, phase: Phase) {
        let changed = {
            let mut inner = self.inner.lock();
            let before = (inner.status.state, inner.status.phase);
            inner.status.state = state;
            inner.status.phase = phase;
            inner.changed = true;
            before != (state, phase)
        };
        if changed {
            self.log(&format!("{state}: {phase}"));
            self.flush();
        }
    }

    /// Names the nodes that the job is about; those that are known already keep what they have.
    pub fn set_nodes(&self, names: impl IntoIterator<Item = Fqdn>) {
        let mut inner = self.inner.lock();
        let (state, phase) = (inner.status.state, inner.status.phase);
        for name in names {
            if !inner.status.nodes.iter().any(|node| node.name == name) {
                inner.status.nodes.push(NodeStatus {
                    name,
                    state,
                    phase,
                    progress: Progress::default(),
                    seconds: 0,
                    error: None,
                });
            }
        }
        inner.status.nodes.sort_by(|a, b| a.name.cmp(&b.name));
        inner.changed = true;
    }

    /// Changes what is shown of one node; one that is not among the job's changes nothing.
    pub fn node(&self, name: &Fqdn, change: impl FnOnce(&mut NodeStatus)) {
        let mut inner = self.inner.lock();
        if let Some(node) = inner.status.nodes.iter_mut().find(|node| node.name == *name) {
            change(node);
        }
        inner.changed = true;
    }

    /// Says that a node failed, why, and writes it to the log.
    pub fn node_failed(&self, name: &Fqdn, why: &str) {
        self.node(name, |node| {
            node.state = JobState::Failed;
            node.error.get_or_insert_with(|| why.to_owned());
        });
        self.log(&format!("{name}: {why}"));
        self.flush();
    }

    /// Changes the status itself.
    pub fn change(&self, change: impl FnOnce(&mut JobStatus)) {
        let mut inner = self.inner.lock();
        change(&mut inner.status);
        inner.changed = true;
    }

    /// Ends the job. `error` is shown in `error`: empty if it ended as wished.
    pub fn ends(&self, state: JobState, error: &str) {
        let now = self.clock.now();
        self.change(|status| {
            status.state = state;
            status.finished = Some(now);
            error.clone_into(&mut status.error);
            // Nothing is done any more on a node that has not come to its own end.
            let still = match state.outcome() {
                Some(Outcome::Wished) => Some(state),
                Some(Outcome::Unwished) => Some(JobState::Cancelled),
                None => None,
            };
            for node in status.nodes.iter_mut().filter(|node| node.state.outcome().is_none()) {
                node.state = still.unwrap_or(node.state);
            }
            status.bytes_per_second = None;
            status.eta_seconds = None;
        });
        self.log(&if error.is_empty() { state.to_string() } else { format!("{state}: {error}") });
        self.flush();
    }

    /// Shows the sum of the nodes' progress, and writes everything to the folder if something has
    /// changed since the last time. Called twice a second.
    pub fn flush(&self) {
        let status = {
            let mut inner = self.inner.lock();
            if !inner.changed {
                return;
            }
            inner.changed = false;
            inner.sum_up(Instant::now());
            inner.status.clone()
        };
        let written = self
            .folder
            .write_text("error", &text_of(&status.error))
            .and_then(|()| self.folder.write_status(&status));
        if let Err(error) = written {
            tracing::error!(error = %ErrorChain(&error), "cannot show the job's status");
        }
    }
}

fn text_of(error: &str) -> String {
    if error.is_empty() || error.ends_with('\n') { error.to_owned() } else { format!("{error}\n") }
}

impl Inner {
    fn sum_up(&mut self, now: Instant) {
        let sum = self.status.nodes.iter().map(|node| node.progress).reduce(Progress::and);
        let Some(sum) = sum else { return };
        self.status.progress = sum;
        if !is_moving(&self.status) {
            self.samples.clear();
            (self.status.bytes_per_second, self.status.eta_seconds) = (None, None);
            return;
        }
        self.samples.push_back((now, sum.bytes_done));
        while self.samples.len() > 2
            && self.samples.get(1).is_some_and(|(at, _)| now.duration_since(*at) >= RATE_OVER)
        {
            self.samples.pop_front();
        }
        let Some((since, before)) = self.samples.front().copied() else { return };
        let millis = u64::try_from(now.duration_since(since).as_millis()).unwrap_or(u64::MAX);
        if millis >= 500 {
            let rate = sum.bytes_done.saturating_sub(before).saturating_mul(1000) / millis;
            self.status.bytes_per_second = Some(rate);
            self.status.eta_seconds = sum
                .bytes_total
                .and_then(|total| total.saturating_sub(sum.bytes_done).checked_div(rate));
        }
    }
}

/// Whether bytes are being moved: only then there is a rate.
fn is_moving(status: &JobStatus) -> bool {
    matches!(
        (status.state, status.phase),
        (JobState::Running, Phase::Copy) | (JobState::Staging, Phase::Stage)
    )
}
