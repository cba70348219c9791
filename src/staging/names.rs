//! What a name can mean before any manifest is known.

use super::snapshot::METADATA;

/// Directories in which tools keep files until they are whole (rsync `--delay-updates`,
/// `--partial-dir`).
const WORKING_DIRECTORIES: [&str; 2] = [".~tmp~", ".rsync-partial"];

/// What a last name says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Naming<'a> {
    /// Its own name.
    Plain,
    /// A temporary name that will become this one, if the tool keeps to its habit.
    TemporaryFor(&'a str),
    /// A temporary name that does not tell for what.
    Temporary,
}

/// Reads one file name as the tools of the field make them. No file of a manifest begins with a
/// dot, so that a dot is always temporary.
pub(super) fn naming(name: &str) -> Naming<'_> {
    // rsync: `.NAME.XXXXXX`, six letters or digits.
    if let Some((stem, suffix)) = name.strip_prefix('.').and_then(|rest| rest.rsplit_once('.'))
        && suffix.len() == 6
        && suffix.bytes().all(|byte| byte.is_ascii_alphanumeric())
        && !stem.is_empty()
        && stem != "goutputstream"
    {
        return Naming::TemporaryFor(stem);
    }
    for suffix in [".part", ".partial", ".filepart", ".tmp"] {
        if let Some(stem) = name.strip_suffix(suffix)
            && !stem.is_empty()
        {
            return Naming::TemporaryFor(stem.strip_prefix('.').unwrap_or(stem));
        }
    }
    let coreutils = name.len() == 8 && name.starts_with("Cu") && !name.contains('.');
    if name.starts_with('.') || name.ends_with('~') || name.starts_with('#') || coreutils {
        return Naming::Temporary;
    }
    Naming::Plain
}

/// A path below `restore/NODE` with what is temporary in it taken off.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Meant {
    /// What it will be called once the tool is done; none if that cannot be told.
    pub(super) path: Option<String>,
    /// It is not there yet.
    pub(super) temporary: bool,
}

/// Reads the names of a path, from the set's top or its root.
pub(super) fn meant(names: &[&str]) -> Meant {
    let Some((last, directories)) = names.split_last() else {
        return Meant { path: None, temporary: false };
    };
    let kept: Vec<&str> =
        directories.iter().copied().filter(|name| !WORKING_DIRECTORIES.contains(name)).collect();
    let in_work = kept.len() != directories.len();
    let (file, temporary) = match naming(last) {
        Naming::Plain => (Some(*last), in_work),
        Naming::TemporaryFor(stem) => (Some(stem), true),
        Naming::Temporary => (None, true),
    };
    let path = file.map(|file| {
        let mut path = kept.join("/");
        if !path.is_empty() {
            path.push('/');
        }
        path.push_str(file);
        path
    });
    Meant { path, temporary }
}

/// Where the snapshot's own directory is, by the shape of a file's path below `restore/NODE`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Depth {
    /// At the top: `KEYSPACE/TABLE/FILE`.
    Top,
    /// One directory down: `ANY/KEYSPACE/TABLE/FILE`.
    Below,
}

/// Tells the depth from a path without temporary names; none if no snapshot has such a path.
pub(super) fn depth(path: &str) -> Option<Depth> {
    let names: Vec<&str> = path.split('/').collect();
    let metadata = names.last().is_some_and(|name| METADATA.contains(name));
    match names.as_slice() {
        [_] if metadata => Some(Depth::Top),
        [_, _] if metadata => Some(Depth::Below),
        [_, _, _] if !metadata => Some(Depth::Top),
        // A table's directory never begins with a dot, an index's always does.
        [_, _, index, _] if index.starts_with('.') => Some(Depth::Top),
        [_, _, _, _] if !metadata => Some(Depth::Below),
        [_, _, _, index, _] if index.starts_with('.') => Some(Depth::Below),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use test_case::test_case;

    #[test_case("nb-1-big-Data.db", Naming::Plain; "an SSTable")]
    #[test_case(".nb-1-big-Data.db.Fep9i3", Naming::TemporaryFor("nb-1-big-Data.db"); "rsync")]
    #[test_case(".manifest.json.a1B2c3", Naming::TemporaryFor("manifest.json"); "rsync, metadata")]
    #[test_case(".goutputstream-R3X1T1", Naming::Temporary; "gio")]
    #[test_case("nb-1-big-Data.db~", Naming::Temporary; "an editor's backup")]
    #[test_case("nb-1-big-Data.db.part", Naming::TemporaryFor("nb-1-big-Data.db"); "a file manager")]
    #[test_case(".schema.cql.swp", Naming::Temporary; "vim")]
    #[test_case("CuXy12Ab", Naming::Temporary; "coreutils replacing a link")]
    fn a_tool_s_habit_is_recognised(name: &str, expected: Naming<'_>) {
        assert_eq!(naming(name), expected);
    }

    #[test_case("manifest.json", Some(Depth::Top); "a metadata file")]
    #[test_case("nightly/manifest.json", Some(Depth::Below); "one below")]
    #[test_case("shop/orders-1/nb-1-big-Data.db", Some(Depth::Top); "a data file")]
    #[test_case("shop/orders-1/.by_day/nb-1-big-Data.db", Some(Depth::Top); "an index")]
    #[test_case("node1/shop/orders-1/nb-1-big-Data.db", Some(Depth::Below); "a data file one below")]
    #[test_case("node1/shop/orders-1/.by_day/nb-1-big-Data.db", Some(Depth::Below); "an index one below")]
    #[test_case("notes.txt", None; "something else")]
    #[test_case("nightly/node1/manifest.json", None; "a whole backup in one node's place")]
    #[test_case("nightly/node1/shop/orders-1/nb-1-big-Data.db", None; "a data file of such a one")]
    fn the_shape_of_a_path_tells_where_the_snapshot_stands(path: &str, expected: Option<Depth>) {
        assert_eq!(depth(path), expected);
    }

    #[test]
    fn a_file_in_a_working_directory_is_meant_for_the_one_above() {
        let meant = meant(&["shop", "orders-1", ".~tmp~", "nb-1-big-Data.db"]);
        assert_eq!(meant.path.as_deref(), Some("shop/orders-1/nb-1-big-Data.db"));
        assert!(meant.temporary);
    }
}
