//! The job's end of the line to one agent: requests out, events in, never a wait without an end.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{Instant, MissedTickBehavior, interval, timeout};

use crate::agent::protocol::{
    Ask, Conversation, DEAD_AFTER, Event, Fault, HEARTBEAT, LINE_LIMIT, ProtocolError, Reply,
    RequestId,
};
use crate::model::Progress;
use crate::observe::ErrorChain;
use crate::tasks::{Scope, within};

use super::ClusterError;

/// How long an agent may take from its start to its greeting: a login shell's start-up files and
/// sudo come before it.
const GREETING_WITHIN: Duration = Duration::from_secs(20);

/// Lines that wait to be written: requests are few, and each waits for its answer.
const LINES_WAITING: usize = 64;

/// What a request tells while it runs.
pub trait Listener: Send + Sync {
    /// How far it is, all of it so far.
    fn progress(&self, progress: Progress);
    /// A line for the job's log.
    fn note(&self, text: &str);
}

/// Hears nothing.
#[derive(Debug, Clone, Copy, Default)]
pub struct Deaf;

impl Listener for Deaf {
    fn progress(&self, _: Progress) {}

    fn note(&self, _: &str) {}
}

/// A line to a running agent. When the last clone is dropped, the agent sees the end of its
/// input, takes back what is not finished, and goes.
#[derive(Clone)]
pub struct AgentLine {
    shared: Arc<Shared>,
    lines: mpsc::Sender<Vec<u8>>,
}

struct Shared {
    node: String,
    state: Mutex<State>,
    dead: watch::Sender<Option<String>>,
}

struct State {
    conversation: Conversation,
    pending: BTreeMap<RequestId, Pending>,
}

struct Pending {
    answer: oneshot::Sender<Result<Reply, Fault>>,
    listener: Arc<dyn Listener>,
}

impl std::fmt::Debug for AgentLine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("AgentLine").field("node", &self.shared.node).finish_non_exhaustive()
    }
}

impl AgentLine {
    /// Speaks with the agent at the other end and waits for its greeting. `node` is what errors
    /// call it.
    pub async fn open<R, W>(
        node: &str,
        reader: R,
        writer: W,
        scope: &Scope,
    ) -> Result<Self, ClusterError>
    where
        R: AsyncRead + Send + Unpin + 'static,
        W: AsyncWrite + Send + Unpin + 'static,
    {
        let (lines, waiting) = mpsc::channel(LINES_WAITING);
        let (greeted, greeting) = oneshot::channel();
        let state = State { conversation: Conversation::new(), pending: BTreeMap::new() };
        let shared = Arc::new(Shared {
            node: node.to_owned(),
            state: Mutex::new(state),
            dead: watch::Sender::new(None),
        });
        drop(scope.spawn(read(Arc::clone(&shared), reader, greeted)));
        drop(scope.spawn(write(Arc::clone(&shared), writer, waiting)));
        let answered = within(GREETING_WITHIN, "for the agent's greeting", greeting).await;
        match answered {
            Ok(Ok(())) => Ok(Self { shared, lines }),
            Ok(Err(_dropped)) => Err(shared.gone()),
            Err(timed_out) => {
                let said = shared.state.lock().conversation.no_greeting();
                Err(ClusterError::Silent {
                    node: node.to_owned(),
                    said: said.to_string(),
                    source: timed_out,
                })
            }
        }
    }

