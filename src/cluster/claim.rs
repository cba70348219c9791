//! A name that a node of the ring claims, against what the share remembers: what a person looks at
//! before a name passes to another node.

use std::collections::BTreeMap;

use thiserror::Error;

use crate::model::{Fqdn, Token, UnixSeconds};

use super::topology::name_node;
use super::{KnownNode, KnownNodes, NamingError, OwnNames, Replaced, RingNode};

/// The ring, and what its nodes say they are called; nothing is judged yet.
#[derive(Debug)]
pub struct Claims {
    /// Cassandra's name of the cluster.
    pub cluster_name: String,
    /// The nodes.
    pub ring: Vec<RingNode>,
    /// What those that answer say, by host id.
    pub own: BTreeMap<String, OwnNames>,
}

/// A name, the node that claims it, and who had the name and which name the node had before.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claim {
    /// The name.
    pub name: Fqdn,
    /// The node of the ring that goes by it.
    pub found: RingNode,
    /// Who is remembered under this name.
    pub holder: Option<KnownNode>,
    /// As what this node is remembered.
    pub before: Option<KnownNode>,
}

/// Why there is no claim to look at.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum ClaimError {
    /// Nobody goes by the name.
    #[error("no node of the ring is called {name}; its nodes are {}", ring.join(", "))]
    Nobody {
        /// The name.
        name: Fqdn,
        /// The nodes' names, or their addresses where they have none.
        ring: Vec<String>,
    },
    /// Several do.
    #[error(transparent)]
    Twice(NamingError),
    /// The one who had the name is in the ring yet, under another one.
    #[error(
        "{name} is claimed by the node at {address}, and the node that had this name is in the ring \
         yet, at {there}: backups of both would be mixed; give each the name back that it had, by \
         fqdn in [storage] of its medusa.ini"
    )]
    Exchanged {
        /// The name.
        name: Fqdn,
        /// Who claims it.
        address: std::net::IpAddr,
        /// Where the one is who had it.
        there: std::net::IpAddr,
    },
}

impl Claims {
    /// Finds who goes by a name. `stored` is as for [`super::name_nodes`].
    ///
    /// # Errors
    ///
    /// Nobody does, or several; or two nodes have exchanged their names, which is never accepted.
    pub fn of(
        &self,
        name: &Fqdn,
        known: &KnownNodes,
        stored: &BTreeMap<Vec<Token>, Fqdn>,
    ) -> Result<Claim, ClaimError> {
        let called =
            |node: &RingNode| claimed_name(node, known, stored, self.own.get(&node.host_id));
        let mut claiming = self.ring.iter().filter(|node| called(node).as_ref() == Some(name));
        let Some(found) = claiming.next() else {
            let text = |node| called(node).map_or_else(|| node.address.to_string(), String::from);
            let ring = self.ring.iter().map(text).collect();
            return Err(ClaimError::Nobody { name: name.clone(), ring });
        };
        if let Some(other) = claiming.next() {
            return Err(ClaimError::Twice(NamingError::Twice {
                name: name.clone(),
                one: found.address,
                other: other.address,
            }));
        }
        let holder = known.named(name).cloned();
        let there = holder.as_ref().and_then(|holder| {
            self.ring
                .iter()
                .find(|node| node.host_id == holder.host_id && node.host_id != found.host_id)
        });
        if let Some(there) = there {
            return Err(ClaimError::Exchanged {
                name: name.clone(),
                address: found.address,
                there: there.address,
            });
        }
        let before = known.with_host_id(&found.host_id).cloned();
        Ok(Claim { name: name.clone(), found: found.clone(), holder, before })
    }
}

/// The name that a node would have if nothing spoke against it.
fn claimed_name(
    node: &RingNode,
    known: &KnownNodes,
    stored: &BTreeMap<Vec<Token>, Fqdn>,
    own: Option<&OwnNames>,
) -> Option<Fqdn> {
    match name_node(node, known, stored, own) {
        Ok(name)
        | Err(NamingError::Replaced { name, .. } | NamingError::Renamed { is: name, .. }) => {
            Some(name)
        }
        Err(
            NamingError::Twice { .. } | NamingError::NoName { .. } | NamingError::Unknown { .. },
        ) => None,
    }
}

impl Claim {
    /// Whether nobody has to say anything: the share knows this node by this name, or neither.
    pub fn is_settled(&self) -> bool {
        self.holder.as_ref().is_none_or(|holder| holder.host_id == self.found.host_id)
            && self.before.as_ref().is_none_or(|before| before.name == self.name)
    }

    /// Gives the node the name, and takes it from whoever had it.
    pub fn settle(&self, known: &mut KnownNodes, seen: UnixSeconds) {
        let replaced = known.named(&self.name).and_then(|holder| {
            if holder.host_id == self.found.host_id {
                return holder.replaced.clone();
            }
            let host_id = holder.host_id.clone();
            Some(Replaced { host_id, seen: holder.seen, until: seen })
        });
        known.version = 1;
        known.nodes.retain(|one| one.name != self.name && one.host_id != self.found.host_id);
        known.nodes.push(KnownNode { replaced, ..self.found.known_as(&self.name, seen) });
        known.nodes.sort_by(|a, b| a.name.cmp(&b.name));
    }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use super::*;
    use crate::agent::protocol::MemberState;
    use crate::cluster::name_nodes;

