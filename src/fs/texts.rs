//! The text of every file that is made when it is opened.

use std::fmt::Write;
use std::io::Read;
use std::sync::Arc;
use std::time::Duration;
use std::time::Instant;

use crate::catalog::Backup;
use crate::catalog::Completeness;
use crate::model::JobId;
use crate::model::JobState;
use crate::observe::ErrorChain;
use crate::view::ControlFile;
use crate::view::NodeBackupId;
use crate::view::Owner;
use crate::view::README;
use crate::view::Report;
use crate::view::State;
use crate::view::Surroundings;
use crate::view::ViewPath;
use crate::view::World;
use crate::view::control;
use crate::view::status;

use super::BackupBy;
use super::Caller;
use super::FsError;
use super::JobText;
use super::MedusaFs;
use super::SetView;
use super::StagedParent;
use super::in_time::CALL;

/// A plan is no longer.
const PLAN_LIMIT: u64 = 1 << 20;

impl MedusaFs {
    /// The text of a file of the tree.
    pub(super) async fn text(
        &self,
        caller: Caller,
        world: &World,
        path: &ViewPath,
    ) -> Result<String, FsError> {
        self.text_within(self.settings.deadline, caller, world, path).await
    }

    /// The same, without looking into a backup for longer than `limit`.
    async fn text_within(
        &self,
        limit: Duration,
        caller: Caller,
        world: &World,
        path: &ViewPath,
    ) -> Result<String, FsError> {
        match path {
            ViewPath::Readme if self.settings.backup == BackupBy::NoCluster => {
                Ok(format!("{README}\nThis mount knows no cluster: it is for looking only.\n"))
            }
            ViewPath::Readme => Ok(README.to_owned()),
            ViewPath::Status => Ok(status(world, &self.surroundings())),
            ViewPath::ControlFile(Owner::Root, file) => Ok(self.root_text(caller, world, *file)),
            ViewPath::ControlFile(owner, file) => {
                self.look_into(world, owner, limit).await;
                let world = self.world();
                let report = self.report(&world, owner).ok_or(FsError::NotFound)?;
                self.control_text(owner, *file, &report).await
            }
            ViewPath::JobFile(id, file) => {
                let report = Report::of_job(world.job(id).ok_or(FsError::NotFound)?);
                self.report_text(*file, &report).await
            }
            _ => Err(FsError::Bug(format!("{path} has no text"))),
        }
    }

    /// The size that `stat` shows of such a file. Of what one waits for or writes to it is 0.
    pub(super) async fn text_size(
        &self,
        caller: Caller,
        world: &World,
        path: &ViewPath,
    ) -> Result<u64, FsError> {
        let log_of = |id: Option<JobId>| async move {
            let Some(id) = id else { return Ok(0) };
            let size = move |doing: &dyn super::Doing| {
                let file = doing.open_text(&id, JobText::Log).ok();
                let size = file.and_then(|file| file.metadata().ok()).map(|data| data.len());
                Ok(size.unwrap_or(0))
            };
            // A directory is listed whatever becomes of one file's size.
            Ok(self.on_disk("for a job's log", size).await.unwrap_or(0))
        };
        match path {
            ViewPath::ControlFile(_, ControlFile::Wait) => Ok(0),
            ViewPath::ControlFile(_, file) if file.access() == crate::view::Access::Verb => Ok(0),
            ViewPath::ControlFile(owner, ControlFile::Log) => {
                log_of(self.report(world, owner).and_then(|report| report.job)).await
            }
            ViewPath::JobFile(id, ControlFile::Log) => log_of(Some(id.clone())).await,
            _ => match self.text_within(CALL, caller, world, path).await {
                Ok(text) => Ok(u64::try_from(text.len()).unwrap_or(u64::MAX)),
                Err(FsError::HostSilent(_)) => Ok(0),
                Err(error) => Err(error),
            },
        }
    }

    /// Where what a `.medusa/` is about stands; none if that is gone.
    pub(super) fn report(&self, world: &World, owner: &Owner) -> Option<Report> {
        match owner {
            Owner::Root => None,
            Owner::Backup(name) => world.report_of_backup(name),
            Owner::NodeBackup(of) => world.report_of_node_backup(of),
            Owner::Node(node) => Some(world.report_of_node(node).unwrap_or_default()),
            Owner::Area(_) | Owner::AreaNode(..) | Owner::Staged(_) => {
                Some(set_report(world, self.set_of(owner)?))
            }
        }
    }

