//! A failure as the job hears of it.

use std::error::Error;
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::observe::ErrorChain;

/// What the job can do about a failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FaultKind {
    /// It was told to stop.
    Cancelled,
    /// A setting or a file of settings on the node is wrong: a person must mend it.
    Settings,
    /// A program that is needed is not there or may not be run.
    NoProgram,
    /// Cassandra refuses the user or password.
    Credentials,
    /// Cassandra does not answer, or is not far enough started to.
    CassandraDown,
    /// nodetool failed otherwise.
    Nodetool,
    /// What was to be made is there: a snapshot of that tag, a backup of that name.
    Exists,
    /// What was to be worked on is not there: a snapshot, an upload.
    Missing,
    /// Something is there in part, or not as it was recorded: a person must look.
    Damaged,
    /// The share does not answer in time.
    ShareHangs,
    /// The share refuses: permissions, read-only, a path that is no directory.
    ShareRefuses,
    /// The share is full, or a quota is.
    ShareFull,
    /// The node's own disk is full.
    NodeFull,
    /// The node's own files cannot be read or written.
    NodeFiles,
    /// The node or the backup is not fit for what was asked; nothing was changed.
    Refused,
    /// Another job is at work on what this one needs.
    Busy,
    /// Something took longer than it may.
    TimedOut,
    /// A request that does not fit what went before it: a bug on the job's side.
    OutOfOrder,
    /// A bug on the agent's side.
    Bug,
}

/// A failure in words, and its kind for programs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fault {
    /// What the job can do about it.
    pub kind: FaultKind,
    /// What failed, where and why.
    pub what: String,
    /// What a person can do next; empty where nothing is to be said.
    pub remedy: String,
}

impl Fault {
    /// A fault out of an error and all its causes.
    pub fn new(kind: FaultKind, error: &(dyn Error + 'static), remedy: impl Into<String>) -> Self {
        Self { kind, what: ErrorChain(error).to_string(), remedy: remedy.into() }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.what)?;
        if self.remedy.is_empty() { Ok(()) } else { write!(f, "; {}", self.remedy) }
    }
}

impl Error for Fault {}
