//! From what was typed to the configuration and what stands on it.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::catalog::{Catalog, CatalogError, CatalogSettings, Depth};
use crate::cluster::{KnownNodes, Memory, Reach, stored_names};
use crate::config::{Config, Sources, check_key_file, split_options};
use crate::jobs::{AskedBy, ConfigFrom, Jobs};
use crate::medusa::Layout;
use crate::model::{BackupName, JobId, SystemClock};
use crate::store::Store;
use crate::tasks::Scope;

use super::args::environment;
use super::share::{in_time, open_store};
use super::{ConfigArgs, Exit, Failure, Output};

/// The configuration, and where a job finds it again.
#[derive(Debug)]
pub(super) struct Settings {
    pub(super) config: Config,
    pub(super) from: ConfigFrom,
}

impl Settings {
    /// Reads the configuration; remarks go to standard error.
    ///
    /// # Errors
    ///
    /// Exit 2, with file, line and what would be right.
    pub(super) fn load(args: &ConfigArgs, output: Output) -> Result<Self, Failure> {
        let mut options = Vec::new();
        for text in &args.options {
            options.extend(split_options(text).map_err(|why| Failure::new(Exit::Usage, why))?);
        }
        // A job that reads it later stands somewhere else.
        let medusa_ini =
            std::path::absolute(&args.config).map_err(|error| Failure::of(Exit::Usage, &error))?;
        let sources = Sources { medusa_ini, options, environment: environment() };
        let config = Config::load(&sources).map_err(|error| Failure::of(Exit::Usage, &error))?;
        for warning in &config.warnings {
            output.remark(warning);
        }
        let from = ConfigFrom { medusa_ini: sources.medusa_ini, options: sources.options };
        Ok(Self { config, from })
    }

    /// The jobs of this host.
    pub(super) fn jobs(&self) -> Result<Jobs, Failure> {
        Ok(Jobs::open(&self.config.medusafs.state_dir, program()?, Arc::new(SystemClock)))
    }

    /// The store, as this host sees it.
    ///
    /// # Errors
    ///
    /// Exit 3 if the share is not there, exit 2 if what is there is no store.
    pub(super) fn store(&self) -> Result<Store, Failure> {
        open_store(&self.config)
    }

    /// Sees to it that there is a cluster, for commands that work on one.
    ///
    /// # Errors
    ///
    /// Exit 2 where the configuration names none.
    pub(super) fn must_have_cluster(&self) -> Result<(), Failure> {
        if self.config.has_cluster() {
            return Ok(());
        }
        Err(Failure::new(
            Exit::Usage,
            "no contact point is configured, so there is no cluster to ask",
        )
        .hint("name a node in contact_points of medusafs.ini"))
    }

    /// Which backups are in the store, and of which nodes, read just now. No manifest is read.
    ///
    /// # Errors
    ///
    /// Exit 3 if the share does not answer.
    pub(super) fn index(&self) -> Result<Catalog, Failure> {
        let layout = self.layout()?;
        let settings =
            CatalogSettings { memory: self.config.medusafs.memory, ..CatalogSettings::default() };
        let catalog = Catalog::new(self.store()?, layout, settings);
        self.asked(&catalog, Catalog::refresh)?;
        self.asked(&catalog, Catalog::find_unindexed)?;
        Ok(catalog)
    }

    /// The same, with what every backup holds and whether it is whole, as far as `depth` wants.
    pub(super) fn catalog(&self, depth: Depth) -> Result<Catalog, Failure> {
        let catalog = self.index()?;
        while self.deepen(&catalog, depth)? {}
        Ok(catalog)
    }

    /// Looks into one backup more, the newest first. True if others are left, as far as `depth`
    /// wants.
    pub(super) fn deepen(&self, catalog: &Catalog, depth: Depth) -> Result<bool, Failure> {
        // One at a time: a share that hangs is told from many manifests.
        self.asked(catalog, move |catalog| {
            let deepened = catalog.deepen(depth, 1);
            deepened.error.map_or(Ok(deepened.left > 0), Err)
        })
    }

