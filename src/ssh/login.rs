//! From a target to a session that is logged in, or why not.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use russh::client::{self, DisconnectReason, Handle, Handler};
use russh::keys::PublicKeyOrCertificate;
use tokio::net::TcpStream;

use super::host_keys::{Subject, judge, order};
use super::known_hosts::{self, KnownLine};
use super::{HostKeyError, SshError, SshErrorKind, Stage, Target};
use crate::model::UnixSeconds;
use crate::tasks::Backoff;

/// A session of russh with our eyes on it.
pub(super) type Session = Handle<Watcher>;

/// How often a connection that is cut before it stands is tried again. sshd cuts at random above
/// MaxStartups (10 by default), so many callers at once must come back at different times.
const TRIES: usize = 8;

/// Judges the host's key, and notes why the connection ends.
#[derive(Debug)]
pub(super) struct Watcher {
    known: Vec<KnownLine>,
    subject: Subject,
    now: UnixSeconds,
    why: Arc<Mutex<Option<String>>>,
}

/// What goes wrong inside russh: its own errors, and our verdict.
#[derive(Debug)]
pub(super) enum WatchError {
    Ssh(russh::Error),
    HostKey(Box<HostKeyError>),
}

impl From<russh::Error> for WatchError {
    fn from(error: russh::Error) -> Self {
        Self::Ssh(error)
    }
}

impl Handler for Watcher {
    type Error = WatchError;

    async fn check_server_key(
        &mut self,
        offered: &PublicKeyOrCertificate,
    ) -> Result<bool, WatchError> {
        judge(&self.known, &self.subject, self.now, offered)
            .map(|()| true)
            .map_err(WatchError::HostKey)
    }

    async fn disconnected(
        &mut self,
        reason: DisconnectReason<WatchError>,
    ) -> Result<(), WatchError> {
        let (why, answer) = match reason {
            DisconnectReason::ReceivedDisconnect(told) => {
                (format!("its sshd hung up: {}", told.message), Ok(()))
            }
            DisconnectReason::Error(WatchError::Ssh(error)) => {
                (broken(&error), Err(WatchError::Ssh(error)))
            }
            DisconnectReason::Error(refusal) => ("its key was refused".to_owned(), Err(refusal)),
        };
        *self.why.lock() = Some(why);
        answer
    }
}

/// Why a connection ended, in words.
fn broken(error: &russh::Error) -> String {
    match error {
        russh::Error::KeepaliveTimeout | russh::Error::InactivityTimeout => {
            "it has fallen silent; look whether the host is up and the network between".to_owned()
        }
        russh::Error::IO(error) => format!("the connection broke ({error})"),
        russh::Error::Disconnect | russh::Error::HUP => "its sshd hung up".to_owned(),
        other => format!("the connection broke ({other})"),
    }
}

/// A session whose host is proven, before anybody has logged in.
pub(super) struct Connected {
    pub(super) session: Session,
    pub(super) why: Arc<Mutex<Option<String>>>,
}

/// Connects, and has the host prove itself. Tries again while sshd cuts connections short; the
/// caller sets an end to it, and reads from `stage` how far it came.
pub(super) async fn connect(
    target: &Target,
    now: UnixSeconds,
    stage: &Mutex<Stage>,
) -> Result<Connected, SshError> {
    let known = known_hosts::lookup(&target.known_hosts, &target.host, target.port);
    let mut backoff = Backoff::new(Duration::from_millis(200), Duration::from_secs(2));
    let mut tries = 0;
    loop {
        tries += 1;
        let stream = tcp(target, stage).await?;
        let why = Arc::new(Mutex::new(None));
        let name = known_hosts::name_in_file(&target.host, target.port);
        let watcher = Watcher {
            known: known.clone(),
            subject: Subject { host: target.host.clone(), name },
            now,
            why: Arc::clone(&why),
        };
        let config = Arc::new(settings(target, &known));
        match client::connect_stream(config, stream, watcher).await {
            Ok(session) => return Ok(Connected { session, why }),
            Err(WatchError::Ssh(error)) if cut_short(&error) && tries < TRIES => {
                tracing::debug!(host = %target, tries, %error, "cut short, trying again");
                tokio::time::sleep(backoff.next_wait()).await;
            }
            Err(error) => return Err(not_connected(target, error)),
        }
    }
}

