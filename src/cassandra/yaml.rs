//! cassandra.yaml: where a node keeps what, and how it is reached.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use thiserror::Error;
use yaml_rust2::{Yaml, YamlLoader};

/// A longer file is no configuration.
const SIZE_LIMIT: u64 = 4 << 20;

/// What a backup or a restore needs of cassandra.yaml, with Cassandra's defaults.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CassandraYaml {
    /// `cluster_name`.
    pub cluster_name: String,
    /// `data_file_directories`, at least one.
    pub data_file_directories: Vec<PathBuf>,
    /// `local_system_data_file_directory` (4.0): where `system` and the like are, if elsewhere.
    pub local_system_data_file_directory: Option<PathBuf>,
    /// `commitlog_directory`.
    pub commitlog_directory: PathBuf,
    /// `saved_caches_directory`.
    pub saved_caches_directory: PathBuf,
    /// `hints_directory`.
    pub hints_directory: PathBuf,
    /// `cdc_raw_directory`; none if it is not named, not used, and not known where it would be.
    pub cdc_raw_directory: Option<PathBuf>,
    /// `listen_address`; none means the host's own name, or `listen_interface`.
    pub listen_address: Option<String>,
    /// `broadcast_address`; none means `listen_address`.
    pub broadcast_address: Option<String>,
    /// `rpc_address`; none means the host's own name, or `rpc_interface`.
    pub rpc_address: Option<String>,
    /// `broadcast_rpc_address`; none means `rpc_address`.
    pub broadcast_rpc_address: Option<String>,
    /// `native_transport_port`.
    pub native_transport_port: u16,
    /// `native_transport_port_ssl`: a second port, for TLS.
    pub native_transport_port_ssl: Option<u16>,
}

/// Why a cassandra.yaml is of no use.
#[derive(Debug, Error)]
pub enum YamlError {
    /// It cannot be read.
    #[error("cannot read {}; correct [cassandra] config_file, or let us read it", .path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// It is not YAML, or not a map.
    #[error("{} is no cassandra.yaml: {what}", .path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// Where and what.
        what: String,
    },
    /// A value is not of the kind that it must be.
    #[error("{}: {key} must be {expected}", .path.display())]
    Value {
        /// The file.
        path: PathBuf,
        /// The key.
        key: String,
        /// What would be right.
        expected: &'static str,
    },
    /// A directory is left to Cassandra's storage directory, and that is not known.
    #[error(
        "{} does not name {key}, and where Cassandra has it is known only while it runs; name it \
         there, or start Cassandra", .path.display()
    )]
    Unplaced {
        /// The file.
        path: PathBuf,
        /// The key.
        key: &'static str,
    },
}

impl CassandraYaml {
    /// Reads a cassandra.yaml. Directories that it does not name are below `storage_directory`
    /// (Java's `cassandra.storagedir`), as Cassandra has them.
    ///
    /// # Errors
    ///
    /// [`YamlError::Unplaced`] if that is wanted and not known: one that is guessed may be of
    /// another Cassandra.
    pub fn load(path: &Path, storage_directory: Option<&Path>) -> Result<Self, YamlError> {
        let unreadable = |source| YamlError::Unreadable { path: path.to_owned(), source };
        let mut text = String::new();
        let file = File::open(path).map_err(unreadable)?;
        file.take(SIZE_LIMIT + 1).read_to_string(&mut text).map_err(unreadable)?;
        if text.len() as u64 > SIZE_LIMIT {
            return Err(unreadable(std::io::Error::other("it has more than 4 MiB")));
        }
        Self::parse(&text, path, storage_directory)
    }

