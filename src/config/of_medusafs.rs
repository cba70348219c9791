//! The typed settings of `medusafs.ini` and the options.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::model::{ByteSize, Fqdn};

use super::NodeSettings;
use super::ini::IniFile;
use super::origin::Place;
use super::own::{
    BackupMode, BackupPolicy, Datacenters, MedusafsSettings, NodesRequired, Passthrough,
    RestorePolicy, ShareRequired,
};
use super::own_keys::{NODE_KEYS, OWN_KEYS, OWN_SECTION};
use super::resolver::Resolver;
use super::unknown::{meant, node_of};

/// Less would not hold the tables that the mount needs to answer at all.
const LEAST_MEMORY: ByteSize = ByteSize(32 << 20);

/// Whether `[medusafs]`, or a `[node NAME]`, has this option: `mode`, `node.NAME.ssh`.
pub fn is_own_option(name: &str) -> bool {
    OWN_KEYS.iter().any(|key| key.name == name) || node_option(name).is_some()
}

/// Node and key of `node.NAME.KEY`.
fn node_option(name: &str) -> Option<(&str, &str)> {
    let (node, key) = name.strip_prefix("node.")?.rsplit_once('.')?;
    (!node.is_empty() && NODE_KEYS.iter().any(|known| known.name == key)).then_some((node, key))
}

/// Settings of single nodes; options that nobody knows are refused here.
pub(super) fn nodes(
    resolver: &mut Resolver<'_>,
    own: Option<&IniFile>,
    options: &[(String, String)],
) -> BTreeMap<Fqdn, NodeSettings> {
    let mut sections: BTreeMap<String, String> = BTreeMap::new();
    for (section, line) in own.iter().flat_map(|file| &file.normal.sections) {
        let Some(name) = node_of(section) else { continue };
        if sections.insert(name.to_owned(), section.clone()).is_some() {
            let place = own.map_or(Place::Default, |file| file.line(*line));
            let what = "the same node has another section; put its keys under one head";
            resolver.problem(place, format!("[{section}]"), what);
        }
    }
    for (name, _) in options {
        if let Some((node, _)) = node_option(name) {
            sections.entry(node.to_owned()).or_insert_with(|| format!("node {node}"));
        } else if !is_own_option(name) {
            let meant = meant(name, OWN_KEYS.iter().map(|key| key.name));
            let what = format!(
                "medusafs has no such option{meant}; it takes the keys of [medusafs], \
                 node.NAME.ssh and node.NAME.store"
            );
            resolver.problem(Place::Option(name.clone()), "", what);
        }
    }
    let mut nodes = BTreeMap::new();
    for (name, section) in &sections {
        for key in NODE_KEYS {
            let option = last(options, |option| node_option(option) == Some((name, key.name)));
            resolver.settle_own(key, section, own, option);
        }
        let settings = NodeSettings {
            ssh: resolver.hosts(section, "ssh").and_then(|hosts| hosts.into_iter().next()),
            store: resolver.path(section, "store"),
        };
        match Fqdn::parse(name) {
            Ok(fqdn) => {
                nodes.insert(fqdn, settings);
            }
            Err(error) => {
                let line =
                    own.and_then(|file| Some(file.line(*file.normal.sections.get(section)?)));
                let place = line.unwrap_or_else(|| Place::Option(section.clone()));
                resolver.problem(place, format!("[{section}]"), error.to_string());
            }
        }
    }
    nodes
}

/// The last option whose name is wished.
fn last(options: &[(String, String)], wished: impl Fn(&str) -> bool) -> Option<(&str, &str)> {
    let (name, text) = options.iter().rfind(|(name, _)| wished(name))?;
    Some((name, text))
}

