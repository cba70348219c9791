//! From an address to a node whose agent answers.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;

use crate::agent::protocol::{Facts, Hello, NodetoolSettings, WireSecret};
use crate::config::{Config, NodetoolPassword};
use crate::model::{JobId, SystemClock};
use crate::ssh::{Connection, Identity, Patience, Remote, RemoteCommand, Target, probe_sudo};
use crate::tasks::Scope;

use super::push::{is_gone, push, remove};
use super::{AgentLine, ClusterError, Deaf};

/// For the first answer of an agent: it reads cassandra.yaml and looks at disks.
const HELLO_WITHIN: Duration = Duration::from_mins(1);

/// What it takes to reach nodes, the same for all of them.
#[derive(Clone)]
pub struct Reach {
    /// The configuration.
    pub config: Arc<Config>,
    /// This program, as it is pushed.
    pub program: Bytes,
    /// Who asks: temporary files on nodes and share bear its name.
    pub job: JobId,
    /// Whose tasks the lines are.
    pub scope: Scope,
    /// The home directory of the user, for `~/.ssh/known_hosts`.
    pub home: Option<PathBuf>,
    /// `SSH_AUTH_SOCK`, where no key file is configured.
    pub agent_socket: Option<PathBuf>,
    /// Where the nodes' Cassandras have what cassandra.yaml does not name, by what the nodes are
    /// called here: seen while they ran, wanted when one is stopped and its agent was lost.
    pub storage_directories: Arc<Mutex<BTreeMap<String, PathBuf>>>,
}

impl std::fmt::Debug for Reach {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Reach").field("job", &self.job).finish_non_exhaustive()
    }
}

/// A node whose agent answers. Dropping it ends the agent, which takes back what is not finished.
#[derive(Debug, Clone)]
pub struct Reached {
    /// The connection, for tunnels.
    pub remote: Arc<dyn Remote>,
    /// The agent.
    pub agent: AgentLine,
    /// What the agent saw when it started.
    pub facts: Facts,
}

impl Reach {
    /// Whom to log in to at `host`.
    pub fn target(&self, host: &str, port: u16) -> Target {
        let ssh = &self.config.ssh;
        let identity = ssh.key_file.as_ref().map_or_else(
            || Identity::Agent { socket: self.agent_socket.clone() },
            |key| Identity::File { key: key.clone(), certificate: ssh.cert_file.clone() },
        );
        let defaults = Patience::default();
        let keepalive = ssh.keepalive.unwrap_or(defaults.keepalive).min(defaults.keepalive);
        Target {
            host: host.to_owned(),
            port,
            user: self.user(),
            identity,
            known_hosts: self.known_hosts(),
            patience: Patience { keepalive, ..defaults },
            login_shell: ssh.login_shell,
        }
    }

    fn user(&self) -> String {
        self.config.ssh.username.clone().unwrap_or_else(|| "root".to_owned())
    }

    /// The files of host keys, the user's before the system's.
    pub fn known_hosts(&self) -> Vec<PathBuf> {
        match &self.config.medusafs.known_hosts {
            Some(file) => vec![file.clone()],
            None => self
                .home
                .iter()
                .map(|home| home.join(".ssh/known_hosts"))
                .chain([PathBuf::from("/etc/ssh/ssh_known_hosts")])
                .collect(),
        }
    }

    /// Logs in, brings the agent, starts it and asks it for its first facts. `store` is the
    /// store's root as that node names it. The agent has removed its file when this returns.
    pub async fn node(&self, host: &str, port: u16, store: &Path) -> Result<Reached, ClusterError> {
        let target = self.target(host, port);
        let connection = Connection::open(target, &SystemClock).await.map_err(ClusterError::Ssh)?;
        let remote: Arc<dyn Remote> = Arc::new(connection);
        self.agent_on(remote, store).await
    }

