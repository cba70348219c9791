//! Asking for jobs, and looking at all of them.

use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use crate::model::{
    Clock, JobId, JobKind, JobState, JobStatus, Phase, Progress, STATUS_VERSION, UnixSeconds,
};
use crate::observe::ErrorChain;

use super::seen::Seen;
use super::tidy::{superfluous, sweep};
use super::unsettled::{is_publishing, unsettled};
use super::{AskedBy, ConfigFrom, Folder, Held, JobRequest, JobsError, Work};

/// How soon a job is tried again that its process, or one that looks whether it lives, still holds.
const HOLD_AGAIN: Duration = Duration::from_millis(20);

/// All jobs of this host.
#[derive(Clone)]
pub struct Jobs {
    directory: PathBuf,
    program: PathBuf,
    clock: Arc<dyn Clock>,
    /// Processes that this one started: waited for, so that none stays a zombie.
    children: Arc<Mutex<Vec<Child>>>,
    seen: Arc<Mutex<Seen>>,
}

impl std::fmt::Debug for Jobs {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Jobs").field("directory", &self.directory).finish_non_exhaustive()
    }
}

impl Jobs {
    /// The jobs below `state_dir`, which is made (0700) with the first. `program` is this program,
    /// started as `program job ID` for each job.
    pub fn open(state_dir: &Path, program: PathBuf, clock: Arc<dyn Clock>) -> Self {
        Self::in_directory(state_dir.join("jobs"), program, clock)
    }

    pub(super) fn in_directory(
        directory: PathBuf,
        program: PathBuf,
        clock: Arc<dyn Clock>,
    ) -> Self {
        Self { directory, program, clock, children: Arc::default(), seen: Arc::default() }
    }

    /// Writes down what is wanted and starts the process that does it. It goes on whatever
    /// becomes of the caller.
    pub fn begin(
        &self,
        work: &Work,
        asked_by: &AskedBy,
        config: &ConfigFrom,
    ) -> Result<JobId, JobsError> {
        let asked_at = self.clock.now();
        let folder = self.create(work, asked_by, config, asked_at)?;
        if let Err(error) = self.start(&folder) {
            // Whoever asked is told that nothing was begun, so nobody may start it later.
            if let Err(stays) = self.take_back(&folder) {
                tracing::error!(job = %folder.id(), error = %ErrorChain(&stays), "not taken back");
            }
            return Err(error);
        }
        Ok(folder.id().clone())
    }

    /// Starts the process for a folder: a new one, or one whose process has died.
    ///
    /// The process makes a session of its own, and holds the folder's lock: of two that are
    /// started at once, one goes away again.
    #[expect(clippy::disallowed_methods, reason = "this program itself, as a job of its own")]
    pub fn start(&self, folder: &Folder) -> Result<(), JobsError> {
        let log = folder.open_log()?;
        let child = std::process::Command::new(&self.program)
            .arg("job")
            .arg(folder.path())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .map_err(|source| JobsError::Start {
                program: self.program.clone(),
                job: folder.id().clone(),
                source,
            })?;
        self.children.lock().push(child);
        Ok(())
    }

    /// Takes up a job that has ended: its status is set back to its first, so that whoever looks
    /// sees that it goes on, and a process is started for it. Why a node failed a backup stays: no
    /// later process finds out.
    pub fn reopen(&self, folder: &Folder) -> Result<(), JobsError> {
        folder.control().forget_cancel();
        let mut status = folder.status()?;
        status.state = JobState::Pending;
        status.finished = None;
        status.error.clear();
        status.cause = None;
        for node in &mut status.nodes {
            node.state = JobState::Pending;
            if status.kind == JobKind::Restore {
                node.error = None;
            }
        }
        folder.write_status(&status)?;
        self.start(folder)
    }

