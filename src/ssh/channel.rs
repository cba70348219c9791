//! One channel of a connection, served by a task of its own from its opening to its close.
//!
//! The rules that keep it from hanging, each seen to hang without: a write is never awaited but
//! beside the reading; the channel is read all the time, whoever reads or not; the end is `Close`,
//! not the exit status, but a process left behind that holds stdout does not put it off; and a
//! channel is never just dropped, for that tells the other side nothing and keeps its place taken.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;
use russh::client::Msg;
use russh::{Channel, ChannelMsg, ChannelOpenFailure, ChannelReadHalf, ChannelWriteHalf, Sig};
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, sleep_until, timeout};
use tokio_util::sync::CancellationToken;

use super::command::Mark;
use super::login::Session;
use super::pipe::{End, Inlet};
use super::preamble::Preamble;
use super::process::Tail;
use super::{Exit, SshErrorKind, StderrTail};

/// How long after a program's end its output may still dribble in.
const DRIBBLE: Duration = Duration::from_secs(2);

/// How long each part of a farewell may take.
const FAREWELL: Duration = Duration::from_secs(2);

/// How long a program has to end after the signal, before it is sent again in another way.
const DYING: Duration = Duration::from_millis(250);

/// The most that start-up files may print before our program does.
const PREAMBLE_LIMIT: usize = 1 << 20;

/// What the channel is for.
pub(super) enum Wanted {
    /// A program, by the line for the login shell, and the mark that the line prints.
    Program { line: String, mark: Mark },
    /// A port as the other side sees it.
    Port { host: String, port: u16 },
}

/// Where what comes goes.
pub(super) trait Sink: Send + Sync {
    /// Takes stdout, or what the port sends.
    fn take(&mut self, data: Bytes) -> Result<(), Full>;
    /// Takes stderr.
    fn complaint(&mut self, data: &[u8]);
}