    /// The same on a machine that we are logged in to.
    pub async fn agent_on(
        &self,
        remote: Arc<dyn Remote>,
        store: &Path,
    ) -> Result<Reached, ClusterError> {
        let wanted = self.config.medusafs.agent_dir.as_ref();
        let wanted = wanted.map(|path| path.to_string_lossy().into_owned());
        let mut again = true;
        loop {
            let pushed = push(&*remote, &self.program, wanted.as_deref()).await?;
            let error = match self.start_pushed(Arc::clone(&remote), &pushed.path, store).await {
                // It has removed its file.
                Ok(reached) => return Ok(reached),
                Err(error) => error,
            };
            // The agent of another job, or of a check, had the same file and has removed it.
            let was_taken = never_began(&error) && is_gone(&*remote, &pushed.path).await;
            if !(std::mem::take(&mut again) && was_taken) {
                remove(&*remote, &pushed.path).await;
                return Err(error);
            }
        }
    }

    async fn start_pushed(
        &self,
        remote: Arc<dyn Remote>,
        program: &str,
        store: &Path,
    ) -> Result<Reached, ClusterError> {
        let command = RemoteCommand::new([program, "agent"]);
        if !self.config.cassandra.use_sudo {
            return self.start(remote, &command, store).await;
        }
        let user = self.user();
        let harmless = RemoteCommand::new([program, "--version"]);
        match probe_sudo(&*remote, &user, &harmless, HELLO_WITHIN)
            .await
            .map_err(ClusterError::Ssh)?
        {
            Ok(()) => self.start(remote, &command.by_sudo(), store).await,
            Err(refusal) => Err(ClusterError::Sudo(refusal)),
        }
    }

    async fn start(
        &self,
        remote: Arc<dyn Remote>,
        command: &RemoteCommand,
        store: &Path,
    ) -> Result<Reached, ClusterError> {
        let process = remote.start(command, HELLO_WITHIN).await.map_err(ClusterError::Ssh)?;
        let stderr = process.stderr.clone();
        let name = remote.name();
        let agent = AgentLine::open(&name, process.stdout, process.stdin, &self.scope)
            .await
            .map_err(|error| match last_line(&stderr.text()) {
                Some(words) => {
                    ClusterError::Complained { node: name.clone(), words, source: Box::new(error) }
                }
                None => error,
            })?;
        let known = self.storage_directories.lock().get(&name).cloned();
        let hello = self.hello(store, known);
        let facts = agent.ask(hello, Some(HELLO_WITHIN), Arc::new(Deaf)).await?;
        if let Some(seen) = &facts.storage_directory {
            self.storage_directories.lock().insert(name, seen.clone());
        }
        Ok(Reached { remote, agent, facts })
    }

    fn hello(&self, store: &Path, storage_directory: Option<PathBuf>) -> Hello {
        let cassandra = &self.config.cassandra;
        let nodetool = &cassandra.nodetool;
        let (password, password_file) = match &nodetool.password {
            Some(NodetoolPassword::Given(secret)) => (Some(WireSecret::new(secret.expose())), None),
            Some(NodetoolPassword::File(path)) => (None, Some(path.clone())),
            None => (None, None),
        };
        Hello {
            job: self.job.clone(),
            store: store.to_owned(),
            prefix: self.config.storage.prefix.clone(),
            cassandra_yaml: cassandra.config_file.clone(),
            // Medusa's own place: the file that was named here may not be there.
            medusa_ini: PathBuf::from(crate::config::DEFAULT_MEDUSA_INI),
            resolve_ip_addresses: cassandra.resolve_own_name,
            nodetool: NodetoolSettings {
                program: nodetool.executable.clone(),
                flags: nodetool.flags.clone(),
                username: nodetool.username.clone(),
                password,
                password_file,
                host: nodetool.host.clone(),
                port: nodetool.port,
                ssl: nodetool.ssl,
            },
            storage_directory,
            share_seconds: self.config.medusafs.deadline.as_secs().max(60),
        }
    }
}

/// Whether no agent was there to greet: then its file may have been.
fn never_began(error: &ClusterError) -> bool {
    matches!(
        error,
        ClusterError::Sudo(_)
            | ClusterError::Complained { .. }
            | ClusterError::Silent { .. }
            | ClusterError::Gone { .. }
    )
}

fn last_line(text: &str) -> Option<String> {
    text.lines().map(str::trim).rfind(|line| !line.is_empty()).map(str::to_owned)
}
