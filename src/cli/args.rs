//! What can be typed; the only reader of the environment.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::PathBuf;

use clap::{Parser, Subcommand};

/// Cassandra backups in Medusa's store, as a file system.
#[derive(Debug, Parser)]
#[command(name = "medusafs", version, max_term_width = 100)]
#[command(
    after_help = "Exit codes: 0 the wished end, 1 not that, 2 wrong usage or configuration, \
                        3 could not reach what is needed, 4 busy."
)]
pub struct Args {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// Where the configuration is.
#[derive(Debug, Clone, clap::Args)]
pub struct ConfigArgs {
    /// Medusa's configuration; medusafs.ini is looked for beside it.
    #[arg(short, long = "config", value_name = "INI", default_value = "/etc/medusa/medusa.ini")]
    pub config: PathBuf,
    /// Settings that stand above the files, as for a mount: KEY=VALUE,…
    #[arg(short, long = "options", value_name = "KEY=VALUE,…")]
    pub options: Vec<String>,
}

/// `medusafs mount`.
#[derive(Debug, Clone, clap::Args)]
pub struct MountArgs {
    /// Which configuration.
    #[command(flatten)]
    pub config: ConfigArgs,
    /// Only look at this store (the bucket's directory, with its prefix), without a cluster.
    #[arg(long, value_name = "DIR", conflicts_with = "config")]
    pub store: Option<PathBuf>,
    /// Stay in the foreground and log to standard error.
    #[arg(short, long)]
    pub foreground: bool,
    /// Say on standard output that the tree answers, then leave the terminal: typed by ourselves.
    #[arg(long, hide = true, conflicts_with = "foreground")]
    pub ready: bool,
    /// What the list of mounts shows, as it was typed first: typed by ourselves.
    #[arg(long, hide = true, value_name = "TEXT")]
    pub source: Option<OsString>,
    /// Where the tree is to appear; root need not make it first.
    #[arg(value_name = "MOUNTPOINT")]
    pub mountpoint: PathBuf,
}

/// `medusafs unmount`.
#[derive(Debug, Clone, clap::Args)]
pub struct UnmountArgs {
    /// Cancel what runs first.
    #[arg(long)]
    pub now: bool,
    /// Where the tree is.
    #[arg(value_name = "MOUNTPOINT")]
    pub mountpoint: PathBuf,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Mounts the tree; returns when it answers.
    Mount(MountArgs),
    /// Takes the tree away; jobs go on to their end.
    #[command(visible_alias = "umount")]
    Unmount(UnmountArgs),
    /// Looks for everything that a backup and a restore need, on every node.
    Check {
        /// Which configuration.
        #[command(flatten)]
        config: ConfigArgs,
        /// For programs.
        #[arg(long)]
        json: bool,
    },
    /// Shows the host keys of the nodes and, when told so, records them.
    Trust {
        /// Which configuration.
        #[command(flatten)]
        config: ConfigArgs,
        /// Show who had this name and which node claims it now, instead of host keys.
        #[arg(long, value_name = "NAME", conflicts_with = "hosts")]
        node: Option<String>,
        /// Record without asking: host keys only where the network is trusted.
        #[arg(long)]
        yes: bool,
        /// More hosts than the configuration names, as HOST or HOST:PORT.
        #[arg(value_name = "HOST")]
        hosts: Vec<String>,
    },
    /// Lists the backups.
    List {
        /// Which configuration.
        #[command(flatten)]
        config: ConfigArgs,
        /// For programs.
        #[arg(long)]
        json: bool,
    },
    /// Shows a backup, or the newest and what runs.
    Status {
        /// Which configuration.
        #[command(flatten)]
        config: ConfigArgs,
        /// For programs.
        #[arg(long)]
        json: bool,
        /// The backup.
        #[arg(value_name = "NAME")]
        name: Option<String>,
    },
    /// Waits until a backup or a restore in the tree has ended, showing how far it is.
    Wait {
        /// A directory of the tree: backups/NAME, restore/NODE.
        #[arg(value_name = "PATH")]
        path: PathBuf,
    },
    /// Backs up the cluster, and waits for it.
    Backup {
        /// Which configuration.
        #[command(flatten)]
        config: ConfigArgs,
        /// Copy every file, whatever earlier backups hold.
        #[arg(long)]
        full: bool,
        /// Only this node.
        #[arg(long, value_name = "NODE")]
        node: Option<String>,
        /// The backup's name; the time in UTC as YYYYmmddHHMM if none is given.
        #[arg(value_name = "NAME")]
        name: Option<String>,
    },
    /// Restores a node from a backup, and waits for it.
    Restore {
        /// Which configuration.
        #[command(flatten)]
        config: ConfigArgs,
        /// The node to restore.
        #[arg(long, value_name = "NODE")]
        node: String,
        /// Show what would be done, and do nothing.
        #[arg(long)]
        dry_run: bool,
        /// Accept this plan, if it is still the same.
        #[arg(long, value_name = "PLAN-ID")]
        accept: Option<String>,
        /// The backup.
        #[arg(value_name = "NAME")]
        name: String,
    },
    /// Lists the jobs of this host.
    Jobs {
        /// Which configuration.
        #[command(flatten)]
        config: ConfigArgs,
        /// For programs.
        #[arg(long)]
        json: bool,
    },
    /// Takes back a job that has not changed anything yet.
    Cancel {
        /// Which configuration.
        #[command(flatten)]
        config: ConfigArgs,
        /// The job.
        #[arg(value_name = "JOB")]
        job: String,
    },
    /// Goes on with a job that was broken off.
    Resume {
        /// Which configuration.
        #[command(flatten)]
        config: ConfigArgs,
        /// The job.
        #[arg(value_name = "JOB")]
        job: String,
    },
    /// Puts back what a restore has set aside.
    Undo {
        /// Which configuration.
        #[command(flatten)]
        config: ConfigArgs,
        /// The job.
        #[arg(value_name = "JOB")]
        job: String,
    },
    /// Does a job: started by those who ask for one.
    #[command(hide = true)]
    Job {
        /// The job's folder.
        #[arg(value_name = "FOLDER")]
        folder: PathBuf,
    },
    /// Works on a Cassandra node: started over SSH.
    #[command(hide = true)]
    Agent,
}

/// The environment, whole: Medusa's settings may stand in it.
pub fn environment() -> BTreeMap<String, String> {
    std::env::vars_os()
        .filter_map(|(key, value)| Some((key.into_string().ok()?, value.into_string().ok()?)))
        .collect()
}
