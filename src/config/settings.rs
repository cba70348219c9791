//! What `medusa.ini` says, typed and defaulted. Names and meanings are Medusa's.

use std::path::PathBuf;
use std::time::Duration;

use crate::model::Fqdn;

use super::Secret;

/// `[storage]`: where the backups are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StorageSettings {
    /// The share, an absolute path **on this host**.
    pub base_path: PathBuf,
    /// The directory of the store in `base_path`: one name.
    pub bucket_name: String,
    /// The directory of this cluster in the store: one name of at least two characters, or none.
    pub prefix: Option<String>,
    /// This host's own name as a node, if Medusa is told one; says nothing about other nodes.
    pub fqdn: Option<Fqdn>,
    /// Older backups are purged; none keeps them.
    pub max_backup_age: Option<Duration>,
    /// More complete backups than this are purged; none keeps them.
    pub max_backup_count: Option<u64>,
    /// How long a file that no manifest names any more is kept.
    pub backup_grace_period: Duration,
    /// Files in flight at once on a node, at least 1.
    pub concurrent_transfers: usize,
    /// What parts the three columns of a host list for `--map`.
    pub host_file_separator: String,
}

/// TLS of the connections for CQL.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CqlTls {
    /// PEM with the authorities to trust, **on this host**.
    pub certfile: PathBuf,
    /// PEM with the client's certificate and key, **on this host**, if Cassandra wants one.
    pub client: Option<(PathBuf, PathBuf)>,
}

/// A user and his password.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Credentials {
    /// The user.
    pub username: String,
    /// The password.
    pub password: Secret,
}

/// Where nodetool takes its password from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NodetoolPassword {
    /// It is in the settings: to be written into a file of mode 0600 for `-pwf`, never into argv.
    Given(Secret),
    /// A password file **on the nodes**, for `-pwf`.
    File(PathBuf),
}

/// How nodetool is called on a node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodetoolSettings {
    /// The program, a name or a path **on the nodes**.
    pub executable: String,
    /// Its first arguments, before the command.
    pub flags: Vec<String>,
    /// `--ssl`.
    pub ssl: bool,
    /// `-u`.
    pub username: Option<String>,
    /// The password of that user.
    pub password: Option<NodetoolPassword>,
    /// `-h`.
    pub host: Option<String>,
    /// `-p`.
    pub port: Option<u16>,
}

/// `[cassandra]`: the Cassandra of each node. Paths are the nodes', unless said otherwise.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CassandraSettings {
    /// `cassandra.yaml`, an absolute path **on the nodes**.
    pub config_file: PathBuf,
    /// What starts Cassandra, as an argument vector: no shell reads it.
    pub start_cmd: Vec<String>,
    /// What stops Cassandra, as an argument vector: no shell reads it.
    pub stop_cmd: Vec<String>,
    /// Whether commands on the nodes are run by `sudo -n`.
    pub use_sudo: bool,
    /// Whether Medusa names **other** nodes by reverse look-up of their addresses.
    pub resolve_ip_addresses: bool,
    /// Whether Medusa names a node by reverse look-up **on that node itself**: true unless
    /// `resolve_ip_addresses` is spelled exactly `False`.
    pub resolve_own_name: bool,
    /// How nodetool is called.
    pub nodetool: NodetoolSettings,
    /// Who logs in for CQL; none if either half is missing or empty, as in Medusa.
    pub cql: Option<Credentials>,
    /// TLS for CQL; none without `certfile`.
    pub cql_tls: Option<CqlTls>,
}

/// `[ssh]`: how nodes are reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SshSettings {
    /// The user on the nodes; `USER` of the environment if not set, none if that is missing too.
    pub username: Option<String>,
    /// The private key, **on this host**; none asks the agent of the user.
    pub key_file: Option<PathBuf>,
    /// A certificate for that key, **on this host**.
    pub cert_file: Option<PathBuf>,
    /// The port where no node says another.
    pub port: u16,
    /// How often a silent connection is asked whether it lives; none never asks.
    pub keepalive: Option<Duration>,
    /// Whether commands run in the user's login shell, with its profile.
    pub login_shell: bool,
}

/// `[checks]`: how a restore is judged when Cassandra runs again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChecksSettings {
    /// CQL to run after a restore.
    pub query: Option<String>,
    /// How many rows it must give; none does not count them.
    pub expected_rows: Option<u64>,
    /// The first row's values joined by commas; none does not compare.
    pub expected_result: Option<String>,
}
