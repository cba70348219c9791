//! The node that is asked for the ring, and what it tells.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crate::agent::protocol::{AskNodetool, MemberState, RingMember};
use crate::cassandra::NodeFacts;
use crate::config::HostPort;
use crate::model::Fqdn;

use super::cql::{CqlFacts, ask_cql};
use super::{
    ClusterError, Deaf, Finding, KnownNodes, Memory, Purpose, Reach, Reached, RingNode, Severity,
};

/// Three starts of a JVM on a busy node.
pub(super) const NODETOOL_WITHIN: Duration = Duration::from_mins(2);

/// Nodes beside the contact points that a restore asks for the ring: each that is down costs a
/// connection's patience.
const KNOWN_ASKED: usize = 5;

/// A node that was logged in to, and what it tells of the cluster.
pub(super) struct Contact {
    pub(super) reached: Reached,
    /// What `nodetool status` says there.
    pub(super) members: Option<Vec<RingMember>>,
    /// What CQL says there.
    pub(super) cql: Option<CqlFacts>,
}

/// What came of asking for the ring.
pub(super) struct Asked {
    pub(super) contact: Option<Contact>,
    /// Whether any node let us in and its agent answers.
    pub(super) is_reached: bool,
}

/// Where a node may answer that can be asked for the ring.
struct Point {
    name: String,
    host: String,
    port: u16,
    store: PathBuf,
}

/// The first contact point that tells everything. What the others said is told only if none does.
/// A restore asks other nodes too, and takes one that tells a part.
pub(super) async fn contact(
    reach: &Reach,
    memory: &Memory,
    purpose: &Purpose,
    findings: &mut Vec<Finding>,
) -> Asked {
    let mut points = contact_points(reach, memory, findings);
    if let Purpose::Restore(target) = purpose {
        let known = known_points(reach, &memory.known, target);
        let new = |known: &Point| points.iter().all(|one| one.name != known.name);
        let new: Vec<_> = known.into_iter().filter(new).take(KNOWN_ASKED).collect();
        points.extend(new);
    }
    let (mut said, mut part, mut is_reached) = (Vec::new(), None::<Contact>, false);
    for point in points {
        let reached = match reach.node(&point.host, point.port, &point.store).await {
            Ok(reached) => reached,
            Err(error) => {
                said.push(Finding::of(&point.name, &error));
                continue;
            }
        };
        is_reached = true;
        let (members, cql) = tokio::join!(ring_members(&reached), ask_cql(&reached, &reach.config));
        let members = members.map_err(|error| said.push(Finding::of(&point.name, &error))).ok();
        let cql = cql.map_err(|found| said.push(found.at(&point.name))).ok();
        let found = Contact { reached, members, cql };
        match (&found.members, &found.cql) {
            (Some(_), Some(_)) => return Asked { contact: Some(found), is_reached },
            (None, None) => {}
            _ => part = part.or(Some(found)),
        }
    }
    if purpose.is_restore() {
        for finding in &mut said {
            finding.severity = Severity::Warning;
        }
    }
    findings.append(&mut said);
    Asked { contact: part.filter(|_| purpose.is_restore()), is_reached }
}

fn contact_points(reach: &Reach, memory: &Memory, findings: &mut Vec<Finding>) -> Vec<Point> {
    let own = || vec![HostPort { host: memory.this_host.clone(), port: None }];
    let points = reach.config.medusafs.contact_points.clone().unwrap_or_else(own);
    if points.is_empty() {
        findings.push(Finding::error(
            None,
            "no contact point is configured, so there is no cluster to ask",
            "name a node in contact_points of medusafs.ini",
        ));
    }
    let point = |point: HostPort| {
        let name = Fqdn::parse(&point.host).ok();
        let (host, port) = match (&name, point.port) {
            (Some(name), None) => reach.config.ssh_address(name, &point.host),
            (_, port) => (point.host.clone(), port.unwrap_or(reach.config.ssh.port)),
        };
        let store = name
            .as_ref()
            .map_or_else(|| reach.config.store_root(), |name| reach.config.store_root_on(name));
        Point { name: point.host, host, port, store }
    };
    points.into_iter().map(point).collect()
}

