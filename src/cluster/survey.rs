//! Is the cluster fit? Every node is looked at, and everything that is found is told at once.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use crate::agent::protocol::{AskNodetool, RingMember};
use crate::cassandra::NodeFacts;
use crate::config::{HostPort, NodesRequired, ShareRequired};
use crate::model::{Fqdn, Token};
use crate::tasks::Scope;

use super::cql::{CqlFacts, ask_cql};
use super::share::{ShareSeen, see_share};
use super::{
    AgentLine, Claims, ClusterError, Deaf, Finding, KnownNodes, OwnNames, Reach, Reached, RingNode,
    Severity, name_nodes, on_all,
};

/// Three starts of a JVM on a busy node.
const NODETOOL_WITHIN: Duration = Duration::from_mins(2);

/// Connections that are opened at once: sshd's MaxStartups begins to refuse at ten a host, and
/// each costs a key exchange here.
const LOGINS_AT_ONCE: usize = 16;

/// What the job knows of the cluster before it looks.
#[derive(Debug, Default)]
pub struct Memory {
    /// The nodes as the share remembers them.
    pub known: KnownNodes,
    /// The names under which the store has nodes, by their tokens, sorted.
    pub stored: BTreeMap<Vec<Token>, Fqdn>,
    /// This host's own name, asked when no contact point is configured.
    pub this_host: String,
}

/// The cluster as it is found.
#[derive(Debug)]
pub struct Survey {
    /// Cassandra's name of the cluster.
    pub cluster_name: String,
    /// The release of the node that was asked: `5.0.6`.
    pub release_version: String,
    /// The whole schema, as Medusa writes it.
    pub schema: String,
    /// What CQL tells beside that, the schema left out.
    pub cql: CqlFacts,
    /// Every node of the ring, those that are down among them.
    pub ring: BTreeMap<Fqdn, RingNode>,
    /// Nodes whose agent answers.
    pub reached: BTreeMap<Fqdn, Reached>,
    /// What was seen of the share.
    pub share: ShareSeen,
    contact: Reached,
}

/// What stands against it, and the cluster as far as it could be seen.
#[derive(Debug)]
pub struct Looked {
    /// Errors first.
    pub findings: Vec<Finding>,
    /// None if not even the ring could be seen.
    pub survey: Option<Survey>,
    /// Whether a contact point let us in and its agent answers.
    pub is_reached: bool,
}

impl Looked {
    /// The survey, if nothing that was found stands against it.
    pub fn fit(self) -> Result<Survey, Vec<Finding>> {
        match self.survey {
            Some(survey) if self.findings.iter().all(|one| one.severity > Severity::Error) => {
                Ok(survey)
            }
            _ => Err(self.findings),
        }
    }
}

/// Looks at the cluster. With `only`, nodes other than that one are not logged in to, but for the
/// contact point.
pub async fn survey(reach: &Reach, memory: &Memory, only: Option<&Fqdn>) -> Looked {
    let mut findings = Vec::new();
    let contact = contact(reach, memory, &mut findings).await;
    let is_reached = contact.is_some();
    let survey = match contact {
        Some(contact) => Box::pin(look(reach, memory, only, contact, &mut findings)).await,
        None => None,
    };
    findings.sort_by(|a, b| (a.severity, &a.node).cmp(&(b.severity, &b.node)));
    findings.dedup();
    Looked { findings, survey, is_reached }
}

/// Asks the ring and every node of it what it is called, and judges nothing.
pub async fn claims(reach: &Reach, memory: &Memory) -> (Vec<Finding>, Option<Claims>) {
    let mut findings = Vec::new();
    let met = match contact(reach, memory, &mut findings).await {
        Some(contact) => meet(reach, memory, None, contact, &mut findings).await,
        None => None,
    };
    let claims = met.map(|met| Claims {
        cluster_name: met.cql.cluster.cluster_name.clone(),
        own: own_names(&met.reached),
        ring: met.nodes,
    });
    (findings, claims)
}

/// The ring, and the nodes of it whose agent answers, by host id.
struct Met {
    contact: Reached,
    cql: CqlFacts,
    nodes: Vec<RingNode>,
    reached: BTreeMap<String, Reached>,
}

