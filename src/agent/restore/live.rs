//! The real Cassandra of this node.

use std::fs;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, ToSocketAddrs};
use std::path::{Path, PathBuf};
use std::time::Duration;

use async_trait::async_trait;
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep, timeout};

use super::daemon::Daemon;
use super::engine::blocking;
use super::error::RestoreError;
use super::listener::Listener;
use super::order::Order;
use super::places::Directories;
use super::process::{Process, is_of, own_unit};
use super::startup_log::StartupLog;
use crate::cassandra::{
    CassandraYaml, Nodetool, NodetoolError, Program, RunningCassandra, running,
};

/// How often a state that is waited for is looked at.
const LOOK: Duration = Duration::from_millis(250);

/// nodetool costs a Java start: on a node that starts it is asked seldom.
const ASK: Duration = Duration::from_secs(10);

/// For an answer of nodetool, a small program.
const SHORT: Duration = Duration::from_mins(1);

/// How long a start command may take to bring a process about.
const APPEARS: Duration = Duration::from_mins(1);

/// After this long without clients a Cassandra that is up is one that serves none.
const NO_CLIENTS: Duration = Duration::from_mins(1);

const USUAL_LOGS: &str = "/var/log/cassandra";

/// The Cassandra that one cassandra.yaml describes.
#[derive(Debug, Clone)]
pub struct LiveCassandra {
    nodetool: Nodetool,
    yaml_path: PathBuf,
    directories: Directories,
    native: Vec<(String, u16)>,
}

impl LiveCassandra {
    /// The Cassandra that `yaml`, read from `yaml_path`, describes.
    pub fn new(nodetool: Nodetool, yaml_path: PathBuf, yaml: &CassandraYaml) -> Self {
        let addresses = [&yaml.rpc_address, &yaml.broadcast_rpc_address, &yaml.listen_address];
        let any = Ipv4Addr::LOCALHOST.to_string();
        let native = addresses.into_iter().flatten().cloned().chain([any]).flat_map(|address| {
            let ports = [Some(yaml.native_transport_port), yaml.native_transport_port_ssl];
            ports.into_iter().flatten().map(move |port| (address.clone(), port))
        });
        let native = native.collect();
        Self { nodetool, yaml_path, directories: directories(yaml), native }
    }

    /// The processes of this Cassandra.
    async fn processes(&self) -> Result<Vec<RunningCassandra>, RestoreError> {
        let (yaml, data) = (self.yaml_path.clone(), self.directories.clone());
        blocking(move || {
            let all = running().map_err(|error| failed("cannot look for Cassandra", error))?;
            Ok(all.into_iter().filter(|process| is_of(process, &yaml, &data)).collect())
        })
        .await
    }

    /// Whether clients can connect to any address that it may listen on.
    async fn accepts_clients(&self) -> bool {
        let native = self.native.clone();
        let resolved = blocking(move || {
            let all = native.iter().filter_map(|(host, port)| {
                let found = (host.as_str(), *port).to_socket_addrs().ok()?;
                Some(found.map(reachable).collect::<Vec<_>>())
            });
            Ok(all.flatten().collect::<Vec<_>>())
        });
        for address in resolved.await.unwrap_or_default() {
            if matches!(timeout(LOOK, TcpStream::connect(address)).await, Ok(Ok(_))) {
                return true;
            }
        }
        false
    }

    /// Runs a command of the operator's.
    async fn run(&self, command: &[String], limit: Duration) -> Result<(), RestoreError> {
        let program = Program::new(command.iter().cloned());
        let shown = program.to_string();
        let finished = program.run(limit).await;
        let finished = finished.map_err(|error| failed(format!("cannot run `{shown}`"), error))?;
        if finished.success() {
            return Ok(());
        }
        Err(RestoreError::cassandra(format!("`{shown}` failed: {}", finished.last_words())))
    }