    /// Removes the folders of jobs that have ended, so that their name is free: of all, or of none.
    /// That of a job that may have left something on a node is withdrawn instead, for nothing else
    /// knows what there is to be settled. A process that still holds its job is waited for, for
    /// `patience` at most.
    ///
    /// # Errors
    ///
    /// [`JobsError::Taken`] if the process of one is still there, [`JobsError::Unsettled`] if it is
    /// not known of one whether it has published.
    pub fn forget(&self, folders: &[Folder], patience: Duration) -> Result<(), JobsError> {
        let until = Instant::now() + patience;
        let mut held = Vec::new();
        for folder in folders {
            held.push(hold_until(folder, until)?);
        }
        let mut ended = Vec::new();
        for folder in folders {
            let (journal, status) = (folder.journal()?, folder.status()?);
            if status.state.outcome().is_none() {
                return Err(JobsError::Taken(folder.id().clone()));
            }
            let left = unsettled(journal.records(), folder.id());
            if is_publishing(journal.records()) {
                return Err(JobsError::Unsettled { left: left.join("; ") });
            }
            ended.push((folder, status, left.is_empty()));
        }
        for (folder, status, is_settled) in ended {
            if is_settled {
                self.remove(folder)?;
            } else {
                folder.write_status(&JobStatus { withdrawn: true, ..status })?;
            }
        }
        Ok(())
    }

    fn take_back(&self, folder: &Folder) -> Result<(), JobsError> {
        let _held = folder.hold()?;
        self.remove(folder)
    }

    fn remove(&self, folder: &Folder) -> Result<(), JobsError> {
        let wrong =
            |source| JobsError::Folder { doing: "remove", path: folder.path().to_owned(), source };
        // Under a name that is no job's, so that half of it is never taken for one.
        let away = self.directory.join(format!(".gone-{}", folder.id()));
        fs::rename(folder.path(), &away).map_err(wrong)?;
        fs::remove_dir_all(&away).map_err(wrong)
    }

    /// The folder of a job.
    ///
    /// # Errors
    ///
    /// [`JobsError::NoSuchJob`] if there is none.
    pub fn folder(&self, id: &JobId) -> Result<Folder, JobsError> {
        let folder = Folder::at(&self.directory, id);
        if folder.path().is_dir() { Ok(folder) } else { Err(JobsError::NoSuchJob(id.clone())) }
    }

    /// Opens a job by its folder's path, as its process is given it.
    pub fn folder_at(path: &Path) -> Result<Folder, JobsError> {
        let name = path.file_name().map(|name| name.to_string_lossy().into_owned());
        let id = JobId::parse(&name.unwrap_or_default())?;
        let parent = path.parent().unwrap_or(Path::new("."));
        Ok(Folder::at(parent, &id))
    }

