//! The first step of every job: who is there, and is it fit.

use std::collections::{BTreeMap, BTreeSet};

use crate::cluster::{
    HostShare, KnownNodes, Memory, Purpose, Reached, Severity, Survey, on_all, stored_names, survey,
};
use crate::model::Fqdn;
use crate::observe::ErrorChain;

use super::context::Context;
use super::job_error::JobError;

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
    let survey = looked.fit().map_err(JobError::Unfit)?;
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