    /// What is copied in where a `.medusa/` is; an empty set where nobody has begun.
    pub(super) fn set_of(&self, owner: &Owner) -> Option<SetView> {
        let parent = set_parent(owner)?;
        let set = self.copy_in.set(&parent);
        if set.is_some() || matches!(parent, StagedParent::Inside(_)) {
            return set;
        }
        Some(SetView { state: State::Empty.word(), error: String::new(), job: None })
    }

    /// Sees to it that it is known whether a backup is complete, if that can be found out within
    /// `limit`. A share that did not answer is not asked again before its deadline is over.
    pub(super) async fn look_into(&self, world: &World, owner: &Owner, limit: Duration) {
        let name = match owner {
            Owner::Backup(name) => name,
            Owner::NodeBackup(of) => &of.backup,
            _ => return,
        };
        let unknown =
            world.stored(name).is_some_and(|backup| backup.state == Completeness::Unexamined);
        let now = Instant::now();
        if !unknown || self.not_looked_before.lock().is_some_and(|then| now < then) {
            return;
        }
        let (catalog, asked) = (self.catalog.clone(), name.clone());
        let doing = format!("for what {name} holds");
        match self.pool.run(limit, doing, move || catalog.examine(&asked)).await {
            Ok(Ok(_)) => {}
            Ok(Err(error)) => {
                let error = ErrorChain(&error);
                tracing::warn!(backup = %name, %error, "it cannot be said whether it is complete");
            }
            Err(error) => {
                *self.not_looked_before.lock() = now.checked_add(self.settings.deadline);
                tracing::warn!(backup = %name, %error, "it cannot be said whether it is complete");
            }
        }
    }

    async fn control_text(
        &self,
        owner: &Owner,
        file: ControlFile,
        report: &Report,
    ) -> Result<String, FsError> {
        match (file, set_parent(owner)) {
            (ControlFile::Missing, Some(set)) => Ok(control::missing(&self.copy_in.missing(&set))),
            _ => self.report_text(file, report).await,
        }
    }

    async fn report_text(&self, file: ControlFile, report: &Report) -> Result<String, FsError> {
        Ok(match file {
            ControlFile::State => control::state(report),
            ControlFile::Progress => control::progress(report),
            ControlFile::Nodes => control::nodes(report),
            ControlFile::StatusJson => control::status_json(report),
            ControlFile::Error => control::error(report),
            ControlFile::Verified => "never\n".to_owned(),
            ControlFile::Plan => match report.job.clone() {
                Some(job) => control::ended(&self.plan_of(job).await?),
                None => String::new(),
            },
            ControlFile::Missing
            | ControlFile::Log
            | ControlFile::Wait
            | ControlFile::Cancel
            | ControlFile::Verify
            | ControlFile::Keep
            | ControlFile::Undo
            | ControlFile::Commit
            | ControlFile::Source
            | ControlFile::Version
            | ControlFile::Config
            | ControlFile::Metrics
            | ControlFile::LastError
            | ControlFile::Cache => String::new(),
        })
    }

    async fn plan_of(&self, job: JobId) -> Result<String, FsError> {
        self.on_disk("for a job's plan", move |doing| {
            let Ok(file) = doing.open_text(&job, JobText::Plan) else { return Ok(String::new()) };
            let mut text = Vec::new();
            file.take(PLAN_LIMIT).read_to_end(&mut text).map_err(|error| {
                FsError::failed(format!("cannot read the plan of {job}"), error)
            })?;
            Ok(String::from_utf8_lossy(&text).into_owned())
        })
        .await
    }

    fn root_text(&self, caller: Caller, world: &World, file: ControlFile) -> String {
        match file {
            ControlFile::Version => format!("medusafs {}\n", env!("CARGO_PKG_VERSION")),
            ControlFile::Config => control::ended(&self.settings.config),
            ControlFile::LastError => self.refusals_of(caller.uid),
            ControlFile::Metrics => self.metrics(world),
            ControlFile::Cache => self.cache_text(),
            _ => String::new(),
        }
    }

