//! Starts programs: the one place that does. Each has an end to its time, bounds on what it may
//! write, and is killed with its children when nobody waits for it any more.

use std::collections::VecDeque;
use std::fmt;
use std::future::pending;
use std::io;
use std::os::unix::process::ExitStatusExt;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use thiserror::Error;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::process::{Child, Command};
use tokio::time::{Instant, sleep_until, timeout};

/// The most stdout that is taken, in bytes.
const STDOUT_LIMIT: usize = 16 << 20;

/// Bytes of stderr that are kept, the last ones.
const STDERR_LIMIT: usize = 64 << 10;

/// How long after its end a program's output may still dribble in: a daemon that it started may
/// hold its stdout for ever.
const DRIBBLE: Duration = Duration::from_secs(2);

/// How long a program has to end by itself when its time is over.
const MERCY: Duration = Duration::from_secs(2);

/// A program to run on this machine, without a shell.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Program {
    argv: Vec<String>,
    environment: Vec<(String, String)>,
    stdin: Vec<u8>,
}

/// What a program left.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finished {
    /// Its exit status; none if a signal ended it.
    pub status: Option<i32>,
    /// The signal that ended it.
    pub signal: Option<i32>,
    /// All of its stdout.
    pub stdout: String,
    /// The last 64 KiB of its stderr.
    pub stderr: String,
}

/// Why a program gave no answer. That it failed is an answer.
#[derive(Debug, Error)]
pub enum ProcessError {
    /// There is no such program.
    #[error("there is no program {0}; install it, or give its path")]
    Absent(String),
    /// It could not be started, or not be heard.
    #[error("cannot run `{command}`")]
    Broken {
        /// What was to be run.
        command: String,
        /// What the system said.
        source: io::Error,
    },
    /// It was killed when its time was over.
    #[error("`{command}` did not end within {} s and was killed; its last words: {said}", .after.as_secs())]
    TimedOut {
        /// What ran.
        command: String,
        /// How long it had.
        after: Duration,
        /// The end of what it wrote.
        said: String,
    },
    /// It was killed because it wrote more than 16 MiB.
    #[error("`{0}` wrote more than 16 MiB and was killed")]
    TooMuch(String),
}

impl Program {
    /// The program, found by its path or in `PATH`, and its arguments. They can be seen by every
    /// user of the machine: never a secret.
    pub fn new<I>(argv: I) -> Self
    where
        I: IntoIterator,
        I::Item: Into<String>,
    {
        let argv = argv.into_iter().map(Into::into).collect();
        Self { argv, environment: Vec::new(), stdin: Vec::new() }
    }

    /// Sets a variable of its environment. Never a secret.
    #[must_use]
    pub fn env(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.environment.push((name.into(), value.into()));
        self
    }

    /// What it reads; nothing if this is not said.
    #[must_use]
    pub fn stdin(mut self, bytes: impl Into<Vec<u8>>) -> Self {
        self.stdin = bytes.into();
        self
    }

    /// The same program by another path.
    #[must_use]
    pub(super) fn at(mut self, path: String) -> Self {
        if let Some(program) = self.argv.first_mut() {
            *program = path;
        }
        self
    }

    /// Runs it to its end, or to `deadline`: then it is asked to end and, two seconds later, made
    /// to. Dropping the future kills it, and its children that have not left its process group.
    /// What it leaves behind when it ends by itself, such as a daemon, lives on.
    pub async fn run(self, deadline: Duration) -> Result<Finished, ProcessError> {
        let started = Instant::now();
        let shown = self.to_string();
        let broken = |source| ProcessError::Broken { command: shown.clone(), source };
        let mut running = self.spawn().map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => {
                ProcessError::Absent(self.argv.first().cloned().unwrap_or_default())
            }
            _ => broken(error),
        })?;
        let mut heard = Heard::default();
        let result = match timeout(deadline, running.follow(&self.stdin, &mut heard)).await {
            Ok(Ok(Some(status))) => Ok(heard.finished(status)),
            Ok(Ok(None)) => Err(ProcessError::TooMuch(shown)),
            Ok(Err(error)) => Err(broken(error)),
            Err(_elapsed) => {
                running.end().await;
                let said = heard.last_words();
                Err(ProcessError::TimedOut { command: shown, after: deadline, said })
            }
        };
        let elapsed_ms = u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX);
        let ok = result.as_ref().is_ok_and(Finished::success);
        tracing::debug!(program = %self, elapsed_ms, ok, "ran");
        result
    }

    #[expect(clippy::disallowed_methods, reason = "this is what everybody else is sent to")]
    fn spawn(&self) -> io::Result<Running> {
        let (program, arguments) = self
            .argv
            .split_first()
            .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "no program is named"))?;
        let stdin = if self.stdin.is_empty() { Stdio::null() } else { Stdio::piped() };
        let child = Command::new(program)
            .args(arguments)
            .envs(self.environment.iter().map(|(name, value)| (name, value)))
            .stdin(stdin)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            // A group of its own, so that its children can be killed with it, and so that what it
            // starts is not killed with us.
            .process_group(0)
            .kill_on_drop(true)
            .spawn()?;
        Ok(Running(child))
    }
}

