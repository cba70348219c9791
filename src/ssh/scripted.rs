//! A remote that plays a script: for tests of everything above.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use parking_lot::Mutex;

use super::pipe::{End, Ends};
use super::process::process;
use super::{
    Exit, Output, Remote, RemoteCommand, RemoteProcess, SshError, SshErrorKind, Stage, StderrTail,
    Tunnel,
};

/// Answers what it was told to, in order, and remembers what it was asked.
///
/// What was not foreseen fails with `Refused`: a test sees it at once. Clones are the same remote.
#[derive(Debug, Clone)]
pub struct ScriptedRemote {
    name: Arc<str>,
    script: Arc<Mutex<Script>>,
}

#[derive(Debug, Default)]
struct Script {
    runs: VecDeque<Result<Output, SshErrorKind>>,
    uploads: VecDeque<Result<(), SshErrorKind>>,
    starts: VecDeque<Result<RemoteProcess, SshErrorKind>>,
    tunnels: VecDeque<Result<HiddenTunnel, SshErrorKind>>,
    calls: Vec<Call>,
}

struct HiddenTunnel(Tunnel);

impl std::fmt::Debug for HiddenTunnel {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Tunnel")
    }
}

/// What a [`ScriptedRemote`] was asked to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Call {
    /// Run this, with this input.
    Run(RemoteCommand, Bytes),
    /// Write this to that path with that mode.
    Upload(Bytes, String, u32),
    /// Start this.
    Start(RemoteCommand),
    /// Connect to this host and port.
    Tunnel(String, u16),
    /// Hang up.
    Close,
}

/// The far end of a started program: what it is sent, and what it says.
#[derive(Debug)]
pub struct ScriptedProcess {
    ends: Ends,
    stderr: StderrTail,
}

impl ScriptedRemote {
    /// A remote that foresees nothing yet, called `name` in messages.
    pub fn new(name: &str) -> Self {
        Self { name: Arc::from(name), script: Arc::default() }
    }

    /// The next run ends so.
    pub fn will_answer(&self, status: u32, stdout: impl Into<Vec<u8>>, stderr: impl Into<Vec<u8>>) {
        let (stdout, stderr) = (stdout.into(), stderr.into());
        let output = Output { exit: Exit::Status(status), stdout, stderr };
        self.script.lock().runs.push_back(Ok(output));
    }

    /// The next run fails so.
    pub fn will_fail(&self, kind: SshErrorKind) {
        self.script.lock().runs.push_back(Err(kind));
    }

    /// The next upload ends so.
    pub fn will_take_upload(&self, answer: Result<(), SshErrorKind>) {
        self.script.lock().uploads.push_back(answer);
    }

    /// The next start gives a program whose far end this is.
    pub fn will_start(&self) -> ScriptedProcess {
        let (near, ends, stderr) = process(&self.name, Duration::from_secs(30));
        self.script.lock().starts.push_back(Ok(near));
        ScriptedProcess { ends, stderr }
    }

    /// The next start fails so.
    pub fn will_not_start(&self, kind: SshErrorKind) {
        self.script.lock().starts.push_back(Err(kind));
    }

    /// The next tunnel ends so; one end of `tokio::io::duplex` makes a good one.
    pub fn will_tunnel(&self, answer: Result<Tunnel, SshErrorKind>) {
        self.script.lock().tunnels.push_back(answer.map(HiddenTunnel));
    }

    /// What it has been asked so far.
    pub fn calls(&self) -> Vec<Call> {
        self.script.lock().calls.clone()
    }

    fn answer<T>(
        &self,
        stage: Stage,
        call: Call,
        next: impl FnOnce(&mut Script) -> Option<Result<T, SshErrorKind>>,
    ) -> Result<T, SshError> {
        let mut script = self.script.lock();
        let answer = next(&mut script);
        let unforeseen = format!("the script does not foresee {call:?}");
        script.calls.push(call);
        match answer {
            Some(Ok(answer)) => Ok(answer),
            Some(Err(kind)) => {
                Err(SshError::new(&self.name, stage, kind, "it is in the script so"))
            }
            None => Err(SshError::new(&self.name, stage, SshErrorKind::Refused, unforeseen)),
        }
    }
}

