//! Whom to log in to, and with what.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

/// One machine's sshd, and how to be let in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// A name that resolves here, or an address (IPv6 without brackets).
    pub host: String,
    /// Its port; Medusa's default is 22.
    pub port: u16,
    /// The account there.
    pub user: String,
    /// Which key opens it.
    pub identity: Identity,
    /// Files with the keys of known hosts, the user's before the system's; one that is absent
    /// knows nobody.
    pub known_hosts: Vec<PathBuf>,
    /// `[ssh] login_shell`: programs run below a login shell of the account, with its profile.
    pub login_shell: bool,
    /// How long to wait for what.
    pub patience: Patience,
}

/// Where the key comes from. No password is ever tried, as with Medusa.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Identity {
    /// `[ssh] key_file`: PEM or OpenSSH, without a passphrase. Only this key is offered.
    File {
        /// The private key.
        key: PathBuf,
        /// `[ssh] cert_file`: an OpenSSH certificate for it.
        certificate: Option<PathBuf>,
    },
    /// No key file is given: the keys that the agent holds, one after the other.
    Agent {
        /// What `SSH_AUTH_SOCK` says; none if it says nothing.
        socket: Option<PathBuf>,
    },
}

/// For how long silence is borne. Nothing in this folder waits without one of these.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Patience {
    /// For resolving, connecting, the key exchange and logging in, all together, tries included.
    pub login: Duration,
    /// Between signs of life on an idle connection.
    pub keepalive: Duration,
    /// Without any byte from the other side; longer than `keepalive`, or it cuts healthy ones.
    pub silence: Duration,
    /// For the other side to take what was written to a program's stdin.
    pub write: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self {
            login: Duration::from_secs(20),
            keepalive: Duration::from_secs(5),
            silence: Duration::from_secs(30),
            write: Duration::from_secs(30),
        }
    }
}

impl fmt::Display for Target {
    /// As one would type it: `root@node1`, with the port if it is not 22.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}", self.user, HostAndPort { host: &self.host, port: self.port })
    }
}

/// A host with its port unless that is 22; an IPv6 address gets brackets if a port follows.
pub(super) struct HostAndPort<'a> {
    pub(super) host: &'a str,
    pub(super) port: u16,
}

impl fmt::Display for HostAndPort<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { host, port } = self;
        match port {
            22 => f.write_str(host),
            _ if host.contains(':') => write!(f, "[{host}]:{port}"),
            _ => write!(f, "{host}:{port}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use test_case::test_case;

    #[test_case("node1", 22, "root@node1"; "usual port")]
    #[test_case("node1", 2222, "root@node1:2222"; "other port")]
    #[test_case("fe80::1", 2222, "root@[fe80::1]:2222"; "address with colons")]
    fn a_target_prints_as_one_would_type_it(host: &str, port: u16, shown: &str) {
        let target = Target {
            host: host.to_owned(),
            port,
            user: "root".to_owned(),
            identity: Identity::Agent { socket: None },
            known_hosts: Vec::new(),
            login_shell: false,
            patience: Patience::default(),
        };
        assert_eq!(target.to_string(), shown);
    }
}
