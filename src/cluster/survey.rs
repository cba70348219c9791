//! Is the cluster fit? Every node is looked at, and everything that is found is told at once.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use crate::agent::protocol::AskNodetool;
use crate::cassandra::TableFacts;
use crate::config::{Datacenters, NodesRequired, ShareRequired};
use crate::model::{Fqdn, SystemClock, Token};
use crate::ssh::Connection;
use crate::tasks::Scope;

use super::contact::{
    Contact, NODETOOL_WITHIN, contact, disagreement, ring_from_a_part, ring_nodes,
};
use super::cql::CqlFacts;
use super::share::see_share;
use super::topology::name_each;
use super::{
    AgentLine, Claims, ClusterError, Deaf, Finding, HostShare, KnownNodes, NamingError, OwnNames,
    Reach, Reached, RingNode, Severity, ShareSeen, on_all,
};

/// Connections that are opened at once: sshd's MaxStartups begins to refuse at ten a host, and
/// each costs a key exchange here.
pub const LOGINS_AT_ONCE: usize = 16;

/// What the cluster is looked at for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Purpose {
    /// A backup of all nodes, or of this one: whatever it needs and is not there is an error.
    Backup(Option<Fqdn>),
    /// A restore of this node. It may be down, and the ring is asked wherever it answers: what
    /// nobody tells holds the restore, and does not end it.
    Restore(Fqdn),
}

impl Purpose {
    /// Whether it is a restore.
    pub fn is_restore(&self) -> bool {
        matches!(self, Self::Restore(_))
    }

    /// The one node that it is for; none if it is for all.
    pub fn only(&self) -> Option<&Fqdn> {
        match self {
            Self::Backup(only) => only.as_ref(),
            Self::Restore(node) => Some(node),
        }
    }
}

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
    /// The release of the node that was asked: `5.0.6`; empty if CQL of no node answered.
    pub release_version: String,
    /// The whole schema, as Medusa writes it; empty if CQL of no node answered.
    pub schema: String,
    /// All tables and views; none if CQL of no node answered.
    pub tables: Option<Vec<TableFacts>>,
    /// Every node of the ring, those that are down among them.
    pub ring: BTreeMap<Fqdn, RingNode>,
    /// Nodes whose agent answers.
    pub reached: BTreeMap<Fqdn, Reached>,
    /// What was seen of the share.
    pub share: ShareSeen,
    /// What could not be learned, each a reason to hold a restore; none for a backup.
    pub doubts: Vec<String>,
    /// What the share remembered of the nodes, by which they were named.
    pub known: KnownNodes,
    pub(super) contact: Option<Reached>,
    /// Whether the contact tells only by nodetool or only by CQL.
    pub(super) is_part: bool,
}

