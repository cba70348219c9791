//! What a running job shows: one owner of status, log and error, and one thread that writes them.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, Write};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};
use tokio::sync::watch;

use crate::model::{Clock, Fqdn, JobState, JobStatus, NodeStatus, Outcome, Phase, Progress};
use crate::observe::ErrorChain;

use super::{Folder, JobsError};

/// The rate is that of the last ten seconds.
const RATE_OVER: Duration = Duration::from_secs(10);

/// How often what has changed is written, where nobody waits for it.
const SHOW_EVERY: Duration = Duration::from_millis(500);

/// For two small files on this host's disk.
const SHOWN_WITHIN: Duration = Duration::from_secs(30);

/// The job's own view of itself. Shared by the tasks of the job's process, none of which waits for
/// the disk: each change is made under a lock that is never held over an await, and a thread of the
/// board's own writes it.
pub struct Board {
    shared: Arc<Shared>,
}

struct Shared {
    folder: Folder,
    clock: Arc<dyn Clock>,
    inner: Mutex<Inner>,
    /// Something is to be shown at once, or the board is dropped.
    told: Condvar,
    /// The last change that is in the folder.
    shown: watch::Sender<u64>,
}

struct Inner {
    status: JobStatus,
    log: File,
    /// New bytes at points of time, oldest first.
    samples: VecDeque<(Instant, u64)>,
    /// When bytes began to be moved, and how many were there already.
    begun: Option<(Instant, u64)>,
    /// How many changes there were.
    changes: u64,
    is_urgent: bool,
    is_over: bool,
}

impl std::fmt::Debug for Board {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Board").field("folder", self.folder()).finish_non_exhaustive()
    }
}

impl Board {
    /// Takes up a folder's status where it stands.
    pub fn open(folder: Folder, clock: Arc<dyn Clock>) -> Result<Self, JobsError> {
        let status = folder.status()?;
        let log = folder.open_log()?;
        let inner = Inner {
            status,
            log,
            samples: VecDeque::new(),
            begun: None,
            changes: 0,
            is_urgent: false,
            is_over: false,
        };
        let (inner, told, shown) = (Mutex::new(inner), Condvar::new(), watch::Sender::new(0));
        let shared = Arc::new(Shared { folder, clock, inner, told, shown });
        let writing = Arc::clone(&shared);
        thread::Builder::new()
            .name("medusafs-board".to_owned())
            .spawn(move || writing.keep_showing())
            .map_err(|source| JobsError::Folder {
                doing: "start a thread for",
                path: shared.folder.path().to_owned(),
                source,
            })?;
        Ok(Self { shared })
    }

    /// The folder.
    pub fn folder(&self) -> &Folder {
        &self.shared.folder
    }

    /// The status as it is now.
    pub fn status(&self) -> JobStatus {
        self.shared.inner.lock().status.clone()
    }

    /// Writes a line to the job's log, with the time.
    pub fn log(&self, line: &str) {
        let now = self.shared.clock.now();
        let mut inner = self.shared.inner.lock();
        for line in line.lines() {
            if let Err(error) = writeln!(inner.log, "{now} {line}") {
                tracing::warn!(%error, "cannot write the job's log");
            }
        }
    }

    /// Moves the job on, and says so in the log. Others see it soon: whoever counts on that waits
    /// until it is [`shown`](Self::shown).
    pub fn moves_to(&self, state: JobState, phase: Phase) {
        let before = self.shared.change(|inner| {
            let before = (inner.status.state, inner.status.phase);
            (inner.status.state, inner.status.phase) = (state, phase);
            before
        });
        if before != (state, phase) {
            self.log(&format!("{state}: {phase}"));
            self.shared.show_at_once();
        }
    }

    /// Names the nodes that the job is about; those that are known already keep what they have.
    pub fn set_nodes(&self, names: impl IntoIterator<Item = Fqdn>) {
        self.change(|status| {
            let (state, phase) = (status.state, status.phase);
            for name in names {
                if !status.nodes.iter().any(|node| node.name == name) {
                    status.nodes.push(NodeStatus {
                        name,
                        state,
                        phase,
                        progress: Progress::default(),
                        seconds: 0,
                        error: None,
                    });
                }
            }
            status.nodes.sort_by(|a, b| a.name.cmp(&b.name));
        });
    }

