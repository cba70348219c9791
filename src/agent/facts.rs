//! What can be seen of a node without asking Cassandra.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::error::AgentError;
use super::own_name::{full_name, own_name};
use super::protocol::{CassandraFacts, Facts, Fault, FaultKind, Hello, LeftSnapshot, Leftovers};
use super::restore::{configuration, fence_path, reports};
use super::snapshot_files::directories_in;
use super::task::on_a_thread;
use crate::cassandra::{
    CassandraYaml, RunningCassandra, packaged_storage_directory, running, storage_directory,
    with_config,
};
use crate::config::NodeNaming;
use crate::observe::ErrorChain;

/// cassandra.yaml as this node's Cassandra has it, each directory once; and Cassandra's storage
/// directory, if it runs or `known` is what it was when it ran.
pub(super) fn read_yaml(
    path: &Path,
    known: Option<&Path>,
) -> Result<(CassandraYaml, Option<PathBuf>), AgentError> {
    let seen = storage_directory(&processes(path)?).or_else(|| known.map(Path::to_owned));
    let storage = seen.clone().or_else(packaged_storage_directory);
    let yaml = CassandraYaml::load(path, storage.as_deref()).map_err(|error| {
        let what = ErrorChain(&error).to_string();
        let remedy = "correct [cassandra] config_file, or the file, on this node";
        AgentError::wrong(FaultKind::Settings, what, remedy)
    })?;
    Ok((yaml, seen))
}

/// The Cassandra of a cassandra.yaml, if it runs; more than one where they do not tell theirs.
fn processes(cassandra_yaml: &Path) -> Result<Vec<RunningCassandra>, AgentError> {
    let all = running().map_err(AgentError::node_file("list", Path::new("/proc")))?;
    let all = all.into_iter().map(|it| RunningCassandra { config: configuration(&it), ..it });
    Ok(with_config(all.collect(), cassandra_yaml))
}

/// The data directories that are there, each once whatever it is called: one listed twice by way
/// of a link would make every file a double.
pub(super) fn data_directories(yaml: &CassandraYaml) -> Result<Vec<PathBuf>, AgentError> {
    let (mut seen, mut found) = (BTreeSet::new(), Vec::new());
    for directory in yaml.all_data_directories() {
        let stat = match fs::metadata(&directory) {
            // Cassandra makes the second one when it first needs it.
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
            other => other.map_err(AgentError::node_file("look at", &directory))?,
        };
        if seen.insert((stat.dev(), stat.ino())) {
            found.push(directory);
        }
    }
    if found.is_empty() {
        let listed = yaml.all_data_directories();
        let listed: Vec<_> = listed.iter().map(|path| path.display().to_string()).collect();
        let what = format!("none of Cassandra's data directories is there: {}", listed.join(", "));
        let remedy = "see data_file_directories in cassandra.yaml, and whether its disk is mounted";
        return Err(AgentError::wrong(FaultKind::NodeFiles, what, remedy));
    }
    Ok(found)
}

/// Gathers all of it.
pub(super) async fn facts(
    hello: &Hello,
    yaml: &CassandraYaml,
    storage_directory: Option<PathBuf>,
    data: &[PathBuf],
) -> Result<Facts, Fault> {
    let host_name = host_name()?;
    let (ini, of_yaml, on_disk) = (hello.medusa_ini.clone(), yaml.clone(), data.to_vec());
    let read = move || Ok((naming(&ini)?, leftovers(&of_yaml, &on_disk)?));
    let (naming, left) = on_a_thread("facts", read).await?;
    let resolve = naming.as_ref().map_or(hello.resolve_ip_addresses, |it| it.resolve_own_name);
    let configured = naming.and_then(|naming| naming.fqdn).map(|fqdn| fqdn.to_string());
    // Medusa takes the system's own name, also where it is written down, for "not set".
    let configured_fqdn = match configured {
        Some(name) if name == full_name(&host_name).await => None,
        other => other,
    };
    let resolved_fqdn = own_name(&host_name, resolve).await;
    Ok(Facts {
        configured_fqdn,
        resolved_fqdn,
        cassandra: of_yaml_facts(yaml),
        storage_directory,
        left,
    })
}

fn host_name() -> Result<String, AgentError> {
    let said = nix::sys::utsname::uname().map_err(|errno| {
        AgentError::node_file("ask for", Path::new("the host name"))(errno.into())
    })?;
    Ok(said.nodename().to_string_lossy().into_owned())
}