/// What stands against it, and the cluster as far as it could be seen.
#[derive(Debug)]
pub struct Looked {
    /// Errors first.
    pub findings: Vec<Finding>,
    /// None if not even the ring could be seen.
    pub survey: Option<Survey>,
    /// Whether a node that tells the ring let us in and its agent answers.
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

/// Looks at the cluster. Where it is for one node, others are logged in to only if nothing but
/// they themselves can tell their name.
pub async fn survey(reach: &Reach, memory: &Memory, here: &HostShare, purpose: &Purpose) -> Looked {
    let mut findings = Vec::new();
    let asked = contact(reach, memory, purpose, &mut findings).await;
    let is_reached = asked.is_reached;
    let survey = look(reach, memory, here, purpose, asked.contact, &mut findings).await;
    findings.sort_by(|a, b| (a.severity, &a.node).cmp(&(b.severity, &b.node)));
    findings.dedup();
    Looked { findings, survey, is_reached }
}

/// Asks the ring and every node of it what it is called, and judges nothing.
pub async fn claims(reach: &Reach, memory: &Memory) -> (Vec<Finding>, Option<Claims>) {
    let mut findings = Vec::new();
    let purpose = Purpose::Backup(None);
    let asked = contact(reach, memory, &purpose, &mut findings).await;
    let met = meet(reach, memory, &purpose, asked.contact, &mut findings).await;
    let claims = met.and_then(|met| {
        Some(Claims {
            cluster_name: met.cql?.cluster.cluster_name,
            own: own_names(&met.reached),
            ring: met.nodes,
        })
    });
    (findings, claims)
}

/// Asks a contact point for the ring, and logs in to no other node: what they are called is as far
/// known as store and configuration tell.
pub async fn ring(reach: &Reach, memory: &Memory) -> (Vec<Finding>, Vec<(Fqdn, RingNode)>) {
    let mut findings = Vec::new();
    let asked = contact(reach, memory, &Purpose::Backup(None), &mut findings).await;
    let nodes = match asked.contact.as_ref().map(|found| (&found.members, &found.cql)) {
        Some((Some(members), Some(cql))) => {
            ring_nodes(members, &cql.cluster.nodes, &mut Vec::new())
        }
        _ => Vec::new(),
    };
    let named =
        nodes.into_iter().filter_map(|node| Some((first_name(&node, reach, memory)?, node)));
    (findings, named.collect())
}

/// The ring, and the nodes of it whose agent answers, by host id.
struct Met {
    contact: Option<Reached>,
    is_part: bool,
    cql: Option<CqlFacts>,
    nodes: Vec<RingNode>,
    reached: BTreeMap<String, Reached>,
    /// Nodes that could not be logged in to, which has been told as an error.
    unreached: BTreeSet<IpAddr>,
    doubts: Vec<String>,
}

/// Learns the ring, and logs in to its nodes.
async fn meet(
    reach: &Reach,
    memory: &Memory,
    purpose: &Purpose,
    contact: Option<Contact>,
    findings: &mut Vec<Finding>,
) -> Option<Met> {
    let (contact, members, cql) = match contact {
        Some(Contact { reached, members, cql }) => (Some(reached), members, cql),
        None if purpose.is_restore() => (None, None, None),
        None => return None,
    };
    let (mut doubts, mut of_ring) = (Vec::new(), Vec::new());
    let told = cql.as_ref().map(|cql| cql.cluster.nodes.as_slice());
    let nodes = match (&members, told) {
        (Some(members), Some(told)) => ring_nodes(members, told, &mut of_ring),
        (members, told) => ring_from_a_part(members.as_deref(), told, &memory.known, &mut doubts),
    };
    of_ring.extend(told.and_then(|told| disagreement(&nodes, told)));
    if purpose.is_restore() {
        doubts.extend(of_ring.iter().map(ToString::to_string));
    } else {
        findings.append(&mut of_ring);
    }

    let contact_id = cql.as_ref().and_then(CqlFacts::local_host_id);
    let others = nodes
        .iter()
        .filter(|node| Some(&node.host_id) != contact_id.as_ref())
        .filter_map(|node| Some((first_name(node, reach, memory)?, node.clone())))
        .filter(|(name, node)| is_logged_in_to(reach, memory, purpose, name, node));
    let logged_in = on_all(&reach.scope, LOGINS_AT_ONCE, others, |name, node| {
        let reach = reach.clone();
        async move {
            let (host, port) = reach.config.ssh_address(&name, &node.address.to_string());
            let store = reach.config.store_root_on(&name);
            (reach.node(&host, port, &store).await, node)
        }
    })
    .await;
    let (mut reached, mut unreached) = (BTreeMap::new(), BTreeSet::new());
    for (name, (logged_in, node)) in logged_in {
        match logged_in {
            Ok(agent) => {
                reached.insert(node.host_id, agent);
            }
            Err(error) => {
                let mut finding = Finding::of(name.as_str(), &error);
                if belongs(reach, purpose, &name, &node) {
                    unreached.insert(node.address);
                } else {
                    finding.severity = Severity::Warning;
                }
                findings.push(finding);
            }
        }
    }
    reached.extend(contact_id.zip(contact.clone()));
    let is_part = members.is_none() || cql.is_none();
    Some(Met { contact, is_part, cql, nodes, reached, unreached, doubts })
}

fn is_logged_in_to(
    reach: &Reach,
    memory: &Memory,
    purpose: &Purpose,
    name: &Fqdn,
    node: &RingNode,
) -> bool {
    // A guess is no name: only the node itself tells whether it is the one that is meant.
    let is_meant =
        purpose.only().is_none_or(|only| only == name || remembered(node, memory).is_none());
    let is_up = purpose.is_restore() || node.up != Some(false);
    is_meant && (is_up || is_required(reach, purpose, name, node))
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
    here: &HostShare,
    purpose: &Purpose,
    contact: Option<Contact>,
    findings: &mut Vec<Finding>,
) -> Option<Survey> {
    let mut met = meet(reach, memory, purpose, contact, findings).await?;
    let own = own_names(&met.reached);
    let (ring, wrong) = name_each(&met.nodes, &memory.known, &memory.stored, &own);
    if !names_will_do(purpose, &ring, &wrong, &mut met, findings) {
        return None;
    }
    judge_ring(reach, purpose, &ring, findings);
    let answering = met.contact.iter().chain(met.reached.values()).next();
    let cluster_name = match (&met.cql, answering) {
        (Some(cql), _) => cql.cluster.cluster_name.clone(),
        (None, Some(node)) => node.facts.cassandra.cluster_name.clone(),
        (None, None) => String::new(),
    };
    findings.extend(other_cluster(&memory.known.cluster_name, &cluster_name));
    let reached: BTreeMap<Fqdn, Reached> = ring
        .iter()
        .filter(|(name, node)| belongs(reach, purpose, name, node))
        .filter_map(|(name, node)| Some((name.clone(), met.reached.remove(&node.host_id)?)))
        .collect();
    let agents = reached.iter().map(|(name, node)| (name.clone(), node.agent.clone())).collect();
    let mut of_share = Vec::new();
    let share = see_share(&reach.scope, &agents, here, &mut of_share).await;
    if reach.config.medusafs.share == ShareRequired::Local {
        for finding in &mut of_share {
            finding.severity = Severity::Warning;
        }
    }
    findings.append(&mut of_share);
    let release_version = met.cql.as_ref().map(CqlFacts::release_version).unwrap_or_default();
    let (schema, tables) = met.cql.map(|cql| (cql.schema, cql.tables)).unzip();
    Some(Survey {
        cluster_name,
        release_version,
        schema: schema.unwrap_or_default(),
        tables,
        ring,
        reached,
        share,
        doubts: met.doubts,
        known: memory.known.clone(),
        contact: met.contact,
        is_part: met.is_part,
    })
}

/// Whether the ring's nodes have the names that are needed. A token map names all; a restore needs
/// its own node's, and is held for others.
fn names_will_do(
    purpose: &Purpose,
    ring: &BTreeMap<Fqdn, RingNode>,
    wrong: &[NamingError],
    met: &mut Met,
    findings: &mut Vec<Finding>,
) -> bool {
    let absent = purpose.only().filter(|only| !ring.contains_key(*only));
    if purpose.is_restore() && absent.is_none() {
        met.doubts.extend(wrong.iter().map(ToString::to_string));
        return true;
    }
    let is_told = |error: &&NamingError| matches!(error, NamingError::Unknown { address } if met.unreached.contains(address));
    let untold = wrong.iter().filter(|error| !is_told(error));
    findings.extend(untold.map(|error| Finding::error(None, error.to_string(), "")));
    if let Some(absent) = absent.filter(|_| wrong.is_empty()) {
        let names: Vec<_> = ring.keys().map(Fqdn::as_str).collect();
        findings.push(Finding::error(
            Some(absent.as_str()),
            "no node of the ring is called so",
            format!("its nodes are {}", names.join(", ")),
        ));
    }
    wrong.is_empty()
}

/// Nodes that are not up, and data centres that are not there.
fn judge_ring(
    reach: &Reach,
    purpose: &Purpose,
    ring: &BTreeMap<Fqdn, RingNode>,
    findings: &mut Vec<Finding>,
) {
    let is_down = |(name, node): &(&Fqdn, &RingNode)| {
        let is_restored = purpose.is_restore() && purpose.only() == Some(*name);
        !node.is_up_and_normal() && !is_restored
    };
    for (name, node) in ring.iter().filter(is_down) {
        let what = format!("nodetool status says {} of it", node.status_letters());
        let remedy = "bring it up, or set nodes_required = up in medusafs.ini to leave out what is \
                      down (the backup then ends incomplete)";
        let about = Some(name.as_str());
        findings.push(if is_required(reach, purpose, name, node) {
            Finding::error(about, what, remedy)
        } else {
            Finding::warning(about, what, "")
        });
    }
    if !purpose.is_restore() {
        findings.extend(absent_datacenters(&reach.config.medusafs.datacenters, ring));
    }
}

fn absent_datacenters(datacenters: &Datacenters, ring: &BTreeMap<Fqdn, RingNode>) -> Vec<Finding> {
    let Datacenters::Only(wanted) = datacenters else { return Vec::new() };
    let there: BTreeSet<&str> = ring.values().map(|node| node.datacenter.as_str()).collect();
    let absent = wanted.iter().filter(|name| !there.contains(name.as_str()));
    let finding = |name: &String| {
        let there: Vec<_> = there.iter().copied().collect();
        Finding::error(
            None,
            format!("datacenters in medusafs.ini names {name}, which the ring does not have"),
            format!("its data centres are {}", there.join(", ")),
        )
    };
    absent.map(finding).collect()
}

/// One store is for one cluster: names, pools of files and purges of two would be mixed.
fn other_cluster(known: &str, now: &str) -> Option<Finding> {
    if known.is_empty() || now.is_empty() || known == now {
        return None;
    }
    Some(Finding::error(
        None,
        format!("this cluster is called {now:?}, and the store is that of {known:?}"),
        "give this cluster a store of its own with bucket_name or prefix in [storage]; if it is the \
         same cluster under a new name, write that into cluster_name of .medusafs/nodes.json in the \
         store",
    ))
}

/// Whether the job is about this node: the one it is for, else all of `datacenters`. Others are
/// asked what they are called, and nothing that is wrong with them stands against it.
fn belongs(reach: &Reach, purpose: &Purpose, name: &Fqdn, node: &RingNode) -> bool {
    let datacenters = &reach.config.medusafs.datacenters;
    purpose.only().map_or_else(|| datacenters.contains(&node.datacenter), |only| only == name)
}

/// Whether the node must be up.
fn is_required(reach: &Reach, purpose: &Purpose, name: &Fqdn, node: &RingNode) -> bool {
    let policy = reach.config.medusafs.nodes_required;
    let is_asked = !purpose.is_restore() && policy == NodesRequired::All;
    is_asked && belongs(reach, purpose, name, node)
}

/// The name by which store or share remember a node.
fn remembered(node: &RingNode, memory: &Memory) -> Option<Fqdn> {
    let stored = memory.stored.get(&node.tokens).cloned();
    stored.or_else(|| memory.known.with_host_id(&node.host_id).map(|known| known.name.clone()))
}

/// What a node is called before it was asked: for `[node NAME]` of the configuration, and to speak
/// of it.
fn first_name(node: &RingNode, reach: &Reach, memory: &Memory) -> Option<Fqdn> {
    let address = node.address.to_string();
    let configured = || {
        let is_it = |ssh: &crate::config::HostPort| ssh.host == address;
        let mut sections = reach.config.nodes.iter();
        let found = sections.find(|(_, node)| node.ssh.as_ref().is_some_and(is_it));
        found.map(|(name, _)| name.clone())
    };
    remembered(node, memory).or_else(configured).or_else(|| Fqdn::parse(&address).ok())
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
        let contact = self.contact.as_ref().map(|contact| contact.remote.name());
        let others = self.reached.iter().filter(|(_, node)| Some(node.remote.name()) != contact);
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

    /// Why the contact point cannot be logged in to where its fellow nodes know it, if so: a job
    /// that was broken off looks for it there.
    pub async fn contact_at_its_address(&self, reach: &Reach) -> Option<Finding> {
        let contact = self.contact.as_ref()?.remote.name();
        let (name, _) = self.reached.iter().find(|(_, node)| node.remote.name() == contact)?;
        let address = self.ring.get(name)?.address.to_string();
        let (host, port) = reach.config.ssh_address(name, &address);
        let error = Connection::open(reach.target(&host, port), &SystemClock).await.err()?;
        Some(Finding::of(name.as_str(), &ClusterError::Ssh(error)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::agent::protocol::MemberState;

    #[test]
    fn a_data_centre_that_the_ring_has_not_is_an_error_that_names_those_it_has() {
        let node = |datacenter: &str| RingNode {
            host_id: String::new(),
            address: "198.51.100.11".parse().unwrap(),
            datacenter: datacenter.to_owned(),
            rack: "r1".to_owned(),
            tokens: Vec::new(),
            up: Some(true),
            state: MemberState::Normal,
        };
        let ring = [("n1", "dc1"), ("n2", "dc2")];
        let ring = ring.map(|(name, of)| (Fqdn::parse(name).unwrap(), node(of))).into();
        let only = Datacenters::Only(["dc1", "dcl"].map(str::to_owned).into());
        let found = absent_datacenters(&only, &ring);
        assert_eq!((found.len(), found[0].severity), (1, Severity::Error));
        let said = found[0].to_string();
        assert!(said.contains("names dcl") && said.contains("centres are dc1, dc2"), "{said}");
        assert_eq!(absent_datacenters(&Datacenters::All, &ring), Vec::new());
    }

    #[test]
    fn another_cluster_in_the_same_store_is_refused_and_told_what_to_do() {
        let found = other_cluster("Production", "Staging").unwrap();
        assert!(found.what.contains("Production") && found.what.contains("Staging"), "{found}");
        assert!(found.remedy.contains("bucket_name") && found.severity == Severity::Error);
        assert_eq!(other_cluster("", "Staging"), None);
        assert_eq!(other_cluster("Staging", "Staging"), None);
    }
}