    async fn log_path(&self) -> PathBuf {
        let processes = self.processes().await.unwrap_or_default();
        let told = processes.first().and_then(|process| {
            let cmdline = fs::read(format!("/proc/{}/cmdline", process.pid)).ok()?;
            let cmdline = String::from_utf8_lossy(&cmdline).into_owned();
            let told = cmdline.split('\0').find_map(|it| it.strip_prefix("-Dcassandra.logdir="));
            told.map(PathBuf::from)
        });
        told.unwrap_or_else(|| USUAL_LOGS.into()).join("system.log")
    }
}

/// The directories of a cassandra.yaml that a restore touches, each once, by its real path: a link
/// in one would be given to root instead of what it leads to.
pub fn directories(yaml: &CassandraYaml) -> Directories {
    let emptied = [&yaml.commitlog_directory, &yaml.saved_caches_directory, &yaml.hints_directory];
    let emptied = emptied.into_iter().chain(&yaml.cdc_raw_directory);
    Directories {
        data: each_once(yaml.data_file_directories.iter().map(|path| real(path))),
        local_system: yaml.local_system_data_file_directory.as_deref().map(real),
        emptied: each_once(emptied.map(|path| real(path))),
    }
}

/// A path without links; of what does not exist, that of its parent.
fn real(path: &Path) -> PathBuf {
    let below_parent = || Some(path.parent()?.canonicalize().ok()?.join(path.file_name()?));
    path.canonicalize().ok().or_else(below_parent).unwrap_or_else(|| path.to_owned())
}

fn each_once(paths: impl Iterator<Item = PathBuf>) -> Vec<PathBuf> {
    let mut all = Vec::new();
    for path in paths {
        if !all.contains(&path) {
            all.push(path);
        }
    }
    all
}

fn failed(
    why: impl Into<String>,
    error: impl std::error::Error + Send + Sync + 'static,
) -> RestoreError {
    RestoreError::Cassandra { why: why.into(), source: Some(Box::new(error)) }
}

/// An address that means "any" is reached on this host.
fn reachable(address: SocketAddr) -> SocketAddr {
    if address.ip().is_unspecified() {
        SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), address.port())
    } else {
        address
    }
}

#[async_trait]
impl Daemon for LiveCassandra {
    async fn process(&self) -> Result<Option<Process>, RestoreError> {
        let all = self.processes().await?;
        Ok(all.into_iter().find_map(|found| Process::of(found.pid)))
    }

    async fn drain(&self, limit: Duration) -> Result<(), RestoreError> {
        let drained = self.nodetool.drain(limit).await;
        drained.map_err(|error| failed("cannot drain Cassandra", error))
    }

    async fn takes_clients(&self) -> bool {
        match self.nodetool.serves_clients(SHORT).await {
            Ok(serves) => serves,
            // It may want a password that nobody gave it.
            Err(_) => self.accepts_clients().await,
        }
    }

    async fn unit(&self) -> Option<String> {
        if !Path::new("/run/systemd/system").is_dir() {
            return None;
        }
        let pids: Vec<_> = self.processes().await.ok()?.into_iter().map(|it| it.pid).collect();
        let unit = own_unit(*pids.first()?, &pids)?;
        // One that somebody else has masked must stay so afterwards.
        let asked = Program::new(["systemctl", "is-enabled", &unit]).run(SHORT).await.ok()?;
        (!asked.stdout.contains("masked")).then_some(unit)
    }

    async fn bar(&self, unit: &str) -> Result<(), RestoreError> {
        self.run(&["systemctl", "mask", unit].map(str::to_owned), SHORT).await
    }

    async fn unbar(&self, unit: &str) -> Result<(), RestoreError> {
        self.run(&["systemctl", "unmask", unit].map(str::to_owned), SHORT).await
    }