    /// Every job's folder, oldest first.
    pub fn folders(&self) -> Result<Vec<Folder>, JobsError> {
        self.children.lock().retain_mut(|child| matches!(child.try_wait(), Ok(None)));
        let wrong =
            |source| JobsError::Folder { doing: "list", path: self.directory.clone(), source };
        let mut folders = Vec::new();
        let entries = match fs::read_dir(&self.directory) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(folders),
            entries => entries.map_err(wrong)?,
        };
        for entry in entries {
            let name = entry.map_err(wrong)?.file_name();
            // A draft that a crash left begins with a dot, and is no id.
            if let Some(Ok(id)) = name.to_str().map(JobId::parse) {
                folders.push(Folder::at(&self.directory, &id));
            }
        }
        folders.sort_by(|a, b| a.id().cmp(b.id()));
        Ok(folders)
    }

    /// What all jobs have to tell, oldest first. One whose folder cannot be read is left out, and
    /// said so in the log. What has not changed is not read again.
    pub fn table(&self) -> Result<Vec<JobStatus>, JobsError> {
        let folders = self.folders()?;
        Ok(self.seen.lock().look(&folders))
    }

    /// Starts the recovery of every job that has not ended and whose process is gone. Returns
    /// which those were. One that cannot be started keeps no other from it.
    pub fn recover(&self) -> Result<Vec<JobId>, JobsError> {
        let mut recovered = Vec::new();
        for job in self.table()?.into_iter().filter(|job| job.state.outcome().is_none()) {
            let folder = Folder::at(&self.directory, &job.id);
            if folder.is_alive() {
                continue;
            }
            match self.start(&folder) {
                Ok(()) => recovered.push(job.id),
                Err(error) => {
                    tracing::error!(job = %job.id, error = %ErrorChain(&error), "not started again");
                }
            }
        }
        Ok(recovered)
    }

    /// Removes the folders of jobs that have ended and that nobody needs any more; those of which
    /// something is left on a node stay, and so does a restore as long as it can be undone, which
    /// is for `undo_keep`. What cannot be removed is said in the log.
    pub fn tidy(&self, undo_keep: Duration) {
        let now = self.clock.now();
        let jobs = match self.table() {
            Ok(jobs) => jobs,
            Err(error) => {
                tracing::warn!(error = %ErrorChain(&error), "the jobs cannot be listed");
                return;
            }
        };
        for id in superfluous(&jobs, now, undo_keep) {
            let folder = Folder::at(&self.directory, &id);
            match self.remove_if_settled(&folder) {
                Ok(true) => tracing::info!(job = %id, "its folder was old: removed"),
                Ok(false) => {}
                Err(error) => {
                    tracing::warn!(job = %id, error = %ErrorChain(&error), "its folder stays");
                }
            }
        }
        if let Err(error) = sweep(&self.directory, now) {
            tracing::debug!(%error, "half a job's folder stays");
        }
    }

    fn remove_if_settled(&self, folder: &Folder) -> Result<bool, JobsError> {
        let _held = folder.hold()?;
        let is_settled = unsettled(folder.journal()?.records(), folder.id()).is_empty();
        if is_settled {
            self.remove(folder)?;
        }
        Ok(is_settled)
    }

    /// Makes the folder; a second job of the same name within a second waits for no one, but gets
    /// the next free second in its id.
    fn create(
        &self,
        work: &Work,
        asked_by: &AskedBy,
        config: &ConfigFrom,
        asked_at: UnixSeconds,
    ) -> Result<Folder, JobsError> {
        DirBuilder::new().recursive(true).mode(0o700).create(&self.directory).map_err(
            |source| JobsError::Folder { doing: "make", path: self.directory.clone(), source },
        )?;
        let mut named_at = asked_at;
        loop {
            let id = JobId::new(named_at, work.kind(), work.about())?;
            let status = JobStatus {
                version: STATUS_VERSION,
                id: id.clone(),
                kind: work.kind(),
                backup: work.backup().clone(),
                node: work.node().cloned(),
                state: JobState::Pending,
                phase: match work {
                    Work::Backup(_) => Phase::Check,
                    Work::Restore(_) => Phase::Plan,
                },
                progress: Progress::default(),
                bytes_per_second: None,
                eta_seconds: None,
                started: asked_at,
                finished: None,
                unique_bytes: None,
                nodes: Vec::new(),
                error: String::new(),
                withdrawn: false,
                cause: None,
            };
            let request = JobRequest {
                version: 1,
                id,
                asked_at,
                asked_by: asked_by.clone(),
                config: config.clone(),
                work: work.clone(),
            };
            match Folder::create(&self.directory, &request, &status) {
                Ok(folder) => return Ok(folder),
                Err(JobsError::Folder { source, .. })
                    if matches!(
                        source.kind(),
                        io::ErrorKind::AlreadyExists | io::ErrorKind::DirectoryNotEmpty
                    ) =>
                {
                    named_at = UnixSeconds(named_at.0.saturating_add(1));
                }
                Err(error) => return Err(error),
            }
        }
    }
}

/// Makes the job this process's: one that shows its end holds its folder a moment longer.
#[expect(clippy::disallowed_methods, reason = "called where it may take a while")]
fn hold_until(folder: &Folder, until: Instant) -> Result<Held, JobsError> {
    loop {
        match folder.hold() {
            Err(JobsError::Taken(_)) if Instant::now() < until => thread::sleep(HOLD_AGAIN),
            held => return held,
        }
    }
}