/// Settings of `[medusafs]`.
pub(super) fn medusafs(
    resolver: &mut Resolver<'_>,
    own: Option<&IniFile>,
    options: &[(String, String)],
) -> MedusafsSettings {
    const ME: &str = OWN_SECTION;
    for key in OWN_KEYS {
        let option = last(options, |option| option == key.name);
        resolver.settle_own(key, ME, own, option);
    }
    let rate = |size: ByteSize| (size.0 > 0).then_some(size);
    MedusafsSettings {
        contact_points: resolver.hosts(ME, "contact_points"),
        node_store: resolver.path(ME, "node_store"),
        known_hosts: resolver.path(ME, "known_hosts"),
        mode: resolver.choice(ME, "mode", BackupMode::Differential, BackupMode::from_word),
        datacenters: datacenters(resolver),
        nodes_required: resolver.choice(
            ME,
            "nodes_required",
            NodesRequired::All,
            NodesRequired::from_word,
        ),
        share: resolver.choice(ME, "share", ShareRequired::Required, ShareRequired::from_word),
        restore: resolver.choice(ME, "restore", RestorePolicy::Off, RestorePolicy::from_word),
        restore_hold: resolver.time(ME, "restore_hold"),
        backup: resolver.choice(ME, "backup", BackupPolicy::Off, BackupPolicy::from_word),
        allow_delete: resolver.flag(ME, "allow_delete"),
        keep_last: resolver.count(ME, "keep_last"),
        read_group: resolver.group(ME, "read_group"),
        backup_group: resolver.group(ME, "backup_group"),
        restore_group: resolver.group(ME, "restore_group"),
        delete_group: resolver.group(ME, "delete_group"),
        parallel_nodes: resolver.width(ME, "parallel_nodes"),
        bandwidth_node: rate(resolver.size(ME, "bandwidth_node")),
        bandwidth_total: rate(resolver.size(ME, "bandwidth_total")),
        state_dir: resolver.must_path(ME, "state_dir"),
        cache_dir: resolver.must_path(ME, "cache_dir"),
        cache_size: resolver.size(ME, "cache_size"),
        memory: memory(resolver),
        undo_keep: resolver.time(ME, "undo_keep"),
        passthrough: resolver.choice(ME, "passthrough", Passthrough::Off, Passthrough::from_word),
        deadline: deadline(resolver),
        agent_dir: resolver.path(ME, "agent_dir"),
        tls_host_name: resolver.flag(ME, "tls_host_name"),
        medusa_writes_too: resolver.flag(ME, "medusa_writes_too"),
    }
}

fn datacenters(resolver: &mut Resolver<'_>) -> Datacenters {
    let names = resolver.words(OWN_SECTION, "datacenters");
    match names.as_slice() {
        [] if resolver.is_read(OWN_SECTION, "datacenters") => {
            let place = resolver.place(OWN_SECTION, "datacenters");
            let what = "it names no data centre; write all, or their names with commas between";
            resolver.problem(place, "[medusafs] datacenters", what);
            Datacenters::All
        }
        [] => Datacenters::All,
        [all] if all == "all" => Datacenters::All,
        _ => Datacenters::Only(names.into_iter().collect::<BTreeSet<_>>()),
    }
}

fn memory(resolver: &mut Resolver<'_>) -> ByteSize {
    let memory = resolver.size(OWN_SECTION, "memory");
    if memory < LEAST_MEMORY && resolver.is_read(OWN_SECTION, "memory") {
        let what = format!("{memory} is too little; give it {LEAST_MEMORY} at least");
        resolver.problem(resolver.place(OWN_SECTION, "memory"), "[medusafs] memory", what);
    }
    memory
}

fn deadline(resolver: &mut Resolver<'_>) -> Duration {
    let deadline = resolver.time(OWN_SECTION, "deadline");
    if deadline < Duration::from_secs(1) && resolver.is_read(OWN_SECTION, "deadline") {
        let what = "no share answers in no time; give it 1s at least";
        resolver.problem(resolver.place(OWN_SECTION, "deadline"), "[medusafs] deadline", what);
    }
    deadline
}
