//! The ring, and what its nodes are called.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::agent::protocol::MemberState;
use crate::model::{Fqdn, Token, UnixSeconds};

/// One node of the ring as it answers now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RingNode {
    /// Who it is, whatever its address: Cassandra's host id.
    pub host_id: String,
    /// Where other nodes reach it: its broadcast address.
    pub address: IpAddr,
    /// Its data centre.
    pub datacenter: String,
    /// Its rack.
    pub rack: String,
    /// Its tokens, sorted.
    pub tokens: Vec<Token>,
    /// Up or down, as the node asked sees it; none if it does not know.
    pub up: Option<bool>,
    /// What it does in the ring.
    pub state: MemberState,
}

impl RingNode {
    /// Whether it is `UN` in `nodetool status`.
    pub fn is_up_and_normal(&self) -> bool {
        self.up == Some(true) && self.state == MemberState::Normal
    }

    /// What is remembered of it.
    pub(super) fn known_as(&self, name: &Fqdn, seen: UnixSeconds) -> KnownNode {
        KnownNode {
            name: name.clone(),
            host_id: self.host_id.clone(),
            tokens: self.tokens.clone(),
            address: self.address,
            datacenter: self.datacenter.clone(),
            rack: self.rack.clone(),
            seen,
            replaced: None,
        }
    }

    /// `UN`, `DN`, `?N`, as `nodetool status` writes it.
    pub fn status_letters(&self) -> String {
        let up = match self.up {
            Some(true) => 'U',
            Some(false) => 'D',
            None => '?',
        };
        let state = match self.state {
            MemberState::Normal => 'N',
            MemberState::Leaving => 'L',
            MemberState::Joining => 'J',
            MemberState::Moving => 'M',
        };
        format!("{up}{state}")
    }
}

/// What a node says of its own name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OwnNames {
    /// `[storage] fqdn` of its `medusa.ini`.
    pub configured: Option<String>,
    /// What Medusa's rule gives there.
    pub resolved: String,
}

/// A node as the share remembers it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KnownNode {
    /// What it is called in the store.
    pub name: Fqdn,
    /// Its host id when it was last seen.
    pub host_id: String,
    /// Its tokens.
    pub tokens: Vec<Token>,
    /// Its address.
    pub address: IpAddr,
    /// Its data centre.
    pub datacenter: String,
    /// Its rack.
    pub rack: String,
    /// When a job last saw it, by the host's clock.
    pub seen: UnixSeconds,
    /// Who had the name before, if a person has given it to this host.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replaced: Option<Replaced>,
}

/// A host that had a node's name before the one that has it now. What was backed up under the name
/// until then has its host id in it, under which no other node of the ring can start.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Replaced {
    /// Its host id.
    pub host_id: String,
    /// When a job last saw it under the name.
    pub seen: UnixSeconds,
    /// When a person gave the name away.
    pub until: UnixSeconds,
}

/// All nodes that jobs have met: `.medusafs/nodes.json` on the share, so that a name stays with
/// its node.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct KnownNodes {
    /// The version of this file's form: 1.
    pub version: u32,
    /// Cassandra's name of the cluster.
    pub cluster_name: String,
    /// The nodes.
    pub nodes: Vec<KnownNode>,
}

/// Why a node cannot be given a name.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum NamingError {
    /// The name belongs to a node with another host id: it was replaced or rebuilt.
    #[error(
        "{name} was {was} (seen {seen}) and is {is} at {address} now: backups of two different \
         nodes would be mixed under one name; if this node has replaced the old one, say so with \
         `medusafs trust --node {name}`"
    )]
    Replaced {
        /// The name.
        name: Fqdn,
        /// The recorded host id.
        was: String,
        /// When.
        seen: UnixSeconds,
        /// The host id now.
        is: String,
        /// Where.
        address: IpAddr,
    },
    /// A node that has a name gives itself another one.
    #[error(
        "the node {host_id} at {address} was called {was} (seen {seen}) and calls itself {is} now: \
         its backups would go on under another name; set fqdn = {was} in its medusa.ini, or accept \
         the new name with `medusafs trust --node {is}`"
    )]
    Renamed {
        /// The node.
        host_id: String,
        /// Where.
        address: IpAddr,
        /// The recorded name.
        was: Fqdn,
        /// When.
        seen: UnixSeconds,
        /// The name it gives itself.
        is: Fqdn,
    },
    /// Two nodes go by one name.
    #[error(
        "the nodes at {one} and {other} are both called {name}: give each an fqdn of its own in \
         [storage] of its medusa.ini"
    )]
    Twice {
        /// The name.
        name: Fqdn,
        /// One.
        one: IpAddr,
        /// The other.
        other: IpAddr,
    },
    /// What it calls itself is no name.
    #[error("the node at {address} calls itself {name:?}, which cannot be a directory's name")]
    NoName {
        /// Where.
        address: IpAddr,
        /// The text.
        name: String,
    },
    /// It has not said what it is called, and nothing remembers it.
    #[error(
        "nothing tells what the node at {address} is called: it does not answer, and no backup \
         has its tokens"
    )]
    Unknown {
        /// Where.
        address: IpAddr,
    },
}