/// Asks the contact point for the ring, and logs in to the ring's nodes.
async fn meet(
    reach: &Reach,
    memory: &Memory,
    only: Option<&Fqdn>,
    (contact, contact_name): (Reached, String),
    findings: &mut Vec<Finding>,
) -> Option<Met> {
    let (members, cql) = tokio::join!(ring_members(&contact), ask_cql(&contact, &reach.config),);
    let members = members.map_err(|error| findings.push(Finding::of(&contact_name, &error))).ok();
    let cql = cql.map_err(|found| findings.push(found.at(&contact_name))).ok();
    let (members, cql) = (members?, cql?);
    let nodes = ring_nodes(&members, &cql.cluster.nodes, findings);
    disagreement(&cql.cluster.nodes, findings);

    let contact_id = cql.local_host_id()?;
    let guesses = first_names(&nodes, memory);
    let others = nodes
        .iter()
        .filter(|node| node.host_id != contact_id)
        .filter_map(|node| guesses.get(&node.host_id).map(|name| (name.clone(), node.clone())))
        .filter(|(name, _)| only.is_none_or(|only| only == name))
        .filter(|(name, node)| node.up != Some(false) || is_required(reach, only, name, node));
    let mut reached: BTreeMap<String, Reached> = on_all(&reach.scope, LOGINS_AT_ONCE, others, {
        |name, node| {
            let reach = reach.clone();
            async move {
                let (host, port) = reach.config.ssh_address(&name, &node.address.to_string());
                let store = reach.config.store_root_on(&name);
                let reached = reach.node(&host, port, &store).await;
                (node, reached)
            }
        }
    })
    .await
    .into_iter()
    .filter_map(|(name, (node, reached))| match reached {
        Ok(reached) => Some((node.host_id, reached)),
        Err(error) => {
            let mut finding = Finding::of(name.as_str(), &error);
            if !belongs(reach, only, &name, &node) {
                finding.severity = Severity::Warning;
            }
            findings.push(finding);
            None
        }
    })
    .collect();
    reached.insert(contact_id, contact.clone());
    Some(Met { contact, cql, nodes, reached })
}

fn own_names(reached: &BTreeMap<String, Reached>) -> BTreeMap<String, OwnNames> {
    let own = |node: &Reached| OwnNames {
        configured: node.facts.configured_fqdn.clone(),
        resolved: node.facts.resolved_fqdn.clone(),
    };
    reached.iter().map(|(id, node)| (id.clone(), own(node))).collect()
}

async fn look(
    reach: &Reach,
    memory: &Memory,
    only: Option<&Fqdn>,
    contact: (Reached, String),
    findings: &mut Vec<Finding>,
) -> Option<Survey> {
    let Met { contact, cql, nodes, mut reached } =
        meet(reach, memory, only, contact, findings).await?;
    let own = own_names(&reached);
    let ring = name_nodes(&nodes, &memory.known, &memory.stored, &own)
        .map_err(|wrong| {
            findings.extend(wrong.iter().map(|error| Finding::error(None, error.to_string(), "")));
        })
        .ok()?;
    for (name, node) in ring.iter().filter(|(_, node)| !node.is_up_and_normal()) {
        let what = format!("nodetool status says {} of it", node.status_letters());
        let remedy = "bring it up, or set nodes_required = up in medusafs.ini to leave out what is \
                      down (the backup then ends incomplete)";
        let about = Some(name.as_str());
        findings.push(if is_required(reach, only, name, node) {
            Finding::error(about, what, remedy)
        } else {
            Finding::warning(about, what, "")
        });
    }
    let reached: BTreeMap<Fqdn, Reached> = ring
        .iter()
        .filter(|(name, node)| belongs(reach, only, name, node))
        .filter_map(|(name, node)| Some((name.clone(), reached.remove(&node.host_id)?)))
        .collect();
    if let Some(only) = only.filter(|only| !ring.contains_key(only)) {
        let names: Vec<_> = ring.keys().map(Fqdn::as_str).collect();
        findings.push(Finding::error(
            Some(only.as_str()),
            "no node of the ring is called so",
            format!("its nodes are {}", names.join(", ")),
        ));
    }
    let agents = reached.iter().map(|(name, node)| (name.clone(), node.agent.clone())).collect();
    let mut of_share = Vec::new();
    let share = see_share(&reach.scope, &agents, &mut of_share).await;
    if reach.config.medusafs.share == ShareRequired::Local {
        for finding in &mut of_share {
            finding.severity = Severity::Warning;
        }
    }
    findings.append(&mut of_share);
    Some(Survey {
        cluster_name: cql.cluster.cluster_name.clone(),
        release_version: cql.release_version(),
        schema: cql.schema.clone(),
        cql,
        ring,
        reached,
        share,
        contact,
    })
}

/// Whether the job is about this node: the one it is for, else all of `datacenters`. Others are
/// asked what they are called, and nothing that is wrong with them stands against it.
fn belongs(reach: &Reach, only: Option<&Fqdn>, name: &Fqdn, node: &RingNode) -> bool {
    let datacenters = &reach.config.medusafs.datacenters;
    only.map_or_else(|| datacenters.contains(&node.datacenter), |only| only == name)
}

/// Whether the node must be up.
fn is_required(reach: &Reach, only: Option<&Fqdn>, name: &Fqdn, node: &RingNode) -> bool {
    let policy = reach.config.medusafs.nodes_required;
    policy == NodesRequired::All && belongs(reach, only, name, node)
}