    /// The same from its text; `path` is for messages.
    pub fn parse(
        text: &str,
        path: &Path,
        storage_directory: Option<&Path>,
    ) -> Result<Self, YamlError> {
        let malformed = |what: String| YamlError::Malformed { path: path.to_owned(), what };
        let documents =
            YamlLoader::load_from_str(text).map_err(|error| malformed(error.to_string()))?;
        let root = documents.first().filter(|root| root.is_hash());
        let root = root.ok_or_else(|| malformed("it has no keys".to_owned()))?;
        let at = Keys { path, root };
        let below = |key, name: &str| match storage_directory {
            Some(storage) => Ok(storage.join(name)),
            None => Err(YamlError::Unplaced { path: path.to_owned(), key }),
        };
        let directory = |key, default: &str| {
            at.text(key)?.map_or_else(|| below(key, default), |named| Ok(PathBuf::from(named)))
        };
        let mut data: Vec<_> =
            at.texts("data_file_directories")?.into_iter().map(PathBuf::from).collect();
        if data.is_empty() {
            data.push(below("data_file_directories", "data")?);
        }
        let cdc_raw_directory = match directory("cdc_raw_directory", "cdc_raw") {
            Err(YamlError::Unplaced { .. }) if !at.flag("cdc_enabled")? => None,
            placed => Some(placed?),
        };
        Ok(Self {
            cluster_name: at.text("cluster_name")?.unwrap_or_else(|| "Test Cluster".to_owned()),
            data_file_directories: data,
            local_system_data_file_directory: at
                .text("local_system_data_file_directory")?
                .map(PathBuf::from),
            commitlog_directory: directory("commitlog_directory", "commitlog")?,
            saved_caches_directory: directory("saved_caches_directory", "saved_caches")?,
            hints_directory: directory("hints_directory", "hints")?,
            cdc_raw_directory,
            listen_address: at.text("listen_address")?,
            broadcast_address: at.text("broadcast_address")?,
            rpc_address: at.text("rpc_address")?,
            broadcast_rpc_address: at.text("broadcast_rpc_address")?,
            native_transport_port: at.number("native_transport_port")?.unwrap_or(9042),
            native_transport_port_ssl: at.number("native_transport_port_ssl")?,
        })
    }

    /// Every directory that has data of tables, each once: `data_file_directories`, then
    /// `local_system_data_file_directory` if it is another. A snapshot is the union of all.
    pub fn all_data_directories(&self) -> Vec<PathBuf> {
        let mut all = self.data_file_directories.clone();
        let local = self.local_system_data_file_directory.iter();
        all.extend(local.filter(|local| !self.data_file_directories.contains(local)).cloned());
        all
    }
}

/// Keys of one map.
struct Keys<'a> {
    path: &'a Path,
    root: &'a Yaml,
}

impl Keys<'_> {
    fn wrong(&self, key: &str, expected: &'static str) -> YamlError {
        YamlError::Value { path: self.path.to_owned(), key: key.to_owned(), expected }
    }

    /// A text; none if it is absent, empty or null. Numbers count as the text that they are.
    fn text(&self, key: &str) -> Result<Option<String>, YamlError> {
        scalar(&self.root[key]).map_err(|()| self.wrong(key, "one text, not a list or a map"))
    }

    /// A list of texts, or one text: both are seen, and Cassandra takes both.
    fn texts(&self, key: &str) -> Result<Vec<String>, YamlError> {
        let value = &self.root[key];
        let wrong = |()| self.wrong(key, "a list of paths");
        match value {
            Yaml::Array(items) => {
                let items = items.iter().map(scalar).collect::<Result<Vec<_>, ()>>();
                Ok(items.map_err(wrong)?.into_iter().flatten().collect())
            }
            one => Ok(commas(&scalar(one).map_err(wrong)?.unwrap_or_default())),
        }
    }

    fn number<T: std::str::FromStr>(&self, key: &str) -> Result<Option<T>, YamlError> {
        self.text(key)?
            .map(|text| text.parse().map_err(|_nan| self.wrong(key, "a number that can be one")))
            .transpose()
    }

    fn flag(&self, key: &str) -> Result<bool, YamlError> {
        match self.text(key)?.as_deref() {
            None => Ok(false),
            Some(text) if text.eq_ignore_ascii_case("true") => Ok(true),
            Some(text) if text.eq_ignore_ascii_case("false") => Ok(false),
            Some(_) => Err(self.wrong(key, "true or false")),
        }
    }
}

fn scalar(value: &Yaml) -> Result<Option<String>, ()> {
    match value {
        Yaml::String(text) | Yaml::Real(text) => {
            Ok(Some(text.trim().to_owned()).filter(|text| !text.is_empty()))
        }
        Yaml::Integer(number) => Ok(Some(number.to_string())),
        Yaml::Boolean(truth) => Ok(Some(truth.to_string())),
        Yaml::Null | Yaml::BadValue => Ok(None),
        Yaml::Array(_) | Yaml::Hash(_) | Yaml::Alias(_) => Err(()),
    }
}

