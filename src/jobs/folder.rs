//! A job's folder: written by the job, read by anybody.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::model::{JobId, JobStatus};

use super::replace::replace;
use super::{Control, JobRequest, JobsError, Journal};

/// The most that is read of a text file of the folder: a log grows.
const TEXT_LIMIT: u64 = 4 << 20;

/// Inode, time and length of a status that was written. Each is a file of its own.
pub(super) type StatusVersion = (u64, i64, i64, u64);

/// One job's folder.
#[derive(Debug, Clone)]
pub struct Folder {
    path: PathBuf,
    id: JobId,
}

/// The job is this process's for as long as this lives.
#[derive(Debug)]
pub struct Held {
    _lock: Flock<File>,
}

impl Folder {
    pub(super) fn at(jobs: &Path, id: &JobId) -> Self {
        Self { path: jobs.join(id.as_str()), id: id.clone() }
    }

    /// Makes the folder with what was asked for and the first status.
    ///
    /// It is made under another name and renamed, so that a folder with a job's name always holds
    /// a whole request.
    pub(super) fn create(
        jobs: &Path,
        request: &JobRequest,
        status: &JobStatus,
    ) -> Result<Self, JobsError> {
        let folder = Self::at(jobs, &request.id);
        let draft = Self { path: jobs.join(format!(".{}", request.id)), id: request.id.clone() };
        let make = |path: &Path| DirBuilder::new().mode(0o700).create(path);
        make(&draft.path).map_err(|source| draft.wrong("make", &draft.path, source))?;
        let control = draft.path.join("control");
        make(&control).map_err(|source| draft.wrong("make", &control, source))?;
        draft.write_json("request.json", request)?;
        draft.write_status(status)?;
        fs::rename(&draft.path, &folder.path).map_err(|source| {
            // The next of that name makes it anew, and one that cannot go is swept up later.
            drop(fs::remove_dir_all(&draft.path));
            folder.wrong("make", &folder.path, source)
        })?;
        Ok(folder)
    }

    /// The job whose folder this is.
    pub fn id(&self) -> &JobId {
        &self.id
    }

    /// The folder's path, for a message.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What was asked for.
    pub fn request(&self) -> Result<JobRequest, JobsError> {
        self.read_json("request.json")
    }

    /// How far it is.
    pub fn status(&self) -> Result<JobStatus, JobsError> {
        self.read_json("status.json")
    }

    /// What tells whether the status was replaced since; none if there is none.
    pub(super) fn status_version(&self) -> Option<StatusVersion> {
        let stat = fs::metadata(self.path.join("status.json")).ok()?;
        Some((stat.ino(), stat.mtime(), stat.mtime_nsec(), stat.len()))
    }

    /// Replaces the status whole: a reader sees the old one or the new one.
    pub fn write_status(&self, status: &JobStatus) -> Result<(), JobsError> {
        self.write_json("status.json", status)
    }

    /// A text file of the folder: `log`, `plan`, `error`, `missing`; empty if it is not there. Of
    /// a long one, the last four MiB.
    pub fn text(&self, name: &str) -> String {
        use std::io::{Read, Seek, SeekFrom};
        let read = || -> io::Result<Vec<u8>> {
            let mut file = File::open(self.path.join(name))?;
            let length = file.metadata()?.len();
            file.seek(SeekFrom::Start(length.saturating_sub(TEXT_LIMIT)))?;
            let mut bytes = Vec::new();
            file.take(TEXT_LIMIT).read_to_end(&mut bytes)?;
            Ok(bytes)
        };
        read().map_or_else(
            |_absent| String::new(),
            |bytes| String::from_utf8_lossy(&bytes).into_owned(),
        )
    }

    /// Replaces a text file.
    pub fn write_text(&self, name: &str, text: &str) -> Result<(), JobsError> {
        self.write(name, text.as_bytes())
    }

    /// The log, opened for appending.
    pub fn open_log(&self) -> Result<File, JobsError> {
        let path = self.path.join("log");
        OpenOptions::new()
            .append(true)
            .create(true)
            .mode(0o600)
            .open(&path)
            .map_err(|source| self.wrong("write", &path, source))
    }

    /// What has been begun and finished.
    pub fn journal(&self) -> Result<Journal, JobsError> {
        Journal::open(&self.path.join("journal"))
    }

    /// What persons want of the job.
    pub fn control(&self) -> Control {
        Control::at(self.path.join("control"))
    }

    /// Makes the job this process's.
    ///
    /// # Errors
    ///
    /// [`JobsError::Taken`] if another process has it.
    pub fn hold(&self) -> Result<Held, JobsError> {
        let path = self.path.join("lock");
        let file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(&path)
            .map_err(|source| self.wrong("lock", &path, source))?;
        match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
            Ok(lock) => Ok(Held { _lock: lock }),
            Err((_, Errno::EWOULDBLOCK)) => Err(JobsError::Taken(self.id.clone())),
            Err((_, errno)) => Err(self.wrong("lock", &path, errno.into())),
        }
    }

    /// Whether a process does the job now.
    pub fn is_alive(&self) -> bool {
        matches!(self.hold(), Err(JobsError::Taken(_)))
    }

    fn read_json<T: DeserializeOwned>(&self, name: &str) -> Result<T, JobsError> {
        let path = self.path.join(name);
        let bytes = match fs::read(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound && !self.path.exists() => {
                return Err(JobsError::NoSuchJob(self.id.clone()));
            }
            read => read.map_err(|source| self.wrong("read", &path, source))?,
        };
        serde_json::from_slice(&bytes).map_err(|source| JobsError::Damaged { path, source })
    }

    fn write_json<T: Serialize>(&self, name: &str, value: &T) -> Result<(), JobsError> {
        let mut bytes = serde_json::to_vec_pretty(value)
            .map_err(|source| JobsError::Damaged { path: self.path.join(name), source })?;
        bytes.push(b'\n');
        self.write(name, &bytes)
    }

    fn write(&self, name: &str, bytes: &[u8]) -> Result<(), JobsError> {
        let path = self.path.join(name);
        replace(&self.path, name, bytes).map_err(|source| self.wrong("write", &path, source))
    }

    #[expect(clippy::unused_self, reason = "read as a sentence where it is called")]
    fn wrong(&self, doing: &'static str, path: &Path, source: io::Error) -> JobsError {
        JobsError::Folder { doing, path: path.to_owned(), source }
    }
}
