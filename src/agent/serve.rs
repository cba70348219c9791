//! The agent's main loop: requests in, events out, heartbeats both ways.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use async_trait::async_trait;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;
use tokio::time::{MissedTickBehavior, interval, sleep_until};
use tokio_util::task::TaskTracker;
use tracing::{info, warn};

use super::lines::Lines;
use super::protocol::{
    DEAD_AFTER, Event, Fault, FaultKind, HEARTBEAT, Message, Reply, Request, RequestId, decode,
    encode, greeting,
};
use super::session::Session;
use super::task::Task;
use crate::model::SystemClock;
use crate::tasks::Scope;

/// No more requests than this at once; a job needs a handful.
const REQUESTS_AT_ONCE: usize = 32;

/// Events that wait to be written; who waits with more waits for the job to read.
const OUTBOX: usize = 256;

/// How long a cancelled request may take to stop, before the agent goes on without it.
pub(super) const STOP_GRACE: Duration = Duration::from_secs(20);

/// How long taking back may take: Cassandra's own tool and a share may both be slow.
pub(super) const UNDO_LIMIT: Duration = Duration::from_mins(1);

/// Does what is asked.
#[async_trait]
pub(super) trait Handler: Send + Sync + 'static {
    /// Answers a request. When the task is cancelled it takes back what it did and ends soon.
    async fn handle(&self, request: Request, task: &Task) -> Result<Reply, Fault>;

    /// Takes back whatever of this conversation is not finished: nobody is left to ask for it.
    async fn undo(&self);
}

/// Why an agent's conversation ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// The job closed its side: the ordinary end.
    Closed,
    /// The job said nothing for [`DEAD_AFTER`], or does not take what is said.
    Dead,
    /// What came was no message.
    Garbled,
    /// A signal came: the connection is gone, or the machine goes down.
    Signalled,
}

impl Ended {
    /// The process's exit status: 0 for the ordinary end, else 1.
    pub fn exit_status(self) -> u8 {
        u8::from(self != Self::Closed)
    }
}

/// Serves a job over the agent's standard input and output until it ends. Blocking calls that hang
/// on the share may outlive this: the caller ends the process without waiting for its threads.
///
/// Whatever the end is, what was not finished has been taken back, as far as it can be, but for a
/// restore that has stopped Cassandra: that has been finished. A snapshot that Cassandra was still
/// taking has been waited for.
pub async fn serve<R, W>(stdin: R, stdout: W) -> Ended
where
    R: AsyncRead + Unpin,
    W: AsyncWrite + Unpin + Send + 'static,
{
    raise_open_files();
    let session = Session::new(Arc::new(SystemClock));
    converse(Arc::new(session), stdin, stdout, signalled()).await
}

/// Takes as many open files as the system lets this process have: sshd's usual 1024 are few for a
/// batch of files on each of 64 threads. Where that is refused, a copy may fail and say so.
fn raise_open_files() {
    let raised = getrlimit(Resource::RLIMIT_NOFILE)
        .and_then(|(_, most)| setrlimit(Resource::RLIMIT_NOFILE, most, most));
    if let Err(errno) = raised {
        tracing::warn!(%errno, "cannot raise the limit of open files");
    }
}

/// Done when the system wants the process to end.
async fn signalled() {
    let kinds = [SignalKind::terminate(), SignalKind::hangup(), SignalKind::interrupt()];
    let waits = kinds.into_iter().filter_map(|kind| signal(kind).ok());
    let mut waits: Vec<_> =
        waits.map(|mut heard| Box::pin(async move { heard.recv().await })).collect();
    std::future::poll_fn(|cx| {
        let came = waits.iter_mut().any(|wait| wait.as_mut().poll(cx).is_ready());
        if came { Poll::Ready(()) } else { Poll::Pending }
    })
    .await;
}