/// Finds each node's name: the one under which the store already has a node with these tokens,
/// else `fqdn` of the node's own `medusa.ini`, else what Medusa's rule gives on that node.
///
/// `stored` holds the tokens of nodes as the newest token maps have them, sorted. `own` holds what
/// nodes said, by host id; a node that was not reached has none.
///
/// # Errors
///
/// One for each node that cannot be named; the others are not returned either, for a token map
/// names all.
pub fn name_nodes(
    ring: &[RingNode],
    known: &KnownNodes,
    stored: &BTreeMap<Vec<Token>, Fqdn>,
    own: &BTreeMap<String, OwnNames>,
) -> Result<BTreeMap<Fqdn, RingNode>, Vec<NamingError>> {
    let (named, wrong) = name_each(ring, known, stored, own);
    if wrong.is_empty() { Ok(named) } else { Err(wrong) }
}

/// The nodes that can be named, and why each other cannot. A name that two have is nobody's.
pub(super) fn name_each(
    ring: &[RingNode],
    known: &KnownNodes,
    stored: &BTreeMap<Vec<Token>, Fqdn>,
    own: &BTreeMap<String, OwnNames>,
) -> (BTreeMap<Fqdn, RingNode>, Vec<NamingError>) {
    let mut named: BTreeMap<Fqdn, RingNode> = BTreeMap::new();
    let mut twice = BTreeSet::new();
    let mut wrong = Vec::new();
    for node in ring {
        let name = match name_node(node, known, stored, own.get(&node.host_id)) {
            Ok(name) => name,
            Err(error) => {
                wrong.push(error);
                continue;
            }
        };
        if let Some(other) = named.insert(name.clone(), node.clone()) {
            twice.insert(name.clone());
            wrong.push(NamingError::Twice { name, one: other.address, other: node.address });
        }
    }
    named.retain(|name, _| !twice.contains(name));
    (named, wrong)
}

pub(super) fn name_node(
    node: &RingNode,
    known: &KnownNodes,
    stored: &BTreeMap<Vec<Token>, Fqdn>,
    own: Option<&OwnNames>,
) -> Result<Fqdn, NamingError> {
    let by_host_id = known.with_host_id(&node.host_id);
    let by_tokens = stored.get(&node.tokens);
    let said = own.map(|own| own.configured.as_ref().unwrap_or(&own.resolved));
    let name = match (by_tokens, by_host_id, said) {
        (Some(name), _, _) => name.clone(),
        (None, known, Some(said)) => {
            let is = Fqdn::parse(said).map_err(|_invalid| NamingError::NoName {
                address: node.address,
                name: said.clone(),
            })?;
            if let Some(known) = known.filter(|known| known.name != is) {
                return Err(NamingError::Renamed {
                    host_id: node.host_id.clone(),
                    address: node.address,
                    was: known.name.clone(),
                    seen: known.seen,
                    is,
                });
            }
            is
        }
        (None, Some(known), None) => known.name.clone(),
        (None, None, None) => return Err(NamingError::Unknown { address: node.address }),
    };
    let of_another =
        known.nodes.iter().find(|known| known.name == name && known.host_id != node.host_id);
    match of_another {
        Some(known) => Err(NamingError::Replaced {
            name,
            was: known.host_id.clone(),
            seen: known.seen,
            is: node.host_id.clone(),
            address: node.address,
        }),
        None => Ok(name),
    }
}

impl KnownNode {
    /// The node as it was when it was last seen; whether it is up is not known.
    pub(super) fn as_it_was(&self) -> RingNode {
        RingNode {
            host_id: self.host_id.clone(),
            address: self.address,
            datacenter: self.datacenter.clone(),
            rack: self.rack.clone(),
            tokens: self.tokens.clone(),
            up: None,
            state: MemberState::Normal,
        }
    }
}

impl KnownNodes {
    /// The node of that name.
    pub fn named(&self, name: &Fqdn) -> Option<&KnownNode> {
        self.nodes.iter().find(|known| known.name == *name)
    }

    /// The node with that host id.
    pub fn with_host_id(&self, host_id: &str) -> Option<&KnownNode> {
        self.nodes.iter().find(|known| known.host_id == host_id)
    }