fn commas(text: &str) -> Vec<String> {
    text.split(',').map(str::trim).filter(|part| !part.is_empty()).map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use test_case::test_case;

    fn parse(text: &str) -> Result<CassandraYaml, YamlError> {
        let storage = Path::new("/var/lib/cassandra");
        CassandraYaml::parse(text, Path::new("cassandra.yaml"), Some(storage))
    }

    #[test]
    fn a_directory_that_nobody_can_tell_is_refused_if_it_is_used() {
        let parse = |text: &str| CassandraYaml::parse(text, Path::new("cassandra.yaml"), None);
        let named = "commitlog_directory: /c\nsaved_caches_directory: /s\nhints_directory: /h\n";
        let whole = format!("data_file_directories: [/d]\n{named}");
        assert_eq!(parse(&whole).unwrap().cdc_raw_directory, None);
        for (text, key) in [
            (named.to_owned(), "data_file_directories"),
            (format!("{whole}cdc_enabled: true\n"), "cdc_raw_directory"),
            ("data_file_directories: [/d]\n".to_owned(), "commitlog_directory"),
        ] {
            let error = parse(&text).unwrap_err();
            assert!(matches!(&error, YamlError::Unplaced { key: lacks, .. } if *lacks == key));
            assert!(error.to_string().contains("start Cassandra"), "{error}");
        }
    }

    #[test]
    fn what_is_not_said_is_as_cassandra_has_it() {
        let yaml = parse("cluster_name: 'lab'").unwrap();
        assert_eq!(yaml.data_file_directories, [Path::new("/var/lib/cassandra/data")]);
        assert_eq!(yaml.commitlog_directory, Path::new("/var/lib/cassandra/commitlog"));
        assert_eq!(yaml.cdc_raw_directory, Some("/var/lib/cassandra/cdc_raw".into()));
        assert_eq!((yaml.native_transport_port, yaml.native_transport_port_ssl), (9042, None));
    }

    #[test_case("data_file_directories: /a", &["/a"]; "one text")]
    #[test_case("data_file_directories: [/a, /b]", &["/a", "/b"]; "flow list")]
    #[test_case("data_file_directories:\n    - /a\n    - /b", &["/a", "/b"]; "block list")]
    #[test_case("data_file_directories: []\nnum_tokens: 4", &["/var/lib/cassandra/data"]; "empty list")]
    #[test_case("data_file_directories:\nnum_tokens: 4", &["/var/lib/cassandra/data"]; "null")]
    fn data_directories_are_a_list_or_a_text(text: &str, expected: &[&str]) {
        let yaml = parse(text).unwrap();
        let expected: Vec<_> = expected.iter().map(PathBuf::from).collect();
        assert_eq!(yaml.data_file_directories, expected);
    }

    #[test]
    fn a_usual_file_is_read_whole() {
        let yaml = parse(
            "# comment\ncluster_name: 'lab'\nnum_tokens: 4\n\
             partitioner: org.apache.cassandra.dht.Murmur3Partitioner\n\
             data_file_directories: [/d]\nlocal_system_data_file_directory: /s\n\
             hints_directory: /h\nseed_provider:\n  - class_name: X\n    parameters:\n      \
             - seeds: \"198.51.100.11:7000, 198.51.100.12\"\nlisten_address: 198.51.100.11\n\
             native_transport_port: \"9142\"\nclient_encryption_options:\n  enabled: true\n",
        )
        .unwrap();
        assert_eq!((yaml.cluster_name.as_str(), yaml.native_transport_port), ("lab", 9142));
        assert_eq!(yaml.listen_address.as_deref(), Some("198.51.100.11"));
        assert_eq!(yaml.all_data_directories(), [Path::new("/d"), Path::new("/s")]);
    }

    #[test_case(""; "empty")]
    #[test_case("just text"; "text")]
    #[test_case("a: [b"; "broken")]
    #[test_case("cluster_name: [a]"; "list for a text")]
    #[test_case("native_transport_port: much"; "text for a number")]
    #[test_case("native_transport_port: 70000"; "number too large")]
    #[test_case("data_file_directories: {a: b}"; "map for a list")]
    fn a_file_that_means_nothing_is_refused(text: &str) {
        assert!(parse(text).is_err());
    }
}
