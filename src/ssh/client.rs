//! The real remote: a connection by russh.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use parking_lot::Mutex;
use russh::Disconnect;
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::authenticate::{authenticate, credentials};
use super::channel::{Collected, Piped, Sink, Task, Wanted};
use super::command::Mark;
use super::login::{Session, connect};
use super::pipe::{About, End, Ends, pipe};
use super::process::process;
use super::{
    Output, Remote, RemoteCommand, RemoteProcess, SshError, SshErrorKind, Stage, StderrTail,
    Target, Tunnel,
};
use crate::model::Clock;
use crate::tasks::Scope;

/// How long what runs has to end when a connection is closed.
const FAREWELL: Duration = Duration::from_secs(2);

/// Writes `$1`, and makes it `$3` with mode `$2` only if all `$4` bytes came: a connection that
/// breaks looks to `cat` like the end of its input.
const UPLOAD: &str = r#"t=$1; trap 'rm -f "$t"' 0; trap 'exit 1' 1 2 15; trap '' 13; umask 077
cat >"$t" || exit
[ "$(wc -c <"$t")" -eq "$4" ] || { echo "the upload broke off" >&2; exit 1; }
chmod "$2" "$t" && mv -f "$t" "$3""#;

/// A connection to one host: the [`Remote`] of real life.
///
/// When it and all that was started through it are dropped, the connection ends by itself;
/// [`Remote::close`] ends it now. sshd takes ten sessions on one connection by default.
pub struct Connection {
    target: Target,
    session: Arc<Session>,
    why: Arc<Mutex<Option<String>>>,
    tasks: Scope,
    closed: CancellationToken,
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connection").field("target", &self.target).finish_non_exhaustive()
    }
}

impl Connection {
    /// Connects and logs in, in the time that the target's [`Patience`](super::Patience) gives.
    /// `clock` tells whether a host's certificate is still good.
    ///
    /// # Errors
    ///
    /// Every kind but `TooMuch` and `Failed`; see [`SshErrorKind`] for which are worth another try.
    pub async fn open(target: Target, clock: &dyn Clock) -> Result<Self, SshError> {
        let stage = Mutex::new(Stage::Authenticate);
        let limit = target.patience.login;
        let opened = async {
            let mut credentials = credentials(&target).await?;
            let mut connected = connect(&target, clock.now(), &stage).await?;
            *stage.lock() = Stage::Authenticate;
            authenticate(&mut connected, &target, &mut credentials).await?;
            Ok(connected)
        };
        let Ok(opened) = timeout(limit, Box::pin(opened)).await else {
            let message = format!(
                "no answer within {} s; look whether the host is up, its sshd works and no \
                 firewall is between",
                limit.as_secs()
            );
            let stage = *stage.lock();
            return Err(SshError::new(&target, stage, SshErrorKind::TimedOut, message));
        };
        let connected = opened?;
        tracing::debug!(host = %target, "logged in");
        Ok(Self {
            target,
            session: Arc::new(connected.session),
            why: connected.why,
            tasks: Scope::new(),
            closed: CancellationToken::new(),
        })
    }

    /// Whom it is to.
    pub fn target(&self) -> &Target {
        &self.target
    }

    fn error(&self, stage: Stage, kind: SshErrorKind, message: impl Into<String>) -> SshError {
        SshError::new(&self.target, stage, kind, message)
    }

    fn program(&self, command: &RemoteCommand) -> Result<Wanted, SshError> {
        let mark = Mark::new();
        let line = command.line(&mark, self.target.login_shell).map_err(|error| {
            let message = "the command cannot be said";
            self.error(Stage::Run, SshErrorKind::Unsayable, message).because(error)
        })?;
        Ok(Wanted::Program { line, mark })
    }