impl fmt::Display for Program {
    /// For messages and logs: blanks between words, quotes where they help.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, word) in self.argv.iter().enumerate() {
            let gap = if index == 0 { "" } else { " " };
            let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:,+@%=".contains(c);
            if !word.is_empty() && word.chars().all(plain) {
                write!(f, "{gap}{word}")?;
            } else {
                write!(f, "{gap}{word:?}")?;
            }
        }
        Ok(())
    }
}

impl Finished {
    /// Whether it ended with status 0.
    pub fn success(&self) -> bool {
        self.status == Some(0)
    }

    /// What it said last, for messages: the last line of stderr that is not empty, else of stdout,
    /// else how it ended.
    pub fn last_words(&self) -> String {
        let last = |text: &str| {
            text.lines().map(str::trim).rfind(|line| !line.is_empty()).map(str::to_owned)
        };
        last(&self.stderr).or_else(|| last(&self.stdout)).unwrap_or_else(|| {
            match (self.status, self.signal) {
                (Some(status), _) => format!("exit status {status}"),
                (None, Some(signal)) => format!("killed by signal {signal}"),
                (None, None) => "it ended".to_owned(),
            }
        })
    }
}

/// A child that is killed, with its group, if it is dropped before its end.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        self.signal(Signal::SIGKILL);
    }
}

impl Running {
    /// To its group; nothing once it has been waited for, when the number may be another's.
    fn signal(&self, signal: Signal) {
        let group = self.0.id().and_then(|id| i32::try_from(id).ok()).map(Pid::from_raw);
        if let Some(group) = group
            && let Err(error) = killpg(group, signal)
        {
            tracing::debug!(%group, %signal, %error, "cannot be signalled");
        }
    }

    async fn end(&mut self) {
        self.signal(Signal::SIGTERM);
        if timeout(MERCY, self.0.wait()).await.is_err() {
            self.signal(Signal::SIGKILL);
            // What even this does not end is stuck in the kernel; nothing more can be done.
            drop(timeout(MERCY, self.0.wait()).await);
        }
    }

    /// Feeds it and hears it to its end; none if it wrote too much.
    async fn follow(&mut self, stdin: &[u8], heard: &mut Heard) -> io::Result<Option<ExitStatus>> {
        let mut stdout = self.0.stdout.take();
        let mut stderr = self.0.stderr.take();
        let mut input = self.0.stdin.take();
        let feed = async {
            if let Some(mut pipe) = input.take() {
                // One that does not read all of its input may have good reason.
                drop(pipe.write_all(stdin).await);
                drop(pipe.shutdown().await);
            }
        };
        tokio::pin!(feed);
        let (mut fed, mut status, mut until) = (false, None, None);
        let (mut out, mut err) = (vec![0; 32 << 10], vec![0; 8 << 10]);
        loop {
            if let (Some(status), true) = (status, stdout.is_none() && stderr.is_none()) {
                return Ok(Some(status));
            }
            tokio::select! {
                () = &mut feed, if !fed => fed = true,
                read = read(&mut stdout, &mut out) => {
                    heard.stdout.extend_from_slice(out.get(..read?).unwrap_or_default());
                    if heard.stdout.len() > STDOUT_LIMIT {
                        return Ok(None);
                    }
                    until = until.map(|_| Instant::now() + DRIBBLE);
                }
                read = read(&mut stderr, &mut err) => {
                    heard.complaint(err.get(..read?).unwrap_or_default());
                    until = until.map(|_| Instant::now() + DRIBBLE);
                }
                ended = self.0.wait(), if status.is_none() => {
                    status = Some(ended?);
                    until = Some(Instant::now() + DRIBBLE);
                }
                () = until_then(until) => return Ok(status),
            }
        }
    }
}

/// What came so far.
#[derive(Default)]
struct Heard {
    stdout: Vec<u8>,
    stderr: VecDeque<u8>,
}

impl Heard {
    fn complaint(&mut self, data: &[u8]) {
        self.stderr.extend(data);
        let surplus = self.stderr.len().saturating_sub(STDERR_LIMIT);
        self.stderr.drain(..surplus);
    }

