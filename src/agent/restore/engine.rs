//! The steps of a restore on one node, in order, forward and back.
//!
//! Each is written to the journal before it begins and when it is durable, may run again after
//! having been cut off, and never trusts the journal about what it can see on the disk or among the
//! processes.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use super::daemon::Daemon;
use super::disk::Disk;
use super::error::RestoreError;
use super::fence;
use super::keep;
use super::listener::Listener;
use super::lock::NodeLock;
use super::node_journal::{Ending, Entry, Journal, NodeStep, Reached, Story, WAY_BACK};
use super::order::Job;
use super::places::Folder;
use super::protocol::{Commands, JobReport, Staged};
use super::report;
use super::source::Source;
use super::stage;
use super::staged;
use super::swap;
use crate::model::{Clock, Progress};
use crate::observe::ErrorChain;

/// How long a Cassandra that somebody started may take to end at the fence.
const ENDS_WITHIN: Duration = Duration::from_mins(1);

/// How often a state that is waited for is looked at.
const LOOK: Duration = Duration::from_millis(250);

/// What the steps work with.
#[derive(Clone)]
pub struct Tools {
    /// The node's disks.
    pub disk: Arc<dyn Disk>,
    /// Its Cassandra.
    pub daemon: Arc<dyn Daemon>,
    /// What time it is.
    pub clock: Arc<dyn Clock>,
}

/// One job on one node, with the node's lock.
pub(super) struct Engine {
    job: Arc<Job>,
    journal: Arc<Mutex<Journal>>,
    /// What the journal tells.
    story: Story,
    tools: Tools,
    staged: Staged,
    _lock: NodeLock,
}

/// Runs what blocks where it may.
pub(super) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, RestoreError> + Send + 'static,
) -> Result<T, RestoreError> {
    let ended = tokio::task::spawn_blocking(work).await;
    ended.unwrap_or_else(|error| Err(RestoreError::Bug(error.to_string())))
}

/// Tells the listener, and the log beside the journal, which is there when nobody listens.
struct Log {
    folder: Folder,
    tools: Tools,
    listener: Arc<dyn Listener>,
}

impl Log {
    fn write(&self, text: &str) {
        let line = format!("{} {text}\n", self.tools.clock.now());
        // The journal is what counts; a log that cannot be written stops nothing.
        drop(self.tools.disk.note(&self.folder.log(), line.as_bytes()));
    }
}

impl Listener for Log {
    fn progress(&self, progress: Progress) {
        self.listener.progress(progress);
    }

    fn step(&self, step: NodeStep) {
        self.write(&format!("{step:?} begins"));
        self.listener.step(step);
    }

    fn note(&self, text: &str) {
        self.write(text);
        self.listener.note(text);
    }
}

impl Engine {
    /// Begins or goes on with a job; the folders exist.
    pub(super) fn new(job: Job, tools: Tools, lock: NodeLock) -> Result<Self, RestoreError> {
        let path = job.first()?.journal();
        let (disk, clock) = (Arc::clone(&tools.disk), Arc::clone(&tools.clock));
        let journal = Journal::open(path, &job.order.job, disk, clock)?;
        let (job, story, staged) = (Arc::new(job), journal.story().clone(), Staged::default());
        let journal = Arc::new(Mutex::new(journal));
        Ok(Self { job, journal, story, tools, staged, _lock: lock })
    }

    /// Adds a line to the journal, which a busy disk may take seconds to make last.
    async fn write(&mut self, entry: Entry) -> Result<(), RestoreError> {
        let journal = Arc::clone(&self.journal);
        let told = blocking(move || {
            let mut journal = journal.lock();
            journal.write(entry)?;
            Ok(journal.story().clone())
        });
        self.story = told.await?;
        Ok(())
    }

    /// The job.
    pub(super) fn job(&self) -> &Job {
        &self.job
    }

    /// Takes these from now on.
    pub(super) fn command_by(&mut self, commands: Commands) {
        let order = &mut Arc::make_mut(&mut self.job).order;
        (order.stop_command, order.start_command) = (commands.stop, commands.start);
    }

    /// What has been done.
    pub(super) fn story(&self) -> &Story {
        &self.story
    }

    /// Where it stands.
    pub(super) fn report(&self) -> Result<JobReport, RestoreError> {
        Ok(report::of_story(self.story(), &self.job.first()?))
    }

