//! What is copied into `restore/`.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::sync::watch;
use tokio::time::Instant;

use crate::model::Clock;
use crate::model::Fqdn;
use crate::model::JobId;
use crate::model::JobKind;
use crate::model::JobState;
use crate::model::JobStatus;
use crate::model::Phase;
use crate::observe::ErrorChain;
use crate::staging::Asked;
use crate::staging::Need;
use crate::staging::Refusal;
use crate::staging::Set;
use crate::store::BlockingPool;
use crate::store::PoolLimits;
use crate::tasks::Scope;
use crate::tasks::Upkeep;

use super::Caller;
use super::FsError;
use super::RestoreWork;
use super::Stored;
use super::desk::{Desk, Intent, Top};
use super::in_time::in_time;
use super::journal::{JournalError, Recalled};
use super::keeper::Keeper;

/// What copying in works with.
pub struct CopyParts {
    /// What is stored.
    pub stored: Arc<dyn Stored>,
    /// What a whole set begins.
    pub work: Arc<dyn RestoreWork>,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// Where tasks run that outlive a call.
    pub scope: Scope,
    /// What keeps those going that must not end.
    pub upkeep: Upkeep,
    /// This host's own directory: journals of sets lie in `staging/` there.
    pub state_dir: PathBuf,
    /// Where the tree stands, for whoever mounts the same a second time.
    pub mountpoint: PathBuf,
}

/// What is copied into `restore/`. Cheap to clone; all clones are the same.
#[derive(Clone)]
pub struct Copies {
    pub(super) inner: Arc<Inner>,
}

pub(super) struct Inner {
    pub(super) stored: Arc<dyn Stored>,
    pub(super) work: Arc<dyn RestoreWork>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) scope: Scope,
    pub(super) desk: Mutex<Desk>,
    /// Which mount takes what is copied.
    pub(super) keeper: watch::Sender<Keeper>,
    /// Held while lines are written, so that they stay in order.
    pub(super) writing: tokio::sync::Mutex<()>,
    /// Sets that were found written down, until the store's backups are known.
    pub(super) to_recall: Mutex<Vec<Recalled>>,
    /// This host's disk, and processes that are started.
    pub(super) host: BlockingPool,
    pub(super) state_dir: PathBuf,
    pub(super) mountpoint: PathBuf,
    /// Something that a call may wait for has happened.
    pub(super) moved: Notify,
    /// There are lines to be written.
    pub(super) lines: Notify,
}

/// How long this host's own disk may take where no call waits for it.
pub(super) const HOST: Duration = Duration::from_secs(30);
/// A set that asks more often than this asks in a circle.
pub(super) const MOST_QUESTIONS: usize = 100_000;

impl Copies {
    /// Reads what was written down of earlier sets, and starts the tasks that follow sets and
    /// jobs. While another mount of this configuration takes copies, this one shows what jobs do,
    /// and follows it when it has gone. Blocks for this host's disk; to be called inside a tokio
    /// runtime.
    ///
    /// # Errors
    ///
    /// `state_dir` cannot be written to.
    pub fn open(parts: CopyParts) -> Result<Self, JournalError> {
        let (scope, upkeep) = (parts.scope.clone(), parts.upkeep.clone());
        let copies = Self::look(parts);
        copies.keep()?;
        copies.recall();
        let each = || copies.clone();
        let (follows, writes, keeps) = (each(), each(), each());
        upkeep.keep(&scope, "following restores", move || follows.clone().follow_jobs());
        upkeep.keep(&scope, "writing down what is copied", move || writes.clone().write_journal());
        upkeep.keep(&scope, "taking copies", move || keeps.clone().keep_in_turn());
        Ok(copies)
    }

    /// For a mount on which nothing is changed: it shows what jobs do, and begins none.
    pub fn look(parts: CopyParts) -> Self {
        let CopyParts { stored, work, clock, scope, upkeep: _, state_dir, mountpoint } = parts;
        let inner = Arc::new(Inner {
            stored,
            work,
            clock,
            scope,
            desk: Mutex::default(),
            keeper: watch::Sender::new(Keeper::Nobody),
            writing: tokio::sync::Mutex::default(),
            to_recall: Mutex::default(),
            host: BlockingPool::new(PoolLimits { threads: 4, hung: 8, queue: 1024 }),
            state_dir,
            mountpoint,
            moved: Notify::new(),
            lines: Notify::new(),
        });
        Self { inner }
    }

    /// Calls the set until nothing more has to be found out.
    pub(super) async fn ask<T: Send>(
        &self,
        number: u32,
        mut call: impl FnMut(&mut Set) -> Result<Asked<T>, Refusal> + Send,
    ) -> Result<T, FsError> {
        for _ in 0..MOST_QUESTIONS {
            let need = match call(&mut self.inner.desk.lock().by_number(number)?.1.set)? {
                Asked::Done(value) => return Ok(value),
                Asked::Need(need) => need,
            };
            self.find_out(number, need).await?;
        }
        Err(circle())
    }

