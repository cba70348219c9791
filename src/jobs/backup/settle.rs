//! What became of the nodes that were told to publish: the store tells it, whoever died.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::agent::protocol::Publish;
use crate::cluster::{AgentLine, Deaf};
use crate::medusa::{IndexEntry, IndexFile, Layout, MetaFile, Mode};
use crate::model::{BackupName, Fqdn, ObjectKey, UnixSeconds};
use crate::store::Store;

use super::agents::why;
use super::publish::PUBLISH_WITHIN;
use super::{Context, JobError, Record};

/// The most that a schema or a token map has.
const META_LIMIT: u64 = 256 << 20;

/// Nodes that were told to publish, as far as it could be found out.
#[derive(Debug, Default)]
pub(super) struct Settled {
    /// Their part is whole on the share, and no more taken back.
    pub(super) published: BTreeSet<Fqdn>,
    /// The share did not tell.
    pub(super) unknown: BTreeSet<Fqdn>,
}

impl Settled {
    /// Those of which nothing may be taken back.
    pub(super) fn keep(&self) -> BTreeSet<Fqdn> {
        self.published.union(&self.unknown).cloned().collect()
    }
}

/// Finds out what became of the nodes that were told to publish, and has those finish that had
/// written their manifest and not yet all of the index. What could not be done is added to
/// `found`.
pub(super) async fn settle(
    cx: &Context,
    backup: &BackupName,
    agents: &BTreeMap<Fqdn, AgentLine>,
    found: &mut Vec<String>,
) -> Settled {
    let job = cx.board.folder().id().clone();
    let (told, published) = told_to_publish(cx.journal.lock().records());
    let open: Vec<Fqdn> = told.difference(&published).cloned().collect();
    let mut settled = Settled { published, unknown: BTreeSet::new() };
    for node in open {
        let (store, layout) = (cx.store.clone(), cx.layout.clone());
        let (name, of) = (backup.clone(), node.clone());
        let look = move || look_in_store(&store, &layout, &name, &of);
        let looked = cx.on_share("for the share to tell what was published", look).await;
        let finished = match looked.and_then(|looked| looked) {
            Ok(InStore::Nothing) => continue,
            Ok(InStore::Indexed) => Ok(()),
            Ok(InStore::NotIndexed(again)) => match agents.get(&node) {
                Some(agent) => agent
                    .ask(*again, Some(PUBLISH_WITHIN), Arc::new(Deaf))
                    .await
                    .map(drop)
                    .map_err(|error| why(&error)),
                None => Err("the node does not answer".to_owned()),
            },
            Err(error) => {
                found.push(format!("{node}: what it published is not known: {}", error.in_words()));
                settled.unknown.insert(node);
                continue;
            }
        };
        settled.published.insert(node.clone());
        match finished {
            Ok(()) => {
                if let Err(error) = cx.write(Record::Published { node: node.clone() }) {
                    cx.board.log(&format!("{node}: published; that is not written down: {error}"));
                }
            }
            Err(why) => found.push(format!(
                "{node} is whole on the share, and perhaps not in all of the index yet ({why}): \
                 `medusafs resume {job}` or `medusa build-indices` adds it"
            )),
        }
    }
    settled
}

/// Nodes that were told to publish, and those that are known to have.
fn told_to_publish(records: &[Record]) -> (BTreeSet<Fqdn>, BTreeSet<Fqdn>) {
    let (mut told, mut published) = (BTreeSet::new(), BTreeSet::new());
    for record in records {
        match record {
            Record::PublishBegins { node } => {
                told.insert(node.clone());
            }
            Record::Published { node } => {
                published.insert(node.clone());
            }
            Record::Withdrawn { node } => {
                told.remove(node);
            }
            _ => {}
        }
    }
    (told, published)
}

/// What the store has of a node that was told to publish.
#[derive(Debug)]
enum InStore {
    /// No manifest, so nothing counts, and the node takes back the rest.
    Nothing,
    /// All of it.
    Indexed,
    /// The manifest, but perhaps not all of the index: the same request again mends that.
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
    // Medusa's order: the time of the end is the last file of the index, and what is newest of all
    // comes after. The record of the upload goes when that is written too.
    let is_finished = index
        .iter()
        .filter_map(|entry| IndexEntry::parse(&entry.name))
        .any(|entry| entry.fqdn == *node && matches!(entry.file, IndexFile::Finished(_)));
    if is_finished && !is_there(&layout.upload_record(node, backup)?)? {
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
        put(root, ".medusafs/uploads/n1/one.json", "[]");
        assert!(matches!(look(root), InStore::NotIndexed(_)), "what is newest comes last");
        fs::remove_file(root.join(".medusafs/uploads/n1/one.json")).unwrap();
        assert!(matches!(look(root), InStore::Indexed));
    }
}
