//! `medusafs trust`: shows the keys that hosts offer, and records those that a person accepts.

use std::collections::BTreeSet;
use std::io::{self, BufRead, IsTerminal};
use std::path::Path;

use crate::cluster::{KnownNodes, Reach};
use crate::config::HostPort;
use crate::model::{Clock, JobId, JobKind, SystemClock};
use crate::ssh::{OfferedKey, Target, is_recorded, offered_keys, record_key, refuse_changed};
use crate::tasks::Scope;

use super::settings::{Settings, host_name, reach};
use super::{ConfigArgs, Exit, Failure, Output};

/// Shows and records.
pub(super) async fn trust(
    config: &ConfigArgs,
    hosts: &[String],
    yes: bool,
    output: Output,
) -> Result<(), Failure> {
    let settings = Settings::load(config, output)?;
    let scope = Scope::new();
    let job = JobId::new(SystemClock.now(), JobKind::Backup, "trust")
        .map_err(|error| Failure::of(Exit::Unwished, &error))?;
    let reach = reach(&settings, job, &scope)?;
    let targets = targets(&settings, &reach, hosts)?;
    let file = reach.known_hosts().into_iter().next().ok_or_else(|| {
        Failure::new(Exit::Usage, "no file of known hosts: HOME is not set")
            .hint("name one with known_hosts in medusafs.ini")
    })?;
    let mut unreachable = None;
    let mut refused = false;
    for target in targets {
        match offered_keys(&target).await {
            Ok(keys) => refused |= !settle(&target, &keys, &file, yes, output)?,
            Err(error) => {
                let failure = Failure::of(Exit::Unreachable, &error);
                output.failure(&failure);
                unreachable = Some(failure);
            }
        }
    }
    match unreachable {
        Some(_) => Err(Failure::new(Exit::Unreachable, "not every host could be asked")),
        None if refused => Err(Failure::new(Exit::Unwished, "not every key was recorded")),
        None => Ok(()),
    }
}

/// The hosts to ask: those named, or the contact points and every node that the share remembers.
fn targets(settings: &Settings, reach: &Reach, hosts: &[String]) -> Result<Vec<Target>, Failure> {
    let port = settings.config.ssh.port;
    let mut all = BTreeSet::new();
    for text in hosts {
        let named = HostPort::parse(text).map_err(|why| Failure::new(Exit::Usage, why))?;
        all.insert((named.host, named.port.unwrap_or(port)));
    }
    if hosts.is_empty() {
        settings.must_have_cluster()?;
        match &settings.config.medusafs.contact_points {
            Some(points) => all.extend(
                points.iter().map(|point| (point.host.clone(), point.port.unwrap_or(port))),
            ),
            None => {
                all.insert((host_name(), port));
            }
        }
        for node in remembered(settings).nodes {
            all.insert(settings.config.ssh_address(&node.name, &node.address.to_string()));
        }
    }
    Ok(all.into_iter().map(|(host, port)| reach.target(&host, port)).collect())
}

/// What the share remembers of nodes; nothing if it cannot be read.
fn remembered(settings: &Settings) -> KnownNodes {
    let read = || KnownNodes::read(&settings.store().ok()?, &settings.layout().ok()?).ok();
    read().unwrap_or_default()
}

/// Shows a host's keys, asks, and records the best. True if it is known afterwards.
fn settle(
    target: &Target,
    keys: &[OfferedKey],
    file: &Path,
    yes: bool,
    output: Output,
) -> Result<bool, Failure> {
    let Some(best) = keys.first() else {
        output.line(format!("{target}: offers no key"))?;
        return Ok(false);
    };
    if let Err(changed) = refuse_changed(target, keys) {
        output.failure(&Failure::of(Exit::Unwished, &*changed));
        return Ok(false);
    }
    if is_recorded(target, best) {
        output.line(format!("{target}: known already: {}", best.fingerprint))?;
        return Ok(true);
    }
    for key in keys {
        output.line(format!("{target}: {}", key.fingerprint))?;
    }
    if !yes
        && !asked(
            &format!("Is this what `ssh-keygen -lf` shows on {}? [y/N] ", target.host),
            output,
        )?
    {
        return Ok(false);
    }
    record_key(file, target, best).map_err(|error| Failure::of(Exit::Unwished, &error))?;
    output.line(format!("{target}: recorded in {}", file.display()))?;
    Ok(true)
}

fn asked(question: &str, output: Output) -> Result<bool, Failure> {
    if !io::stdin().is_terminal() {
        return Err(Failure::new(Exit::Usage, "nobody is there to compare fingerprints")
            .hint("run it in a terminal, or give --yes where the network is trusted"));
    }
    output.text(question)?;
    let mut answer = String::new();
    io::stdin()
        .lock()
        .read_line(&mut answer)
        .map_err(|error| Failure::of(Exit::Unwished, &error))?;
    Ok(matches!(answer.trim(), "y" | "Y" | "yes"))
}