    /// Asks, and waits for the answer for `limit` at most (none: for as long as the agent lives,
    /// which its heartbeats tell). Dropping the future cancels the request on the node.
    ///
    /// # Errors
    ///
    /// [`ClusterError::Fault`] with what the node says; [`ClusterError::Gone`] if the line broke;
    /// [`ClusterError::TimedOut`].
    pub async fn ask<A: Ask>(
        &self,
        request: A,
        limit: Option<Duration>,
        listener: Arc<dyn Listener>,
    ) -> Result<A::Answer, ClusterError> {
        let node = || self.shared.node.clone();
        let wire = |source: ProtocolError| ClusterError::Wire { node: node(), source };
        let (answer, answered) = oneshot::channel();
        let (id, line) = {
            let mut state = self.shared.state.lock();
            let (id, line) = state.conversation.request(request).map_err(wire)?;
            state.pending.insert(id, Pending { answer, listener });
            (id, line)
        };
        let withdrawn = Withdrawn { line: self, id, done: false };
        let mut dead = self.shared.dead.subscribe();
        let asked = async {
            let sent = async {
                self.lines.send(line).await.map_err(|_closed| self.shared.gone())?;
                match answered.await {
                    Ok(Ok(reply)) => A::Answer::try_from(reply).map_err(wire),
                    Ok(Err(fault)) => Err(ClusterError::Fault { node: node(), fault }),
                    Err(_dropped) => Err(self.shared.gone()),
                }
            };
            tokio::select! {
                answer = sent => answer,
                _ = dead.wait_for(Option::is_some) => Err(self.shared.gone()),
            }
        };
        let answer = match limit {
            None => asked.await,
            Some(limit) => within(limit, format!("for {}", node()), asked)
                .await
                .map_err(|source| ClusterError::TimedOut { node: node(), source })?,
        };
        withdrawn.ended();
        answer
    }

    /// What errors call the node.
    pub(super) fn node(&self) -> &str {
        &self.shared.node
    }

    /// Whether the line has broken: nothing can be asked any more.
    pub fn is_broken(&self) -> bool {
        self.shared.dead.borrow().is_some()
    }

    /// Done when the line has broken, with why.
    pub async fn broken(&self) -> String {
        let mut dead = self.shared.dead.subscribe();
        match dead.wait_for(Option::is_some).await {
            Ok(why) => why.clone().unwrap_or_default(),
            Err(_closed) => "the line was closed".to_owned(),
        }
    }
}

/// Cancels a request whose asker has gone away.
struct Withdrawn<'a> {
    line: &'a AgentLine,
    id: RequestId,
    done: bool,
}

impl Withdrawn<'_> {
    fn ended(mut self) {
        self.done = true;
    }
}

impl Drop for Withdrawn<'_> {
    fn drop(&mut self) {
        let line = {
            let mut state = self.line.shared.state.lock();
            state.pending.remove(&self.id);
            if self.done {
                return;
            }
            state.conversation.cancel(self.id)
        };
        // If the queue is full, the line hangs: its end cancels everything.
        if let Ok(line) = line {
            drop(self.line.lines.try_send(line));
        }
    }
}

impl Shared {
    fn gone(&self) -> ClusterError {
        let why = self.dead.borrow().clone();
        ClusterError::Gone {
            node: self.node.clone(),
            why: why.unwrap_or_else(|| "the line was closed".to_owned()),
        }
    }

    fn dies(&self, why: String) {
        self.dead.send_if_modified(|dead| {
            let first = dead.is_none();
            dead.get_or_insert(why);
            first
        });
        self.state.lock().pending.clear();
    }

    fn hear(&self, event: Event) {
        let mut state = self.state.lock();
        match event {
            Event::Heartbeat => {}
            Event::Progress { id, progress } => {
                let listener = state.pending.get(&id).map(|one| Arc::clone(&one.listener));
                drop(state);
                if let Some(listener) = listener {
                    listener.progress(progress);
                }
            }
            Event::Note { id, text } => {
                let listener = state.pending.get(&id).map(|one| Arc::clone(&one.listener));
                drop(state);
                if let Some(listener) = listener {
                    listener.note(&text);
                }
            }
            Event::Done { id, reply } => {
                if let Some(one) = state.pending.remove(&id) {
                    drop(one.answer.send(Ok(reply)));
                }
            }
            Event::Failed { id, fault } => {
                if let Some(one) = state.pending.remove(&id) {
                    drop(one.answer.send(Err(fault)));
                }
            }
        }
    }
}