    fn log(&self, listener: &Arc<dyn Listener>) -> Result<Log, RestoreError> {
        let (folder, tools) = (self.job.first()?, self.tools.clone());
        Ok(Log { folder, tools, listener: Arc::clone(listener) })
    }

    /// Brings the files to the node, again where something lacks.
    pub(super) async fn stage(
        &mut self,
        source: Arc<dyn Source>,
        cancelled: &CancellationToken,
        listener: &Arc<dyn Listener>,
    ) -> Result<Staged, RestoreError> {
        let log = Arc::new(self.log(listener)?);
        self.write(Entry::Asked(Reached::Staged)).await?;
        self.begin(NodeStep::Stage, log.as_ref()).await?;
        let (job, disk) = (Arc::clone(&self.job), Arc::clone(&self.tools.disk));
        let (cancelled, hears) = (cancelled.clone(), Arc::clone(&log));
        let done =
            blocking(move || stage::stage(&job, &source, &disk, &cancelled, hears.as_ref())).await;
        self.staged = self.end(NodeStep::Stage, done, log.as_ref()).await?;
        Ok(self.staged.clone())
    }

    /// Goes on until `until`. All files must be staged.
    ///
    /// # Errors
    ///
    /// If Cassandra could not be stopped, all is as before but for the stage, and Cassandra runs, or
    /// the error says that it does not serve. Later errors leave the node as it stands, fenced; another try goes on from there.
    pub(super) async fn forward(
        &mut self,
        until: Reached,
        listener: &Arc<dyn Listener>,
    ) -> Result<(), RestoreError> {
        let log = self.log(listener)?;
        if self.story().turned_back {
            return Err(RestoreError::Busy(
                "this restore is being taken back; finish that with an undo".to_owned(),
            ));
        }
        if self.story().reached() == Reached::Nothing {
            return Err(RestoreError::refused("not all files are staged", "stage them"));
        }
        if self.story().ending.is_some() {
            return Ok(());
        }
        self.write(Entry::Asked(until)).await?;
        for milestone in Reached::ALL.into_iter().filter(|milestone| *milestone <= until) {
            for step in milestone.steps() {
                self.step(*step, &log).await?;
            }
        }
        if until == Reached::Started {
            self.write(Entry::Finished(Ending::Done)).await?;
            log.note("the restore is done");
        }
        Ok(())
    }

    /// Takes everything back.
    pub(super) async fn back(&mut self, listener: &Arc<dyn Listener>) -> Result<(), RestoreError> {
        let log = self.log(listener)?;
        if self.story().ending == Some(Ending::Undone) {
            return Ok(());
        }
        if !self.story().turned_back {
            self.write(Entry::TurnedBack).await?;
        }
        for step in WAY_BACK {
            // Nothing to give back, and no reason to stop what runs.
            let about_data = !matches!(step, NodeStep::Open | NodeStep::Start | NodeStep::Clean);
            if !about_data || self.story().touched_data() {
                self.step(step, &log).await?;
            }
        }
        self.write(Entry::Finished(Ending::Undone)).await?;
        log.note("the restore is undone");
        Ok(())
    }

    async fn begin(&mut self, step: NodeStep, log: &Log) -> Result<(), RestoreError> {
        self.write(Entry::Began(step)).await?;
        log.step(step);
        Ok(())
    }

    async fn end<T>(
        &mut self,
        step: NodeStep,
        done: Result<T, RestoreError>,
        log: &Log,
    ) -> Result<T, RestoreError> {
        match &done {
            Ok(_) => self.write(Entry::Ended(step)).await?,
            Err(error) => {
                let why = ErrorChain(error).to_string();
                log.note(&why);
                self.write(Entry::Failed { step, why }).await?;
            }
        }
        done
    }

    async fn step(&mut self, step: NodeStep, log: &Log) -> Result<(), RestoreError> {
        if self.story().done.contains(&step) && self.still_holds(step).await? {
            return Ok(());
        }
        let is_first = matches!(step, NodeStep::Fence | NodeStep::Drain);
        if is_first && self.story().cassandra_ran.is_none() {
            let runs = self.tools.daemon.is_running().await?;
            self.write(Entry::CassandraRan(runs)).await?;
        }
        let done = match self.begin(step, log).await {
            Ok(()) => self.act(step, log).await,
            Err(error) => Err(error),
        };
        match self.end(step, done, log).await {
            Err(error) if self.may_be_left_alone(step) => {
                match self.leave_alone(step, &error, log).await {
                    Ok(()) => Err(error),
                    Err(worse) => Err(self.out_of_service(step, &error, &worse, log).await),
                }
            }
            ended => ended,
        }
    }

