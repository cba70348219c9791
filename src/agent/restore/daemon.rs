//! What a restore needs of the Cassandra process, and of who starts it.

use std::path::PathBuf;
use std::time::Duration;

use async_trait::async_trait;

use super::error::RestoreError;
use super::listener::Listener;
use super::order::Order;
use super::process::Process;

/// The Cassandra of this node.
#[async_trait]
pub trait Daemon: Send + Sync {
    /// Its process, serving or not; none if none exists.
    async fn process(&self) -> Result<Option<Process>, RestoreError>;

    /// Whether a process of it exists, serving or not.
    async fn is_running(&self) -> Result<bool, RestoreError> {
        Ok(self.process().await?.is_some())
    }

    /// Has it write everything to its data files and serve no more, within `limit`.
    async fn drain(&self, limit: Duration) -> Result<(), RestoreError>;

    /// Whether it serves: clients can connect.
    async fn takes_clients(&self) -> bool;

    /// What the service manager calls it and nothing else, if there is one that can be told not to
    /// start it.
    async fn unit(&self) -> Option<String>;

    /// Tells the service manager not to start `unit`, whoever asks.
    async fn bar(&self, unit: &str) -> Result<(), RestoreError>;

    /// Takes [`bar`](Self::bar) back; done already is as good.
    async fn unbar(&self, unit: &str) -> Result<(), RestoreError>;

    /// Ends it, and returns when no process of it is left. Never kills what does not end by itself.
    async fn stop(&self, order: &Order) -> Result<(), RestoreError>;

    /// Starts it, unless it runs, and returns when clients can connect. An error says what its log
    /// said.
    async fn start(&self, order: &Order, listener: &dyn Listener) -> Result<(), RestoreError>;

    /// Gives placed directories the security labels of their new place, where the system has such.
    async fn relabel(&self, placed: Vec<PathBuf>) -> Result<(), RestoreError>;
}