    fn node(host_id: &str, last: u8, token: i128) -> RingNode {
        RingNode {
            host_id: host_id.to_owned(),
            address: IpAddr::from([198, 51, 100, last]),
            datacenter: "dc1".to_owned(),
            rack: "r1".to_owned(),
            tokens: vec![Token(token)],
            up: Some(true),
            state: MemberState::Normal,
        }
    }

    fn fqdn(name: &str) -> Fqdn {
        Fqdn::parse(name).unwrap()
    }

    /// Two nodes as a job has seen them.
    fn known() -> KnownNodes {
        let ring = [(fqdn("node1"), node("a", 11, 1)), (fqdn("node2"), node("b", 12, 2))];
        let mut known = KnownNodes::default();
        known.remember("lab", &BTreeMap::from(ring), UnixSeconds(1));
        known
    }

    fn claims(nodes: &[(RingNode, &str)]) -> Claims {
        let own = nodes.iter().map(|(node, says)| {
            let own = OwnNames { configured: None, resolved: (*says).to_owned() };
            (node.host_id.clone(), own)
        });
        Claims {
            cluster_name: "lab".to_owned(),
            own: own.collect(),
            ring: nodes.iter().map(|(node, _)| node.clone()).collect(),
        }
    }

    /// Accepts a claim, and sees that the ring has its names afterwards.
    fn accepted(claims: &Claims, name: &str, stored: &BTreeMap<Vec<Token>, Fqdn>) -> KnownNodes {
        let mut known = known();
        assert!(name_nodes(&claims.ring, &known, stored, &claims.own).is_err());
        let claim = claims.of(&fqdn(name), &known, stored).unwrap();
        assert!(!claim.is_settled());
        claim.settle(&mut known, UnixSeconds(2));
        let named = name_nodes(&claims.ring, &known, stored, &claims.own).unwrap();
        assert!(named.contains_key(&fqdn(name)));
        assert!(claims.of(&fqdn(name), &known, stored).unwrap().is_settled());
        known
    }

    #[test]
    fn a_node_that_replaced_another_takes_over_its_name() {
        let none = BTreeMap::new();
        let ring = claims(&[(node("a", 11, 1), "node1"), (node("z", 12, 9), "node2")]);
        let known = accepted(&ring, "node2", &none);
        let ids: Vec<_> = known.nodes.iter().map(|node| node.host_id.as_str()).collect();
        assert_eq!(ids, ["a", "z"]);
        let replaced =
            Replaced { host_id: "b".to_owned(), seen: UnixSeconds(1), until: UnixSeconds(2) };
        let of = |known: &KnownNodes| known.named(&fqdn("node2")).unwrap().replaced.clone();
        assert_eq!(of(&known), Some(replaced.clone()));
        let mut later = known.clone();
        later.remember("lab", &[(fqdn("node2"), node("z", 12, 9))].into(), UnixSeconds(3));
        assert_eq!(of(&later), Some(replaced), "jobs that see it do not forget that");
        // The same tokens, so that the store's own name for them counts.
        let ring = claims(&[(node("a", 11, 1), "node1"), (node("z", 19, 2), "another")]);
        accepted(&ring, "node2", &BTreeMap::from([(vec![Token(2)], fqdn("node2"))]));
    }

    #[test]
    fn a_node_that_calls_itself_otherwise_is_known_by_the_new_name_alone() {
        let ring = claims(&[(node("a", 11, 1), "node1"), (node("b", 12, 2), "db2")]);
        let known = accepted(&ring, "db2", &BTreeMap::new());
        let names: Vec<_> = known.nodes.iter().map(|node| node.name.as_str()).collect();
        assert_eq!(names, ["db2", "node1"]);
    }

    #[test]
    fn what_is_as_it_was_is_settled() {
        let ring = claims(&[(node("a", 11, 1), "node1"), (node("b", 12, 2), "node2")]);
        assert!(ring.of(&fqdn("node1"), &known(), &BTreeMap::new()).unwrap().is_settled());
        let empty = KnownNodes::default();
        assert!(ring.of(&fqdn("node1"), &empty, &BTreeMap::new()).unwrap().is_settled());
    }

    #[test]
    fn a_name_that_nobody_or_several_go_by_is_nobody_s() {
        let ring = claims(&[(node("a", 11, 1), "node1"), (node("z", 12, 9), "node1")]);
        let none = BTreeMap::new();
        let said = ring.of(&fqdn("node7"), &known(), &none).unwrap_err().to_string();
        assert!(said.contains("its nodes are node1"), "{said}");
        let twice = ring.of(&fqdn("node1"), &known(), &none).unwrap_err();
        assert!(matches!(twice, ClaimError::Twice(_)), "{twice}");
    }

    #[test]
    fn two_nodes_do_not_exchange_their_names() {
        let ring = claims(&[(node("a", 11, 1), "node2"), (node("b", 12, 2), "node1")]);
        let refused = ring.of(&fqdn("node1"), &known(), &BTreeMap::new()).unwrap_err();
        assert!(matches!(refused, ClaimError::Exchanged { .. }), "{refused}");
    }
}