/// Serves one conversation to its end, `stop` being a future that is done on a signal. Whatever
/// the end is, what was not finished is taken back before this returns, but for a restore that has
/// stopped Cassandra: that is finished first.
pub(super) async fn converse<H, R, W, S>(handler: Arc<H>, stdin: R, stdout: W, stop: S) -> Ended
where
    H: Handler,
    R: AsyncRead + Unpin,
    W: AsyncWrite + Unpin + Send + 'static,
    S: Future<Output = ()>,
{
    let (events, outbox) = mpsc::channel(OUTBOX);
    let scope = Scope::new();
    let writer = scope.spawn(write_events(stdout, outbox));
    let requests =
        Requests { handler, events, scope, running: Arc::default(), vital: TaskTracker::new() };
    let ended = listen(&requests, stdin, writer, stop).await;
    info!(?ended, "the conversation is over");
    requests.end().await;
    ended
}

/// Reads until something ends the conversation.
async fn listen<H: Handler, R: AsyncRead + Unpin>(
    requests: &Requests<H>,
    stdin: R,
    writer: impl Future,
    stop: impl Future<Output = ()>,
) -> Ended {
    let mut lines = Lines::new(stdin);
    let mut heartbeat = interval(HEARTBEAT);
    heartbeat.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let dead = sleep_until(tokio::time::Instant::now() + DEAD_AFTER);
    tokio::pin!(dead, writer, stop);
    loop {
        tokio::select! {
            line = lines.next() => match line {
                Ok(Some(line)) => {
                    dead.as_mut().reset(tokio::time::Instant::now() + DEAD_AFTER);
                    match decode(&line) {
                        Ok(message) => requests.take(message),
                        Err(error) => {
                            warn!(%error, "not understood");
                            return Ended::Garbled;
                        }
                    }
                }
                Ok(None) => return Ended::Closed,
                Err(error) if error.kind() == io::ErrorKind::InvalidData => return Ended::Garbled,
                Err(error) => {
                    warn!(%error, "cannot read from the job");
                    return Ended::Dead;
                }
            },
            // A full outbox has enough in it to show that this agent lives.
            _ = heartbeat.tick() => drop(requests.events.try_send(Event::Heartbeat)),
            () = &mut dead => return Ended::Dead,
            _ = &mut writer => return Ended::Dead,
            () = &mut stop => return Ended::Signalled,
        }
    }
}

/// Writes events as lines until nobody sends any more, or nobody reads.
async fn write_events<W: AsyncWrite + Unpin>(
    mut stdout: W,
    mut outbox: mpsc::Receiver<Event>,
) -> io::Result<()> {
    stdout.write_all(greeting().as_bytes()).await?;
    stdout.flush().await?;
    while let Some(event) = outbox.recv().await {
        let line = encode(&event).or_else(|error| match event {
            Event::Done { id, .. } => {
                let fault = Fault::new(FaultKind::Bug, &error, "");
                encode(&Event::Failed { id, fault }).map_err(io::Error::other)
            }
            _ => Err(io::Error::other(error)),
        })?;
        stdout.write_all(&line).await?;
        stdout.flush().await?;
    }
    Ok(())
}

struct Requests<H> {
    handler: Arc<H>,
    events: mpsc::Sender<Event>,
    scope: Scope,
    running: Arc<Mutex<BTreeMap<RequestId, Task>>>,
    vital: TaskTracker,
}

impl<H: Handler> Requests<H> {
    fn take(&self, message: Message) {
        match message {
            Message::Heartbeat => {}
            Message::Cancel { id } => {
                if let Some(task) = self.running.lock().get(&id) {
                    task.cancel();
                }
            }
            Message::Request { id, request } => self.begin(id, request),
        }
    }

    fn begin(&self, id: RequestId, request: Request) {
        let task = Task::new(id, self.events.clone(), self.vital.clone());
        let refused = {
            let mut running = self.running.lock();
            if running.contains_key(&id) {
                Some(format!("a request {id} is at work already"))
            } else if running.len() >= REQUESTS_AT_ONCE {
                Some(format!("{REQUESTS_AT_ONCE} requests are at work already"))
            } else {
                running.insert(id, task.clone());
                None
            }
        };
        let (handler, events) = (Arc::clone(&self.handler), self.events.clone());
        let running = Arc::clone(&self.running);
        drop(self.scope.spawn(async move {
            let answer = if let Some(what) = refused {
                Err(Fault { kind: FaultKind::OutOfOrder, what, remedy: String::new() })
            } else {
                let answer = report_while(handler.handle(request, &task), &task, &events).await;
                running.lock().remove(&id);
                answer
            };
            let event = match answer {
                Ok(reply) => Event::Done { id, reply },
                Err(fault) => Event::Failed { id, fault },
            };
            if events.send(event).await.is_err() {
                warn!(request = %id, "nobody is left to hear how it ended");
            }
        }));
    }

