//! The ring once more, some time after the survey.

use crate::agent::protocol::RingMember;

use super::contact::{ring_members, ring_nodes};
use super::cql::ask_cql;
use super::{Finding, Reach, Reached, RingNode, Survey};

/// Nodes that are asked in turn: each that hangs costs minutes.
const ASKED: usize = 5;

impl Survey {
    /// The ring as it is now: as much of it as could be asked at first. If the contact does not
    /// tell, the other nodes are asked, and those of `renewed`, which were logged in to again
    /// since.
    ///
    /// # Errors
    ///
    /// None of them tells: what the first said.
    pub async fn ring_now(
        &self,
        reach: &Reach,
        renewed: &[Reached],
    ) -> Result<Vec<RingNode>, Finding> {
        // Nobody told anything at first.
        let Some(contact) = &self.contact else { return Ok(self.as_found()) };
        let mut first = None;
        for node in self.to_ask(contact, renewed).into_iter().take(ASKED) {
            match self.seen_from(node, reach).await {
                Ok(ring) => return Ok(ring),
                Err(finding) => {
                    first.get_or_insert(finding);
                }
            }
        }
        let name = contact.remote.name();
        Err(first.unwrap_or_else(|| {
            Finding::error(Some(&name), "the connection to it broke, and no other node answers", "")
        }))
    }

    /// The contact before the others; none whose agent is lost.
    fn to_ask<'a>(&'a self, contact: &'a Reached, renewed: &'a [Reached]) -> Vec<&'a Reached> {
        let name = contact.remote.name();
        let others = self.reached.values().filter(|node| node.remote.name() != name);
        let all = [contact].into_iter().chain(others).chain(renewed);
        all.filter(|node| !node.agent.is_broken()).collect()
    }

    fn as_found(&self) -> Vec<RingNode> {
        self.ring.values().cloned().collect()
    }

    async fn seen_from(&self, node: &Reached, reach: &Reach) -> Result<Vec<RingNode>, Finding> {
        let name = node.remote.name();
        let (members, cql) = tokio::join!(ring_members(node), ask_cql(node, &reach.config));
        let members = members.map_err(|error| Finding::of(&name, &error));
        let cql = cql.map_err(|found| found.at(&name));
        match (members, cql) {
            (Ok(members), Ok(cql)) => {
                let mut findings = Vec::new();
                let nodes = ring_nodes(&members, &cql.cluster.nodes, &mut findings);
                // A restore with doubts was accepted as the ring was.
                let found = findings.pop().filter(|_| self.doubts.is_empty());
                found.map_or(Ok(nodes), Err)
            }
            (Ok(members), Err(_)) if self.is_part => Ok(with_status(self.as_found(), &members)),
            (Err(_), Ok(_)) if self.is_part => Ok(self.as_found()),
            (Err(found), _) | (_, Err(found)) => Err(found),
        }
    }
}

