//! Is it the share that the other nodes see, and can it hold a backup? Found out by trying.

use std::io::Write;
use std::path::Path;

use super::error::AgentError;
use super::mount::Mount;
use super::place::or_empty;
use super::protocol::{Fault, FaultKind, ShareFacts};
use crate::medusa::Layout;
use crate::model::{ObjectKey, UnixSeconds};
use crate::store::{Kind, Store, StoreError};

/// Names that Cassandra has side by side: case counts in quoted tables, and SAI has a `+`.
const TWO_NAMES: [&str; 2] = ["Probe+A.db", "probe+a.db"];

/// A node of many tables has more files than this.
const FEW_FILES: u64 = 50_000;

/// Where a nonce lies.
pub(super) fn nonce_key(layout: &Layout, nonce: &str) -> Result<ObjectKey, AgentError> {
    let is_hex = nonce.bytes().all(|byte| byte.is_ascii_hexdigit());
    if !is_hex || !(16..=128).contains(&nonce.len()) {
        let what = "a nonce has 16 to 128 hex digits";
        return Err(AgentError::wrong(FaultKind::OutOfOrder, what, ""));
    }
    Ok(layout.own()?.join(&format!("nonces/{nonce}"))?)
}

/// Leaves a nonce. Tells the time by the share's clock.
pub(super) fn write_nonce(
    store: &Store,
    layout: &Layout,
    temporary: &ObjectKey,
    nonce: &str,
) -> Result<UnixSeconds, AgentError> {
    let key = nonce_key(layout, nonce)?;
    let stat = store.put_replacing(temporary, &key, nonce.as_bytes())?;
    Ok(stat.modified.into())
}

/// Which of the nodes' nonces another host sees on the store that it has. Blocks for as long as the
/// share takes.
pub fn nonces_on(store: &Store, layout: &Layout, nonces: &[String]) -> Result<Vec<String>, Fault> {
    Ok(read_nonces(store, layout, nonces)?)
}

