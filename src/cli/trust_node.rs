//! `medusafs trust --node NAME`: shows who had a name and who claims it now, and gives it to that
//! node when told so.

use std::time::Duration;

use crate::cluster::{Claim, KnownNode, KnownNodes, RingNode, claims};
use crate::medusa::Layout;
use crate::model::{Clock, Fqdn, JobId, JobKind, SystemClock};
use crate::store::{LeaseError, LeaseName, Leases, Owner, Store};
use crate::tasks::Scope;

use super::settings::{Settings, host_name, reach};
use super::share::in_time;
use super::{ConfigArgs, Exit, Failure, Output};

/// How long agents may take to end.
const GRACE: Duration = Duration::from_secs(20);

/// Shows what is known and what is found; with `yes`, records it.
pub(super) async fn trust_node(
    config: &ConfigArgs,
    name: &str,
    yes: bool,
    output: Output,
) -> Result<(), Failure> {
    let settings = Settings::load(config, output)?;
    let name = Fqdn::parse(name).map_err(|error| Failure::of(Exit::Usage, &error))?;
    settings.must_have_cluster()?;
    settings.check_key()?;
    let (store, layout) = (settings.store()?, settings.layout()?);
    let memory = settings.memory(&store, &layout)?;
    let scope = Scope::new();
    let job = JobId::new(SystemClock.now(), JobKind::Backup, "trust")
        .map_err(|error| Failure::of(Exit::Unwished, &error))?;
    let reach = reach(&settings, job.clone(), &scope)?;
    let (findings, found) = claims(&reach, &memory).await;
    scope.close(GRACE).await;
    for finding in findings {
        output.remark(finding);
    }
    let found = found.ok_or_else(|| {
        Failure::new(Exit::Unreachable, "the ring could not be asked what its nodes are called")
            .hint("`medusafs check` says what is missing")
    })?;
    let claim = found
        .of(&name, &memory.known, &memory.stored)
        .map_err(|error| Failure::of(Exit::Unwished, &error))?;
    show(&claim, output)?;
    if claim.is_settled() {
        return output.line(format!("{name}: nothing has to be said"));
    }
    if !yes {
        return Err(Failure::new(
            Exit::Unwished,
            format!("{name} is not given to the node at {}", claim.found.address),
        )
        .hint(format!(
            "if this is right, `medusafs trust --node {name} --yes` records it, and its backups go \
             on under this name"
        )));
    }
    record(&settings, &store, &layout, &claim, &job)?;
    output.line(format!("{name}: recorded as {}", found_text(&claim.found)))
}

/// What was, what is, and what follows from it.
fn show(claim: &Claim, output: Output) -> Result<(), Failure> {
    let name = &claim.name;
    match &claim.holder {
        Some(holder) => output.line(format!("{name}: known as {}", known_text(holder)))?,
        None => output.line(format!("{name}: not known"))?,
    }
    output.line(format!("{name}: found as {}", found_text(&claim.found)))?;
    let before = claim.before.as_ref().filter(|before| before.name != *name);
    if let Some(before) = before {
        let (was, seen) = (&before.name, before.seen);
        output.line(format!(
            "{name}: this node was called {was} until {seen}: what it has stored \
                             under that name stays there"
        ))?;
    }
    let replaced = claim.holder.as_ref().filter(|holder| holder.host_id != claim.found.host_id);
    if let Some(replaced) = replaced {
        output.line(if replaced.tokens == claim.found.tokens {
            format!(
                "{name}: it has the tokens of the one before, as after replace_address; that one's \
                 backups cannot be restored onto it as a whole: their host id is the other's"
            )
        } else {
            format!(
                "{name}: it has other tokens than the one before: that one's backups cannot be \
                 restored onto it"
            )
        })?;
    }
    Ok(())
}

fn known_text(node: &KnownNode) -> String {
    format!(
        "host {} at {}, {}/{}, {} tokens, seen {}",
        node.host_id,
        node.address,
        node.datacenter,
        node.rack,
        node.tokens.len(),
        node.seen
    )
}

fn found_text(node: &RingNode) -> String {
    format!(
        "host {} at {}, {}/{}, {} tokens, {}",
        node.host_id,
        node.address,
        node.datacenter,
        node.rack,
        node.tokens.len(),
        node.status_letters()
    )
}

/// Writes it down while no job does, over what the share remembers at this moment.
fn record(
    settings: &Settings,
    store: &Store,
    layout: &Layout,
    claim: &Claim,
    job: &JobId,
) -> Result<(), Failure> {
    let leases = layout.leases().map_err(|error| Failure::of(Exit::Usage, &error))?;
    let leases = Leases::new(store.clone(), leases);
    let owner = Owner {
        host: host_name(),
        pid: std::process::id(),
        job: None,
        purpose: format!("trust of node {}", claim.name),
    };
    let (store, layout, claim, job) = (store.clone(), layout.clone(), claim.clone(), job.clone());
    let share = store.path().to_owned();
    let write = move || -> Result<(), Failure> {
        let lease = leases.acquire(&LeaseName::Cluster, &owner, |_| false).map_err(|error| {
            let exit = match error {
                LeaseError::Held(_) => Exit::Busy,
                LeaseError::Lost | LeaseError::Store(_) => Exit::Unreachable,
            };
            Failure::of(exit, &error)
        })?;
        let unreachable =
            |error: &(dyn std::error::Error + 'static)| Failure::of(Exit::Unreachable, error);
        let mut known = KnownNodes::read(&store, &layout).map_err(|error| unreachable(&error))?;
        claim.settle(&mut known, SystemClock.now());
        known.write(&store, &layout, &job).map_err(|error| unreachable(&error))?;
        lease.release().map_err(|error| unreachable(&error))
    };
    in_time(settings.config.medusafs.deadline, &share, write)?
}