    /// Takes in what the ring says now. Nodes that have left stay known.
    pub fn remember(
        &mut self,
        cluster_name: &str,
        ring: &BTreeMap<Fqdn, RingNode>,
        seen: UnixSeconds,
    ) {
        self.version = 1;
        cluster_name.clone_into(&mut self.cluster_name);
        let found = ring.iter().map(|(name, node)| {
            let before = self.named(name).filter(|known| known.host_id == node.host_id);
            let replaced = before.and_then(|known| known.replaced.clone());
            KnownNode { replaced, ..node.known_as(name, seen) }
        });
        let found: Vec<KnownNode> = found.collect();
        let present: BTreeSet<&str> = ring.values().map(|node| node.host_id.as_str()).collect();
        self.nodes.retain(|known| {
            !present.contains(known.host_id.as_str()) && !ring.contains_key(&known.name)
        });
        self.nodes.extend(found);
        self.nodes.sort_by(|a, b| a.name.cmp(&b.name));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(host_id: &str, last: u8, tokens: &[i128]) -> RingNode {
        RingNode {
            host_id: host_id.into(),
            address: IpAddr::from([198, 51, 100, last]),
            datacenter: "dc1".into(),
            rack: "r1".into(),
            tokens: tokens.iter().copied().map(Token).collect(),
            up: Some(true),
            state: MemberState::Normal,
        }
    }

    fn says(pairs: &[(&str, Option<&str>, &str)]) -> BTreeMap<String, OwnNames> {
        pairs
            .iter()
            .map(|(id, configured, resolved)| {
                let own = OwnNames {
                    configured: configured.map(str::to_owned),
                    resolved: (*resolved).to_owned(),
                };
                ((*id).to_owned(), own)
            })
            .collect()
    }

    fn fqdn(name: &str) -> Fqdn {
        Fqdn::parse(name).unwrap()
    }

    #[test]
    fn the_store_s_name_for_these_tokens_comes_before_what_the_node_says() {
        let stored = BTreeMap::from([(vec![Token(1)], fqdn("old-name"))]);
        let own =
            says(&[("a", Some("new-name"), "x"), ("b", Some("node2"), "y"), ("c", None, "n3")]);
        let ring = [node("a", 11, &[1]), node("b", 12, &[2]), node("c", 13, &[3])];
        let named = name_nodes(&ring, &KnownNodes::default(), &stored, &own).unwrap();
        let names: Vec<_> = named.keys().map(Fqdn::as_str).collect();
        assert_eq!(names, ["n3", "node2", "old-name"]);
    }

    #[test]
    fn a_name_does_not_pass_to_another_host_id_silently() {
        let mut known = KnownNodes::default();
        let before = BTreeMap::from([(fqdn("node1"), node("a", 11, &[1]))]);
        known.remember("lab", &before, UnixSeconds(0));
        let own = says(&[("z", None, "node1")]);
        let ring = [node("z", 11, &[7])];
        let wrong = name_nodes(&ring, &known, &BTreeMap::new(), &own).unwrap_err();
        assert!(matches!(&wrong[..], [NamingError::Replaced { .. }]), "{wrong:?}");
        let wrong = name_nodes(
            &[node("a", 11, &[1])],
            &known,
            &BTreeMap::new(),
            &says(&[("a", None, "other")]),
        );
        assert!(matches!(&wrong.unwrap_err()[..], [NamingError::Renamed { .. }]));
    }

    #[test]
    fn two_nodes_of_one_name_are_both_told() {
        let own = says(&[("a", None, "localhost"), ("b", None, "localhost")]);
        let ring = [node("a", 11, &[1]), node("b", 12, &[2])];
        let wrong = name_nodes(&ring, &KnownNodes::default(), &BTreeMap::new(), &own).unwrap_err();
        assert!(matches!(&wrong[..], [NamingError::Twice { .. }]));
    }

    #[test]
    fn a_node_that_does_not_answer_keeps_the_name_it_had() {
        let mut known = KnownNodes::default();
        let before = BTreeMap::from([(fqdn("node1"), node("a", 11, &[1]))]);
        known.remember("lab", &before, UnixSeconds(0));
        let ring = [node("a", 11, &[1])];
        let named = name_nodes(&ring, &known, &BTreeMap::new(), &BTreeMap::new()).unwrap();
        assert!(named.contains_key(&fqdn("node1")));
    }

    #[test]
    fn a_node_that_left_stays_known_and_one_that_came_back_is_known_once() {
        let mut known = KnownNodes::default();
        let one = BTreeMap::from([(fqdn("node1"), node("a", 11, &[1]))]);
        let two = BTreeMap::from([(fqdn("node2"), node("b", 12, &[2]))]);
        known.remember("lab", &one, UnixSeconds(1));
        known.remember("lab", &two, UnixSeconds(2));
        known.remember("lab", &two, UnixSeconds(3));
        let seen: Vec<_> =
            known.nodes.iter().map(|node| (node.name.as_str(), node.seen.0)).collect();
        assert_eq!(seen, [("node1", 1), ("node2", 3)]);
    }
}
