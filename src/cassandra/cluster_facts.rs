//! The whole cluster as one node knows it, by a few questions in CQL.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite};

use super::cql::{CqlSession, Row};
use super::cql_error::CqlError;
use super::cql_value::{Uuid, Value};
use crate::model::Token;

/// Who is in the ring. That a node is listed does not say that it is up.
#[derive(Debug, Clone, PartialEq)]
pub struct ClusterFacts {
    /// `cluster_name`.
    pub cluster_name: String,
    /// The partitioner, without its package.
    pub partitioner: String,
    /// Whether it is DataStax Enterprise.
    pub is_dse: bool,
    /// The node that was asked, then its peers by address.
    pub nodes: Vec<NodeFacts>,
    /// Peers of which half is known: joining, or left over of nodes long gone.
    pub half_known: Vec<IpAddr>,
}

/// A node of the ring.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeFacts {
    /// `broadcast_address`: what the nodes call each other by, and nodetool too.
    pub address: IpAddr,
    /// Where clients reach it: `broadcast_rpc_address`.
    pub native_address: Option<IpAddr>,
    /// The port for that.
    pub native_port: Option<u16>,
    /// Its host id.
    pub host_id: Uuid,
    /// Its tokens, sorted.
    pub tokens: Vec<Token>,
    /// Its data centre.
    pub datacenter: String,
    /// Its rack.
    pub rack: String,
    /// Its release: `5.0.6`.
    pub release_version: Option<String>,
    /// Its schema's version; all are equal when schemas agree.
    pub schema_version: Option<Uuid>,
}

/// A table, or a materialized view.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TableFacts {
    /// Its keyspace.
    pub keyspace: String,
    /// Its name.
    pub name: String,
    /// Its id, as 32 hex digits: the end of its directory's name.
    pub id: String,
    /// `gc_grace_seconds`: data older than this may bring deleted rows back.
    pub gc_grace_seconds: i64,
    /// Whether it is a view of another table.
    pub is_view: bool,
}

/// A column of a table, as far as two tables must agree for files of one to be read by the other.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ColumnFacts {
    /// Its name.
    pub name: String,
    /// `partition_key`, `clustering`, `static` or `regular`.
    pub kind: String,
    /// Its place among those of the key; -1 for the others.
    pub position: i64,
    /// Its type, in CQL.
    pub of_type: String,
}

impl ClusterFacts {
    /// Asks one node. `deadline` is for each of two questions.
    pub async fn ask<S: AsyncRead + AsyncWrite + Unpin + Send>(
        session: &mut CqlSession<S>,
        deadline: Duration,
    ) -> Result<Self, CqlError> {
        // Every column, for some are younger than others.
        let local = session.query("SELECT * FROM system.local", deadline).await?;
        let local = local.first().ok_or(CqlError::Malformed { what: "no row of system.local" })?;
        let peers = session.query("SELECT * FROM system.peers_v2", deadline).await;
        let peers = peers.map_err(|error| match error {
            CqlError::Refused { .. } => CqlError::TooOld("system.peers_v2"),
            other => other,
        })?;
        Self::of_rows(local, &peers)
    }

    fn of_rows(local: &Row, peers: &[Row]) -> Result<Self, CqlError> {
        let own = address(local, "broadcast_address").or_else(|| address(local, "listen_address"));
        let own = own.ok_or_else(|| column("broadcast_address"))?;
        let mut nodes =
            vec![node(local, own, "rpc_address", "rpc_port").ok_or_else(|| column("tokens"))?];
        let mut others = Vec::new();
        let mut half_known = Vec::new();
        for peer in peers {
            let at = address(peer, "peer").ok_or_else(|| column("peer"))?;
            match node(peer, at, "native_address", "native_port") {
                Some(node) => others.push(node),
                None => half_known.push(at),
            }
        }
        others.sort_by_key(|node| node.address);
        half_known.sort_unstable();
        nodes.extend(others);
        let partitioner = local.text("partitioner")?;
        Ok(Self {
            cluster_name: local.text("cluster_name")?,
            partitioner: partitioner.rsplit('.').next().unwrap_or_default().to_owned(),
            is_dse: local.get("dse_version").is_some_and(|version| *version != Value::Null),
            nodes,
            half_known,
        })
    }