/// Reads lines until the agent ends or is dead.
async fn read<R: AsyncRead + Unpin>(shared: Arc<Shared>, reader: R, greeted: oneshot::Sender<()>) {
    let mut greeted = Some(greeted);
    let mut reader = BufReader::new(reader);
    let mut line = Vec::new();
    let limit = u64::try_from(LINE_LIMIT).unwrap_or(u64::MAX);
    let why = loop {
        line.clear();
        let mut bounded = (&mut reader).take(limit);
        match timeout(DEAD_AFTER, bounded.read_until(b'\n', &mut line)).await {
            // Before it greets, a login shell may be slow; whoever opens the line gives up.
            Err(_elapsed) if greeted.as_ref().is_some_and(|greeted| !greeted.is_closed()) => {
                continue;
            }
            Err(_elapsed) => {
                break format!("it said nothing for {} s", DEAD_AFTER.as_secs());
            }
            Ok(Err(error)) => break format!("the connection broke: {error}"),
            Ok(Ok(0)) => {
                let state = shared.state.lock();
                break if state.conversation.is_greeted() {
                    "the agent ended, or its connection did".to_owned()
                } else {
                    state.conversation.no_greeting().to_string()
                };
            }
            Ok(Ok(_)) => {}
        }
        let heard = shared.state.lock().conversation.line(&line);
        match heard {
            Ok(Some(event)) => shared.hear(event),
            Ok(None) => {
                if shared.state.lock().conversation.is_greeted()
                    && let Some(greeted) = greeted.take()
                    && greeted.send(()).is_err()
                {
                    break "nobody waits for it any more".to_owned();
                }
            }
            Err(error) => break ErrorChain(&error).to_string(),
        }
    };
    shared.dies(why);
    drop(greeted);
}