    /// Starts the task that serves a channel, and hands `ended` how that ended. The answer says
    /// that it has begun; it is dropped if it never does.
    fn serve<S: Sink + 'static>(
        &self,
        wanted: Wanted,
        outgoing: mpsc::Receiver<Bytes>,
        sink: S,
        stop: CancellationToken,
        ended: impl FnOnce(S, End) + Send + 'static,
    ) -> oneshot::Receiver<()> {
        let (begun, has_begun) = oneshot::channel();
        let (session, why) = (Arc::clone(&self.session), Arc::clone(&self.why));
        let (begun, stopped) = (Some(begun), stop.clone());
        let task = Task { session, why, wanted, outgoing, sink, begun, stop: stopped };
        let closed = self.closed.clone();
        drop(self.tasks.spawn(async move {
            let serving = task.serve();
            tokio::pin!(serving);
            let (sink, end) = tokio::select! {
                served = &mut serving => served,
                () = closed.cancelled() => {
                    stop.cancel();
                    serving.await
                }
            };
            ended(sink, end);
        }));
        has_begun
    }

    /// Runs to the end. Dropping the future stops the program.
    async fn run_to_end(
        &self,
        stage: Stage,
        command: &RemoteCommand,
        stdin: Bytes,
        deadline: Duration,
    ) -> Result<Output, SshError> {
        let wanted = self.program(command)?;
        let stop = CancellationToken::new();
        let _stop_on_drop = stop.clone().drop_guard();
        let (input, outgoing) = mpsc::channel(1);
        // It holds one piece, so there is room; an empty one is nothing but the end.
        if !stdin.is_empty() && input.try_send(stdin).is_err() {
            return Err(self.error(stage, SshErrorKind::Lost, "its input was not taken"));
        }
        drop(input);
        let (sender, ended) = oneshot::channel();
        let tell = move |collected: Collected, end| drop(sender.send((collected, end)));
        drop(self.serve(wanted, outgoing, Collected::default(), stop, tell));
        let (collected, end) = match timeout(deadline, ended).await {
            Ok(Ok(ended)) => ended,
            Ok(Err(_dropped)) => {
                return Err(self.error(stage, SshErrorKind::Lost, "the connection was closed"));
            }
            Err(_elapsed) => {
                let message = format!(
                    "`{command}` has not ended within {} s, and was told to end",
                    deadline.as_secs()
                );
                return Err(self.error(stage, SshErrorKind::TimedOut, message));
            }
        };
        match end {
            End::Exited(exit) => {
                let stderr = collected.stderr.into_bytes();
                Ok(Output { exit, stdout: collected.stdout, stderr })
            }
            End::Failed { kind, message } => Err(self.error(stage, kind, message)),
        }
    }

    /// Serves what is read and written at leisure; waits until it has begun.
    async fn serve_piped(
        &self,
        wanted: Wanted,
        ends: Ends,
        stderr: StderrTail,
        deadline: Duration,
        stage: Stage,
    ) -> Result<bool, SshError> {
        let sink = Piped { inlet: ends.incoming, stderr };
        let tell = |piped: Piped, end| piped.inlet.finish(end);
        let begun = self.serve(wanted, ends.outgoing, sink, ends.stop, tell);
        match timeout(deadline, begun).await {
            Ok(begun) => Ok(begun.is_ok()),
            Err(_elapsed) => {
                let message = format!("no answer within {} s", deadline.as_secs());
                Err(self.error(stage, SshErrorKind::TimedOut, message))
            }
        }
    }
}

#[async_trait]
impl Remote for Connection {
    fn name(&self) -> String {
        self.target.to_string()
    }

    async fn run(
        &self,
        command: &RemoteCommand,
        stdin: Bytes,
        deadline: Duration,
    ) -> Result<Output, SshError> {
        self.run_to_end(Stage::Run, command, stdin, deadline).await
    }

    async fn upload(
        &self,
        content: Bytes,
        path: &str,
        mode: u32,
        deadline: Duration,
    ) -> Result<(), SshError> {
        let temporary = format!("{path}.{:016x}.new", rand::random::<u64>());
        let (mode, size) = (format!("{mode:o}"), content.len().to_string());
        let script = ["sh", "-c", UPLOAD, "sh", &temporary, &mode, path, &size];
        let command = RemoteCommand::new(script);
        let output = self.run_to_end(Stage::Upload, &command, content, deadline).await?;
        if output.exit.success() {
            return Ok(());
        }
        let message = format!("{path}: {}", output.last_words());
        Err(self.error(Stage::Upload, SshErrorKind::Failed, message))
    }

    async fn start(
        &self,
        command: &RemoteCommand,
        deadline: Duration,
    ) -> Result<RemoteProcess, SshError> {
        let wanted = self.program(command)?;
        let host = self.target.to_string();
        let (mut near, ends, stderr) = process(&host, self.target.patience.write);
        if !self.serve_piped(wanted, ends, stderr, deadline, Stage::Run).await? {
            // It never began, so this is at hand: why.
            near.stdout.exit().await?;
        }
        Ok(near)
    }

    async fn tunnel(&self, host: &str, port: u16, deadline: Duration) -> Result<Tunnel, SshError> {
        let wanted = Wanted::Port { host: host.to_owned(), port };
        let about = About { host: self.target.to_string().into(), stage: Stage::Tunnel };
        let (mut reader, writer, ends) = pipe(about, self.target.patience.write);
        let no_stderr = StderrTail::default();
        if !self.serve_piped(wanted, ends, no_stderr, deadline, Stage::Tunnel).await? {
            reader.exit().await?;
        }
        Ok(Box::new(tokio::io::join(reader, writer)))
    }

    async fn close(&self) {
        self.closed.cancel();
        self.tasks.close(FAREWELL).await;
        let goodbye = self.session.disconnect(Disconnect::ByApplication, "", "");
        // One that does not take it is gone, or will be by its keepalive.
        drop(timeout(FAREWELL, goodbye).await);
    }
}
