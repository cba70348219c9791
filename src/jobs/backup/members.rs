//! Which nodes of the ring a backup is for.

use std::collections::{BTreeMap, BTreeSet};

use crate::cluster::{Finding, RingNode};
use crate::config::Datacenters;
use crate::model::Fqdn;

/// The nodes that a complete backup has: the one that was asked for, else every node of every data
/// centre of `datacenters`. No other is snapshotted, and none of them may lack.
///
/// # Errors
///
/// The ring has no such data centre, so that nobody could ever lack in it.
pub(super) fn members(
    only: Option<&Fqdn>,
    datacenters: &Datacenters,
    ring: &BTreeMap<Fqdn, RingNode>,
) -> Result<BTreeSet<Fqdn>, Finding> {
    if let Some(only) = only {
        return Ok(BTreeSet::from([only.clone()]));
    }
    if let Datacenters::Only(wanted) = datacenters {
        let there: BTreeSet<_> = ring.values().map(|node| node.datacenter.as_str()).collect();
        if let Some(lacks) = wanted.iter().find(|name| !there.contains(name.as_str())) {
            let there = there.into_iter().collect::<Vec<_>>().join(", ");
            return Err(Finding::error(
                None,
                format!("datacenters names {lacks}, and no node of the ring is in it"),
                format!("correct datacenters in medusafs.ini: the ring has {there}"),
            ));
        }
    }
    let wanted = ring.iter().filter(|(_, node)| datacenters.contains(&node.datacenter));
    Ok(wanted.map(|(name, _)| name.clone()).collect())
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

    fn of(only: Option<&str>, datacenters: &[&str]) -> Result<String, Finding> {
        let only = only.map(|name| Fqdn::parse(name).unwrap());
        let datacenters = match datacenters {
            [] => Datacenters::All,
            names => Datacenters::Only(names.iter().map(|&name| name.to_owned()).collect()),
        };
        let found = members(only.as_ref(), &datacenters, &ring())?;
        Ok(found.iter().map(Fqdn::as_str).collect::<Vec<_>>().join(" "))
    }

    #[test]
    fn a_backup_is_for_the_nodes_of_its_data_centres() {
        assert_eq!(of(None, &[]).unwrap(), "n1 n2 n3");
        assert_eq!(of(None, &["dc1"]).unwrap(), "n1 n3");
        assert_eq!(of(Some("n2"), &["dc1"]).unwrap(), "n2");
    }

    #[test]
    fn a_data_centre_that_the_ring_has_not_is_an_error_that_names_those_it_has() {
        let said = of(None, &["dc1", "dcl"]).unwrap_err().to_string();
        assert!(said.contains("names dcl") && said.contains("the ring has dc1, dc2"), "{said}");
    }
}
