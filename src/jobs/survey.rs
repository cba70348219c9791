//! The first step of every job: who is there, and is it fit.

use std::collections::{BTreeMap, BTreeSet};

use crate::cluster::{
    HostShare, KnownNodes, LOGINS_AT_ONCE, Memory, Purpose, Reached, Severity, Survey, on_all,
    stored_names, survey,
};
use crate::medusa::Layout;
use crate::model::{Fqdn, JobId};
use crate::store::Store;

use super::context::Context;
use super::job_error::JobError;
use super::lease::HeldLease;

/// Looks at the cluster, and ends the job if it is not fit.
pub(super) async fn look(cx: &Context, purpose: &Purpose) -> Result<Survey, JobError> {
    let memory = memory(cx).await?;
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
    looked.fit().map_err(against)
}

/// Has the share remember the nodes as they were found. `_cluster` keeps others from writing the
/// same: what was written between the look and the lease, as by `medusafs trust`, stays.
pub(super) async fn remember(cx: &Context, survey: &Survey, _cluster: &HeldLease) {
    // Without CQL the ring has no tokens but those that are remembered.
    if survey.tables.is_none() {
        return;
    }
    let mut known = survey.known.clone();
    known.remember(&survey.cluster_name, &survey.ring, cx.clock.now());
    let (store, layout, was) = (cx.store.clone(), cx.layout.clone(), survey.known.clone());
    let job = cx.board.folder().id().clone();
    let write = move || write_if_still(&store, &layout, &job, &was, &known);
    let written = cx.on_share("for the share to remember the nodes", write).await;
    match written.and_then(|written| written) {
        Ok(true) => {}
        Ok(false) => cx.board.log("what the share remembers of the nodes was changed meanwhile"),
        Err(error) => {
            cx.board.log(&format!("the share does not remember the nodes: {}", error.in_words()));
        }
    }
}

/// Returns whether the share remembers `was` yet, and `known` from now on.
fn write_if_still(
    store: &Store,
    layout: &Layout,
    job: &JobId,
    was: &KnownNodes,
    known: &KnownNodes,
) -> Result<bool, JobError> {
    if KnownNodes::read(store, layout)? != *was {
        return Ok(false);
    }
    known.write(store, layout, job)?;
    Ok(true)
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::KnownNode;
    use crate::model::UnixSeconds;

    #[test]
    fn what_was_written_since_the_look_is_not_written_over() {
        let directory = tempfile::tempdir().unwrap();
        let store = Store::open(directory.path()).unwrap();
        let (layout, job) = (Layout::new(None).unwrap(), JobId::parse("j").unwrap());
        let known = |name: &str| KnownNodes {
            version: 1,
            cluster_name: "lab".to_owned(),
            nodes: vec![KnownNode {
                name: Fqdn::parse(name).unwrap(),
                host_id: "1".to_owned(),
                tokens: Vec::new(),
                address: "198.51.100.11".parse().unwrap(),
                datacenter: "dc1".to_owned(),
                rack: "r1".to_owned(),
                seen: UnixSeconds(0),
                replaced: None,
            }],
        };
        let write = |was: &KnownNodes, name: &str| {
            write_if_still(&store, &layout, &job, was, &known(name)).unwrap()
        };
        assert!(write(&KnownNodes::default(), "old"));
        // As by `medusafs trust`, while a restore is planned.
        assert!(write(&known("old"), "trusted"));
        assert!(!write(&known("old"), "old"));
        assert_eq!(KnownNodes::read(&store, &layout).unwrap(), known("trusted"));
    }
}