    /// The same, with what one backup holds and whether it is whole, if there is such a one.
    pub(super) fn examined(&self, name: &BackupName) -> Result<Catalog, Failure> {
        let catalog = self.index()?;
        if catalog.backups().get(name).is_some() {
            let name = name.clone();
            self.asked(&catalog, move |catalog| catalog.examine(&name))?;
        }
        Ok(catalog)
    }

    /// What the share remembers of nodes.
    ///
    /// # Errors
    ///
    /// Exit 3 if the share does not answer, or what it answers cannot be understood.
    pub(super) fn memory(&self, store: &Store, layout: &Layout) -> Result<Memory, Failure> {
        let (of, layout) = (store.clone(), layout.clone());
        let read = move || (KnownNodes::read(&of, &layout), stored_names(&of, &layout));
        let (known, stored) = in_time(self.config.medusafs.deadline, store.path(), read)?;
        let known = known.map_err(|error| Failure::of(Exit::Unreachable, &error))?;
        Ok(Memory { known, stored, this_host: host_name() })
    }

    /// Asks the share, for `deadline` at most.
    fn asked<T: Send + 'static>(
        &self,
        catalog: &Catalog,
        question: impl FnOnce(&Catalog) -> Result<T, CatalogError> + Send + 'static,
    ) -> Result<T, Failure> {
        let (catalog, share) = (catalog.clone(), self.config.store_root());
        in_time(self.config.medusafs.deadline, &share, move || question(&catalog))?
            .map_err(|error| Failure::of(Exit::Unreachable, &error))
    }

    /// Where things lie in the store.
    pub(super) fn layout(&self) -> Result<Layout, Failure> {
        Layout::new(self.config.storage.prefix.as_deref())
            .map_err(|error| Failure::of(Exit::Usage, &error))
    }

    /// Sees to it that jobs can log in to nodes, before one is begun.
    ///
    /// # Errors
    ///
    /// Exit 2: the key file is missing, encrypted, or can be used by others.
    pub(super) fn check_key(&self) -> Result<(), Failure> {
        check_key(&self.config)
    }
}

/// Whether the configured key can be used without a person. What is read of it is not kept.
pub(super) fn check_key(config: &Config) -> Result<(), Failure> {
    config
        .ssh
        .key_file
        .as_ref()
        .map_or(Ok(()), |key| check_key_file(key).map_err(|error| Failure::of(Exit::Usage, &error)))
}

/// This program's own path, which a job's process and an agent are started from.
pub(super) fn program() -> Result<PathBuf, Failure> {
    // After an upgrade in place the link would name the removed file.
    std::env::current_exe()
        .map(|path| {
            let text = path.to_string_lossy().into_owned();
            text.strip_suffix(" (deleted)").map_or(path, |path| Path::new(path).to_owned())
        })
        .map_err(|error| Failure::of(Exit::Unwished, &error))
}

/// The one who typed.
pub(super) fn asked_by() -> AskedBy {
    AskedBy {
        uid: nix::unistd::getuid().as_raw(),
        pid: std::process::id(),
        program: "medusafs".to_owned(),
    }
}

/// This host's name.
pub(super) fn host_name() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}

/// The way to nodes, for commands that look at them themselves.
pub(super) fn reach(settings: &Settings, job: JobId, scope: &Scope) -> Result<Reach, Failure> {
    let path = program()?;
    let bytes = std::fs::read(&path).map_err(|error| Failure::of(Exit::Unwished, &error))?;
    let environment = environment();
    Ok(Reach {
        config: Arc::new(settings.config.clone()),
        program: bytes.into(),
        job,
        scope: scope.clone(),
        home: environment.get("HOME").map(PathBuf::from),
        agent_socket: environment.get("SSH_AUTH_SOCK").map(PathBuf::from),
        storage_directories: Arc::default(),
    })
}