    fn finished(self, status: ExitStatus) -> Finished {
        Finished {
            status: status.code(),
            signal: status.signal(),
            stdout: String::from_utf8_lossy(&self.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&Vec::from(self.stderr)).into_owned(),
        }
    }

    fn last_words(self) -> String {
        self.finished(ExitStatus::default()).last_words()
    }
}

/// Reads from a pipe that is open, and drops it at its end; waits for ever where there is none.
async fn read<R: AsyncRead + Unpin>(pipe: &mut Option<R>, buffer: &mut [u8]) -> io::Result<usize> {
    let Some(open) = pipe else { return pending().await };
    let read = open.read(buffer).await?;
    if read == 0 {
        *pipe = None;
    }
    Ok(read)
}

async fn until_then(instant: Option<Instant>) {
    match instant {
        Some(instant) => sleep_until(instant).await,
        None => pending().await,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LONG: Duration = Duration::from_secs(20);

    fn sh(script: &str) -> Program {
        Program::new(["/bin/sh", "-c", script])
    }

    #[tokio::test]
    async fn a_program_gets_its_arguments_input_and_environment_and_gives_its_output() {
        let program =
            Program::new(["/bin/sh", "-c", "cat; echo \"$1 $WORD\" >&2; exit 3", "x", "a b"])
                .env("WORD", "c")
                .stdin("in");
        let finished = program.run(LONG).await.unwrap();
        let expected = Finished {
            status: Some(3),
            signal: None,
            stdout: "in".to_owned(),
            stderr: "a b c\n".to_owned(),
        };
        assert_eq!(finished, expected);
        assert_eq!(finished.last_words(), "a b c");
    }

    #[tokio::test]
    async fn much_output_and_much_input_at_once_do_not_block_each_other() {
        let input = vec![b'x'; 3 << 20];
        let finished = Program::new(["/bin/cat"]).stdin(input.clone()).run(LONG).await.unwrap();
        assert_eq!(finished.stdout.len(), input.len());
    }

    #[tokio::test]
    async fn a_program_that_is_not_there_is_named() {
        let error = Program::new(["/nonexistent/nodetool"]).run(LONG).await.unwrap_err();
        assert!(matches!(&error, ProcessError::Absent(name) if name == "/nonexistent/nodetool"));
    }

    #[tokio::test]
    async fn a_program_and_its_children_do_not_outlive_the_deadline() {
        let directory = tempfile::tempdir().unwrap();
        let fifo = directory.path().join("fifo");
        // Its child holds the fifo open for writing: reading it ends when the child does.
        let script = format!("mkfifo {0}; sleep 1000 >{0} & cat {0}; wait", fifo.display());
        let error = sh(&script).run(Duration::from_millis(300)).await.unwrap_err();
        assert!(matches!(error, ProcessError::TimedOut { .. }), "{error}");
        let read = timeout(LONG, tokio::task::spawn_blocking(move || still_open(&fifo))).await;
        assert!(!read.unwrap().unwrap(), "the child lives");
    }

    /// Whether somebody has a fifo open for writing: opening it so without a reader fails.
    fn still_open(fifo: &std::path::Path) -> bool {
        use nix::fcntl::{OFlag, open};
        let flags = OFlag::O_RDONLY | OFlag::O_NONBLOCK;
        let reader = std::fs::File::from(open(fifo, flags, nix::sys::stat::Mode::empty()).unwrap());
        let mut byte = [0];
        for _ in 0..2000 {
            // Zero bytes: nobody writes; EAGAIN: somebody could.
            if matches!(io::Read::read(&mut &reader, &mut byte), Ok(0)) {
                return false;
            }
            std::thread::yield_now();
        }
        true
    }

    #[tokio::test]
    async fn a_daemon_that_holds_stdout_neither_delays_the_end_for_ever_nor_is_killed() {
        let finished = sh("sleep 5 & echo $!").run(LONG).await.unwrap();
        let daemon = Pid::from_raw(finished.stdout.trim().parse().unwrap());
        assert!(nix::sys::signal::kill(daemon, None).is_ok(), "it was killed");
        nix::sys::signal::kill(daemon, Signal::SIGKILL).unwrap();
    }

    #[tokio::test]
    async fn a_program_that_writes_without_end_is_stopped() {
        let error = Program::new(["yes"]).run(LONG).await.unwrap_err();
        assert!(matches!(error, ProcessError::TooMuch(_)), "{error}");
    }

    #[tokio::test]
    async fn the_end_of_stderr_is_kept() {
        let finished = sh("yes 2>/dev/null | head -c 200000 >&2; echo end >&2").run(LONG).await;
        let stderr = finished.unwrap().stderr;
        assert!(stderr.ends_with("end\n") && stderr.len() == STDERR_LIMIT);
    }
}