fn settings(target: &Target, known: &[KnownLine]) -> client::Config {
    let order = order(known);
    let mut config = client::Config {
        // Without it each new channel waits 40 ms for Nagle and a delayed acknowledgement.
        nodelay: true,
        keepalive_interval: Some(target.patience.keepalive),
        keepalive_max: 3,
        // Keepalives are not sent while the socket is full, so both are needed.
        inactivity_timeout: Some(target.patience.silence),
        ..client::Config::default()
    };
    config.preferred.key = order.keys.into();
    config.preferred.host_key_certificates = order.certificates.into();
    config
}

/// A TCP connection to the first address that answers.
pub(super) async fn tcp(target: &Target, stage: &Mutex<Stage>) -> Result<TcpStream, SshError> {
    *stage.lock() = Stage::Resolve;
    let fail =
        |stage, message: String| SshError::new(target, stage, SshErrorKind::Unreachable, message);
    let looked_up = tokio::net::lookup_host((target.host.as_str(), target.port)).await;
    let addresses: Vec<SocketAddr> = looked_up
        .map_err(|error| {
            let message = format!(
                "{:?} has no address here; correct the name, or give it one in DNS, in /etc/hosts \
                 or by `[node NAME] ssh = ADDRESS`",
                target.host
            );
            fail(Stage::Resolve, message).because(error)
        })?
        .collect();
    *stage.lock() = Stage::Connect;
    let mut last = io::Error::from(io::ErrorKind::AddrNotAvailable);
    for address in addresses {
        match TcpStream::connect(address).await {
            Ok(stream) => {
                if let Err(error) = stream.set_nodelay(true) {
                    tracing::debug!(host = %target, %error, "no TCP_NODELAY");
                }
                return Ok(stream);
            }
            Err(error) => last = error,
        }
    }
    let message = match last.kind() {
        io::ErrorKind::ConnectionRefused => {
            format!("nothing listens on port {}; start sshd there, or give its port", target.port)
        }
        _ => format!(
            "port {} cannot be reached; look whether the host is up and no firewall is between",
            target.port
        ),
    };
    Err(fail(Stage::Connect, message).because(last))
}

/// What sshd above MaxStartups looks like: accepted, then cut, before or in the key exchange.
pub(super) fn cut_short(error: &russh::Error) -> bool {
    match error {
        russh::Error::IO(error) => matches!(
            error.kind(),
            io::ErrorKind::ConnectionReset
                | io::ErrorKind::UnexpectedEof
                | io::ErrorKind::BrokenPipe
                | io::ErrorKind::ConnectionAborted
        ),
        russh::Error::Disconnect | russh::Error::HUP => true,
        _ => false,
    }
}

fn not_connected(target: &Target, error: WatchError) -> SshError {
    let fail = |kind, message: String| SshError::new(target, Stage::Connect, kind, message);
    match error {
        WatchError::HostKey(refusal) => {
            let message = "its key is not one that we may trust";
            SshError::new(target, Stage::HostKey, SshErrorKind::HostKey, message).because(*refusal)
        }
        WatchError::Ssh(error) if cut_short(&error) => {
            let message = format!(
                "it cut {TRIES} connections before they stood; look at MaxStartups in sshd_config, \
                 at hosts.deny and fail2ban there, and whether it is sshd at all"
            );
            fail(SshErrorKind::Busy, message).because(error)
        }
        WatchError::Ssh(error @ russh::Error::NoCommonAlgo { .. }) => {
            let message = "it offers no algorithm that is still held safe; update its sshd";
            fail(SshErrorKind::Refused, message.to_owned()).because(error)
        }
        WatchError::Ssh(error @ russh::Error::Version) => {
            let message = format!("what listens on port {} is no sshd", target.port);
            fail(SshErrorKind::Refused, message).because(error)
        }
        WatchError::Ssh(error @ russh::Error::InactivityTimeout) => {
            fail(SshErrorKind::TimedOut, broken(&error)).because(error)
        }
        WatchError::Ssh(error) => {
            fail(SshErrorKind::Refused, "the key exchange failed".to_owned()).because(error)
        }
    }
}