/// A sink takes no more, for this reason.
pub(super) struct Full(pub(super) &'static str);

/// What the serving task is given.
pub(super) struct Task<S> {
    pub(super) session: Arc<Session>,
    /// Why the connection broke, if it did.
    pub(super) why: Arc<Mutex<Option<String>>>,
    pub(super) wanted: Wanted,
    pub(super) outgoing: mpsc::Receiver<Bytes>,
    pub(super) sink: S,
    /// Told when the channel is open and what was wanted has begun.
    pub(super) begun: Option<oneshot::Sender<()>>,
    pub(super) stop: CancellationToken,
}

type Writing<'a> = Pin<Box<dyn Future<Output = Result<(), russh::Error>> + Send + 'a>>;

impl<S: Sink> Task<S> {
    /// Serves the channel to its end.
    pub(super) async fn serve(mut self) -> (S, End) {
        let end = self.open_and_pump().await;
        (self.sink, end)
    }

    async fn open_and_pump(&mut self) -> End {
        // Not given up when told to stop: a channel that opens later would never be closed.
        let channel = match self.open().await {
            Ok(channel) => channel,
            Err(error) => return self.not_opened(&error),
        };
        let (mut read, write) = channel.split();
        let mut seen = Seen::new(&self.wanted);
        let end = self.pump(&mut seen, &mut read, &write).await;
        if !matches!(end, Ended::Closed(_)) {
            self.leave(&seen, &mut read, &write).await;
        }
        match end {
            Ended::Closed(end) | Ended::Left(end) => end,
        }
    }

    /// Tells the other side that we go. What is not taken in time finds a connection that is about
    /// to end by itself.
    async fn leave(&self, seen: &Seen, read: &mut ChannelReadHalf, write: &ChannelWriteHalf<Msg>) {
        let process = seen.running();
        let farewell = async {
            if matches!(self.wanted, Wanted::Program { .. }) && seen.exit.is_none() {
                // The end of its stdin alone would not end one that does not read it.
                write.signal(Sig::TERM).await?;
            }
            write.eof().await
        };
        let told = timeout(FAREWELL, farewell).await;
        tracing::trace!(?told, "left a channel");
        if let Some(process) = process
            && timeout(DYING, until_ended(read)).await.is_err()
        {
            // sshd takes no signal for a session of root's ("requires privilege separation").
            let killed = timeout(FAREWELL, async {
                tokio::select! {
                    killed = end_group(&self.session, process) => killed.is_ok(),
                    () = until_ended(read) => true,
                }
            });
            let killed = killed.await;
            tracing::debug!(process, ?killed, "a remote program was told to end");
        }
        drop(timeout(FAREWELL, write.close()).await);
    }

    async fn open(&self) -> Result<Channel<Msg>, russh::Error> {
        match &self.wanted {
            Wanted::Program { .. } => self.session.channel_open_session().await,
            Wanted::Port { host, port } => {
                let port = u32::from(*port);
                self.session.channel_open_direct_tcpip(host, port, "127.0.0.1", 0).await
            }
        }
    }

    fn not_opened(&self, error: &russh::Error) -> End {
        let russh::Error::ChannelOpenFailure(why) = error else { return self.lost() };
        let failed = |kind, message: String| End::Failed { kind, message };
        match (&self.wanted, why) {
            (Wanted::Program { .. }, _) => failed(
                SshErrorKind::Busy,
                format!(
                    "its sshd opens no more sessions ({}); end what runs there or raise MaxSessions \
                     in sshd_config",
                    why.description()
                ),
            ),
            (Wanted::Port { .. }, ChannelOpenFailure::AdministrativelyProhibited) => failed(
                SshErrorKind::Refused,
                "its sshd forbids forwarding; allow it by AllowTcpForwarding and PermitOpen in \
                 sshd_config"
                    .to_owned(),
            ),
            (Wanted::Port { host, port }, _) => failed(
                SshErrorKind::Refused,
                format!("{host} does not answer on port {port} there ({})", why.description()),
            ),
        }
    }

    fn lost(&self) -> End {
        let why = self.why.lock().clone();
        let message = why.unwrap_or_else(|| "the connection broke".to_owned());
        End::Failed { kind: SshErrorKind::Lost, message }
    }

    async fn pump(
        &mut self,
        seen: &mut Seen,
        read: &mut ChannelReadHalf,
        write: &ChannelWriteHalf<Msg>,
    ) -> Ended {
        let stop = self.stop.clone();
        let mut writing: Option<Writing<'_>> = match &self.wanted {
            Wanted::Program { line, .. } => Some(Box::pin(write.exec(true, line.clone()))),
            Wanted::Port { .. } => {
                self.begin();
                None
            }
        };
        let mut more_to_write = true;
        loop {
            tokio::select! {
                () = stop.cancelled() => {
                    let message = "it was told to end".to_owned();
                    return Ended::Left(End::Failed { kind: SshErrorKind::Lost, message });
                }
                message = read.wait() => {
                    if let Some(end) = self.heard(seen, message) {
                        return end;
                    }
                }
                // A write that fails is followed by the end of the reading, which knows more.
                _written = maybe(&mut writing) => writing = None,
                piece = self.outgoing.recv(), if more_to_write && writing.is_none() => {
                    more_to_write = piece.is_some();
                    writing = Some(match piece {
                        Some(piece) => Box::pin(write.data_bytes(piece)),
                        None => Box::pin(write.eof()),
                    });
                }
                () = until(seen.dribble_until) => return Ended::Left(seen.end(self.lost())),
            }
        }
    }

    fn begin(&mut self) {
        let told = self.begun.take().map(|begun| begun.send(()));
        tracing::trace!(?told, "a channel has begun");
    }

    /// Takes note of a message; some end if it is the last.
    fn heard(&mut self, seen: &mut Seen, message: Option<ChannelMsg>) -> Option<Ended> {
        match message {
            None => return Some(Ended::Closed(seen.end(self.lost()))),
            Some(ChannelMsg::Close) => {
                let message = "it did not say how the program ended".to_owned();
                let untold = End::Failed { kind: SshErrorKind::Lost, message };
                return Some(Ended::Closed(seen.end(untold)));
            }
            // sshd keeps a port's channel half open after its peer has hung up, for as long as we do.
            Some(ChannelMsg::Eof) if matches!(self.wanted, Wanted::Port { .. }) => {
                return Some(Ended::Left(End::Exited(Exit::Status(0))));
            }
            Some(ChannelMsg::Success) => self.begin(),
            Some(ChannelMsg::Failure) => {
                let message = "its sshd does not run programs for this account".to_owned();
                return Some(Ended::Left(End::Failed { kind: SshErrorKind::Refused, message }));
            }
            Some(ChannelMsg::Data { data }) => {
                if let Some(end) = seen.stdout(data, &mut self.sink) {
                    return Some(Ended::Left(end));
                }
            }
            Some(ChannelMsg::ExtendedData { data, ext: 1 }) => seen.stderr(data, &mut self.sink),
            Some(ChannelMsg::ExitStatus { exit_status }) => seen.exited(Exit::Status(exit_status)),
            Some(ChannelMsg::ExitSignal { signal_name, .. }) => {
                seen.exited(Exit::Signal(signal_text(signal_name)));
            }
            Some(_) => {}
        }
        None
    }
}

enum Ended {
    /// The other side has closed the channel, or the connection is gone: nobody is left to tell.
    Closed(End),
    /// We leave; the other side must be told.
    Left(End),
}

/// What has come so far.
struct Seen {
    /// Of a program: what is before its stdout and its stderr.
    before: Option<(Preamble, Preamble)>,
    exit: Option<Exit>,
    dribble_until: Option<Instant>,
}

impl Seen {
    fn new(wanted: &Wanted) -> Self {
        let before = match wanted {
            Wanted::Program { mark, .. } => Some((Preamble::before(mark), Preamble::before(mark))),
            Wanted::Port { .. } => None,
        };
        Self { before, exit: None, dribble_until: None }
    }

