//! What is done about a backup whose process died.
//!
//! It is not gone on with: its snapshots are of a moment that has passed, and its agents have
//! already cleared what they could when their lines broke. It is brought to an end: snapshots that
//! are left are cleared, unpublished bytes withdrawn, and `error` says what there is.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::agent::protocol::{Publish, SnapshotTag};
use crate::cluster::{AgentLine, Deaf};
use crate::medusa::{IndexEntry, IndexFile, Layout, MetaFile, Mode};
use crate::model::{BackupName, Fqdn, JobState, ObjectKey, Phase, UnixSeconds};
use crate::store::Store;

use super::publish::PUBLISH_WITHIN;
use super::run::withdraw;
use super::snapshot::clear;
use super::{BackupRequest, Context, JobError, Record, survey};

/// The most that a schema or a token map has.
const META_LIMIT: u64 = 256 << 20;

/// Brings a dead backup to its end.
pub(in crate::jobs) async fn recover(
    cx: &Context,
    request: &BackupRequest,
) -> Result<(JobState, String), JobError> {
    let journaled = Journaled::read(cx.journal.lock().records());
    let phase = cx.board.status().phase;
    let mut found = vec![format!("the process that did it died in its phase {phase}")];
    if journaled.snapshots.is_empty() {
        found.push("nothing had been begun on any node".to_owned());
        return Err(died(cx, &found));
    }
    cx.board.moves_to(JobState::Running, Phase::Clear);
    let lease =
        survey::take_cluster_lease(cx, &format!("recovery of backup {}", request.name)).await?;
    let tag = SnapshotTag::of(&request.name).map_err(|error| JobError::Host(error.to_string()))?;
    let reached = survey::reach_known(cx, &journaled.snapshots).await;
    let agents: BTreeMap<Fqdn, AgentLine> = reached
        .iter()
        .filter_map(|(name, node)| Some((name.clone(), node.as_ref().ok()?.agent.clone())))
        .collect();
    let left = clear(cx, &agents, &tag).await;
    let published = finish_publishing(cx, request, &journaled, &agents, &mut found).await?;
    withdraw(cx, &agents, &request.name, &published).await;
    lease.give_back(cx).await;
    let unreachable = reached.iter().filter_map(|(name, node)| Some((name, node.as_ref().err()?)));
    for (name, why) in unreachable
        .map(|(name, why)| (name, why.as_str()))
        .chain(left.iter().map(|(name, why)| (name, why.as_str())))
    {
        found.push(snapshot_left(cx, request, name, why));
    }
    if published == journaled.snapshots {
        cx.board.set_nodes(published.iter().cloned());
        return Ok((JobState::Complete, found.split_off(1).join("\n")));
    }
    if published.is_empty() {
        found.push("nothing of it is in the index; the name can be used again".to_owned());
    } else {
        let names: Vec<_> = published.iter().map(Fqdn::as_str).collect();
        found.push(format!(
            "published before that, and whole: {}; `mkdir backups/{}/NODE` adds each other node",
            names.join(", "),
            request.name
        ));
    }
    if published.is_empty() {
        Err(died(cx, &found))
    } else {
        Ok((JobState::Incomplete, found.join("\n")))
    }
}

/// What is said of a snapshot that could not be cleared.
pub(super) fn snapshot_left(
    cx: &Context,
    request: &BackupRequest,
    node: &Fqdn,
    why: &str,
) -> String {
    format!(
        "{node} may still have the snapshot medusa-{} ({why}): `medusafs resume {}` clears it when \
         the node answers",
        request.name,
        cx.board.folder().id()
    )
}

/// Finds out what became of the nodes that were told to publish, and has those finish that had
/// written their manifest and not yet all of the index. Returns all nodes that are published.
pub(super) async fn finish_publishing(
    cx: &Context,
    request: &BackupRequest,
    journaled: &Journaled,
    agents: &BTreeMap<Fqdn, AgentLine>,
    found: &mut Vec<String>,
) -> Result<BTreeSet<Fqdn>, JobError> {
    let mut published = journaled.published.clone();
    for node in journaled.publishing.difference(&journaled.published) {
        let (store, layout) = (cx.store.clone(), cx.layout.clone());
        let (name, of) = (request.name.clone(), node.clone());
        let look = move || look_in_store(&store, &layout, &name, &of);
        match cx.on_share("for the share to tell what was published", look).await?? {
            InStore::Nothing => {}
            InStore::Indexed => {
                cx.write(Record::Published { node: node.clone() })?;
                published.insert(node.clone());
            }
            InStore::NotIndexed(again) => {
                published.insert(node.clone());
                let asked = match agents.get(node) {
                    Some(agent) => agent
                        .ask(*again, Some(PUBLISH_WITHIN), Arc::new(Deaf))
                        .await
                        .map_err(|error| error.in_words()),
                    None => Err("the node does not answer".to_owned()),
                };
                match asked {
                    Ok(_) => cx.write(Record::Published { node: node.clone() })?,
                    Err(why) => found.push(format!(
                        "{node} is whole on the share, and not in the index yet ({why}): `medusafs \
                         resume {}` or `medusa build-indices` adds it",
                        cx.board.folder().id()
                    )),
                }
            }
        }
    }
    Ok(published)
}

