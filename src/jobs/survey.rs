//! The first step of every job: who is there, and is it fit.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use crate::agent::protocol::{AskNodetool, RingMember};
use crate::catalog::{Catalog, CatalogError, CatalogSettings, Completeness};
use crate::cluster::{
    Deaf, HostShare, KnownNodes, Memory, Purpose, Reached, Severity, Survey, on_all, stored_names,
    survey,
};
use crate::medusa::ServerVersion;
use crate::model::{BackupName, Fqdn};
use crate::observe::ErrorChain;

use super::context::Context;
use super::job_error::JobError;
use super::restore::Snapshot;

/// For reading a backup's manifests: a large one, over NFS, for the first time.
const READ_WITHIN: Duration = Duration::from_mins(10);

/// For the answer of a witness, a start of a JVM.
const WITNESS_WITHIN: Duration = Duration::from_mins(1);

/// Nodes that are tried as a witness: each that is down costs a connection's patience.
const WITNESSES: usize = 5;

/// Connections that are opened at once: each costs a key exchange here.
const LOGINS_AT_ONCE: usize = 16;

/// Looks at the cluster, remembers its nodes, and ends the job if it is not fit.
pub(super) async fn look(cx: &Context, purpose: &Purpose) -> Result<Survey, JobError> {
    let mut memory = memory(cx).await?;
    let here = HostShare::new(cx.store.clone(), cx.layout.clone(), cx.pool.clone());
    let looked = cx.unless_cancelled(Box::pin(survey(&cx.reach, &memory, &here, purpose))).await?;
    for finding in &looked.findings {
        let node = finding.node.as_deref().and_then(|name| Fqdn::parse(name).ok());
        // What is shown of a restore is its own node alone.
        match node.filter(|name| !purpose.is_restore() || purpose.only() == Some(name)) {
            Some(name) => {
                cx.board.set_nodes([name.clone()]);
                if finding.severity == Severity::Error {
                    cx.board.node_failed(&name, &finding.without_node());
                } else {
                    cx.board.log(&finding.to_string());
                }
            }
            None => cx.board.log(&finding.to_string()),
        }
    }
    let against = if looked.is_reached { JobError::Unfit } else { JobError::Unreached };
    let survey = looked.fit().map_err(against)?;
    // Without CQL the ring has no tokens but those that are remembered.
    if survey.tables.is_none() {
        return Ok(survey);
    }
    memory.known.remember(&survey.cluster_name, &survey.ring, cx.clock.now());
    let (store, layout, known) = (cx.store.clone(), cx.layout.clone(), memory.known);
    let job = cx.board.folder().id().clone();
    let written = cx
        .on_share("for the share to remember the nodes", move || known.write(&store, &layout, &job))
        .await?;
    if let Err(error) = written {
        cx.board.log(&format!("the share does not remember the nodes: {}", ErrorChain(&error)));
    }
    Ok(survey)
}

/// Logs in to nodes as the share remembers them, whatever the ring says now.
pub(super) async fn reach_known(
    cx: &Context,
    names: &BTreeSet<Fqdn>,
) -> BTreeMap<Fqdn, Result<Reached, String>> {
    let known = match memory(cx).await {
        Ok(memory) => memory.known,
        Err(error) => {
            let why = error.in_words();
            return names.iter().map(|name| (name.clone(), Err(why.clone()))).collect();
        }
    };
    let nodes = names
        .iter()
        .map(|name| (name.clone(), known.nodes.iter().find(|node| node.name == *name).cloned()));
    let mut reached = on_all(&cx.scope, LOGINS_AT_ONCE, nodes, |name, node| {
        let reach = cx.reach.clone();
        async move {
            let node = node.ok_or_else(|| "nothing remembers its address".to_owned())?;
            let (host, port) = reach.config.ssh_address(&name, &node.address.to_string());
            let store = reach.config.store_root_on(&name);
            reach.node(&host, port, &store).await.map_err(|error| error.in_words())
        }
    })
    .await;
    for name in names {
        reached.entry(name.clone()).or_insert_with(|| Err("logging in to it broke off".to_owned()));
    }
    reached
}

/// Logs in to a node beside this one, to look at it from elsewhere: the first that the share
/// remembers and whose nodetool answers.
pub(super) async fn witness_beside(cx: &Context, node: &Fqdn) -> Option<(Fqdn, Reached)> {
    let known = memory(cx).await.ok()?.known.nodes;
    let others = known.into_iter().map(|known| known.name).filter(|name| name != node);
    for name in others.take(WITNESSES) {
        let reached = reach_known(cx, &BTreeSet::from([name.clone()])).await.remove(&name);
        if let Some(Ok(reached)) = reached
            && ring_seen_from(&reached).await.is_some()
        {
            return Some((name, reached));
        }
    }
    None
}

/// What `nodetool status` says on this node; none if it does not answer.
pub(super) async fn ring_seen_from(node: &Reached) -> Option<Vec<RingMember>> {
    let question = AskNodetool { status: true, ..AskNodetool::default() };
    let answer = node.agent.ask(question, Some(WITNESS_WITHIN), Arc::new(Deaf)).await;
    answer.ok()?.status?.ok()
}

/// What the share remembers.
pub(super) async fn memory(cx: &Context) -> Result<Memory, JobError> {
    let (store, layout) = (cx.store.clone(), cx.layout.clone());
    let this_host = cx
        .config
        .storage
        .fqdn
        .as_ref()
        .map_or_else(|| cx.host_name.clone(), |name| name.as_str().to_owned());
    let (known, stored) = cx
        .on_share("for the share to tell its nodes", move || {
            (KnownNodes::read(&store, &layout), stored_names(&store, &layout))
        })
        .await?;
    Ok(Memory { known: known?, stored, this_host })
}

/// What the store says of one node's part of a backup.
pub(super) async fn snapshot(
    cx: &Context,
    backup: &BackupName,
    node: &Fqdn,
) -> Result<Snapshot, JobError> {
    let catalog = Catalog::new(cx.store.clone(), cx.layout.clone(), CatalogSettings::default());
    let (backup, node) = (backup.clone(), node.clone());
    let read = move || -> Result<Snapshot, CatalogError> {
        catalog.refresh()?;
        if catalog.backups().get(&backup).is_none() {
            catalog.find_unindexed()?;
        }
        catalog.examine(&backup)?;
        let backups = catalog.backups();
        let no_backup = || CatalogError::NoBackup(backup.clone());
        let found = backups.get(&backup).ok_or_else(no_backup)?;
        let part = found.nodes.get(&node).ok_or_else(no_backup)?;
        let mut incomplete: Vec<String> = match &found.state {
            Completeness::Incomplete(reasons) => reasons.iter().map(ToString::to_string).collect(),
            Completeness::Complete => Vec::new(),
            Completeness::Unexamined => vec!["it was not looked into yet".to_owned()],
        };
        incomplete.extend(found.damage.iter().map(ToString::to_string));
        let tokenmap = catalog.tokenmap(&backup, &node)?;
        Ok(Snapshot {
            incomplete,
            started: part.started,
            place: tokenmap.get(&node).cloned(),
            version: catalog.server_version(&backup, &node)?.unwrap_or(ServerVersion {
                server_type: "cassandra".to_owned(),
                release_version: "unknown".to_owned(),
            }),
        })
    };
    let reading = cx.pool.run(READ_WITHIN, "for the share to tell of the backup", read);
    cx.unless_cancelled(reading)
        .await?
        .map_err(|error| JobError::silent_share(cx.store.path(), &error))?
        .map_err(|error| JobError::Host(ErrorChain(&error).to_string()))
}
