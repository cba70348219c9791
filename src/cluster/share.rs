//! Whether all nodes, and this host, see the same share.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use crate::agent::protocol::{ShareFacts, ShareProbe, ShareRead, ShareWrite};
use crate::model::{Fqdn, UnixSeconds};
use crate::tasks::Scope;

use super::{AgentLine, ClusterError, Deaf, Finding, HostShare, on_all};

/// For something small on the share, a lease, a token map, a nonce: one that takes longer is no
/// place for a backup.
pub const SHARE_WITHIN: Duration = Duration::from_mins(1);

/// What was seen of the share.
#[derive(Debug, Default)]
pub struct ShareSeen {
    /// Now, by the share's clock, as the last node to write saw it.
    pub clock: Option<UnixSeconds>,
    /// What each node's share is, if it could be probed.
    pub facts: BTreeMap<Fqdn, ShareFacts>,
}

/// Has every node leave a nonce, then every node, and this host, look for all of them.
///
/// A file system's type proves nothing (a bind mount of an NFS share is a share, two NFS mounts
/// may be two shares), but what one node writes and another reads is shared.
pub(super) async fn see_share(
    scope: &Scope,
    agents: &BTreeMap<Fqdn, AgentLine>,
    here: &HostShare,
    findings: &mut Vec<Finding>,
) -> ShareSeen {
    let nonces: BTreeMap<Fqdn, String> =
        agents.keys().map(|name| (name.clone(), nonce())).collect();
    let width = agents.len();
    let with_nonces = agents.iter().map(|(name, agent)| {
        let nonce = nonces.get(name).cloned().unwrap_or_default();
        (name.clone(), (agent.clone(), nonce))
    });
    let written = on_all(scope, width, with_nonces, |_, (agent, nonce)| async move {
        agent.ask(ShareWrite { nonce }, Some(SHARE_WITHIN), Arc::new(Deaf)).await
    })
    .await;
    let mut seen = ShareSeen::default();
    let mut writers = BTreeMap::new();
    for (name, answer) in written {
        match answer {
            Ok(answer) => {
                seen.clock = seen.clock.max(Some(answer.clock));
                if let Some(nonce) = nonces.get(&name) {
                    writers.insert(name, nonce.clone());
                }
            }
            Err(error) => findings.push(Finding::of(name.as_str(), &error)),
        }
    }
    let all: Vec<String> = writers.values().cloned().collect();
    let lines = || agents.iter().map(|(name, agent)| (name.clone(), agent.clone()));
    let read = on_all(scope, width, lines(), |_, agent| {
        let nonces = all.clone();
        async move { agent.ask(ShareRead { nonces }, Some(SHARE_WITHIN), Arc::new(Deaf)).await }
    })
    .await;
    let probed = on_all(scope, width, lines(), |_, agent| async move {
        agent.ask(ShareProbe {}, Some(SHARE_WITHIN), Arc::new(Deaf)).await
    })
    .await;
    for (name, answer) in probed {
        match answer {
            Ok(facts) => {
                let misgivings = facts.misgivings().into_iter();
                let about = Some(name.as_str());
                findings.extend(misgivings.map(|(what, todo)| Finding::warning(about, what, todo)));
                seen.facts.insert(name, facts);
            }
            Err(error) => findings.push(Finding::of(name.as_str(), &error)),
        }
    }
    let apart = judge(&writers, read, &seen.facts, findings);
    match here.read(all).await {
        Ok(found) => findings.extend(host_apart(&writers, &apart, &found, here)),
        Err(finding) => findings.push(finding),
    }
    seen
}

/// Whether this host lacks what nodes that share with each other have written: then its leases lie
/// where nobody looks, and it would show backups that are not those of the nodes.
fn host_apart(
    writers: &BTreeMap<Fqdn, String>,
    apart: &BTreeSet<Fqdn>,
    found: &[String],
    here: &HostShare,
) -> Option<Finding> {
    let unseen = unseen(writers, apart, found);
    if unseen.is_empty() {
        return None;
    }
    let root = here.root().display();
    Some(Finding::error(
        None,
        format!(
            "this host does not see in {root} what nodes write to the share: not seen: {}",
            unseen.join(", ")
        ),
        "mount the nodes' share at base_path on this host too, or say where the nodes have it with \
         node_store in medusafs.ini, or store = PATH in a node's section of it",
    ))
}

/// Nodes that share with each other and whose nonces were not found.
fn unseen<'a>(
    writers: &'a BTreeMap<Fqdn, String>,
    apart: &BTreeSet<Fqdn>,
    found: &[String],
) -> Vec<&'a str> {
    let sharing = writers.iter().filter(|(name, _)| !apart.contains(*name));
    sharing.filter(|(_, nonce)| !found.contains(nonce)).map(|(name, _)| name.as_str()).collect()
}

