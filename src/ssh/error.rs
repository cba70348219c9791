//! Why another machine could not be worked on.

use std::error::Error;
use std::fmt;

use thiserror::Error;

use super::HostKeyError;

/// What failed on which host at which stage; the message ends with what to do about it.
#[derive(Debug, Error)]
#[error("cannot {stage} {host}: {message}")]
pub struct SshError {
    /// Whom it was about, as `user@host:port`.
    pub host: String,
    /// How far it had come.
    pub stage: Stage,
    /// What the caller can do.
    pub kind: SshErrorKind,
    /// What is wrong and what to do next, in words.
    pub message: String,
    /// What lies beneath; printed by `ErrorChain`, not here.
    pub source: Option<Box<dyn Error + Send + Sync>>,
}

/// How far a connection, or what it was for, had come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Stage {
    /// From the name to an address.
    Resolve,
    /// The TCP connection and the key exchange.
    Connect,
    /// Whether it is the host that we know.
    HostKey,
    /// Logging in.
    Authenticate,
    /// Running a program.
    Run,
    /// Writing a file.
    Upload,
    /// Reaching a port through the host.
    Tunnel,
}

/// What a caller can do about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum SshErrorKind {
    /// Nobody answers there now; another try later may help.
    Unreachable,
    /// Too many connections or sessions at once; another try later may help.
    Busy,
    /// The host is not proven to be the one that we know. Never tried again.
    HostKey,
    /// Our own key or agent is unfit; nothing was sent.
    Identity,
    /// The host does not let us in.
    Denied,
    /// It did not answer in the time it had.
    TimedOut,
    /// The connection broke; what was started there may still run.
    Lost,
    /// The host refuses what was asked for: a session, a program, a forward.
    Refused,
    /// Something else than our program answered: a forced command, a broken login shell.
    NotOurs,
    /// It ran and failed.
    Failed,
    /// It wrote more than is ever taken.
    TooMuch,
    /// It cannot be asked for at all: a NUL byte in an argument.
    Unsayable,
}

impl SshError {
    pub(super) fn new(
        host: impl fmt::Display,
        stage: Stage,
        kind: SshErrorKind,
        message: impl Into<String>,
    ) -> Self {
        Self { host: host.to_string(), stage, kind, message: message.into(), source: None }
    }

    #[must_use]
    pub(super) fn because(mut self, source: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        self.source = Some(source.into());
        self
    }

    /// What is wrong with the host's key, if that is it: for showing fingerprints.
    pub fn host_key(&self) -> Option<&HostKeyError> {
        self.source.as_deref()?.downcast_ref()
    }
}

impl fmt::Display for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Resolve => "find the address of",
            Self::Connect => "connect to",
            Self::HostKey => "trust",
            Self::Authenticate => "log in to",
            Self::Run => "run a program on",
            Self::Upload => "write a file on",
            Self::Tunnel => "reach a port through",
        })
    }
}