/// The first contact point that answers. What the others said is told only if none does.
async fn contact(
    reach: &Reach,
    memory: &Memory,
    findings: &mut Vec<Finding>,
) -> Option<(Reached, String)> {
    let own = || vec![HostPort { host: memory.this_host.clone(), port: None }];
    let points = reach.config.medusafs.contact_points.clone().unwrap_or_else(own);
    if points.is_empty() {
        findings.push(Finding::error(
            None,
            "no contact point is configured, so there is no cluster to ask",
            "name a node in contact_points of medusafs.ini",
        ));
    }
    let mut said = Vec::new();
    for point in points {
        let name = Fqdn::parse(&point.host).ok();
        let port = point.port.unwrap_or(reach.config.ssh.port);
        let (host, port) = match (&name, point.port) {
            (Some(name), None) => reach.config.ssh_address(name, &point.host),
            _ => (point.host.clone(), port),
        };
        let store = name
            .as_ref()
            .map_or_else(|| reach.config.store_root(), |name| reach.config.store_root_on(name));
        match reach.node(&host, port, &store).await {
            Ok(reached) => return Some((reached, point.host)),
            Err(error) => said.push(Finding::of(&point.host, &error)),
        }
    }
    findings.append(&mut said);
    None
}

async fn ring_members(contact: &Reached) -> Result<Vec<RingMember>, ClusterError> {
    let question = AskNodetool { status: true, ..AskNodetool::default() };
    let answer = contact.agent.ask(question, Some(NODETOOL_WITHIN), Arc::new(Deaf)).await?;
    answer
        .status
        .unwrap_or_else(|| Ok(Vec::new()))
        .map_err(|fault| ClusterError::Fault { node: contact.remote.name(), fault })
}

/// Puts together what nodetool and CQL say of each node.
fn ring_nodes(
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

/// Schema versions of nodes that are in the ring must be one.
fn disagreement(nodes: &[NodeFacts], findings: &mut Vec<Finding>) {
    let mut versions: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for node in nodes {
        if let Some(version) = &node.schema_version {
            versions.entry(version.to_string()).or_default().push(node.address.to_string());
        }
    }
    if versions.len() > 1 {
        let who: Vec<_> = versions.values().map(|addresses| addresses.join(" and ")).collect();
        findings.push(Finding::error(
            None,
            format!("the nodes do not agree on the schema: {} differ", who.join(", ")),
            "wait for `nodetool describecluster` to list one schema version, then try again",
        ));
    }
}

/// What nodes are called before they were asked: for `[node NAME]` of the configuration.
fn first_names(nodes: &[RingNode], memory: &Memory) -> BTreeMap<String, Fqdn> {
    let guess = |node: &RingNode| {
        let stored = memory.stored.get(&node.tokens).cloned();
        let known = memory.known.nodes.iter().find(|known| known.host_id == node.host_id);
        stored
            .or_else(|| known.map(|known| known.name.clone()))
            .or_else(|| Fqdn::parse(&node.address.to_string()).ok())
    };
    nodes.iter().filter_map(|node| Some((node.host_id.clone(), guess(node)?))).collect()
}

impl Survey {
    /// Whether Cassandra clears snapshots by itself: from 4.1 on (CASSANDRA-16789).
    pub fn snapshots_have_ttl(&self) -> bool {
        let mut parts = self.release_version.split('.').map(|part| part.parse::<u32>().ok());
        let major = parts.next().flatten().unwrap_or(0);
        let minor = parts.next().flatten().unwrap_or(0);
        (major, minor) >= (4, 1)
    }

    /// Whether nodetool answers on the nodes beside the contact point, which has been asked already.
    /// A backup learns it with the snapshot itself.
    pub async fn nodetool_on_others(&self, scope: &Scope) -> Vec<Finding> {
        let contact = self.contact.remote.name();
        let others = self.reached.iter().filter(|(_, node)| node.remote.name() != contact);
        let others: Vec<_> =
            others.map(|(name, node)| (name.clone(), node.agent.clone())).collect();
        let asked =
            on_all(scope, LOGINS_AT_ONCE, others, |name: Fqdn, agent: AgentLine| async move {
                let question = AskNodetool { version: true, ..AskNodetool::default() };
                let facts = agent.ask(question, Some(NODETOOL_WITHIN), Arc::new(Deaf)).await?;
                let node = || name.to_string();
                let refused = |fault| ClusterError::Fault { node: node(), fault };
                facts.version.map_or(Ok(()), |version| version.map(drop).map_err(refused))
            })
            .await;
        asked
            .into_iter()
            .filter_map(|(name, answer)| Some(Finding::of(name.as_str(), &answer.err()?)))
            .collect()
    }

    /// A node beside this one whose agent answers, to look at it from elsewhere.
    pub fn witness_beside(&self, node: &Fqdn) -> Option<&Reached> {
        let other = self.reached.iter().find(|(name, _)| *name != node).map(|(_, other)| other);
        let same = self
            .reached
            .get(node)
            .is_some_and(|reached| reached.remote.name() == self.contact.remote.name());
        other.or_else(|| (!same).then_some(&self.contact))
    }

    /// The ring as it is now.
    pub async fn ring_now(&self, reach: &Reach) -> Result<Vec<RingNode>, Finding> {
        let name = self.contact.remote.name();
        let (members, cql) =
            tokio::join!(ring_members(&self.contact), ask_cql(&self.contact, &reach.config),);
        let members = members.map_err(|error| Finding::of(&name, &error))?;
        let cql = cql.map_err(|found| found.at(&name))?;
        let mut findings = Vec::new();
        let nodes = ring_nodes(&members, &cql.cluster.nodes, &mut findings);
        findings.pop().map_or(Ok(nodes), Err)
    }
}
