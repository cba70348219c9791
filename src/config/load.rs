//! From files, options and environment to settings.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crate::model::Fqdn;

use super::ini::IniFile;
use super::medusa_keys::MEDUSA_KEYS;
use super::origin::Place;
use super::resolver::{Resolver, Setting};
use super::unknown::{look_through_medusa, look_through_own};
use super::{
    CassandraSettings, ChecksSettings, ConfigError, MedusafsSettings, NodeSettings, SshSettings,
    StorageSettings, Warning,
};
use super::{of_medusa, of_medusafs};

/// Medusa's own default.
pub const DEFAULT_MEDUSA_INI: &str = "/etc/medusa/medusa.ini";

/// Where settings come from. It holds the environment, so it is not to be printed or stored.
#[derive(Clone, Default)]
pub struct Sources {
    /// Medusa's file as it was named; `medusafs.ini` lies beside it.
    pub medusa_ini: PathBuf,
    /// Options of mount and of the command line, each without its `-o`; a later one is stronger.
    /// [`super::split_options`] makes them from `-o`'s text.
    pub options: Vec<(String, String)>,
    /// The environment: `MEDUSA_*`, the old `CQL_*`, `USER` and `HOME` are looked at.
    pub environment: BTreeMap<String, String>,
}

/// Everything that is set, resolved and checked; it never changes.
#[derive(Debug, Clone, PartialEq)]
pub struct Config {
    /// Where the backups are.
    pub storage: StorageSettings,
    /// The Cassandra of each node.
    pub cassandra: CassandraSettings,
    /// How nodes are reached.
    pub ssh: SshSettings,
    /// How a restore is judged.
    pub checks: ChecksSettings,
    /// medusafs's own settings.
    pub medusafs: MedusafsSettings,
    /// What is different for single nodes.
    pub nodes: BTreeMap<Fqdn, NodeSettings>,
    /// What is odd and stops nothing; to be shown once.
    pub warnings: Vec<Warning>,
    /// Every setting with its origin, by section and key.
    pub(super) settled: BTreeMap<(String, String), Setting>,
    /// The files that were read.
    pub(super) files: Vec<PathBuf>,
}

impl Config {
    /// Reads Medusa's file, `medusafs.ini` beside it if there is one, and what overrides them.
    ///
    /// Reads no other file but the two of each `*_k8s_secrets_path`, and changes nothing.
    ///
    /// # Errors
    ///
    /// All are wrong configuration, exit 2: a file that cannot be read, a line that is not in
    /// Medusa's dialect, a value that is wrong (all of them are told at once), a storage provider
    /// or mode of Medusa's that medusafs has not.
    pub fn load(sources: &Sources) -> Result<Self, ConfigError> {
        let Some(medusa) = IniFile::read(&sources.medusa_ini)? else {
            return Err(ConfigError::Unreadable {
                file: sources.medusa_ini.clone(),
                what:
                    "there is no such file; name Medusa's with -c, or look at a store alone with \
                       --store DIR"
                        .to_owned(),
                source: None,
            });
        };
        let own = IniFile::read(&sources.medusa_ini.with_file_name("medusafs.ini"))?;
        Self::from_files(&medusa, own.as_ref(), sources)
    }

    /// The settings for looking at a store that lies in `directory`, without a cluster and without
    /// Medusa's file: everything else has its default, and `contact_points` is empty.
    ///
    /// Beside medusafs's own options, `prefix` is taken: a store with a prefix is named without it.
    ///
    /// # Errors
    ///
    /// A directory that is not named from the root, or is the root; a wrong option.
    pub fn for_store(
        directory: &Path,
        options: &[(String, String)],
        environment: &BTreeMap<String, String>,
    ) -> Result<Self, ConfigError> {
        let wrong = |what: &str| ConfigError::Unreadable {
            file: directory.to_owned(),
            what: what.to_owned(),
            source: None,
        };
        let named = directory.parent().zip(directory.file_name());
        let (base_path, bucket) = named
            .filter(|(base_path, _)| base_path.is_absolute())
            .ok_or_else(|| wrong("a store is a directory below the root, named from there"))?;
        let bucket = bucket.to_str().ok_or_else(|| wrong("its name is not UTF-8"))?;
        let base_path = base_path.to_str().ok_or_else(|| wrong("its path is not UTF-8"))?;
        let mut resolver = Resolver::new(environment);
        let (prefix, own): (Vec<_>, Vec<_>) =
            options.iter().cloned().partition(|(name, _)| name == "prefix");
        for key in MEDUSA_KEYS {
            resolver.settle_medusa(key, None);
        }
        let place = || Place::Option("store".to_owned());
        resolver.settle_text("storage", "storage_provider", "local", place());
        resolver.settle_text("storage", "bucket_name", bucket, place());
        resolver.settle_text("storage", "base_path", base_path, place());
        if let Some((name, text)) = prefix.last() {
            resolver.settle_text("storage", "prefix", text, Place::Option(name.clone()));
        }
        let mut config = Self::settled(resolver, None, None, &own)?;
        config.medusafs.contact_points.get_or_insert_default();
        Ok(config)
    }

