//! What CQL tells of the cluster, asked of one node over its SSH connection.

use std::net::IpAddr;
use std::time::Duration;

use crate::cassandra::{
    ClusterFacts, CqlError, CqlSession, CqlTlsSettings, TableFacts, schema_text,
};
use crate::config::Config;
use crate::observe::ErrorChain;
use crate::ssh::Duplex;

use super::{Finding, Reached};

/// For each question.
const ANSWER_WITHIN: Duration = Duration::from_mins(1);

/// For reaching the port through the node.
const TUNNEL_WITHIN: Duration = Duration::from_secs(20);

/// The cluster, by the system tables of one node.
#[derive(Debug, Clone)]
pub(super) struct CqlFacts {
    /// The ring; the node that was asked is the first.
    pub(super) cluster: ClusterFacts,
    /// All tables and views.
    pub(super) tables: Vec<TableFacts>,
    /// The whole schema, as Medusa writes it.
    pub(super) schema: String,
}

impl CqlFacts {
    /// The host id of the node that was asked.
    pub(super) fn local_host_id(&self) -> Option<String> {
        self.cluster.nodes.first().map(|node| node.host_id.to_string())
    }

    /// The release of the node that was asked.
    pub(super) fn release_version(&self) -> String {
        let first = self.cluster.nodes.first();
        first.and_then(|node| node.release_version.clone()).unwrap_or_default()
    }
}

/// Logs in for CQL through the node's SSH connection and asks for everything. A remedy is in the
/// finding's words; it names no node.
pub(super) async fn ask_cql(node: &Reached, config: &Config) -> Result<CqlFacts, Finding> {
    let facts = &node.facts.cassandra;
    let address = native_address(node);
    let tls = config
        .cassandra
        .cql_tls
        .as_ref()
        .map(|files| CqlTlsSettings::load(files, config.medusafs.tls_host_name))
        .transpose()
        .map_err(|error| found(&error))?;
    let port = match (&tls, facts.native_port_ssl) {
        (Some(_), Some(port)) => port,
        _ => facts.native_port,
    };
    let tunnel = node.remote.tunnel(&address, port, TUNNEL_WITHIN).await.map_err(|error| {
        Finding::error(
            None,
            format!("CQL at {address} port {port} cannot be reached: {}", ErrorChain(&error)),
            "look whether Cassandra serves clients (`nodetool statusbinary`), and that sshd has \
             AllowTcpForwarding",
        )
    })?;
    let asked = async {
        let stream: Box<dyn Duplex> = match &tls {
            Some(tls) => Box::new(tls.connect(tunnel, &address, ANSWER_WITHIN).await?),
            None => tunnel,
        };
        ask(stream, config).await
    };
    asked.await.map_err(|error| found(&error))
}

async fn ask(stream: Box<dyn Duplex>, config: &Config) -> Result<CqlFacts, CqlError> {
    let mut session =
        CqlSession::start(stream, config.cassandra.cql.as_ref(), ANSWER_WITHIN).await?;
    let cluster = ClusterFacts::ask(&mut session, ANSWER_WITHIN).await?;
    let tables = TableFacts::ask(&mut session, ANSWER_WITHIN).await?;
    let schema = schema_text(&mut session, ANSWER_WITHIN).await?;
    Ok(CqlFacts { cluster, tables, schema })
}

fn found(error: &CqlError) -> Finding {
    Finding::error(None, format!("CQL: {}", ErrorChain(error)), "")
}

/// Where the node itself reaches its CQL port.
fn native_address(node: &Reached) -> String {
    let facts = &node.facts.cassandra;
    let usable = |address: &&String| {
        address.parse::<IpAddr>().map_or(!address.is_empty(), |address| !address.is_unspecified())
    };
    let wildcard = facts.rpc_address.as_ref().is_some_and(|address| !usable(&address));
    if wildcard {
        return "127.0.0.1".to_owned();
    }
    let candidates = [&facts.rpc_address, &facts.listen_address, &facts.broadcast_address];
    candidates.into_iter().flatten().find(usable).cloned().unwrap_or_else(|| "127.0.0.1".to_owned())
}