    /// Finds out what a set needs to know, and tells it.
    pub(super) async fn find_out(&self, number: u32, need: Need) -> Result<(), FsError> {
        let target = {
            let mut desk = self.inner.desk.lock();
            let (top, staged) = desk.by_number(number)?;
            staged.target(&top)
        };
        let fact = self.inner.stored.find_out(need, target.as_ref()).await?;
        self.inner.desk.lock().by_number(number)?.1.set.learn(fact);
        Ok(())
    }

    /// Does something on a thread that may wait for this host's disk, for `limit` at most.
    pub(super) async fn on_host<T: Send + 'static>(
        &self,
        limit: Duration,
        doing: &str,
        work: impl FnOnce(&Inner) -> Result<T, FsError> + Send + 'static,
    ) -> Result<T, FsError> {
        self.on_host_or_back(limit, doing, work, |_inner, _done| {}).await
    }

    /// The same; what is done too late is taken back.
    pub(super) async fn on_host_or_back<T: Send + 'static>(
        &self,
        limit: Duration,
        doing: &str,
        work: impl FnOnce(&Inner) -> Result<T, FsError> + Send + 'static,
        take_back: impl FnOnce(&Inner, T) + Send + 'static,
    ) -> Result<T, FsError> {
        let (inner, later) = (Arc::clone(&self.inner), Arc::clone(&self.inner));
        let does = move || work(&inner);
        let back = move |done| take_back(&later, done);
        let done = in_time((&self.inner.host, limit), doing, does, back).await;
        done.map_err(|error| error.of_this_host(&self.inner.state_dir))
    }

    /// The jobs as they are now.
    pub(super) fn jobs(&self) -> Arc<Vec<JobStatus>> {
        Arc::clone(&self.inner.work.jobs().borrow())
    }

    /// Sees to it that the caller may change what lies there, and that no job goes on meanwhile as
    /// if it were not changed.
    pub(super) async fn prepare(
        &self,
        caller: Caller,
        top: &Top,
        intent: Intent,
        until: Instant,
    ) -> Result<(), FsError> {
        self.takes()?;
        self.recall();
        self.wait_for_beginning(top, until).await?;
        let jobs = self.jobs();
        let told = {
            let mut desk = self.inner.desk.lock();
            self.is_recalled(&desk, top)?;
            let own = desk.get(top).and_then(|staged| staged.job.clone());
            let target = match desk.get(top) {
                Some(staged) => staged.target(top),
                None => node_of(top),
            };
            let in_the_way = target.and_then(|node| {
                live_restores(&jobs, &node)
                    .find(|job| Some(&job.id) != own.as_ref() && !desk.taken_back.contains(&job.id))
            });
            if let Some(other) = in_the_way {
                return Err(FsError::Busy(format!("{} is at work: {}", other.id, other.state)));
            }
            self.check_owner(&mut desk, top, caller)?;
            let own_stage = own.as_ref().map(|id| desk.stage_of(&jobs, id));
            let Some(staged) = desk.get(top) else { return Ok(()) };
            match own_stage.zip(own) {
                // It is dropped when something is really done to the set.
                None | Some((Stage::Ended, _)) => None,
                Some((Stage::Stopping, id)) => {
                    let node = staged.target(top).map(|node| node.to_string());
                    return Err(FsError::Busy(format!(
                        "{id} has begun to stop {}: nothing is changed any more",
                        node.unwrap_or_default()
                    )));
                }
                Some((Stage::Open, _)) if intent == Intent::Write && staged.is_touched => None,
                Some((Stage::Open, id)) => Some(id),
            }
        };
        match told {
            Some(job) => self.tell_job(caller, top, job, intent, until).await,
            None => Ok(()),
        }
    }

    pub(super) async fn wait_for_beginning(
        &self,
        top: &Top,
        until: Instant,
    ) -> Result<(), FsError> {
        let begun = async {
            loop {
                let moved = self.inner.moved.notified();
                tokio::pin!(moved);
                // From here on no change is missed.
                moved.as_mut().enable();
                let beginning = self.inner.desk.lock().get(top).is_some_and(|s| s.is_beginning);
                if !beginning {
                    return;
                }
                moved.await;
            }
        };
        tokio::time::timeout_at(until, begun)
            .await
            .map_err(|_late| FsError::Busy(format!("the restore from {top} is just being begun")))
    }

    fn check_owner(&self, desk: &mut Desk, top: &Top, caller: Caller) -> Result<(), FsError> {
        let Some(staged) = desk.get(top) else {
            let target = node_of(top);
            let set = Set::new(target, self.inner.stored.snapshots());
            desk.add(top, set, (caller.uid, caller.gid), self.inner.clock.now());
            return Ok(());
        };
        if caller.uid == 0 || caller.uid == staged.uid {
            return Ok(());
        }
        Err(FsError::Denied(format!(
            "{top} is being copied into by user {}: his set, and root's to take away",
            staged.uid
        )))
    }

    /// Tells a job that its set changes, or has gone.
    async fn tell_job(
        &self,
        caller: Caller,
        top: &Top,
        job: JobId,
        intent: Intent,
        until: Instant,
    ) -> Result<(), FsError> {
        let Some(turn) = self.turn_of(top) else { return Ok(()) };
        // Whatever else is told about the set is told before or after, never at once.
        let turn = tokio::time::timeout_at(until, turn.lock_owned())
            .await
            .map_err(|_late| FsError::Busy(format!("{job} is just being told of {top}")))?;
        if intent == Intent::Write && self.inner.desk.lock().get(top).is_some_and(|s| s.is_touched)
        {
            return Ok(());
        }
        match intent {
            Intent::Write => {
                let limit = until.saturating_duration_since(Instant::now());
                let (asked, later) = (job.clone(), job.clone());
                // The turn goes with the work: as long as it is not sure what the job was told,
                // nobody tells it anything else.
                let touch = move |inner: &Inner| {
                    inner.work.is_touched(&asked)?;
                    Ok(turn)
                };
                let let_go = move |inner: &Inner, _turn| {
                    if let Err(error) = inner.work.is_settled(&later, inner.clock.now()) {
                        tracing::error!(job = %later, error = %ErrorChain(&error), "it was not let go on");
                    }
                };
                let _turn = self.on_host_or_back(limit, "to tell a job", touch, let_go).await?;
                let mut desk = self.inner.desk.lock();
                let staged = desk.get_mut(top)?;
                if staged.job.as_ref() == Some(&job) {
                    staged.is_touched = true;
                }
            }
            Intent::Remove => self.take_back(caller, top, job, until, turn).await?,
        }
        Ok(())
    }

    /// Asks a job to take back what it did: what it stands on is removed. `turn` goes with the work.
    pub(super) async fn take_back<T: Send + 'static>(
        &self,
        caller: Caller,
        top: &Top,
        job: JobId,
        until: Instant,
        turn: T,
    ) -> Result<(), FsError> {
        let (uid, pid, program) = (caller.uid, caller.pid, caller.program());
        tracing::info!(%top, %job, uid, pid, program, "a restore is taken back");
        let why = format!("taken back by a removal in {top}, by user {uid} ({program}, pid {pid})");
        let (asked, later, seen) = (job.clone(), job.clone(), top.clone());
        let cancel = move |inner: &Inner| {
            inner.work.cancel(&asked, &why)?;
            Ok(turn)
        };
        let note = move |inner: &Inner, _turn| inner.desk.lock().take_back(&seen, later);
        let limit = until.saturating_duration_since(Instant::now());
        let _turn = self.on_host_or_back(limit, "to cancel a job", cancel, note).await?;
        self.inner.desk.lock().take_back(top, job);
        Ok(())
    }

    /// Whose turn it is to tell the job of a set something.
    pub(super) fn turn_of(&self, top: &Top) -> Option<Arc<tokio::sync::Mutex<()>>> {
        self.inner.desk.lock().get(top).map(|staged| Arc::clone(&staged.telling))
    }
}

