//! A remote for tests: each run ends as it was told to, and everything else is refused.

use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;

use super::{
    Exit, Output, Remote, RemoteCommand, RemoteProcess, SshError, SshErrorKind, Stage, Tunnel,
};

/// Every program that is run there leaves the same.
#[derive(Debug, Clone)]
pub(crate) struct ScriptedRemote {
    name: String,
    output: Output,
}

impl ScriptedRemote {
    /// `name` is what messages call it.
    pub(crate) fn new(name: &str, status: u32, stderr: &str) -> Self {
        let (stdout, stderr) = (Vec::new(), stderr.as_bytes().to_vec());
        let output = Output { exit: Exit::Status(status), stdout, stderr };
        Self { name: name.to_owned(), output }
    }

    fn refused(&self, stage: Stage) -> SshError {
        SshError::new(&self.name, stage, SshErrorKind::Refused, "it is in the script so")
    }
}

#[async_trait]
impl Remote for ScriptedRemote {
    fn name(&self) -> String {
        self.name.clone()
    }

    async fn run(&self, _: &RemoteCommand, _: Bytes, _: Duration) -> Result<Output, SshError> {
        Ok(self.output.clone())
    }

    async fn upload(&self, _: Bytes, _: &str, _: u32, _: Duration) -> Result<(), SshError> {
        Err(self.refused(Stage::Upload))
    }

    async fn start(&self, _: &RemoteCommand, _: Duration) -> Result<RemoteProcess, SshError> {
        Err(self.refused(Stage::Run))
    }

    async fn tunnel(&self, _: &str, _: u16, _: Duration) -> Result<Tunnel, SshError> {
        Err(self.refused(Stage::Tunnel))
    }

    async fn close(&self) {}
}