/// What the store has of a node that was told to publish.
#[derive(Debug)]
enum InStore {
    /// No manifest, so nothing counts, and the node takes back the rest.
    Nothing,
    /// All of it.
    Indexed,
    /// The manifest, but not all of the index: the same request again mends that.
    NotIndexed(Box<Publish>),
}

/// Blocks for as long as the share takes.
fn look_in_store(
    store: &Store,
    layout: &Layout,
    backup: &BackupName,
    node: &Fqdn,
) -> Result<InStore, JobError> {
    let meta = |file| layout.meta_file(node, backup, file);
    let text = |key: &ObjectKey| -> Result<String, JobError> {
        Ok(String::from_utf8_lossy(&store.read(key, META_LIMIT)?).into_owned())
    };
    let is_there = |key: &ObjectKey| match store.stat(key) {
        Err(error) if error.is_not_found() => Ok(false),
        stat => stat.map(|_| true),
    };
    if !is_there(&meta(MetaFile::Manifest)?)? {
        return Ok(InStore::Nothing);
    }
    let index = match store.names(Some(&layout.backup_index_of(backup)?)) {
        Err(error) if error.is_not_found() => Vec::new(),
        names => names?,
    };
    // Medusa's order: the time of the end is the last file of the index.
    let is_finished = index
        .iter()
        .filter_map(|entry| IndexEntry::parse(&entry.name))
        .any(|entry| entry.fqdn == *node && matches!(entry.file, IndexFile::Finished(_)));
    if is_finished {
        return Ok(InStore::Indexed);
    }
    let schema = meta(MetaFile::Schema)?;
    Ok(InStore::NotIndexed(Box::new(Publish {
        backup: backup.clone(),
        node: node.clone(),
        mode: Mode::of_marker(is_there(&layout.mode_marker(node, backup)?)?),
        started: UnixSeconds::from(store.stat(&schema)?.modified),
        tokenmap: text(&meta(MetaFile::Tokenmap)?)?,
        schema: text(&schema)?,
        server_version: text(&meta(MetaFile::ServerVersion)?)?,
    })))
}

fn died(cx: &Context, found: &[String]) -> JobError {
    JobError::Died { job: cx.board.folder().id().clone(), found: found.join("\n") }
}

/// What the journal tells.
pub(super) struct Journaled {
    /// Nodes that may have a snapshot of ours, or had.
    snapshots: BTreeSet<Fqdn>,
    /// Nodes whose backup is in the index.
    published: BTreeSet<Fqdn>,
    /// Nodes that were told to publish. Whether they did, only the store knows.
    publishing: BTreeSet<Fqdn>,
}

impl Journaled {
    pub(super) fn read(records: &[Record]) -> Self {
        let mut this = Self {
            snapshots: BTreeSet::new(),
            published: BTreeSet::new(),
            publishing: BTreeSet::new(),
        };
        for record in records {
            match record {
                Record::SnapshotBegins { node, .. } => {
                    this.snapshots.insert(node.clone());
                }
                Record::Published { node } => {
                    this.published.insert(node.clone());
                }
                Record::PublishBegins { node } => {
                    this.publishing.insert(node.clone());
                }
                Record::Taken { .. }
                | Record::SnapshotCleared { .. }
                | Record::StageBegins { .. }
                | Record::SwapBegins { .. }
                | Record::Swapped { .. }
                | Record::Undone { .. } => {}
            }
        }
        this
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    use super::*;

    fn look(root: &Path) -> InStore {
        let store = Store::open(root).unwrap();
        let (name, node) = (BackupName::for_new("one").unwrap(), Fqdn::parse("n1").unwrap());
        look_in_store(&store, &Layout::new(None).unwrap(), &name, &node).unwrap()
    }

    fn put(root: &Path, key: &str, text: &str) {
        let path = root.join(key);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    #[test]
    fn whether_a_node_was_published_is_read_from_the_store() {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path();
        assert!(matches!(look(root), InStore::Nothing));
        for (key, text) in [
            ("n1/one/meta/schema.cql", "CREATE"),
            ("n1/one/meta/tokenmap.json", "{}"),
            ("n1/one/meta/server_version.json", "{\"v\": 1}"),
            ("n1/one/meta/differential", "differential"),
            ("index/backup_index/one/tokenmap_n1.json", "{}"),
            ("index/backup_index/one/finished_n2_1795000000.timestamp", "1795000000"),
        ] {
            put(root, key, text);
        }
        assert!(matches!(look(root), InStore::Nothing), "nothing counts before the manifest");
        put(root, "n1/one/meta/manifest.json", "[]");
        let InStore::NotIndexed(again) = look(root) else { panic!("{:?}", look(root)) };
        assert_eq!((again.schema.as_str(), again.tokenmap.as_str()), ("CREATE", "{}"));
        assert_eq!((again.mode, again.server_version.as_str()), (Mode::Differential, "{\"v\": 1}"));
        put(root, "index/backup_index/one/finished_n1_1795000000.timestamp", "1795000000");
        assert!(matches!(look(root), InStore::Indexed));
    }
}