    /// Whether all nodes whose schema is known have the same.
    pub fn schemas_agree(&self) -> bool {
        let mut versions = self.nodes.iter().filter_map(|node| node.schema_version);
        versions.next().is_none_or(|first| versions.all(|other| other == first))
    }
}

/// A node of a row that has what makes one: host id, tokens, data centre and rack.
fn node(row: &Row, address_: IpAddr, native: &str, port: &str) -> Option<NodeFacts> {
    let Some(Value::List(tokens)) = row.get("tokens") else { return None };
    let tokens = tokens.iter().map(|token| token.to_string().parse().map(Token));
    let mut tokens: Vec<_> = tokens.collect::<Result<_, _>>().ok()?;
    tokens.sort_unstable();
    Some(NodeFacts {
        address: address_,
        native_address: address(row, native),
        native_port: row.int(port).ok().and_then(|port| u16::try_from(port).ok()),
        host_id: row.uuid("host_id").ok()?,
        tokens: Some(tokens).filter(|tokens| !tokens.is_empty())?,
        datacenter: row.text("data_center").ok()?,
        rack: row.text("rack").ok()?,
        release_version: row.text("release_version").ok(),
        schema_version: row.uuid("schema_version").ok(),
    })
}

fn address(row: &Row, name: &str) -> Option<IpAddr> {
    match row.get(name) {
        Some(Value::Inet(address)) => Some(*address),
        _ => None,
    }
}

fn column(name: &str) -> CqlError {
    CqlError::Column { column: name.to_owned() }
}

impl TableFacts {
    /// All tables and views, those of `system` keyspaces among them, by keyspace and name.
    pub async fn ask<S: AsyncRead + AsyncWrite + Unpin + Send>(
        session: &mut CqlSession<S>,
        deadline: Duration,
    ) -> Result<Vec<Self>, CqlError> {
        let mut found = Vec::new();
        for (of, name, is_view) in [("tables", "table_name", false), ("views", "view_name", true)] {
            let query = format!(
                "SELECT keyspace_name, {name}, id, gc_grace_seconds FROM system_schema.{of}"
            );
            for row in session.query(&query, deadline).await? {
                found.push(Self {
                    keyspace: row.text("keyspace_name")?,
                    name: row.text(name)?,
                    id: row.uuid("id")?.simple(),
                    gc_grace_seconds: row.int("gc_grace_seconds")?,
                    is_view,
                });
            }
        }
        found.sort_by(|a, b| (&a.keyspace, &a.name).cmp(&(&b.keyspace, &b.name)));
        Ok(found)
    }
}

impl ColumnFacts {
    /// The columns of every table and view, by (keyspace, table), in an order of their own.
    pub async fn ask<S: AsyncRead + AsyncWrite + Unpin + Send>(
        session: &mut CqlSession<S>,
        deadline: Duration,
    ) -> Result<BTreeMap<(String, String), Vec<Self>>, CqlError> {
        const QUERY: &str = "SELECT keyspace_name, table_name, column_name, kind, position, type \
                             FROM system_schema.columns";
        let mut found: BTreeMap<_, Vec<Self>> = BTreeMap::new();
        for row in session.query(QUERY, deadline).await? {
            let table = (row.text("keyspace_name")?, row.text("table_name")?);
            found.entry(table).or_default().push(Self {
                name: row.text("column_name")?,
                kind: row.text("kind")?,
                position: row.int("position")?,
                of_type: row.text("type")?,
            });
        }
        Ok(found)
    }
}