    /// Whether what a step did is so still: its end may be the last line that could be written.
    async fn still_holds(&self, step: NodeStep) -> Result<bool, RestoreError> {
        let may_be_taken_back = self.may_be_left_alone(step);
        Ok(match step {
            // It may be gone since, with the machine.
            NodeStep::Start => self.tools.daemon.is_running().await?,
            NodeStep::Fence if may_be_taken_back => {
                fence::path(self.job.site.directories.first()?).exists()
            }
            NodeStep::Stop if may_be_taken_back => !self.tools.daemon.is_running().await?,
            _ => true,
        })
    }

    /// Whether the data is whole as it lies, so that Cassandra may start on it if `step` fails.
    fn may_be_left_alone(&self, step: NodeStep) -> bool {
        let on_the_way_to_a_stop = Reached::Stopped.steps().contains(&step);
        on_the_way_to_a_stop && (!self.story().touched_data() || self.story().was_whole())
    }

    /// Takes back a stop that did not succeed. That a line cannot be written, as on a full disk, is
    /// no reason to leave Cassandra out of service.
    async fn leave_alone(
        &mut self,
        step: NodeStep,
        error: &RestoreError,
        log: &Log,
    ) -> Result<(), RestoreError> {
        self.open().await?;
        let mut written = self.write(Entry::Unfenced).await;
        if self.story().cassandra_ran == Some(true) {
            // What has just been given all its time to end is not told to once more.
            if step == NodeStep::Stop && self.is_drained().await? {
                return Err(RestoreError::cassandra(
                    "it is drained, takes no clients and does not end",
                ));
            }
            self.start(log).await?;
        }
        let why = ErrorChain(error).to_string();
        // In this order: the failure tells why, and no step is at work any more.
        for entry in [Entry::Failed { step, why }, Entry::LeftAlone] {
            if written.is_ok() {
                written = self.write(entry).await;
            }
        }
        if let Err(unwritten) = written {
            log.note(&ErrorChain(&unwritten).to_string());
        }
        log.note("Cassandra's data is as it was; what was staged is kept for another try");
        Ok(())
    }

    /// The error of a stop that failed and could not be taken back: what a person must know is that
    /// the node does not serve.
    async fn out_of_service(
        &mut self,
        step: NodeStep,
        error: &RestoreError,
        worse: &RestoreError,
        log: &Log,
    ) -> RestoreError {
        let job = &self.job.order.job;
        let why = format!(
            "{}; Cassandra's data is as it was, but this node is out of service: {}; put that \
             right, or end Cassandra's process, then \"medusafs undo {job}\" starts it as it was \
             and \"medusafs resume {job}\" goes on",
            ErrorChain(error),
            ErrorChain(worse)
        );
        log.note(&why);
        // What could not be written is told all the same.
        drop(self.write(Entry::Failed { step, why: why.clone() }).await);
        RestoreError::cassandra(why)
    }

    /// Whether the process that runs was drained: it takes no clients any more. The journal says
    /// that it was about to be; nodetool may have refused to.
    async fn is_drained(&self) -> Result<bool, RestoreError> {
        let daemon = &self.tools.daemon;
        let process = daemon.process().await?;
        let was_about_to = process.is_some() && process == self.story().drained;
        Ok(was_about_to && !daemon.takes_clients().await)
    }

    /// Starts Cassandra. One that was drained is ended first, for nothing else makes it serve.
    async fn start(&self, log: &Log) -> Result<(), RestoreError> {
        if self.is_drained().await? {
            log.note("Cassandra was drained and takes no clients: it is stopped and started");
            self.tools.daemon.stop(&self.job.order).await?;
        }
        self.tools.daemon.start(&self.job.order, log).await
    }

    async fn open(&mut self) -> Result<(), RestoreError> {
        if let Some(unit) = self.story().barred.clone() {
            self.tools.daemon.unbar(&unit).await?;
        }
        self.on_disk(fence::open).await
    }