    /// Changes what is shown of one node; one that is not among the job's changes nothing.
    pub fn node(&self, name: &Fqdn, change: impl FnOnce(&mut NodeStatus)) {
        self.change(|status| {
            if let Some(node) = status.nodes.iter_mut().find(|node| node.name == *name) {
                change(node);
            }
        });
    }

    /// Says that a node failed, why, and writes it to the log.
    pub fn node_failed(&self, name: &Fqdn, why: &str) {
        self.node(name, |node| {
            node.state = JobState::Failed;
            node.error.get_or_insert_with(|| why.to_owned());
        });
        self.log(&format!("{name}: {why}"));
        self.shared.show_at_once();
    }

    /// Changes the status itself.
    pub fn change(&self, change: impl FnOnce(&mut JobStatus)) {
        self.shared.change(|inner| change(&mut inner.status));
    }

    /// Ends the job. `error` is shown in `error`: empty if it ended as wished.
    pub fn ends(&self, state: JobState, error: &str) {
        let now = self.shared.clock.now();
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
        self.shared.show_at_once();
    }

    /// Waits until all that was changed so far is in the folder, where others look.
    ///
    /// # Errors
    ///
    /// The disk has not taken it within half a minute; it is tried on and on.
    pub async fn shown(&self) -> Result<(), JobsError> {
        self.shown_within(SHOWN_WITHIN).await
    }

    async fn shown_within(&self, limit: Duration) -> Result<(), JobsError> {
        let mut shown = self.shared.shown.subscribe();
        let change = self.shared.inner.lock().changes;
        self.shared.show_at_once();
        let waited = async { shown.wait_for(|shown| *shown >= change).await.is_ok() };
        match tokio::time::timeout(limit, waited).await {
            Ok(true) => Ok(()),
            Ok(false) | Err(_) => Err(JobsError::Folder {
                doing: "write",
                path: self.folder().path().join("status.json"),
                source: io::ErrorKind::TimedOut.into(),
            }),
        }
    }
}

impl Drop for Board {
    fn drop(&mut self) {
        // Nobody who drops it waits for the disk.
        self.shared.inner.lock().is_over = true;
        self.shared.told.notify_all();
    }
}

impl Shared {
    fn change<T>(&self, change: impl FnOnce(&mut Inner) -> T) -> T {
        let mut inner = self.inner.lock();
        inner.changes += 1;
        change(&mut inner)
    }

    fn show_at_once(&self) {
        self.inner.lock().is_urgent = true;
        self.told.notify_all();
    }

    /// Writes what has changed until the board is dropped. Nobody else does, so that nothing older
    /// comes after what is newer.
    fn keep_showing(&self) {
        let mut is_failing = false;
        loop {
            let is_over = self.wait();
            let written = self.show();
            if let Err(error) = &written
                && !is_failing
            {
                tracing::error!(error = %ErrorChain(error), "cannot show the job's status yet");
            }
            is_failing = written.is_err();
            if is_over {
                return;
            }
        }
    }

    /// Waits until something is to be shown. Returns whether nothing will be any more.
    fn wait(&self) -> bool {
        let mut inner = self.inner.lock();
        if !inner.is_urgent && !inner.is_over {
            self.told.wait_for(&mut inner, SHOW_EVERY);
        }
        inner.is_urgent = false;
        inner.is_over
    }

    /// Sums up the nodes' progress, and writes everything if something has changed since it was
    /// written last.
    fn show(&self) -> Result<(), JobsError> {
        let (status, change) = {
            let mut inner = self.inner.lock();
            if inner.changes == *self.shown.borrow() {
                return Ok(());
            }
            inner.sum_up(Instant::now());
            (inner.status.clone(), inner.changes)
        };
        self.folder.write_text("error", &text_of(&status.error))?;
        self.folder.write_status(&status)?;
        self.shown.send_replace(change);
        Ok(())
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
            self.begun = None;
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
        }
        let (since, before) = *self.begun.get_or_insert((now, sum.bytes_done));
        self.status.eta_seconds = sum.bytes_total.and_then(|total| {
            let done = sum.bytes_done.saturating_sub(before);
            eta(now.duration_since(since), done, total.saturating_sub(sum.bytes_done))
        });
    }
}

