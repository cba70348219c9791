//! An agent's restore side: requests in, answers out, and what happens when the conversation
//! breaks.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Mutex;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use super::disk::Disk;
use super::engine::{Engine, Tools, blocking};
use super::error::RestoreError;
use super::fence;
use super::keep;
use super::listener::Listener;
use super::lock::NodeLock;
use super::node_journal::{Ending, Reached, Story};
use super::obstacles::obstacles;
use super::order::{Contents, Job, Order, Site};
use super::places::{Directories, Folder};
use super::plan;
use super::process::Process;
use super::protocol::{JobReport, PlanFacts, RestoreReply, RestoreRequest, Staged};
use super::report;
use super::source::{Source, Sources};
use super::sweeping::Sweeping;
use crate::model::{JobId, Md5};
use crate::observe::ErrorChain;
use crate::tasks::within;

/// How long the node's lock is waited for.
const LOCKED_FOR_A_MOMENT: Duration = Duration::from_secs(3);

/// How often it is tried.
const LOOK: Duration = Duration::from_millis(50);

/// One conversation's restore. It has the node's lock from the first change on.
pub struct RestoreSession {
    directories: Directories,
    tools: Tools,
    sources: Arc<dyn Sources>,
    engine: Mutex<Option<Engine>>,
    staging: parking_lot::Mutex<CancellationToken>,
    sweeping: Arc<Sweeping>,
}

type Answer = Result<RestoreReply, RestoreError>;

impl RestoreSession {
    /// A session in which nothing has been asked.
    pub fn new(directories: Directories, tools: Tools, sources: Arc<dyn Sources>) -> Self {
        let staging = parking_lot::Mutex::new(CancellationToken::new());
        let (engine, sweeping) = (Mutex::new(None), Arc::default());
        Self { directories, tools, sources, engine, staging, sweeping }
    }

    /// Begins to remove what ended restores left here whose time is over, beside what else is asked:
    /// a terabyte takes a while. What it does not come to is done the next time. `job` is this
    /// conversation's, which may be about to be undone.
    pub fn sweep(&self, job: &JobId) {
        let (job, directories, tools) = (job.clone(), self.directories.clone(), self.tools.clone());
        self.sweeping.begin(move || {
            let Ok(Ok(lock)) = directories.first().map(NodeLock::take) else { return };
            let disk = tools.disk.as_ref();
            match keep::sweep(&directories, &job, tools.clock.now(), disk) {
                Ok(swept) => swept.iter().for_each(|job| {
                    tracing::info!(%job, "its time is over: what it had set aside is removed");
                }),
                Err(error) => {
                    tracing::warn!(error = %ErrorChain(&error), "old restores are left");
                }
            }
            drop(lock);
        });
    }

    /// Answers a request. Not to be dropped before it has answered: cancelling ends what can be
    /// ended.
    pub async fn handle(
        &self,
        request: RestoreRequest,
        cancelled: &CancellationToken,
        listener: &Arc<dyn Listener>,
    ) -> Answer {
        match request {
            RestoreRequest::Plan(order) => Ok(RestoreReply::Plan(self.plan(&order).await?)),
            RestoreRequest::Stage(order) => {
                Ok(RestoreReply::Staged(self.stage(order, cancelled, listener).await?))
            }
            RestoreRequest::Swap { job, until } => {
                let mut engine = self.engine(&job).await?;
                let engine = engine.get()?;
                engine.forward(until, listener).await?;
                Ok(RestoreReply::Report(engine.report()?))
            }
            RestoreRequest::Resume { job, commands } => {
                self.engine(&job).await?.get()?.command_by(commands);
                self.resume(&job, cancelled, listener).await
            }
            RestoreRequest::Undo { job, commands } => {
                self.engine(&job).await?.get()?.command_by(commands);
                self.undo(&job, listener).await
            }
            RestoreRequest::Abort { job } => self.abort(&job).await,
            RestoreRequest::Clean { job, forget } => self.clean(&job, forget).await,
            RestoreRequest::Journal {} => {
                let directories = self.directories.clone();
                Ok(RestoreReply::Journal(blocking(move || report::all(&directories)).await?))
            }
        }
    }

    /// The conversation is over. What touched Cassandra has been finished, for this waits for it; a
    /// stage is taken back. Afterwards the agent may end.
    pub async fn is_over(&self) {
        self.staging.lock().cancel();
        let engine = self.engine.lock().await.take();
        let Some(engine) = engine.filter(|engine| may_abort(engine.story())) else { return };
        let job = &engine.job().order.job;
        if let Err(error) = self.remove(job).await {
            tracing::error!(%job, error = %ErrorChain(&error), "not taken back");
        }
    }

    async fn contents(
        &self,
        order: &Order,
    ) -> Result<(Arc<dyn Source>, Md5, Contents), RestoreError> {
        let (sources, of) = (Arc::clone(&self.sources), order.clone());
        let read = blocking(move || {
            let source = sources.of(&of).map_err(RestoreError::Backup)?;
            let (md5, contents) = source.contents().map_err(RestoreError::Backup)?;
            Ok((source, md5, contents))
        });
        let limit = Duration::from_secs(order.share_seconds);
        let read = within(limit, "for the share to give the manifest", read).await;
        read.map_err(|slow| RestoreError::Backup(slow.into()))?
    }