/// Tells of nodes that do not share with the others, and returns them.
fn judge(
    writers: &BTreeMap<Fqdn, String>,
    read: BTreeMap<Fqdn, Result<crate::agent::protocol::SharedNonces, ClusterError>>,
    facts: &BTreeMap<Fqdn, ShareFacts>,
    findings: &mut Vec<Finding>,
) -> BTreeSet<Fqdn> {
    let mut sees: BTreeMap<Fqdn, BTreeSet<String>> = BTreeMap::new();
    for (name, answer) in read {
        match answer {
            Ok(answer) => {
                sees.insert(name, answer.found.into_iter().collect());
            }
            Err(error) => {
                let found = Finding::of(name.as_str(), &error);
                if !findings.contains(&found) {
                    findings.push(found);
                }
            }
        }
    }
    let outsiders = outsiders(writers, &sees);
    for (name, apart) in &outsiders {
        let mount = facts.get(name).map_or_else(
            || "what it has there".to_owned(),
            |facts| {
                format!(
                    "its {} lies on {} ({}, mounted on {})",
                    facts.root.display(),
                    facts.source,
                    facts.file_system,
                    facts.mounted_on.display()
                )
            },
        );
        findings.push(Finding::error(
            Some(name.as_str()),
            format!("it does not see the share that the others see ({mount}; not seen: {apart})"),
            "mount the same share at base_path on every node, or say where this node has it with \
             store = PATH in its [node] section of medusafs.ini",
        ));
    }
    outsiders.into_iter().map(|(name, _)| name).collect()
}

/// Nodes that do not see, or are not seen by, most of the others, each with whom.
fn outsiders(
    writers: &BTreeMap<Fqdn, String>,
    sees: &BTreeMap<Fqdn, BTreeSet<String>>,
) -> Vec<(Fqdn, String)> {
    let agree = |a: &Fqdn, b: &Fqdn| {
        let one_way = |from: &Fqdn, to: &Fqdn| {
            writers
                .get(to)
                .is_none_or(|nonce| sees.get(from).is_none_or(|seen| seen.contains(nonce)))
        };
        one_way(a, b) && one_way(b, a)
    };
    // The node that agrees with most is taken for the share; a tie goes to the first by name.
    let with = |a: &Fqdn| sees.keys().filter(|b| agree(a, b)).count();
    let Some(middle) = sees.keys().rev().max_by_key(|name| with(name)) else {
        return Vec::new();
    };
    sees.keys()
        .filter(|name| !agree(middle, name))
        .map(|name| {
            let apart: Vec<_> =
                sees.keys().filter(|other| !agree(name, other)).map(Fqdn::as_str).collect();
            (name.clone(), apart.join(", "))
        })
        .collect()
}

fn nonce() -> String {
    format!("{:032x}", rand::random::<u128>())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fqdn(n: u8) -> Fqdn {
        Fqdn::parse(&format!("node{n}")).unwrap()
    }

    fn seen(pairs: &[(u8, &[u8])]) -> Vec<String> {
        let writers = pairs.iter().map(|(n, _)| (fqdn(*n), format!("{n}"))).collect();
        let sees = pairs
            .iter()
            .map(|(n, seen)| (fqdn(*n), seen.iter().map(u8::to_string).collect()))
            .collect();
        outsiders(&writers, &sees).into_iter().map(|(name, _)| name.to_string()).collect()
    }

    #[test]
    fn nodes_that_see_each_other_share() {
        assert_eq!(seen(&[(1, &[1, 2, 3]), (2, &[1, 2, 3]), (3, &[1, 2, 3])]), [""; 0]);
        assert_eq!(seen(&[(1, &[1])]), [""; 0]);
    }

    #[test]
    fn a_node_with_a_directory_of_its_own_is_named_and_not_the_others() {
        assert_eq!(seen(&[(1, &[1, 3]), (2, &[2]), (3, &[1, 3])]), ["node2"]);
        assert_eq!(seen(&[(1, &[1]), (2, &[2, 3]), (3, &[2, 3])]), ["node1"]);
    }

    #[test]
    fn a_node_that_reads_what_is_stale_is_named() {
        assert_eq!(seen(&[(1, &[1, 2, 3]), (2, &[1, 2, 3]), (3, &[3])]), ["node3"]);
    }

    #[test]
    fn this_host_is_named_if_it_lacks_what_nodes_share_and_not_for_a_node_apart() {
        let writers = (1..=3).map(|n| (fqdn(n), format!("{n}"))).collect();
        let unseen = |apart: &[u8], found: &[&str]| {
            let apart = apart.iter().copied().map(fqdn).collect();
            let found: Vec<_> = found.iter().map(|nonce| (*nonce).to_owned()).collect();
            unseen(&writers, &apart, &found).join(" ")
        };
        assert_eq!(unseen(&[], &["1", "2", "3"]), "");
        assert_eq!(unseen(&[2], &["1", "3"]), "");
        assert_eq!(unseen(&[], &["1", "3"]), "node2");
        let one = BTreeMap::from([(fqdn(1), "1".to_owned())]);
        assert_eq!(super::unseen(&one, &BTreeSet::new(), &[]), ["node1"]);
    }
}