/// Writes what is asked, and a heartbeat whenever nothing was for a while.
async fn write<W: AsyncWrite + Unpin>(
    shared: Arc<Shared>,
    mut writer: W,
    mut lines: mpsc::Receiver<Vec<u8>>,
) {
    let mut beat = interval(HEARTBEAT);
    beat.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut dead = shared.dead.subscribe();
    let mut last = Instant::now();
    loop {
        let line = tokio::select! {
            line = lines.recv() => match line {
                Some(line) => line,
                // Nobody can ask any more: the agent sees the end of its input.
                None => break,
            },
            _ = dead.wait_for(Option::is_some) => break,
            _ = beat.tick() => {
                if last.elapsed() < HEARTBEAT {
                    continue;
                }
                match shared.state.lock().conversation.heartbeat() {
                    Ok(line) => line,
                    Err(_unwritable) => continue,
                }
            }
        };
        last = Instant::now();
        let written = async {
            writer.write_all(&line).await?;
            writer.flush().await
        };
        let written = tokio::select! {
            written = written => written,
            _ = dead.wait_for(Option::is_some) => break,
        };
        if let Err(error) = written {
            shared.dies(format!("the connection broke: {error}"));
            break;
        }
    }
    drop(timeout(HEARTBEAT, writer.shutdown()).await);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::agent::protocol::{
        Cleared, FaultKind, Message, ShareProbe, Withdraw, Withdrawn as WithdrawnAnswer, decode,
        encode, greeting,
    };
    use crate::model::{BackupName, Fqdn};
    use tokio::io::{DuplexStream, Lines, duplex};

    fn withdraw() -> Withdraw {
        Withdraw {
            backup: BackupName::for_new("nightly").unwrap(),
            node: Fqdn::parse("node1").unwrap(),
        }
    }

    struct ScriptedAgent {
        said: Lines<BufReader<DuplexStream>>,
        out: DuplexStream,
    }

    impl ScriptedAgent {
        async fn next_request(&mut self) -> RequestId {
            loop {
                let line = self.said.next_line().await.unwrap().unwrap();
                if let Message::Request { id, .. } = decode(line.as_bytes()).unwrap() {
                    return id;
                }
            }
        }

        async fn say(&mut self, event: Event) {
            self.out.write_all(&encode(&event).unwrap()).await.unwrap();
        }
    }

    async fn line(scope: &Scope) -> (AgentLine, ScriptedAgent) {
        let (ours, theirs) = duplex(1 << 16);
        let (their_out, our_in) = duplex(1 << 16);
        let mut agent = ScriptedAgent { said: BufReader::new(theirs).lines(), out: their_out };
        agent.out.write_all(format!("motd{}", greeting()).as_bytes()).await.unwrap();
        (AgentLine::open("node1", our_in, ours, scope).await.unwrap(), agent)
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_reaches_the_one_who_asked() {
        let scope = Scope::new();
        let (line, mut agent) = line(&scope).await;
        let asked = line.ask(withdraw(), None, Arc::new(Deaf));
        let answered = async {
            let id = agent.next_request().await;
            agent.say(Event::Done { id, reply: WithdrawnAnswer { files: 3 }.into() }).await;
        };
        let (answer, ()) = tokio::join!(asked, answered);
        assert_eq!(answer.unwrap().files, 3);
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_of_another_kind_is_an_error_and_not_a_hang() {
        let scope = Scope::new();
        let (line, mut agent) = line(&scope).await;
        let asked = line.ask(ShareProbe {}, None, Arc::new(Deaf));
        let answered = async {
            let id = agent.next_request().await;
            agent.say(Event::Done { id, reply: Cleared { directories: 0 }.into() }).await;
        };
        let (answer, ()) = tokio::join!(asked, answered);
        assert!(matches!(answer, Err(ClusterError::Wire { .. })));
    }

    #[tokio::test(start_paused = true)]
    async fn a_silent_agent_is_dead_after_a_while() {
        let scope = Scope::new();
        let (line, agent) = line(&scope).await;
        let error = line.ask(withdraw(), None, Arc::new(Deaf)).await.unwrap_err();
        assert!(error.to_string().contains("node1"), "{error}");
        assert!(matches!(error, ClusterError::Gone { .. }));
        drop(agent);
    }

    #[tokio::test(start_paused = true)]
    async fn a_request_whose_asker_has_gone_is_cancelled_on_the_node() {
        let scope = Scope::new();
        let (line, mut agent) = line(&scope).await;
        let limit = Some(Duration::from_millis(10));
        let error = line.ask(withdraw(), limit, Arc::new(Deaf)).await.unwrap_err();
        assert!(matches!(error, ClusterError::TimedOut { .. }));
        let id = agent.next_request().await;
        let cancelled = loop {
            let line = agent.said.next_line().await.unwrap().unwrap();
            if let Message::Cancel { id } = decode(line.as_bytes()).unwrap() {
                break id;
            }
        };
        assert_eq!(cancelled, id);
    }

    #[tokio::test(start_paused = true)]
    async fn a_fault_of_the_node_comes_with_its_remedy() {
        let scope = Scope::new();
        let (line, mut agent) = line(&scope).await;
        let asked = line.ask(withdraw(), None, Arc::new(Deaf));
        let fault = Fault {
            kind: FaultKind::ShareFull,
            what: "cannot write x".into(),
            remedy: "make room".into(),
        };
        let answered = async {
            let id = agent.next_request().await;
            agent.say(Event::Failed { id, fault: fault.clone() }).await;
        };
        let (answer, ()) = tokio::join!(asked, answered);
        assert_eq!(answer.unwrap_err().to_string(), "node1: cannot write x; make room");
    }

    #[tokio::test(start_paused = true)]
    async fn whatever_comes_instead_of_a_greeting_is_shown() {
        let scope = Scope::new();
        let (ours, _theirs) = duplex(1 << 16);
        let (mut their_out, our_in) = duplex(1 << 16);
        their_out.write_all(b"sudo: a password is required\n").await.unwrap();
        drop(their_out);
        let error = AgentLine::open("node1", our_in, ours, &scope).await.unwrap_err();
        assert!(error.to_string().contains("a password is required"), "{error}");
    }
}