fn naming(medusa_ini: &Path) -> Result<Option<NodeNaming>, AgentError> {
    if !medusa_ini.exists() {
        return Ok(None);
    }
    // The environment of a login over SSH is not that of the node's Medusa.
    NodeNaming::read(medusa_ini, &BTreeMap::new()).map(Some).map_err(|error| {
        let what = ErrorChain(&error).to_string();
        AgentError::wrong(FaultKind::Settings, what, "correct that file on this node")
    })
}

fn of_yaml_facts(yaml: &CassandraYaml) -> CassandraFacts {
    CassandraFacts {
        cluster_name: yaml.cluster_name.clone(),
        listen_address: yaml.listen_address.clone(),
        broadcast_address: yaml.broadcast_address.clone(),
        rpc_address: yaml.rpc_address.clone(),
        native_port: yaml.native_transport_port,
        native_port_ssl: yaml.native_transport_port_ssl,
    }
}

fn leftovers(yaml: &CassandraYaml, data: &[PathBuf]) -> Result<Leftovers, AgentError> {
    let mut left = Leftovers {
        restores: reports(yaml).map_err(|error| {
            AgentError::wrong(FaultKind::NodeFiles, ErrorChain(&error).to_string(), "")
        })?,
        fences: data.iter().map(|path| fence_path(path)).filter(|path| path.exists()).collect(),
        ..Leftovers::default()
    };
    let mut tags: BTreeMap<String, u64> = BTreeMap::new();
    for directory in data {
        let stat = fs::metadata(directory).map_err(AgentError::node_file("look at", directory))?;
        // 0700 of root's: what a restore does to it. Cassandra's own user could not enter.
        if stat.uid() == 0 && stat.mode() & 0o777 == 0o700 && is_others(directory)? {
            left.closed.push(directory.clone());
        }
        for table in directories_in(directory)?
            .iter()
            .flat_map(|keyspace| directories_in(keyspace))
            .flatten()
        {
            for snapshot in directories_in(&table.join("snapshots"))? {
                let tag = snapshot.file_name().and_then(|name| name.to_str()).unwrap_or_default();
                if tag.starts_with("medusa") {
                    *tags.entry(tag.to_owned()).or_default() += 1;
                }
            }
        }
    }
    left.snapshots = tags.into_iter().map(|(tag, tables)| LeftSnapshot { tag, tables }).collect();
    Ok(left)
}

/// Whether what lies in a directory belongs to another user than root.
fn is_others(directory: &Path) -> Result<bool, AgentError> {
    for path in directories_in(directory)? {
        let stat = fs::metadata(&path).map_err(AgentError::node_file("look at", &path))?;
        if stat.uid() != 0 {
            return Ok(true);
        }
    }
    Ok(false)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::agent::fixture::{Fixture, ORDERS};

    fn left_on(node: &Fixture) -> Leftovers {
        let yaml = format!("data_file_directories: [{}]\n", node.data().display());
        let yaml =
            CassandraYaml::parse(&yaml, Path::new("x"), Some(Path::new("/var/lib"))).unwrap();
        leftovers(&yaml, &[node.data()]).unwrap()
    }

    #[test]
    fn a_fence_that_was_left_is_seen_by_its_file_alone() {
        let node = Fixture::new();
        assert!(left_on(&node).fences.is_empty());
        let fence = fence_path(&node.data());
        fs::write(&fence, "a restore").unwrap();
        assert_eq!(left_on(&node).fences, [fence]);
    }

    #[test]
    fn snapshots_of_medusas_tags_are_seen_and_other_peoples_not() {
        let node = Fixture::new();
        node.sstable(ORDERS, "nb-1-big", "rows");
        node.snapshot("yesterday");
        let mine = node.data().join(ORDERS).join("snapshots/before-upgrade");
        fs::create_dir_all(mine).unwrap();
        let left = left_on(&node);
        let tag = "medusa-yesterday".to_owned();
        assert_eq!(left.snapshots, [LeftSnapshot { tag, tables: 1 }]);
        assert!(left.closed.is_empty() && left.fences.is_empty() && left.restores.is_empty());
    }

    #[test]
    fn a_data_directory_that_is_listed_twice_by_way_of_a_link_counts_once() {
        let node = Fixture::new();
        let link = node.root().join("link");
        std::os::unix::fs::symlink(node.data(), &link).unwrap();
        let text = format!(
            "data_file_directories: [{}, {}, /no/such]\n",
            node.data().display(),
            link.display()
        );
        let yaml =
            CassandraYaml::parse(&text, Path::new("x"), Some(Path::new("/var/lib"))).unwrap();
        assert_eq!(data_directories(&yaml).unwrap(), [node.data()]);
    }
}