/// Those of `nonces` that are there with their content, in their order.
pub(super) fn read_nonces(
    store: &Store,
    layout: &Layout,
    nonces: &[String],
) -> Result<Vec<String>, AgentError> {
    let keys = nonces.iter().map(|nonce| Ok((nonce, nonce_key(layout, nonce)?)));
    let keys = keys.collect::<Result<Vec<_>, AgentError>>()?;
    // NFS may remember for a minute that a name was not there; opening the directory asks anew.
    if let Some(directory) = keys.first().and_then(|(_, key)| key.parent()) {
        or_empty(store.names(Some(&directory)))?;
    }
    let mut found = Vec::new();
    for (nonce, key) in keys {
        match store.read(&key, 128) {
            Ok(content) if content == nonce.as_bytes() => found.push(nonce.clone()),
            Ok(_) => {}
            Err(error) if matches!(error.kind, Kind::NotFound | Kind::TooLarge) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(found)
}

/// Does with a small file whatever a backup does with files, and tells what the share is.
pub(super) fn probe(store: &Store, temporary: &ObjectKey) -> Result<ShareFacts, AgentError> {
    let directory = temporary.join("probe")?;
    store.remove_tree(&directory)?;
    let probed = try_files(store, temporary, &directory);
    let removed = store.remove_tree(&directory);
    let has_exact_names = probed?;
    removed?;
    let root = store.path();
    let mount = mount_of(root)?;
    let space = store.space()?;
    Ok(ShareFacts {
        root: root.to_owned(),
        is_network: mount.is_network(),
        is_soft: mount.is_soft(),
        file_system: mount.file_system,
        source: mount.source,
        mounted_on: mount.on,
        available_bytes: space.available,
        available_files: (space.files > 0).then_some(space.files_free),
        has_exact_names,
    })
}

impl ShareFacts {
    /// What should be known before backups are kept there: each in words, and what to do about it.
    pub fn misgivings(&self) -> Vec<(String, &'static str)> {
        let mut found = Vec::new();
        let (root, source) = (self.root.display(), &self.source);
        if self.is_soft {
            found.push((
                format!(
                    "{source}, where {root} lies, is mounted `soft`: a write is given up when \
                         the server is slow, and the backup fails"
                ),
                "mount it `hard`, the default",
            ));
        }
        if let Some(files) = self.available_files.filter(|files| *files < FEW_FILES) {
            found.push((
                format!("the file system of {root} has room for {files} more files"),
                "free inodes there, or make it with more: every file of an SSTable is a file of a \
                 backup",
            ));
        }
        if !self.has_exact_names {
            found.push((
                format!("names that differ in case only are one file at {root}"),
                "use a share that keeps case: Cassandra has such names side by side, and their \
                 backup fails",
            ));
        }
        found
    }
}

/// Tells whether two names that differ in case only are two files.
fn try_files(
    store: &Store,
    temporary: &ObjectKey,
    directory: &ObjectKey,
) -> Result<bool, AgentError> {
    let [first, second] = TWO_NAMES.map(|name| directory.join(name));
    let (first, second) = (first?, second?);
    let wrong = || StoreError::about("write", first.as_str());
    let mut draft = store.draft(temporary)?;
    draft.write_all(first.file_name().as_bytes()).map_err(wrong())?;
    draft.publish_new(&first)?;
    let has_exact_names = match store.put_new(temporary, &second, second.file_name().as_bytes()) {
        Ok(_) => true,
        Err(error) if error.is_exists() => false,
        Err(error) => return Err(error.into()),
    };
    let read = store.read(&first, 64)?;
    if read != first.file_name().as_bytes() {
        let what = format!("{} does not hold what was just written there", store.path().display());
        let remedy = "the share loses or mixes up writes: do not keep backups there";
        return Err(AgentError::wrong(FaultKind::Damaged, what, remedy));
    }
    store.remove(&first)?;
    Ok(has_exact_names)
}

fn mount_of(root: &Path) -> Result<Mount, AgentError> {
    let mountinfo = Path::new("/proc/self/mountinfo");
    let text =
        std::fs::read_to_string(mountinfo).map_err(AgentError::node_file("read", mountinfo))?;
    let real = root.canonicalize().map_err(AgentError::node_file("resolve", root))?;
    Mount::of(&text, &real).ok_or_else(|| {
        let what = format!("{} lies in no mount that this node knows", root.display());
        AgentError::wrong(FaultKind::ShareRefuses, what, "see `findmnt -T` of that path")
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::agent::fixture::Fixture;

    #[test]
    fn a_nonce_is_found_where_it_was_left_and_nowhere_else() {
        let (here, elsewhere) = (Fixture::new(), Fixture::new());
        let (mine, theirs) = ("a".repeat(32), "b".repeat(32));
        let nonces = [mine.clone(), theirs];
        let place = here.place("x");
        write_nonce(&place.store, &place.layout, &place.temporary, &mine).unwrap();
        let found = |fixture: &Fixture| {
            let place = fixture.place("x");
            read_nonces(&place.store, &place.layout, &nonces).unwrap()
        };
        assert_eq!(found(&here), [mine]);
        assert!(found(&elsewhere).is_empty());
        assert!(nonce_key(&place.layout, "../../../etc/passwd").is_err());
    }

    #[test]
    fn a_probe_leaves_nothing_and_tells_of_a_local_disk() {
        let fixture = Fixture::new();
        let place = fixture.place("x");
        let facts = probe(&place.store, &place.temporary).unwrap();
        assert!(facts.has_exact_names && !facts.is_soft);
        assert!(facts.available_bytes > 0 && !facts.is_network);
        assert!(fixture.stored().is_empty(), "{:?}", fixture.stored());
    }

    #[test]
    fn what_is_wrong_with_a_share_is_said_and_nothing_of_a_good_one() {
        let fixture = Fixture::new();
        let place = fixture.place("x");
        let facts = probe(&place.store, &place.temporary).unwrap();
        let good = ShareFacts { available_files: Some(FEW_FILES), ..facts };
        assert_eq!(good.misgivings(), []);
        let unknown = ShareFacts { available_files: None, ..good.clone() };
        assert_eq!(unknown.misgivings(), []);
        let is_soft = ShareFacts { is_soft: true, ..good.clone() };
        let full = ShareFacts { available_files: Some(7), ..good.clone() };
        let blind = ShareFacts { has_exact_names: false, ..good };
        for (facts, words) in [(is_soft, "`soft`"), (full, "7 more files"), (blind, "case only")] {
            let [(what, remedy)] = &facts.misgivings()[..] else { panic!("{facts:?}") };
            assert!(what.contains(words) && !remedy.is_empty(), "{what}");
        }
    }
}
