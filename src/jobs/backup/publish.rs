//! Publishing: what makes copied bytes a backup, last of all.

use std::collections::BTreeMap;
use std::time::Duration;

use std::sync::Arc;

use crate::agent::protocol::Publish;
use crate::cluster::{AgentLine, Deaf, RingNode};
use crate::medusa::{Mode, ServerVersion, Tokenmap, TokenmapNode};
use crate::model::{BackupName, Fqdn, JobState, Phase, UnixSeconds};

use super::agents::{on_agents, why};
use super::{Context, JobError, Record};

/// A dozen small files and directory syncs, and a manifest.
pub(super) const PUBLISH_WITHIN: Duration = Duration::from_mins(10);

/// What all nodes publish alike.
pub(in crate::jobs) struct Edition<'a> {
    pub(in crate::jobs) backup: &'a BackupName,
    pub(in crate::jobs) mode: Mode,
    pub(in crate::jobs) started: UnixSeconds,
    pub(in crate::jobs) schema: &'a str,
    pub(in crate::jobs) release_version: &'a str,
    pub(in crate::jobs) ring: &'a BTreeMap<Fqdn, RingNode>,
}

/// Has each node that copied everything write its meta files and index entries. What came of it is
/// in the journal, and of a node whose agent was lost in the store.
///
/// # Errors
///
/// The journal takes nothing: no node was asked.
pub(in crate::jobs) async fn publish(
    cx: &Context,
    agents: &BTreeMap<Fqdn, AgentLine>,
    edition: &Edition<'_>,
) -> Result<(), JobError> {
    cx.board.moves_to(JobState::Running, Phase::Publish);
    let server_version = ServerVersion {
        server_type: "cassandra".to_owned(),
        release_version: edition.release_version.to_owned(),
    }
    .to_json();
    for node in agents.keys() {
        cx.write(Record::PublishBegins { node: node.clone() })?;
        cx.show(node, |node| node.phase = Phase::Publish);
    }
    let published = on_agents(cx, agents.len(), agents, |name, agent| {
        let request = Publish {
            backup: edition.backup.clone(),
            mode: edition.mode,
            started: edition.started,
            tokenmap: tokenmap_of(edition.ring, &name).to_json(),
            schema: edition.schema.to_owned(),
            server_version: server_version.clone(),
            node: name,
        };
        async move { agent.ask(request, Some(PUBLISH_WITHIN), Arc::new(Deaf)).await }
    })
    .await;
    for (node, answer) in published {
        match answer {
            Ok(answer) => {
                cx.board.log(&format!("{node}: published, finished {}", answer.finished));
                if let Err(error) = cx.write(Record::Published { node: node.clone() }) {
                    // The store tells it too.
                    cx.board.log(&format!("{node}: that is not written down: {error}"));
                }
                cx.show(&node, |node| node.state = JobState::Complete);
            }
            Err(error) => {
                cx.board.node_failed(&node, &why(&error));
            }
        }
    }
    Ok(())
}

/// The token map as this node's Medusa would write it: the nodes of its own data centre, in order
/// of their addresses as text (`cassandra_utils.py`).
fn tokenmap_of(ring: &BTreeMap<Fqdn, RingNode>, node: &Fqdn) -> Tokenmap {
    let datacenter = ring.get(node).map(|node| node.datacenter.as_str());
    let mut members: Vec<_> =
        ring.iter().filter(|(_, member)| Some(member.datacenter.as_str()) == datacenter).collect();
    members.sort_by_key(|(_, member)| member.address.to_string());
    Tokenmap::new(members.into_iter().map(|(name, member)| {
        let entry = TokenmapNode {
            tokens: member.tokens.clone(),
            is_up: member.up,
            rack: Some(member.rack.clone()),
            datacenter: Some(member.datacenter.clone()),
        };
        (name.clone(), entry)
    }))
}