    pub(super) fn from_files(
        medusa: &IniFile,
        own: Option<&IniFile>,
        sources: &Sources,
    ) -> Result<Self, ConfigError> {
        let mut resolver = Resolver::new(&sources.environment);
        look_through_medusa(&mut resolver, medusa);
        for key in MEDUSA_KEYS {
            resolver.settle_medusa(key, Some(medusa));
        }
        if let Some(own) = own {
            look_through_own(&mut resolver, own);
        }
        Self::settled(resolver, Some(medusa), own, &sources.options)
    }

    fn settled(
        mut resolver: Resolver<'_>,
        medusa: Option<&IniFile>,
        own: Option<&IniFile>,
        options: &[(String, String)],
    ) -> Result<Self, ConfigError> {
        let whole = medusa.map_or(Place::Default, IniFile::whole);
        let storage = of_medusa::storage(&mut resolver, &whole);
        if let Some(problem) = resolver.unsupported.take() {
            return Err(ConfigError::NotSupported(problem));
        }
        let cassandra = of_medusa::cassandra(&mut resolver);
        let ssh = of_medusa::ssh(&mut resolver);
        let checks = of_medusa::checks(&mut resolver);
        let nodes = of_medusafs::nodes(&mut resolver, own, options);
        let medusafs = of_medusafs::medusafs(&mut resolver, own, options);
        let Resolver { settled, mut problems, mut warnings, .. } = resolver;
        problems.sort_by(|one, other| one.place.cmp(&other.place));
        warnings.sort_by(|one, other| one.place.cmp(&other.place));
        if !problems.is_empty() {
            return Err(ConfigError::Wrong(problems));
        }
        let files = medusa.into_iter().chain(own).map(|file| file.file.as_ref().clone()).collect();
        Ok(Self { storage, cassandra, ssh, checks, medusafs, nodes, warnings, settled, files })
    }

    /// The store's directory on this host: `base_path/bucket_name`. A prefix is below it, and part
    /// of every object's key.
    pub fn store_root(&self) -> PathBuf {
        below(&self.storage.base_path, &self.storage.bucket_name)
    }

    /// The store's directory as this node sees it.
    pub fn store_root_on(&self, node: &Fqdn) -> PathBuf {
        let base_path = self
            .nodes
            .get(node)
            .and_then(|node| node.store.as_ref())
            .or(self.medusafs.node_store.as_ref())
            .unwrap_or(&self.storage.base_path);
        below(base_path, &self.storage.bucket_name)
    }

    /// Where a node's SSH server answers, its broadcast address being `address`.
    pub fn ssh_address(&self, node: &Fqdn, address: &str) -> (String, u16) {
        let ssh = self.nodes.get(node).and_then(|node| node.ssh.as_ref());
        let host = ssh.map_or(address, |ssh| ssh.host.as_str());
        (host.to_owned(), ssh.and_then(|ssh| ssh.port).unwrap_or(self.ssh.port))
    }

    /// Whether there is a cluster to work on. Without contact points this host itself is asked, if
    /// a Cassandra is set up on it: this looks whether `[cassandra] config_file` is here.
    pub fn has_cluster(&self) -> bool {
        match &self.medusafs.contact_points {
            Some(points) => !points.is_empty(),
            None => self.cassandra.config_file.exists(),
        }
    }

    /// The files that were read.
    pub fn files(&self) -> &[PathBuf] {
        &self.files
    }
}

/// An empty bucket is `base_path` itself, in Medusa too.
fn below(base_path: &Path, bucket: &str) -> PathBuf {
    if bucket.is_empty() { base_path.to_owned() } else { base_path.join(bucket) }
}
