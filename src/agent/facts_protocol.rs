//! What an agent tells of its node.

use std::fmt;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::fault::Fault;
use super::restore::protocol::JobReport;
use crate::model::{JobId, Token};

/// A password on its way over the agent's standard input. It prints as `***`.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct WireSecret(String);

impl WireSecret {
    /// Wraps a secret.
    pub fn new(secret: impl Into<String>) -> Self {
        Self(secret.into())
    }

    /// The secret itself, for the one place that hands it on.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for WireSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

/// Opens a conversation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hello {
    /// The job; its temporary files on node and share bear its name.
    pub job: JobId,
    /// The store's root (`base_path/bucket_name`) as this node names it.
    pub store: PathBuf,
    /// The store's prefix.
    pub prefix: Option<String>,
    /// Cassandra's configuration on this node.
    pub cassandra_yaml: PathBuf,
    /// Medusa's configuration on this node, asked only for `[storage] fqdn`; it need not exist.
    pub medusa_ini: PathBuf,
    /// Medusa's `resolve_ip_addresses`.
    pub resolve_ip_addresses: bool,
    /// How nodetool is called here.
    pub nodetool: NodetoolSettings,
    /// Cassandra's storage directory as it was when it ran, if that is known.
    pub storage_directory: Option<PathBuf>,
    /// Seconds after which a share that lets nothing get on counts as hung.
    pub share_seconds: u64,
}

/// How nodetool is called on a node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodetoolSettings {
    /// A name to look for in `PATH` and where Cassandra's packages put it, or a path.
    pub program: String,
    /// Arguments before the command.
    pub flags: Vec<String>,
    /// `-u`.
    pub username: Option<String>,
    /// The password that goes with it; it reaches nodetool by its standard input.
    pub password: Option<WireSecret>,
    /// `-pwf`, a file that is there already.
    pub password_file: Option<PathBuf>,
    /// `-h`.
    pub host: Option<String>,
    /// `-p`.
    pub port: Option<u16>,
    /// `--ssl`.
    pub ssl: bool,
}

/// To [`Hello`]: what can be seen without asking Cassandra.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Facts {
    /// `[storage] fqdn` of the node's own `medusa.ini`, if it has one.
    pub configured_fqdn: Option<String>,
    /// What Medusa's rule gives for this node's own name.
    pub resolved_fqdn: String,
    /// What cassandra.yaml says.
    pub cassandra: CassandraFacts,
    /// Where Cassandra has the directories that cassandra.yaml does not name, if it runs or was
    /// told in [`Hello`]: another agent has to be told once Cassandra is stopped.
    pub storage_directory: Option<PathBuf>,
    /// What earlier jobs left here.
    pub left: Leftovers,
}

/// cassandra.yaml, as far as the job needs it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CassandraFacts {
    /// `cluster_name`.
    pub cluster_name: String,
    /// `listen_address`.
    pub listen_address: Option<String>,
    /// `broadcast_address`.
    pub broadcast_address: Option<String>,
    /// `rpc_address`.
    pub rpc_address: Option<String>,
    /// `native_transport_port`.
    pub native_port: u16,
    /// `native_transport_port_ssl`.
    pub native_port_ssl: Option<u16>,
}

/// What earlier jobs left on a node.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Leftovers {
    /// Snapshots with a tag of ours or Medusa's.
    pub snapshots: Vec<LeftSnapshot>,
    /// Restores that left a folder on the node, by time.
    pub restores: Vec<JobReport>,
    /// A restore's files that keep Cassandra from starting.
    pub fences: Vec<PathBuf>,
    /// Data directories that only root may enter, which others than root have filled.
    pub closed: Vec<PathBuf>,
}

/// A snapshot that an earlier job, or Medusa, left.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeftSnapshot {
    /// Its tag, which begins `medusa`.
    pub tag: String,
    /// Tables that it has a directory in.
    pub tables: u64,
}

/// Asks nodetool. Each question that is wished costs a Java start.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct AskNodetool {
    /// `status`: the ring as this node sees it.
    pub status: bool,
    /// `info -T`: this node's place in it.
    pub info: bool,
    /// `describecluster`: do schemas agree?
    pub describecluster: bool,
    /// `version`.
    pub version: bool,
}

/// To [`AskNodetool`]: an answer for each question that was wished.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodetoolFacts {
    /// The ring.
    pub status: Option<Result<Vec<RingMember>, Fault>>,
    /// This node.
    pub info: Option<Result<NodeInfo, Fault>>,
    /// Schema versions; more than one is a disagreement.
    pub schema_versions: Option<Result<Vec<SchemaVersion>, Fault>>,
    /// The release: `5.0.6`.
    pub version: Option<Result<String, Fault>>,
}

/// A node as another sees it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RingMember {
    /// Its address, without a port.
    pub address: String,
    /// Its data centre.
    pub datacenter: String,
    /// Its rack.
    pub rack: String,
    /// Its host id.
    pub host_id: String,
    /// Up or down; none if this node does not know.
    pub up: Option<bool>,
    /// What it does in the ring.
    pub state: MemberState,
}

/// What a node does in the ring.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MemberState {
    /// Serves.
    Normal,
    /// Is being decommissioned.
    Leaving,
    /// Streams what it will own.
    Joining,
    /// Changes its token.
    Moving,
}

/// A node as it sees itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeInfo {
    /// Its host id.
    pub host_id: String,
    /// Its data centre.
    pub datacenter: String,
    /// Its rack.
    pub rack: String,
    /// Its tokens, sorted.
    pub tokens: Vec<Token>,
    /// Whether it gossips.
    pub gossip_active: bool,
    /// Whether it serves clients.
    pub native_active: bool,
}

/// Nodes of one schema version.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SchemaVersion {
    /// The version; `UNREACHABLE` for nodes that did not answer.
    pub version: String,
    /// The nodes' addresses.
    pub addresses: Vec<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_on_the_wire_does_not_print() {
        let secret = WireSecret::new("swordfish");
        assert_eq!(format!("{secret:?}"), "***");
        assert_eq!(serde_json::to_string(&secret).unwrap(), "\"swordfish\"");
    }
}
