//! Names of the files in `index/backup_index/<name>/`.

use crate::model::{Fqdn, UnixSeconds};

use super::Mode;

/// What a file of the index says of one node backup.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum IndexFile {
    /// `tokenmap_<fqdn>.json`: its presence means that this node has this backup.
    Tokenmap,
    /// `schema_<fqdn>.cql`.
    Schema,
    /// `manifest_<fqdn>.json`: written at the end.
    Manifest,
    /// `started_<fqdn>_<epoch>.timestamp`; its content is the epoch.
    Started(UnixSeconds),
    /// `finished_<fqdn>_<epoch>.timestamp`; its content is the epoch. Written last.
    Finished(UnixSeconds),
    /// `differential_<fqdn>`, or `incremental_<fqdn>` as Medusa before 0.2 wrote it.
    Differential,
}

impl IndexFile {
    /// The name under which this stands for `fqdn`.
    pub fn file_name(self, fqdn: &Fqdn) -> String {
        match self {
            Self::Tokenmap => format!("tokenmap_{fqdn}.json"),
            Self::Schema => format!("schema_{fqdn}.cql"),
            Self::Manifest => format!("manifest_{fqdn}.json"),
            Self::Started(time) => format!("started_{fqdn}_{}.timestamp", time.0),
            Self::Finished(time) => format!("finished_{fqdn}_{}.timestamp", time.0),
            Self::Differential => format!("{}_{fqdn}", Mode::Differential),
        }
    }
}

/// A file of the index, read from its name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IndexEntry {
    /// The node.
    pub fqdn: Fqdn,
    /// What the file says.
    pub file: IndexFile,
}

impl IndexEntry {
    /// Reads a file's name; none if Medusa writes no such file, like `.nfs…` or a stray one.
    ///
    /// Medusa takes `.json`, `.cql`, `.txt` and `.timestamp` out of a node's name wherever they
    /// stand; this takes only the ending, so that `db1.cqlhost.net` stays what it is.
    pub fn parse(name: &str) -> Option<Self> {
        let (keyword, rest) = name.split_once('_')?;
        let (fqdn, file) = match keyword {
            "tokenmap" => (rest.strip_suffix(".json")?, IndexFile::Tokenmap),
            "schema" => (rest.strip_suffix(".cql")?, IndexFile::Schema),
            "manifest" => (rest.strip_suffix(".json")?, IndexFile::Manifest),
            "differential" | "incremental" => (rest, IndexFile::Differential),
            "started" => {
                let (fqdn, time) = timestamp(rest)?;
                (fqdn, IndexFile::Started(time))
            }
            "finished" => {
                let (fqdn, time) = timestamp(rest)?;
                (fqdn, IndexFile::Finished(time))
            }
            _ => return None,
        };
        Some(Self { fqdn: Fqdn::parse(fqdn).ok()?, file })
    }
}

fn timestamp(rest: &str) -> Option<(&str, UnixSeconds)> {
    let (fqdn, digits) = rest.strip_suffix(".timestamp")?.rsplit_once('_')?;
    if !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    Some((fqdn, UnixSeconds(digits.parse().ok()?)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use test_case::test_case;

    #[test]
    fn the_marker_of_old_releases_is_understood() {
        let entry = IndexEntry::parse("incremental_node1").unwrap();
        assert_eq!(entry.file, IndexFile::Differential);
    }

    #[test_case(".nfs000000001234"; "removed while open")]
    #[test_case("tmpfile"; "stray")]
    #[test_case("started_n_.timestamp"; "no digits")]
    #[test_case("started_n_-5.timestamp"; "a sign")]
    #[test_case("finished_n_99999999999999999999.timestamp"; "too large a time")]
    #[test_case("tokenmap_.json"; "no node")]
    #[test_case("tokenmap_a/b.json"; "a path")]
    #[test_case("manifest_n.json.tmp"; "another ending")]
    fn a_name_that_medusa_does_not_write_is_none(name: &str) {
        assert_eq!(IndexEntry::parse(name), None);
    }

    proptest! {
        #[test]
        fn a_name_parses_back_to_what_it_was_built_from(
            fqdn in "[a-z0-9_.:-]{1,30}".prop_filter("no dots", |n| n != "." && n != ".."),
            time in 0..i64::MAX,
        ) {
            let fqdn = Fqdn::parse(&fqdn).unwrap();
            for file in [
                IndexFile::Tokenmap, IndexFile::Schema, IndexFile::Manifest, IndexFile::Differential,
                IndexFile::Started(UnixSeconds(time)), IndexFile::Finished(UnixSeconds(time)),
            ] {
                let wanted = IndexEntry { fqdn: fqdn.clone(), file };
                prop_assert_eq!(IndexEntry::parse(&file.file_name(&fqdn)), Some(wanted));
            }
        }

        #[test]
        fn any_name_is_read_without_harm(name: String) {
            drop(IndexEntry::parse(&name));
        }
    }
}