/// The seconds that are left, by how it went from the beginning on: a few seconds of small files or
/// of proving say nothing. None before a hundredth is done.
fn eta(elapsed: Duration, done: u64, left: u64) -> Option<u64> {
    let is_much = done > 0 && done >= left / 100;
    let millis =
        u64::try_from(elapsed.as_millis()).ok().filter(|millis| is_much && *millis >= 500)?;
    let seconds = u128::from(left) * u128::from(millis) / u128::from(done) / 1000;
    u64::try_from(seconds).ok()
}

/// Whether bytes are being moved: only then there is a rate.
fn is_moving(status: &JobStatus) -> bool {
    matches!(
        (status.state, status.phase),
        (JobState::Running, Phase::Copy) | (JobState::Staging, Phase::Stage)
    )
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::{Path, PathBuf};

    use super::*;
    use crate::config::BackupMode;
    use crate::jobs::{AskedBy, BackupRequest, ConfigFrom, Jobs, Work};
    use crate::model::{BackupName, HandClock, UnixSeconds};

    #[test]
    fn what_is_left_is_told_by_how_it_went_from_the_beginning_on() {
        let after = |seconds, done, left| eta(Duration::from_secs(seconds), done, left);
        assert_eq!(after(10, 0, 1000), None);
        assert_eq!(after(10, 9, 1000), None, "small files first");
        assert_eq!(after(10, 250, 750), Some(30));
        assert_eq!(after(10, 1000, 0), Some(0));
        assert_eq!(eta(Duration::from_millis(400), 500, 500), None);
    }

    fn board(state_dir: &Path) -> Board {
        let clock: Arc<dyn Clock> = Arc::new(HandClock::at(UnixSeconds(1_795_364_040)));
        let jobs = Jobs::open(state_dir, PathBuf::from("/bin/true"), Arc::clone(&clock));
        let work = Work::Backup(BackupRequest {
            name: BackupName::for_new("b").unwrap(),
            mode: BackupMode::Full,
            node: None,
            no_snapshot_before: UnixSeconds(0),
        });
        let asked_by = AskedBy { uid: 0, pid: 1, program: String::new() };
        let config = ConfigFrom { medusa_ini: PathBuf::from("/medusa.ini"), options: Vec::new() };
        let id = jobs.begin(&work, &asked_by, &config).unwrap();
        Board::open(jobs.folder(&id).unwrap(), clock).unwrap()
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
    async fn what_is_shown_is_in_the_folder_whoever_else_changes_something() {
        let state = tempfile::tempdir().unwrap();
        let board = Arc::new(board(state.path()));
        let others = crate::tasks::Scope::new();
        for _ in 0..3 {
            let board = Arc::clone(&board);
            drop(others.spawn(async move {
                for round in 0..50 {
                    board.change(|status| status.error = "long ".repeat(round));
                    board.shown().await.unwrap();
                }
            }));
        }
        for phase in [Phase::Snapshot, Phase::Copy, Phase::Clear, Phase::Publish].repeat(10) {
            board.moves_to(JobState::Running, phase);
            board.shown().await.unwrap();
            assert_eq!(board.folder().status().unwrap().phase, phase);
        }
        others.close(Duration::from_secs(30)).await;
        board.ends(JobState::Failed, "why");
        board.shown().await.unwrap();
        assert_eq!(board.folder().status().unwrap(), board.status());
        assert_eq!(board.folder().text("error"), "why\n");
    }

    #[tokio::test]
    async fn what_the_disk_does_not_take_is_an_error_and_shown_when_it_does() {
        let state = tempfile::tempdir().unwrap();
        let board = board(state.path());
        let folder = board.folder().path().to_owned();
        let away = state.path().join("away");
        fs::rename(&folder, &away).unwrap();
        board.moves_to(JobState::Running, Phase::Copy);
        let error = board.shown_within(Duration::from_millis(50)).await.unwrap_err();
        assert!(ErrorChain(&error).to_string().contains("status.json: timed out"), "{error}");
        fs::rename(&away, &folder).unwrap();
        // Nothing has changed since.
        board.shown().await.unwrap();
        assert_eq!(board.folder().status().unwrap().phase, Phase::Copy);
    }
}