    /// The process of a program that has not ended.
    fn running(&self) -> Option<u32> {
        let (stdout, stderr) = self.before.as_ref()?;
        let process = stdout.process().or_else(|| stderr.process());
        process.filter(|_| self.exit.is_none())
    }

    fn exited(&mut self, exit: Exit) {
        self.exit = Some(exit);
        self.dribble_until = Some(Instant::now() + DRIBBLE);
    }

    fn more(&mut self) {
        if self.dribble_until.is_some() {
            self.dribble_until = Some(Instant::now() + DRIBBLE);
        }
    }

    fn stdout(&mut self, data: Bytes, sink: &mut impl Sink) -> Option<End> {
        self.more();
        let data = match &mut self.before {
            Some((before, _)) => before.pass(data),
            None => data,
        };
        if data.is_empty() {
            let endless = |(before, _): &(Preamble, _)| before.skipped() > PREAMBLE_LIMIT;
            return self.before.as_ref().is_some_and(endless).then(|| self.not_ours());
        }
        let Err(Full(why)) = sink.take(data) else { return None };
        Some(End::Failed { kind: SshErrorKind::TooMuch, message: why.to_owned() })
    }

    fn stderr(&mut self, data: Bytes, sink: &mut impl Sink) {
        self.more();
        let data = match &mut self.before {
            Some((_, before)) => before.pass(data),
            None => data,
        };
        sink.complaint(&data);
    }

    /// How it ended: `untold` if we never learn.
    fn end(&self, untold: End) -> End {
        match (&self.before, &self.exit) {
            (Some((before, _)), Some(_)) if !before.is_over() => self.not_ours(),
            (_, Some(exit)) => End::Exited(exit.clone()),
            (_, None) => untold,
        }
    }

    fn not_ours(&self) -> End {
        let said = self.before.as_ref().map(|(stdout, stderr)| {
            let said = [stdout.shown(), stderr.shown()].join(" ");
            said.trim().chars().take(400).collect::<String>()
        });
        let said = said.filter(|said| !said.is_empty()).unwrap_or_else(|| "nothing".to_owned());
        let message = format!(
            "its login shell ran something else than our program and said: {said}; look at the \
             account's shell and start-up files, and for a ForceCommand in sshd_config or a \
             command= in authorized_keys"
        );
        End::Failed { kind: SshErrorKind::NotOurs, message }
    }
}

/// Waits for a write that is under way; for ever if there is none.
async fn maybe(writing: &mut Option<Writing<'_>>) -> Result<(), russh::Error> {
    match writing {
        Some(writing) => writing.as_mut().await,
        None => std::future::pending().await,
    }
}

async fn until(instant: Option<Instant>) {
    match instant {
        Some(instant) => sleep_until(instant).await,
        None => std::future::pending().await,
    }
}

/// Reads on, whatever comes, until a program has ended: unread, it would stop the connection.
async fn until_ended(read: &mut ChannelReadHalf) {
    loop {
        match read.wait().await {
            None
            | Some(
                ChannelMsg::Close | ChannelMsg::ExitStatus { .. } | ChannelMsg::ExitSignal { .. },
            ) => return,
            Some(_) => {}
        }
    }
}

/// Signals a process group over a session of its own.
async fn end_group(session: &Session, process: u32) -> Result<(), russh::Error> {
    let mut channel = session.channel_open_session().await?;
    channel.exec(false, format!("exec /bin/sh -c 'kill -TERM -{process}'")).await?;
    while !matches!(channel.wait().await, None | Some(ChannelMsg::Close)) {}
    Ok(())
}

fn signal_text(signal: Sig) -> String {
    match signal {
        Sig::Custom(name) => name,
        known => format!("{known:?}"),
    }
}

/// All of stdout up to a bound, and the tail of stderr.
#[derive(Default)]
pub(super) struct Collected {
    pub(super) stdout: Vec<u8>,
    pub(super) stderr: Tail,
}

const STDOUT_LIMIT: usize = 16 << 20;

impl Sink for Collected {
    fn take(&mut self, data: Bytes) -> Result<(), Full> {
        if self.stdout.len() + data.len() > STDOUT_LIMIT {
            return Err(Full("the program wrote more than 16 MiB, and was told to end"));
        }
        self.stdout.extend_from_slice(&data);
        Ok(())
    }

    fn complaint(&mut self, data: &[u8]) {
        self.stderr.push(data);
    }
}

/// What waits for somebody to read it.
pub(super) struct Piped {
    pub(super) inlet: Inlet,
    pub(super) stderr: StderrTail,
}

impl Sink for Piped {
    fn take(&mut self, data: Bytes) -> Result<(), Full> {
        if self.inlet.push(data) {
            Ok(())
        } else {
            Err(Full("16 MiB came that nobody had read yet, so it was told to end"))
        }
    }

    fn complaint(&mut self, data: &[u8]) {
        self.stderr.push(data);
    }
}
