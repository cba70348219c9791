//! The ring once more, right before a node is stopped: hours may lie between the plan and that.

use std::collections::BTreeMap;

use crate::cluster::{RingNode, Survey};
use crate::model::Fqdn;

use super::Context;

/// What has changed for the worse beside the node since it was planned to stop it, in words; none
/// if it can be stopped as planned.
pub(super) async fn second_look(cx: &Context, node: &Fqdn, planned: &Survey) -> Vec<String> {
    match Box::pin(planned.ring_now(&cx.reach, &[])).await {
        Ok(now) => worse(node, &planned.ring, &now),
        Err(finding) => vec![format!("the ring could not be looked at again: {finding}")],
    }
}

fn worse(node: &Fqdn, planned: &BTreeMap<Fqdn, RingNode>, now: &[RingNode]) -> Vec<String> {
    let own = planned.get(node).map(|node| node.host_id.as_str());
    let was_fit = |host_id: &str| {
        planned.values().all(|node| node.host_id != host_id || node.is_up_and_normal())
    };
    let unfit = now
        .iter()
        .filter(|other| Some(other.host_id.as_str()) != own)
        .filter(|other| !other.is_up_and_normal() && was_fit(&other.host_id))
        .map(|other| {
            let known = planned.iter().find(|(_, node)| node.host_id == other.host_id);
            let name =
                known.map_or_else(|| other.address.to_string(), |(name, _)| name.to_string());
            format!("nodetool status says {} of {name} now", other.status_letters())
        });
    let gone = planned
        .iter()
        .filter(|(name, old)| *name != node && !now.iter().any(|new| new.host_id == old.host_id))
        .map(|(name, _)| format!("{name} has left the ring"));
    unfit.chain(gone).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::agent::protocol::MemberState;

    fn node(id: &str, up: bool) -> RingNode {
        RingNode {
            host_id: id.to_owned(),
            address: "198.51.100.11".parse().unwrap(),
            datacenter: "dc1".to_owned(),
            rack: "r1".to_owned(),
            tokens: Vec::new(),
            up: Some(up),
            state: MemberState::Normal,
        }
    }

    #[test]
    fn only_what_is_worse_than_planned_and_beside_the_node_voids_the_plan() {
        let name = |name: &str| Fqdn::parse(name).unwrap();
        let planned = BTreeMap::from([
            (name("n1"), node("a", true)),
            (name("n2"), node("b", true)),
            (name("n3"), node("c", false)),
        ]);
        let look = |now: &[RingNode]| worse(&name("n1"), &planned, now);
        let as_planned = [node("a", false), node("b", true), node("c", false)];
        assert_eq!(look(&as_planned), Vec::<String>::new());
        let down = [node("a", true), node("b", false), node("c", true)];
        assert_eq!(look(&down), ["nodetool status says DN of n2 now"]);
        let left = [node("a", true), node("b", true)];
        assert_eq!(look(&left), ["n3 has left the ring"]);
    }
}