    /// Stops what runs, lets finish what must, and takes back the rest.
    async fn end(self) {
        for task in self.running.lock().values() {
            task.cancel();
        }
        self.vital.close();
        self.vital.wait().await;
        // The outbox closes with the last sender, and with it the writer.
        drop(self.events);
        self.scope.close(STOP_GRACE).await;
        if tokio::time::timeout(UNDO_LIMIT, self.handler.undo()).await.is_err() {
            warn!("not everything could be taken back in {} s", UNDO_LIMIT.as_secs());
        }
    }
}

/// Waits for `answer` and tells its progress twice a second where it changes, and at its end.
async fn report_while<T>(
    answer: impl Future<Output = T>,
    task: &Task,
    events: &mpsc::Sender<Event>,
) -> T {
    let mut told = task.progress();
    let mut tick = interval(Duration::from_millis(500));
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    tokio::pin!(answer);
    loop {
        let ended = tokio::select! {
            answer = &mut answer => Some(answer),
            _ = tick.tick() => None,
        };
        let progress = task.progress();
        if progress != told {
            told = progress;
            drop(events.try_send(Event::Progress { id: task.id(), progress }));
        }
        if let Some(answer) = ended {
            return answer;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::agent::protocol::{
        Cleared, Conversation, ProtocolError, ShareProbe, ShareRead, SharedNonces,
    };
    use tokio::io::{DuplexStream, ReadHalf, WriteHalf};

    /// Answers a probe never, everything else at once, and remembers that it was told to undo.
    #[derive(Default)]
    struct Fake {
        undone: Mutex<bool>,
        stopped: Mutex<u32>,
    }

    #[async_trait]
    impl Handler for Fake {
        async fn handle(&self, request: Request, task: &Task) -> Result<Reply, Fault> {
            match request {
                Request::ShareProbe(_) => {
                    task.advance(|progress| progress.files_done = 1);
                    task.cancelled().await;
                    *self.stopped.lock() += 1;
                    let (kind, what) = (FaultKind::Cancelled, "it was told to stop".to_owned());
                    Err(Fault { kind, what, remedy: String::new() })
                }
                Request::ShareRead(_) => {
                    let _vital = task.vital().unwrap();
                    task.note("Cassandra is stopped");
                    let endless = std::future::pending::<()>();
                    drop(tokio::time::timeout(Duration::from_mins(5), endless).await);
                    *self.stopped.lock() += 1;
                    Ok(SharedNonces { found: Vec::new() }.into())
                }
                _ => Ok(Cleared { directories: 0 }.into()),
            }
        }

        async fn undo(&self) {
            *self.undone.lock() = true;
        }
    }

    struct Job {
        talk: Conversation,
        lines: Lines<ReadHalf<DuplexStream>>,
        stdin: WriteHalf<DuplexStream>,
    }

    impl Job {
        async fn ask(&mut self, request: impl Into<Request>) -> RequestId {
            let (id, line) = self.talk.request(request).unwrap();
            self.stdin.write_all(&line).await.unwrap();
            id
        }

        /// The next event that is no heartbeat.
        async fn event(&mut self) -> Event {
            loop {
                let line = self.lines.next().await.unwrap().unwrap();
                match self.talk.line(&line).unwrap() {
                    None | Some(Event::Heartbeat) => {}
                    Some(event) => return event,
                }
            }
        }
    }

    fn begin(handler: &Arc<Fake>) -> (Job, impl Future<Output = Ended> + use<>) {
        let (ours, theirs) = tokio::io::duplex(1 << 16);
        let (stdin, stdout) = tokio::io::split(theirs);
        let agent = converse(Arc::clone(handler), stdin, stdout, std::future::pending());
        let (from, to) = tokio::io::split(ours);
        (Job { talk: Conversation::new(), lines: Lines::new(from), stdin: to }, agent)
    }

    fn clear() -> Request {
        let tag = crate::agent::protocol::SnapshotTag::parse("medusafs-x").unwrap();
        crate::agent::protocol::Clear { tag }.into()
    }

    #[tokio::test(start_paused = true)]
    async fn requests_run_beside_each_other_and_end_when_cancelled() {
        let handler = Arc::new(Fake::default());
        let (mut job, agent) = begin(&handler);
        let talk = async {
            let endless = job.ask(ShareProbe {}).await;
            let quick = job.ask(clear()).await;
            let mut said = vec![job.event().await, job.event().await];
            said.sort_by_key(|event| matches!(event, Event::Done { .. }));
            assert!(matches!(said[0], Event::Progress { id, .. } if id == endless), "{said:?}");
            assert!(matches!(said[1], Event::Done { id, .. } if id == quick), "{said:?}");
            job.stdin.write_all(&job.talk.cancel(endless).unwrap()).await.unwrap();
            let Event::Failed { id, fault } = job.event().await else { panic!("no fault") };
            assert_eq!((id, fault.kind), (endless, FaultKind::Cancelled));
            job.stdin.shutdown().await.unwrap();
            job
        };
        let (_job, ended) = tokio::join!(talk, agent);
        assert_eq!(ended, Ended::Closed);
        assert!(*handler.undone.lock());
    }

    #[tokio::test(start_paused = true)]
    async fn a_job_that_says_nothing_is_dead_after_its_time_and_what_runs_is_stopped() {
        let handler = Arc::new(Fake::default());
        let (mut job, agent) = begin(&handler);
        job.ask(ShareProbe {}).await;
        let begun = tokio::time::Instant::now();
        assert_eq!(agent.await, Ended::Dead);
        assert_eq!(begun.elapsed().as_secs(), DEAD_AFTER.as_secs());
        assert_eq!((*handler.stopped.lock(), *handler.undone.lock()), (1, true));
    }

    #[tokio::test(start_paused = true)]
    async fn heartbeats_keep_a_quiet_conversation_alive() {
        let handler = Arc::new(Fake::default());
        let (mut job, agent) = begin(&handler);
        let talk = async {
            let (mut heard, mut beat) = (0, interval(HEARTBEAT));
            beat.tick().await;
            for _ in 0..20 {
                beat.tick().await;
                job.stdin.write_all(&job.talk.heartbeat().unwrap()).await.unwrap();
            }
            job.stdin.shutdown().await.unwrap();
            while let Some(line) = job.lines.next().await.unwrap() {
                heard += usize::from(job.talk.line(&line).unwrap() == Some(Event::Heartbeat));
            }
            heard
        };
        let (heard, ended) = tokio::join!(talk, agent);
        assert_eq!(ended, Ended::Closed);
        assert!((20..=22).contains(&heard), "{heard}");
    }

    #[tokio::test(start_paused = true)]
    async fn vital_work_is_finished_whatever_becomes_of_the_job() {
        let handler = Arc::new(Fake::default());
        let (mut job, agent) = begin(&handler);
        let begun = tokio::time::Instant::now();
        let talk = async {
            job.ask(ShareRead { nonces: Vec::new() }).await;
            assert!(matches!(job.event().await, Event::Note { .. }));
            job.stdin.shutdown().await.unwrap();
            job
        };
        let (_job, ended) = tokio::join!(talk, agent);
        assert_eq!(ended, Ended::Closed);
        assert_eq!((begun.elapsed().as_secs(), *handler.stopped.lock()), (300, 1));
    }

    #[tokio::test(start_paused = true)]
    async fn a_line_that_is_no_message_ends_the_conversation() {
        let handler = Arc::new(Fake::default());
        let (mut job, agent) = begin(&handler);
        job.stdin
            .write_all(b"{\"request\":{\"id\":1,\"request\":{\"format_disk\":{}}}}\n")
            .await
            .unwrap();
        assert_eq!(agent.await, Ended::Garbled);
        let error = decode::<Message>(b"password=swordfish").unwrap_err();
        assert!(matches!(error, ProtocolError::Garbled { .. }));
        assert!(!error.to_string().contains("swordfish"));
    }
}
