//! What one can do on another machine, however it is reached.

use std::fmt;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncWrite};

use super::{RemoteCommand, RemoteProcess, SshError};

/// One machine that we are logged in to. Many things can be done on it at once.
///
/// Every future may be dropped at any time: what it started there is told to end (SIGTERM, then
/// end of its stdin), and its session is given back.
#[async_trait]
pub trait Remote: Send + Sync + fmt::Debug {
    /// Who it is, for messages: `root@node1`.
    fn name(&self) -> String;

    /// Runs a program to its end, with `stdin` as its input.
    ///
    /// A program that fails is an [`Output`] with that status; one that could not be found has
    /// status 127. What the account's start-up files print is not in the output. A process that it
    /// leaves behind with its stdout in hand does not hold up the end.
    ///
    /// # Errors
    ///
    /// `TimedOut` after `deadline`; `NotOurs` if something else than the program answered;
    /// `TooMuch` for more than 16 MiB of stdout; `Lost`, `Busy` and `Refused` of the connection.
    async fn run(
        &self,
        command: &RemoteCommand,
        stdin: Bytes,
        deadline: Duration,
    ) -> Result<Output, SshError>;

    /// Writes a file, whole or not at all: a reader sees the old content or the new. `mode` is the
    /// permissions, such as 0o700. A program that runs from the old file goes on.
    ///
    /// # Errors
    ///
    /// `Failed` with what the other side said: no room, no right, no such directory.
    async fn upload(
        &self,
        content: Bytes,
        path: &str,
        mode: u32,
        deadline: Duration,
    ) -> Result<(), SshError>;

    /// Starts a program to talk with. `deadline` is for its start.
    ///
    /// # Errors
    ///
    /// As [`run`](Remote::run), but a program that cannot be found shows only as an early end.
    async fn start(
        &self,
        command: &RemoteCommand,
        deadline: Duration,
    ) -> Result<RemoteProcess, SshError>;

    /// Connects to a port as the other machine sees it; 127.0.0.1 is that machine.
    ///
    /// # Errors
    ///
    /// `Refused` if nobody listens there, or the host allows no forwarding.
    async fn tunnel(&self, host: &str, port: u16, deadline: Duration) -> Result<Tunnel, SshError>;

    /// Ends all that runs there through this, and the connection. Takes four seconds at most.
    async fn close(&self);
}

/// What a program left.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Output {
    /// How it ended.
    pub exit: Exit,
    /// All of its stdout.
    pub stdout: Vec<u8>,
    /// The last 64 KiB of its stderr.
    pub stderr: Vec<u8>,
}

/// How a program ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Exit {
    /// By itself, with this status.
    Status(u32),
    /// By a signal, named without `SIG`.
    Signal(String),
}

impl Exit {
    /// Whether it ended with status 0.
    pub fn success(&self) -> bool {
        *self == Self::Status(0)
    }
}

impl Output {
    /// What it said last, for messages: the last line of stderr that is not empty, else of stdout.
    pub fn last_words(&self) -> String {
        let last = |bytes: &[u8]| {
            let text = String::from_utf8_lossy(bytes);
            text.lines().map(str::trim).rfind(|line| !line.is_empty()).map(str::to_owned)
        };
        last(&self.stderr).or_else(|| last(&self.stdout)).unwrap_or_else(|| self.exit.to_string())
    }
}

impl fmt::Display for Exit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Status(status) => write!(f, "exit status {status}"),
            Self::Signal(signal) => write!(f, "killed by SIG{signal}"),
        }
    }
}

/// Bytes both ways.
pub trait Duplex: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Duplex for T {}

/// A connection to a port on the other side. Dropping it closes it. A write that is not taken for as
/// long as [`Patience::write`](super::Patience) says fails with `TimedOut`.
pub type Tunnel = Box<dyn Duplex>;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_words_of_a_program_say_why_it_failed() {
        let output = |stdout: &str, stderr: &str| Output {
            exit: Exit::Status(1),
            stdout: stdout.into(),
            stderr: stderr.into(),
        };
        assert_eq!(output("x", "first\nlast \n\n").last_words(), "last");
        assert_eq!(output("only stdout\n", "").last_words(), "only stdout");
        assert_eq!(output("", "").last_words(), "exit status 1");
    }
}