impl ScriptedProcess {
    /// The next piece of input; none when there is no more.
    pub async fn received(&mut self) -> Option<Bytes> {
        self.ends.outgoing.recv().await
    }

    /// Says a line. False if nobody listens any more.
    pub fn say(&self, line: &str) -> bool {
        self.ends.incoming.push(format!("{line}\n").into())
    }

    /// Writes to stderr.
    pub fn complain(&self, text: &str) {
        self.stderr.push(text.as_bytes());
    }

    /// Done when the other end has dropped the program's stdout.
    pub async fn told_to_end(&self) {
        self.ends.stop.cancelled().await;
    }

    /// Ends by itself.
    pub fn exit(self, status: u32) {
        self.ends.incoming.finish(End::Exited(Exit::Status(status)));
    }

    /// The connection breaks.
    pub fn lose(self) {
        let message = "the connection broke".to_owned();
        self.ends.incoming.finish(End::Failed { kind: SshErrorKind::Lost, message });
    }
}

#[async_trait]
impl Remote for ScriptedRemote {
    fn name(&self) -> String {
        self.name.as_ref().to_owned()
    }

    async fn run(
        &self,
        command: &RemoteCommand,
        stdin: Bytes,
        _deadline: Duration,
    ) -> Result<Output, SshError> {
        let call = Call::Run(command.clone(), stdin);
        self.answer(Stage::Run, call, |script| script.runs.pop_front())
    }

    async fn upload(
        &self,
        content: Bytes,
        path: &str,
        mode: u32,
        _deadline: Duration,
    ) -> Result<(), SshError> {
        let call = Call::Upload(content, path.to_owned(), mode);
        self.answer(Stage::Upload, call, |script| script.uploads.pop_front())
    }

    async fn start(
        &self,
        command: &RemoteCommand,
        _deadline: Duration,
    ) -> Result<RemoteProcess, SshError> {
        let call = Call::Start(command.clone());
        self.answer(Stage::Run, call, |script| script.starts.pop_front())
    }

    async fn tunnel(&self, host: &str, port: u16, _deadline: Duration) -> Result<Tunnel, SshError> {
        let call = Call::Tunnel(host.to_owned(), port);
        self.answer(Stage::Tunnel, call, |script| script.tunnels.pop_front()).map(|hidden| hidden.0)
    }

    async fn close(&self) {
        self.script.lock().calls.push(Call::Close);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    const SOON: Duration = Duration::from_secs(1);

    #[tokio::test]
    async fn a_script_is_played_in_order_and_its_end_is_an_error() {
        let remote = ScriptedRemote::new("root@node1");
        remote.will_answer(0, "one", "");
        remote.will_fail(SshErrorKind::Lost);
        let command = RemoteCommand::new(["true"]);
        let run = async || remote.run(&command, Bytes::new(), SOON).await;
        assert_eq!(run().await.unwrap().stdout, b"one");
        assert_eq!(run().await.unwrap_err().kind, SshErrorKind::Lost);
        assert_eq!(run().await.unwrap_err().kind, SshErrorKind::Refused);
        assert_eq!(remote.calls().len(), 3);
    }

    #[tokio::test]
    async fn a_scripted_program_hears_and_speaks() {
        let remote = ScriptedRemote::new("root@node1");
        let mut far = remote.will_start();
        let mut near = remote.start(&RemoteCommand::new(["agent"]), SOON).await.unwrap();
        near.stdin.write_all(b"hello\n").await.unwrap();
        assert_eq!(far.received().await.unwrap(), "hello\n");
        assert!(far.say("good day"));
        far.complain("it hurts");
        far.exit(0);
        let mut said = String::new();
        near.stdout.read_to_string(&mut said).await.unwrap();
        assert_eq!((said.as_str(), near.stderr.text().as_str()), ("good day\n", "it hurts"));
        assert!(near.stdout.exit().await.unwrap().success());
    }
}