/// Nodes that the share remembers; the one to be restored, which may be down, last.
fn known_points(reach: &Reach, known: &KnownNodes, target: &Fqdn) -> Vec<Point> {
    let mut nodes: Vec<_> = known.nodes.iter().collect();
    nodes.sort_by_key(|node| node.name == *target);
    let point = |node: &super::KnownNode| {
        let (host, port) = reach.config.ssh_address(&node.name, &node.address.to_string());
        let store = reach.config.store_root_on(&node.name);
        Point { name: node.name.to_string(), host, port, store }
    };
    nodes.into_iter().map(point).collect()
}

pub(super) async fn ring_members(contact: &Reached) -> Result<Vec<RingMember>, ClusterError> {
    let question = AskNodetool { status: true, ..AskNodetool::default() };
    let answer = contact.agent.ask(question, Some(NODETOOL_WITHIN), Arc::new(Deaf)).await?;
    answer
        .status
        .unwrap_or_else(|| Ok(Vec::new()))
        .map_err(|fault| ClusterError::Fault { node: contact.remote.name(), fault })
}

/// Puts together what nodetool and CQL say of each node.
pub(super) fn ring_nodes(
    members: &[RingMember],
    cql: &[NodeFacts],
    findings: &mut Vec<Finding>,
) -> Vec<RingNode> {
    let mut nodes = Vec::new();
    for member in members {
        let known = cql.iter().find(|node| node.host_id.to_string() == member.host_id);
        let address = member.address.parse::<IpAddr>().ok();
        let (Some(known), Some(address)) = (known, address) else {
            findings.push(Finding::error(
                Some(&member.address),
                "nodetool status has this node, CQL's system tables do not",
                "wait until the ring has settled, then try again",
            ));
            continue;
        };
        let mut tokens = known.tokens.clone();
        tokens.sort_unstable();
        nodes.push(RingNode {
            host_id: member.host_id.clone(),
            address,
            datacenter: member.datacenter.clone(),
            rack: member.rack.clone(),
            tokens,
            up: member.up,
            state: member.state,
        });
    }
    nodes
}

/// The ring as far as a part of it can be asked, and what the share remembers else. Says what is
/// not known, for a restore to be held.
pub(super) fn ring_from_a_part(
    members: Option<&[RingMember]>,
    cql: Option<&[NodeFacts]>,
    known: &KnownNodes,
    doubts: &mut Vec<String>,
) -> Vec<RingNode> {
    if cql.is_none() {
        doubts.push("table ids could not be compared, for CQL of no node answered".to_owned());
    }
    if members.is_none() {
        doubts.push("which nodes are up is not known, for nodetool of no node answered".to_owned());
    }
    match (members, cql) {
        (Some(members), _) => {
            members.iter().filter_map(|member| of_member(member, known)).collect()
        }
        (None, Some(cql)) => cql.iter().map(of_cql).collect(),
        (None, None) => {
            doubts.push("the ring is the one that the share remembers".to_owned());
            known.nodes.iter().map(super::KnownNode::as_it_was).collect()
        }
    }
}

/// Without tokens if the share does not remember them.
fn of_member(member: &RingMember, known: &KnownNodes) -> Option<RingNode> {
    let known = known.with_host_id(&member.host_id);
    Some(RingNode {
        host_id: member.host_id.clone(),
        address: member.address.parse().ok()?,
        datacenter: member.datacenter.clone(),
        rack: member.rack.clone(),
        tokens: known.map(|known| known.tokens.clone()).unwrap_or_default(),
        up: member.up,
        state: member.state,
    })
}

fn of_cql(node: &NodeFacts) -> RingNode {
    let mut tokens = node.tokens.clone();
    tokens.sort_unstable();
    RingNode {
        host_id: node.host_id.to_string(),
        address: node.address,
        datacenter: node.datacenter.clone(),
        rack: node.rack.clone(),
        tokens,
        up: None,
        state: MemberState::Normal,
    }
}