pub(super) fn circle() -> FsError {
    FsError::Bug("a set asks in a circle".to_owned())
}

/// How far a job is, as its set sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stage {
    /// Nothing has happened to the node.
    Open,
    /// The node is stopped, or about to be.
    Stopping,
    /// It is over.
    Ended,
}

/// A job that the table does not have yet has just been made.
pub(super) fn stage(jobs: &[JobStatus], id: &JobId) -> Stage {
    let Some(job) = jobs.iter().find(|job| job.id == *id) else { return Stage::Open };
    match job.state {
        _ if job.state.outcome().is_some() => Stage::Ended,
        // It is taken up again, to be undone or gone on with.
        JobState::Pending if has_stopped(job.phase) => Stage::Stopping,
        JobState::Stopping | JobState::Placing | JobState::Starting => Stage::Stopping,
        _ => Stage::Open,
    }
}

fn has_stopped(phase: Phase) -> bool {
    matches!(phase, Phase::Stop | Phase::Place | Phase::Start | Phase::Check | Phase::Clean)
}

/// The restores of `node` that are not over.
pub(super) fn live_restores<'a>(
    jobs: &'a [JobStatus],
    node: &Fqdn,
) -> impl Iterator<Item = &'a JobStatus> {
    jobs.iter().filter(move |job| {
        job.kind == JobKind::Restore
            && job.node.as_ref().is_none_or(|other| other == node)
            && job.state.outcome().is_none()
    })
}

pub(super) fn node_of(top: &Top) -> Option<Fqdn> {
    match top {
        Top::Node(node) => Some(node.clone()),
        Top::Backup(_) => None,
    }
}
