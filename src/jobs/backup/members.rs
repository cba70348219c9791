//! Which nodes of the ring a backup is for.

use std::collections::{BTreeMap, BTreeSet};

use crate::cluster::RingNode;
use crate::config::Datacenters;
use crate::model::Fqdn;

/// The nodes that a complete backup has: the one that was asked for, else every node of every data
/// centre of `datacenters`, all of which the ring has. No other is snapshotted, and none of them may
/// lack.
pub(super) fn members(
    only: Option<&Fqdn>,
    datacenters: &Datacenters,
    ring: &BTreeMap<Fqdn, RingNode>,
) -> BTreeSet<Fqdn> {
    if let Some(only) = only {
        return BTreeSet::from([only.clone()]);
    }
    let wanted = ring.iter().filter(|(_, node)| datacenters.contains(&node.datacenter));
    wanted.map(|(name, _)| name.clone()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::agent::protocol::MemberState;

    fn ring() -> BTreeMap<Fqdn, RingNode> {
        let node = |datacenter: &str| RingNode {
            host_id: String::new(),
            address: "198.51.100.11".parse().unwrap(),
            datacenter: datacenter.to_owned(),
            rack: "r1".to_owned(),
            tokens: Vec::new(),
            up: Some(true),
            state: MemberState::Normal,
        };
        [("n1", "dc1"), ("n2", "dc2"), ("n3", "dc1")]
            .into_iter()
            .map(|(name, datacenter)| (Fqdn::parse(name).unwrap(), node(datacenter)))
            .collect()
    }

    fn of(only: Option<&str>, datacenters: &[&str]) -> String {
        let only = only.map(|name| Fqdn::parse(name).unwrap());
        let datacenters = match datacenters {
            [] => Datacenters::All,
            names => Datacenters::Only(names.iter().map(|&name| name.to_owned()).collect()),
        };
        let found = members(only.as_ref(), &datacenters, &ring());
        found.iter().map(Fqdn::as_str).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn a_backup_is_for_the_nodes_of_its_data_centres() {
        assert_eq!(of(None, &[]), "n1 n2 n3");
        assert_eq!(of(None, &["dc1"]), "n1 n3");
        assert_eq!(of(Some("n2"), &["dc1"]), "n2");
    }
}
