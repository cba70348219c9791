//! Asking for jobs, and looking at all of them.

use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::sync::Arc;

use parking_lot::Mutex;

use crate::model::{
    Clock, JobId, JobState, JobStatus, Phase, Progress, STATUS_VERSION, UnixSeconds,
};

use super::{AskedBy, ConfigFrom, Folder, JobRequest, JobsError, Work};

/// All jobs of this host.
#[derive(Clone)]
pub struct Jobs {
    directory: PathBuf,
    program: PathBuf,
    clock: Arc<dyn Clock>,
    /// Processes that this one started: waited for, so that none stays a zombie.
    children: Arc<Mutex<Vec<Child>>>,
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
        Self { directory: state_dir.join("jobs"), program, clock, children: Arc::default() }
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
        self.start(&folder)?;
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
    /// sees that it goes on, and a process is started for it.
    pub fn reopen(&self, folder: &Folder) -> Result<(), JobsError> {
        folder.control().forget_cancel();
        let mut status = folder.status()?;
        status.state = JobState::Pending;
        status.finished = None;
        status.error.clear();
        folder.write_status(&status)?;
        self.start(folder)
    }

    /// Removes the folder of a job that has ended.
    ///
    /// # Errors
    ///
    /// [`JobsError::Taken`] if its process is still there.
    pub fn forget(&self, folder: &Folder) -> Result<(), JobsError> {
        let _held = folder.hold()?;
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
    /// said so in the log.
    pub fn table(&self) -> Result<Vec<JobStatus>, JobsError> {
        let statuses = self.folders()?.into_iter().filter_map(|folder| {
            folder
                .status()
                .inspect_err(|error| {
                    tracing::warn!(job = %folder.id(), error = %crate::observe::ErrorChain(error), "unreadable job");
                })
                .ok()
        });
        Ok(statuses.collect())
    }

    /// Starts the recovery of every job that has not ended and whose process is gone. Returns
    /// which those were.
    pub fn recover(&self) -> Result<Vec<JobId>, JobsError> {
        let mut recovered = Vec::new();
        for folder in self.folders()? {
            let open = folder.status().is_ok_and(|status| status.state.outcome().is_none());
            if open && !folder.is_alive() {
                self.start(&folder)?;
                recovered.push(folder.id().clone());
            }
        }
        Ok(recovered)
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