/// Schema versions of nodes that are not down must be one: a node that is down has what it had.
pub(super) fn disagreement(ring: &[RingNode], nodes: &[NodeFacts]) -> Option<Finding> {
    let mut versions: BTreeMap<String, Vec<String>> = BTreeMap::new();
    let is_down = |node: &NodeFacts| {
        let host_id = node.host_id.to_string();
        ring.iter().any(|member| member.host_id == host_id && member.up == Some(false))
    };
    for node in nodes.iter().filter(|node| !is_down(node)) {
        if let Some(version) = &node.schema_version {
            versions.entry(version.to_string()).or_default().push(node.address.to_string());
        }
    }
    let who: Vec<_> = versions.values().map(|addresses| addresses.join(" and ")).collect();
    (versions.len() > 1).then(|| {
        Finding::error(
            None,
            format!("the nodes do not agree on the schema: {} differ", who.join(", ")),
            "wait for `nodetool describecluster` to list one schema version, then try again",
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cassandra::Uuid;
    use crate::model::{Token, UnixSeconds};

    const ONE: &str = "00000000-0000-0000-0000-000000000001";
    const TWO: &str = "00000000-0000-0000-0000-000000000002";

    fn member(host_id: &str, up: bool) -> RingMember {
        RingMember {
            address: "198.51.100.11".into(),
            datacenter: "dc1".into(),
            rack: "r1".into(),
            host_id: host_id.into(),
            up: Some(up),
            state: MemberState::Normal,
        }
    }

    fn told(host_id: &str, schema: u8) -> NodeFacts {
        NodeFacts {
            address: IpAddr::from([198, 51, 100, 11]),
            native_address: None,
            native_port: None,
            host_id: Uuid(
                u128::from_str_radix(&host_id.replace('-', ""), 16).unwrap().to_be_bytes(),
            ),
            tokens: vec![Token(9), Token(1)],
            datacenter: "dc1".into(),
            rack: "r1".into(),
            release_version: Some("5.0.6".into()),
            schema_version: Some(Uuid([schema; 16])),
        }
    }

    fn known() -> KnownNodes {
        let mut known = KnownNodes::default();
        let mut findings = Vec::new();
        let ring = ring_nodes(&[member(ONE, true)], &[told(ONE, 1)], &mut findings);
        let ring = [(Fqdn::parse("node1").unwrap(), ring[0].clone())];
        known.remember("lab", &BTreeMap::from(ring), UnixSeconds(1));
        known
    }

    #[test]
    fn what_no_node_tells_is_what_the_share_remembers_and_said() {
        let mut doubts = Vec::new();
        let ring = ring_from_a_part(None, None, &known(), &mut doubts);
        assert_eq!((ring[0].up, ring[0].tokens.as_slice()), (None, &[Token(1), Token(9)][..]));
        assert_eq!(doubts.len(), 3, "{doubts:?}");
        assert!(doubts[0].contains("CQL of no node answered"), "{doubts:?}");
    }

    #[test]
    fn what_nodetool_or_cql_alone_tells_is_taken() {
        let mut doubts = Vec::new();
        let members = [member(ONE, false), member(TWO, true)];
        let ring = ring_from_a_part(Some(&members), None, &known(), &mut doubts);
        assert_eq!((ring[0].up, ring[0].tokens.len()), (Some(false), 2));
        assert_eq!((ring[1].up, ring[1].tokens.len()), (Some(true), 0));
        assert_eq!(doubts, ["table ids could not be compared, for CQL of no node answered"]);
        doubts.clear();
        let nodes = [told(TWO, 1)];
        let ring = ring_from_a_part(None, Some(&nodes), &known(), &mut doubts);
        assert_eq!((ring[0].up, ring[0].tokens.as_slice()), (None, &[Token(1), Token(9)][..]));
        assert_eq!(doubts.len(), 1, "{doubts:?}");
    }

    #[test]
    fn a_node_that_is_down_disagrees_with_nobody() {
        let nodes = [told(ONE, 1), told(TWO, 2)];
        let ring = |up| {
            let members = [member(ONE, true), member(TWO, up)];
            ring_nodes(&members, &nodes, &mut Vec::new())
        };
        assert!(disagreement(&ring(true), &nodes).unwrap().what.contains("differ"));
        assert_eq!(disagreement(&ring(false), &nodes), None);
    }
}