    async fn on_disk(
        &self,
        work: impl FnOnce(&Job, &dyn Disk) -> Result<(), RestoreError> + Send + 'static,
    ) -> Result<(), RestoreError> {
        let (job, disk) = (Arc::clone(&self.job), Arc::clone(&self.tools.disk));
        blocking(move || work(&job, disk.as_ref())).await
    }

    /// Returns when no Cassandra runs. One that a service manager has started again takes some
    /// seconds until it ends at the fence.
    async fn nothing_runs(&self) -> Result<(), RestoreError> {
        let until = Instant::now() + ENDS_WITHIN;
        while self.tools.daemon.is_running().await? {
            if Instant::now() >= until {
                return Err(RestoreError::cassandra(
                    "Cassandra runs although it was stopped and fenced; stop whatever starts it, \
                     then resume",
                ));
            }
            sleep(LOOK).await;
        }
        Ok(())
    }

    async fn act(&mut self, step: NodeStep, log: &Log) -> Result<(), RestoreError> {
        let daemon = Arc::clone(&self.tools.daemon);
        match step {
            NodeStep::Stage => Ok(()),
            NodeStep::Drain => self.drain(log).await,
            NodeStep::Fence => {
                if !self.story().turned_back {
                    self.on_disk(|job, _| staged::check(job)).await?;
                }
                self.on_disk(fence::put_up).await?;
                // While it runs: afterwards nothing tells what the service manager calls it.
                if let Some(unit) = daemon.unit().await {
                    self.write(Entry::Barred(unit)).await?;
                }
                Ok(())
            }
            NodeStep::Stop => daemon.stop(&self.job.order).await,
            NodeStep::Close => {
                if let Some(unit) = self.story().barred.clone()
                    && let Err(error) = daemon.bar(&unit).await
                {
                    let why = ErrorChain(&error);
                    log.note(&format!("{unit} could not be masked ({why}); the fence stands"));
                }
                self.nothing_runs().await?;
                self.on_disk(fence::close).await
            }
            NodeStep::SetAside => {
                self.nothing_runs().await?;
                if self.story().originals.is_none() {
                    let job = Arc::clone(&self.job);
                    let found = blocking(move || swap::originals(&job)).await?;
                    self.write(Entry::Originals(found)).await?;
                }
                let originals = self.story().originals.clone().unwrap_or_default();
                self.on_disk(move |job, disk| swap::set_aside(job, &originals, disk)).await
            }
            NodeStep::Place => {
                self.nothing_runs().await?;
                self.on_disk(swap::place).await?;
                daemon.relabel(self.placed()).await
            }
            NodeStep::Return => {
                self.nothing_runs().await?;
                let originals = self.story().originals.clone().unwrap_or_default();
                self.on_disk(move |job, disk| swap::give_back(job, &originals, disk)).await
            }
            NodeStep::Open => self.open().await,
            NodeStep::Start => {
                let was_down = self.story().cassandra_ran == Some(false);
                if self.story().turned_back && was_down {
                    log.note("Cassandra did not run before the restore, and is not started");
                    return Ok(());
                }
                self.start(log).await
            }
            NodeStep::Clean => {
                let now = self.tools.clock.now();
                self.on_disk(move |job, disk| keep::clean(job, now, disk)).await
            }
        }
    }

    /// The directories that hold what was placed.
    fn placed(&self) -> Vec<std::path::PathBuf> {
        let keyspaces = self.job.contents.keyspaces();
        let directories = self.job.site.directories.holding_keyspaces();
        let all = directories.into_iter().flat_map(|directory| {
            keyspaces.iter().map(move |keyspace| directory.join(keyspace.as_str()))
        });
        all.filter(|path| path.is_dir()).collect()
    }

    async fn drain(&mut self, log: &Log) -> Result<(), RestoreError> {
        let Some(process) = self.tools.daemon.process().await? else {
            log.note("Cassandra does not run: there is nothing to drain");
            return Ok(());
        };
        self.write(Entry::Draining(process)).await?;
        let limit = Duration::from_secs(self.job.order.drain_seconds);
        if let Err(error) = self.tools.daemon.drain(limit).await {
            // The stop drains too; and what is not drained is in the commit log, which is kept.
            log.note(&format!("{}; stopping without it", ErrorChain(&error)));
        }
        Ok(())
    }
}
