//! `medusafs trust`: shows the keys that hosts offer, and records those that a person accepts.

use std::collections::BTreeSet;
use std::io::{self, BufRead, IsTerminal};
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::cluster::{KnownNodes, Memory, Reach, ring, stored_names};
use crate::config::HostPort;
use crate::model::{Clock, Fqdn, JobId, JobKind, SystemClock};
use crate::ssh::{OfferedKey, Target, is_recorded, offered_keys, record_key, refuse_changed};
use crate::tasks::Scope;

use super::settings::{Settings, host_name, reach};
use super::share::in_time;
use super::{ConfigArgs, Exit, Failure, Output};

/// How long agents may take to end.
const GRACE: Duration = Duration::from_secs(20);

/// Shows and records.
///
/// Without `hosts` these are the contact points, then every node of the ring that a contact point
/// tells, and that the share remembers: each where a job looks for it.
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
    let file = reach.known_hosts().into_iter().next().ok_or_else(|| {
        Failure::new(Exit::Usage, "no file of known hosts: HOME is not set")
            .hint("name one with known_hosts in medusafs.ini")
    })?;
    let mut desk = Desk { reach: &reach, file, yes, output, asked: BTreeSet::new(), end: Ok(()) };
    if hosts.is_empty() {
        settings.must_have_cluster()?;
        desk.settle_all(contact_points(&settings)).await?;
        let memory = remembered(&settings);
        let remembered = memory.known.nodes.iter().map(|node| (node.name.clone(), node.address));
        let remembered: Vec<_> = remembered.collect();
        let ring = desk.ring(&settings, &memory).await;
        scope.close(GRACE).await;
        let at = |(name, address): (Fqdn, IpAddr)| {
            settings.config.ssh_address(&name, &address.to_string())
        };
        desk.settle_all(ring.into_iter().chain(remembered).map(at)).await?;
    } else {
        let parse = |text: &String| HostPort::parse(text);
        let named: Result<Vec<_>, _> = hosts.iter().map(parse).collect();
        let named = named.map_err(|why| Failure::new(Exit::Usage, why))?;
        let port = settings.config.ssh.port;
        let all = named.into_iter().map(|named| (named.host, named.port.unwrap_or(port)));
        desk.settle_all(all).await?;
    }
    desk.end
}

fn contact_points(settings: &Settings) -> Vec<(String, u16)> {
    let port = settings.config.ssh.port;
    let Some(points) = &settings.config.medusafs.contact_points else {
        return vec![(host_name(), port)];
    };
    let point = |point: &HostPort| match (Fqdn::parse(&point.host), point.port) {
        (Ok(name), None) => settings.config.ssh_address(&name, &point.host),
        (_, given) => (point.host.clone(), given.unwrap_or(port)),
    };
    points.iter().map(point).collect()
}

/// What the share remembers of nodes; nothing if it cannot be read.
fn remembered(settings: &Settings) -> Memory {
    let read = || {
        let (store, layout) = (settings.store().ok()?, settings.layout().ok()?);
        let deadline = settings.config.medusafs.deadline;
        let share = store.path().to_owned();
        let read = move || (KnownNodes::read(&store, &layout).ok(), stored_names(&store, &layout));
        in_time(deadline, &share, read).ok()
    };
    let (known, stored) = read().unwrap_or_default();
    Memory { known: known.unwrap_or_default(), stored, this_host: host_name() }
}

/// Where a person is shown one host's keys after another.
struct Desk<'a> {
    reach: &'a Reach,
    file: PathBuf,
    yes: bool,
    output: Output,
    /// Each host once, however often it is named.
    asked: BTreeSet<(String, u16)>,
    end: Result<(), Failure>,
}

impl Desk<'_> {
    /// Shows and records the keys of these hosts. What does not end as wished is in `end`, and
    /// the others are gone on with.
    async fn settle_all(
        &mut self,
        hosts: impl IntoIterator<Item = (String, u16)>,
    ) -> Result<(), Failure> {
        for (host, port) in hosts {
            if !self.asked.insert((host.clone(), port)) {
                continue;
            }
            let target = self.reach.target(&host, port);
            match offered_keys(&target).await {
                Ok(keys) if settle(&target, &keys, &self.file, self.yes, self.output)? => {}
                Ok(_) if self.end.is_ok() => {
                    self.end = Err(Failure::new(Exit::Unwished, "not every key was recorded"));
                }
                Ok(_) => {}
                Err(error) => {
                    self.output.failure(&Failure::of(Exit::Unreachable, &error));
                    self.end =
                        Err(Failure::new(Exit::Unreachable, "not every host could be asked"));
                }
            }
        }
        Ok(())
    }

    /// The nodes of the ring, as a contact point tells it.
    async fn ring(&mut self, settings: &Settings, memory: &Memory) -> Vec<(Fqdn, IpAddr)> {
        let no_key = settings.check_key().err();
        let (findings, nodes) = match &no_key {
            Some(_) => (Vec::new(), Vec::new()),
            None => ring(self.reach, memory).await,
        };
        if nodes.is_empty() {
            if let Some(no_key) = no_key {
                self.output.failure(&no_key);
            }
            for finding in findings {
                self.output.remark(finding);
            }
            self.end = Err(Failure::new(
                Exit::Unreachable,
                "the ring could not be asked, so that other nodes' keys are not settled",
            )
            .hint("mend that and run `medusafs trust` again, or name each node: `medusafs trust HOST`"));
        }
        nodes.into_iter().map(|(name, node)| (name, node.address)).collect()
    }
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