    async fn plan(&self, order: &Order) -> Result<PlanFacts, RestoreError> {
        let (source, md5, contents) = self.contents(order).await?;
        let contents = Arc::new(contents);
        let written_anew = written_anew(order, source, &contents).await;
        let process = self.tools.daemon.process().await?;
        let (order, directories) = (order.clone(), self.directories.clone());
        blocking(move || {
            plan::plan(&order, &directories, md5, contents, written_anew, process.as_ref())
        })
        .await
    }

    async fn stage(
        &self,
        order: Order,
        cancelled: &CancellationToken,
        listener: &Arc<dyn Listener>,
    ) -> Result<Staged, RestoreError> {
        let mut mine = self.free()?;
        *self.staging.lock() = cancelled.clone();
        let (source, md5, contents) = self.contents(&order).await?;
        if order.manifest.is_some_and(|planned| planned != md5) {
            return Err(RestoreError::refused(
                "the backup's manifest is not the one that was planned with",
                "plan again",
            ));
        }
        if mine.as_ref().is_none_or(|engine| engine.job().order.job != order.job) {
            if mine.as_ref().is_some_and(|engine| engine.story().ending.is_none()) {
                return Err(RestoreError::Busy("this agent has another restore".to_owned()));
            }
            // Lets go of the lock of the one before.
            *mine = None;
            let (directories, tools) = (self.directories.clone(), self.tools.clone());
            let process = tools.daemon.process().await?;
            let lock = self.lock().await?;
            let engine = blocking(move || {
                begin(order, &directories, tools, lock, contents, process.as_ref())
            });
            *mine = Some(engine.await?);
        }
        let Some(engine) = mine.as_mut() else {
            return Err(RestoreError::Bug("no engine".to_owned()));
        };
        if !may_abort(engine.story()) {
            return Err(RestoreError::Busy("Cassandra was touched already; resume".to_owned()));
        }
        let staged = engine.stage(source, cancelled, listener).await;
        if matches!(staged, Err(RestoreError::CalledOff)) {
            // The lock is kept until it is gone.
            self.remove(&engine.job().order.job).await?;
            *mine = None;
        }
        staged
    }

    async fn resume(
        &self,
        job: &JobId,
        cancelled: &CancellationToken,
        listener: &Arc<dyn Listener>,
    ) -> Answer {
        let (order, asked, turned_back, reached) = {
            let mut engine = self.engine(job).await?;
            let engine = engine.get()?;
            let story = engine.story();
            if story.ending.is_some() {
                return Ok(RestoreReply::Report(engine.report()?));
            }
            (engine.job().order.clone(), story.asked, story.turned_back, story.reached())
        };
        if turned_back {
            return self.undo(job, listener).await;
        }
        if reached == Reached::Nothing {
            self.stage(order, cancelled, listener).await?;
        }
        let mut engine = self.engine(job).await?;
        let engine = engine.get()?;
        if asked > Reached::Staged {
            engine.forward(asked, listener).await?;
        }
        Ok(RestoreReply::Report(engine.report()?))
    }

    async fn undo(&self, job: &JobId, listener: &Arc<dyn Listener>) -> Answer {
        let mut held = self.engine(job).await?;
        let engine = held.get()?;
        if may_abort(engine.story()) {
            drop(held);
            return self.abort(job).await;
        }
        engine.back(listener).await?;
        Ok(RestoreReply::Report(engine.report()?))
    }

    async fn abort(&self, job: &JobId) -> Answer {
        self.staging.lock().cancel();
        let mut engine = self.engine.lock().await;
        if engine.as_ref().is_none_or(|engine| engine.job().order.job != *job) {
            *engine = Some(self.find(job).await?);
        }
        let Some(found) = engine.as_ref() else {
            return Err(RestoreError::Bug("no engine".to_owned()));
        };
        if !may_abort(found.story()) {
            return Err(RestoreError::refused(
                "Cassandra was touched by this restore already",
                fence::remedy(job),
            ));
        }
        let mut story = found.story().clone();
        self.remove(job).await?;
        *engine = None;
        (story.ending, story.error) = (Some(Ending::Aborted), None);
        let folder = Folder::of(job, self.directories.first()?);
        Ok(RestoreReply::Report(report::of_story(&story, &folder)))
    }

    async fn clean(&self, job: &JobId, forget: bool) -> Answer {
        let mut held = self.engine(job).await?;
        let engine = held.get()?;
        if engine.story().ending.is_none() {
            return Err(RestoreError::refused("the restore has not ended", fence::remedy(job)));
        }
        let mut report: JobReport = engine.report()?;
        let (whole, tools) = (engine.job().clone(), self.tools.clone());
        let now = tools.clock.now();
        if forget {
            self.remove(job).await?;
            held.let_go();
            report.kept_until = None;
        } else {
            blocking(move || keep::clean(&whole, now, tools.disk.as_ref())).await?;
        }
        Ok(RestoreReply::Report(report))
    }