    fn surroundings(&self) -> Surroundings {
        let share = self.share.read();
        Surroundings {
            broken: self.upkeep.broken(),
            cluster: share.cluster.clone(),
            store: self.store.path().display().to_string(),
            answered: share.answered,
            silent: share.silent.clone(),
        }
    }

    fn cache_text(&self) -> String {
        let (files, directories) = (self.files.len(), self.directories.len());
        format!(
            "manifest_bytes {}\ninodes {}\nopen_files {files}\nopen_directories {directories}\n\
             share_calls_hung {}\n",
            self.catalog.memory().0,
            self.inodes.len(),
            self.pool.hung(),
        )
    }

    /// OpenMetrics text: names and units are never changed.
    fn metrics(&self, world: &World) -> String {
        let newest = world.latest();
        let running = world.jobs.iter().filter(|job| job.state.outcome().is_none()).count();
        let share_is_silent = u8::from(self.share.read().silent.is_some());
        let mut metrics = Metrics::default();
        metrics.add("backups", "Backups in the store.", world.backups.len());
        metrics.add("nodes", "Nodes that have a backup.", world.backups.nodes().len());
        metrics.add("jobs_running", "Jobs that have not ended.", running);
        metrics.add("inodes", "Inodes that the kernel knows.", self.inodes.len());
        metrics.add("open_files", "Files that are open through the mount.", self.files.len());
        metrics.add("manifest_bytes", "Memory that manifests take.", self.catalog.memory().0);
        metrics.add("share_silent", "1 while the share does not answer.", share_is_silent);
        metrics.add("share_calls_hung", "Calls that hang on the share.", self.pool.hung());
        if let Some(finished) = newest.and_then(|backup| backup.finished) {
            let help = "When the newest complete backup ended, since 1970.";
            metrics.add("latest_backup_finished_seconds", help, finished.0);
        }
        if let Some(size) = newest.and_then(|backup| backup.size()) {
            metrics.add("latest_backup_bytes", "Its size.", size.0);
        }
        metrics.text + "# EOF\n"
    }
}

#[derive(Default)]
struct Metrics {
    text: String,
}

impl Metrics {
    fn add(&mut self, name: &str, help: &str, value: impl std::fmt::Display) {
        let written = writeln!(
            self.text,
            "# TYPE medusafs_{name} gauge\n# HELP medusafs_{name} {help}\nmedusafs_{name} {value}"
        );
        debug_assert!(written.is_ok(), "a string takes everything");
    }
}

/// The stored backup that `report` is about, if it only says `incomplete` because nobody has
/// looked yet.
pub(super) fn unexamined(world: &World, owner: &Owner, report: &Report) -> Option<Arc<Backup>> {
    let (Owner::Backup(name) | Owner::NodeBackup(NodeBackupId { backup: name, .. })) = owner else {
        return None;
    };
    let stored = world.stored(name)?;
    let says_so = report.state() == State::Job(JobState::Incomplete);
    let unknown = stored.state == Completeness::Unexamined && stored.damage.is_empty();
    (says_so && unknown).then(|| Arc::clone(stored))
}

/// Whose set a `.medusa/` below `restore/` and `import/` shows.
pub(super) fn set_parent(owner: &Owner) -> Option<StagedParent> {
    match owner {
        Owner::Area(area) => Some(StagedParent::Area(*area)),
        Owner::AreaNode(area, node) => Some(StagedParent::Node(*area, node.clone())),
        Owner::Staged(id) => Some(StagedParent::Inside(*id)),
        Owner::Root | Owner::Backup(_) | Owner::NodeBackup(_) | Owner::Node(_) => None,
    }
}

fn set_report(world: &World, set: SetView) -> Report {
    let job = set.job.as_ref().and_then(|id| world.job(id)).map(Report::of_job);
    let known = job.is_some();
    let mut report = job.unwrap_or_default();
    report.job = report.job.or(set.job);
    // Once a job is at it, the job knows better.
    if !known || report.state.is_none() {
        report.state = State::of_word(&set.state);
    }
    if report.error.is_empty() {
        report.error = set.error;
    }
    report
}