    async fn stop(&self, order: &Order) -> Result<(), RestoreError> {
        let limit = Duration::from_secs(order.stop_seconds);
        let until = Instant::now() + limit;
        if self.processes().await?.is_empty() {
            return Ok(());
        }
        let commanded = self.run(&order.stop_command, limit).await;
        loop {
            let left = self.processes().await?;
            let Some(process) = left.first() else { return Ok(()) };
            // A command that fails is no failure if Cassandra ends all the same.
            if Instant::now() >= until {
                commanded?;
                return Err(RestoreError::cassandra(format!(
                    "Cassandra (process {}) has not ended {} s after it was told to: find out why \
                     (jstack {0}), or end it",
                    process.pid, order.stop_seconds,
                )));
            }
            sleep(LOOK).await;
        }
    }

    async fn start(&self, order: &Order, listener: &dyn Listener) -> Result<(), RestoreError> {
        let log = StartupLog::from_now(self.log_path().await);
        let limit = Duration::from_secs(order.start_seconds);
        let begun = Instant::now();
        if self.processes().await?.is_empty() {
            self.run(&order.start_command, limit).await?;
        }
        let (mut was_there, mut asked, mut complete) = (false, None::<Instant>, None::<Instant>);
        loop {
            let is_there = !self.processes().await?.is_empty();
            if was_there && !is_there {
                return Err(ended(&log));
            }
            was_there |= is_there;
            if !was_there && begun.elapsed() > APPEARS.min(limit) {
                return Err(RestoreError::cassandra(format!(
                    "no Cassandra runs {} s after start_cmd ended; correct start_cmd, and resume",
                    begun.elapsed().as_secs()
                )));
            }
            let connects = is_there && self.accepts_clients().await;
            let long_ago = asked.is_none_or(|asked| asked.elapsed() > ASK);
            if is_there && (connects || complete.is_some()) && long_ago {
                asked = Some(Instant::now());
                match self.nodetool.serves_clients(SHORT).await {
                    Ok(true) => return Ok(()),
                    Ok(false) | Err(NodetoolError::Starting | NodetoolError::NotRunning { .. }) => {
                    }
                    Err(error) if connects => {
                        listener.note(&format!("clients can connect; nodetool says: {error}"));
                        return Ok(());
                    }
                    Err(_) => {}
                }
            }
            if complete.is_none() && is_there && log.says_startup_complete() {
                complete = Some(Instant::now());
                asked = None;
            }
            if complete.is_some_and(|since| since.elapsed() > NO_CLIENTS) {
                listener.note("Cassandra is up and takes no clients, as it seems to be told to");
                return Ok(());
            }
            if begun.elapsed() > limit {
                return Err(RestoreError::cassandra(format!(
                    "Cassandra runs and takes no clients {} s after it was started; follow {}, and \
                     resume to wait longer",
                    limit.as_secs(),
                    log.path().display()
                )));
            }
            sleep(LOOK).await;
        }
    }

    async fn relabel(&self, placed: Vec<PathBuf>) -> Result<(), RestoreError> {
        if !Path::new("/sys/fs/selinux/enforce").exists() || placed.is_empty() {
            return Ok(());
        }
        let paths = placed.iter().map(|path| path.to_string_lossy().into_owned());
        let command = ["restorecon", "-R"].map(str::to_owned).into_iter().chain(paths);
        self.run(&command.collect::<Vec<_>>(), SHORT * 10).await
    }
}

fn ended(log: &StartupLog) -> RestoreError {
    let said = log.complaints();
    let path = log.path().display();
    let why = if said.is_empty() {
        format!("Cassandra ended soon after it was started; {path} says why")
    } else {
        format!("Cassandra ended soon after it was started; {path} says: {said}")
    };
    RestoreError::cassandra(format!("{why}. Put that right and resume, or undo"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_that_means_any_is_reached_on_this_host() {
        let any: SocketAddr = "0.0.0.0:9042".parse().unwrap();
        assert_eq!(reachable(any).to_string(), "127.0.0.1:9042");
    }
}
