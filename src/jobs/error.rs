//! What can go wrong between those who ask for a job and the job.

use std::io;
use std::path::PathBuf;

use thiserror::Error;

use crate::model::{JobId, NameError};

/// A job could not be asked for, read or told something.
#[derive(Debug, Error)]
pub enum JobsError {
    /// The state directory or a job's folder could not be used.
    #[error("cannot {doing} {path}")]
    Folder {
        /// What we were doing: "make", "read", "write".
        doing: &'static str,
        /// The file or directory.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// A file of the folder does not parse: half written by a power cut, or from a newer version.
    #[error("cannot read {path}: it is damaged, or was written by a newer medusafs")]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        #[source]
        source: serde_json::Error,
    },
    /// No such job.
    #[error("there is no job {0} on this host; `medusafs jobs` lists those there are")]
    NoSuchJob(JobId),
    /// The name that a job would have is no name.
    #[error("no job can be named so")]
    Name(#[from] NameError),
    /// The process that does the job could not be started.
    #[error("cannot start {program} for job {job}")]
    Start {
        /// The program: this one.
        program: PathBuf,
        /// The job.
        job: JobId,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// Another process does this job already.
    #[error("job {0} is being done by another process")]
    Taken(JobId),
    /// It is not known whether it has published, so that its name is not free.
    #[error("{left}")]
    Unsettled {
        /// What it may have left, with the command that settles it.
        left: String,
    },
}