    async fn remove(&self, job: &JobId) -> Result<(), RestoreError> {
        let (job, directories) = (job.clone(), self.directories.clone());
        let disk = Arc::clone(&self.tools.disk);
        blocking(move || keep::forget(&job, &directories, disk.as_ref())).await
    }

    /// The engine's place, unless something is at work on it.
    fn free(&self) -> Result<tokio::sync::MutexGuard<'_, Option<Engine>>, RestoreError> {
        self.engine.try_lock().map_err(|_held| {
            RestoreError::Busy("this agent is at work on a restore already".to_owned())
        })
    }

    /// The engine of a job: the one at hand, or one read from the node's disk.
    async fn engine(&self, job: &JobId) -> Result<Held<'_>, RestoreError> {
        let mut engine = self.free()?;
        match engine.as_ref() {
            Some(found) if found.job().order.job == *job => {}
            Some(found) if found.story().ending.is_none() && found.story().touched_cassandra() => {
                return Err(RestoreError::Busy("this agent has another restore".to_owned()));
            }
            _ => {
                *engine = None;
                *engine = Some(self.find(job).await?);
            }
        }
        Ok(Held(engine))
    }

    async fn find(&self, job: &JobId) -> Result<Engine, RestoreError> {
        let first = self.directories.first()?.to_owned();
        let is_there = Folder::of(job, &first).order().exists();
        let lock = if is_there { Some(self.lock().await?) } else { None };
        let (job, tools) = (job.clone(), self.tools.clone());
        blocking(move || {
            // Another agent may have removed it before it let go of the lock.
            let Some((lock, found)) = lock.zip(Job::read(&job, &first)?) else {
                return Err(RestoreError::refused(
                    format!("there is no restore {job} in {}", first.display()),
                    "it never began on this node, or was taken back, or its time is over",
                ));
            };
            Engine::new(found, tools, lock)
        })
        .await
    }

    /// The node's lock. An agent that only looks for what is over has it for a moment.
    async fn lock(&self) -> Result<NodeLock, RestoreError> {
        let sweeping = Arc::clone(&self.sweeping);
        blocking(move || {
            sweeping.wait();
            Ok(())
        })
        .await?;
        let until = Instant::now() + LOCKED_FOR_A_MOMENT;
        loop {
            match NodeLock::take(self.directories.first()?) {
                Err(RestoreError::Busy(_)) if Instant::now() < until => sleep(LOOK).await,
                taken => return taken,
            }
        }
    }
}

struct Held<'a>(tokio::sync::MutexGuard<'a, Option<Engine>>);

impl Held<'_> {
    fn get(&mut self) -> Result<&mut Engine, RestoreError> {
        self.0.as_mut().ok_or_else(|| RestoreError::Bug("no engine".to_owned()))
    }

    fn let_go(&mut self) {
        *self.0 = None;
    }
}

/// How many files are stored otherwise than the manifest says. It is good to know before they are
/// staged, and no reason not to go on if the share does not tell in time.
async fn written_anew(order: &Order, source: Arc<dyn Source>, contents: &Arc<Contents>) -> u64 {
    let (limit, contents) = (Duration::from_secs(order.share_seconds), Arc::clone(contents));
    let count = blocking(move || source.written_anew(&contents).map_err(RestoreError::Backup));
    let count = within(limit, "for the share to list the backup's files", count).await;
    let count = count.map_err(|slow| RestoreError::Backup(slow.into())).flatten();
    count.unwrap_or_else(|error| {
        tracing::warn!(error = %ErrorChain(&error), "files that were written anew are not counted");
        0
    })
}

/// Whether everything that was done can be taken back by removing the stage.
fn may_abort(story: &Story) -> bool {
    !story.touched_cassandra() && story.ending.is_none() && !story.turned_back
}

/// Writes the order, or finds the one that is there.
fn begin(
    order: Order,
    directories: &Directories,
    tools: Tools,
    lock: NodeLock,
    contents: Contents,
    process: Option<&Process>,
) -> Result<Engine, RestoreError> {
    let disk: &dyn Disk = tools.disk.as_ref();
    let first = directories.first()?;
    keep::sweep(directories, &order.job, tools.clock.now(), disk)?;
    let known = Job::read(&order.job, first)?;
    let known = known.filter(|known| *known.contents == contents);
    // What the node was like is written once: later it may be closed.
    let site = known.map_or_else(|| Site::of(directories), |known| Ok(known.site))?;
    let job = Job { order, site, contents: Arc::new(contents) };
    let reports = report::all(directories)?;
    if let Some(obstacle) = obstacles(&job, &reports, process)?.into_iter().next() {
        let (why, remedy) = obstacle.split_once("; ").unwrap_or((&obstacle, "see its log"));
        return Err(RestoreError::refused(why, remedy));
    }
    job.first()?.make(disk)?;
    let touched = Story::read(&job.first()?.journal())?;
    if touched.as_ref().is_none_or(may_abort) {
        job.write(disk)?;
    }
    Engine::new(job, tools, lock)
}