/// The nodes that are in the ring yet, each with what `nodetool status` says of it now.
fn with_status(ring: Vec<RingNode>, members: &[RingMember]) -> Vec<RingNode> {
    let now = |node: RingNode| {
        let member = members.iter().find(|member| member.host_id == node.host_id)?;
        Some(RingNode { up: member.up, state: member.state, ..node })
    };
    ring.into_iter().filter_map(now).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::sync::Arc;

    use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, duplex};

    use super::*;
    use crate::agent::protocol::{
        Event, Facts, MemberState, Message, NodetoolFacts, decode, encode, greeting,
    };
    use crate::cluster::{AgentLine, KnownNodes, ShareSeen};
    use crate::config::{Config, Sources};
    use crate::model::{Fqdn, JobId};
    use crate::ssh::ScriptedRemote;
    use crate::tasks::Scope;

    const FACTS: &str = r#"{
        "configured_fqdn": null, "resolved_fqdn": "n",
        "cassandra": {
            "cluster_name": "lab", "listen_address": null, "broadcast_address": null,
            "rpc_address": null, "native_port": 9042, "native_port_ssl": null
        },
        "storage_directory": null,
        "left": {"snapshots": [], "restores": [], "fences": [], "closed": []}
    }"#;

    /// A node whose nodetool says whether n1 is up; without an answer its line breaks.
    async fn reached(name: &str, says_up: Option<bool>, scope: &Scope) -> Reached {
        let (ours, theirs) = duplex(1 << 16);
        let (mut out, our_in) = duplex(1 << 16);
        drop(scope.spawn(async move {
            out.write_all(greeting().as_bytes()).await.unwrap();
            let mut said = BufReader::new(theirs).lines();
            while let (Some(_), Ok(Some(line))) = (says_up, said.next_line().await) {
                if let Message::Request { id, .. } = decode(line.as_bytes()).unwrap() {
                    let status = Some(Ok(vec![member(says_up)]));
                    let reply = NodetoolFacts { status, ..NodetoolFacts::default() }.into();
                    out.write_all(&encode(&Event::Done { id, reply }).unwrap()).await.unwrap();
                }
            }
        }));
        let agent = AgentLine::open(name, our_in, ours, scope).await.unwrap();
        if says_up.is_none() {
            agent.broken().await;
        }
        let facts: Facts = serde_json::from_str(FACTS).unwrap();
        Reached { remote: Arc::new(ScriptedRemote::new(name, 0, "")), agent, facts }
    }

    fn member(up: Option<bool>) -> RingMember {
        RingMember {
            address: "198.51.100.11".to_owned(),
            datacenter: "dc1".to_owned(),
            rack: "r1".to_owned(),
            host_id: "one".to_owned(),
            up,
            state: MemberState::Normal,
        }
    }

    /// The ring of n1, which was the contact and is lost, and n2; CQL answers nowhere.
    async fn survey(n2: Option<bool>, scope: &Scope) -> Survey {
        let node = RingNode {
            host_id: "one".to_owned(),
            address: "198.51.100.11".parse().unwrap(),
            datacenter: "dc1".to_owned(),
            rack: "r1".to_owned(),
            tokens: Vec::new(),
            up: None,
            state: MemberState::Normal,
        };
        let name = |name: &str| Fqdn::parse(name).unwrap();
        let contact = reached("n1", None, scope).await;
        Survey {
            cluster_name: "lab".to_owned(),
            release_version: String::new(),
            schema: String::new(),
            tables: None,
            ring: BTreeMap::from([(name("n1"), node)]),
            reached: BTreeMap::from([
                (name("n1"), contact.clone()),
                (name("n2"), reached("n2", n2, scope).await),
            ]),
            share: ShareSeen::default(),
            doubts: Vec::new(),
            known: KnownNodes::default(),
            contact: Some(contact),
            is_part: true,
        }
    }

    fn reach(scope: &Scope) -> Reach {
        let directory = tempfile::tempdir().unwrap();
        let medusa_ini = directory.path().join("medusa.ini");
        let text = "[cassandra]\n[storage]\nstorage_provider = local\nbase_path = /backup\n\
                    bucket_name = medusa\n";
        std::fs::write(&medusa_ini, text).unwrap();
        let sources = Sources { medusa_ini, options: Vec::new(), environment: BTreeMap::new() };
        Reach {
            config: Arc::new(Config::load(&sources).unwrap()),
            program: bytes::Bytes::new(),
            job: JobId::parse("j").unwrap(),
            scope: scope.clone(),
            home: None,
            agent_socket: None,
            storage_directories: Arc::default(),
        }
    }

    #[tokio::test]
    async fn another_node_tells_the_ring_when_the_contact_is_lost() {
        let scope = Scope::new();
        let reach = reach(&scope);
        let by_other = survey(Some(true), &scope).await.ring_now(&reach, &[]).await.unwrap();
        assert_eq!(by_other[0].up, Some(true));
        let lost = survey(None, &scope).await;
        let said = lost.ring_now(&reach, &[]).await.unwrap_err().to_string();
        assert!(said.contains("n1") && said.contains("no other node answers"), "{said}");
        let again = [reached("n1", Some(false), &scope).await];
        assert_eq!(lost.ring_now(&reach, &again).await.unwrap()[0].up, Some(false));
    }
}
