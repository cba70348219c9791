//! What can be typed; the only reader of the environment.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::PathBuf;

use clap::{Parser, Subcommand};
use clap_complete::Shell;

use super::help;

/// Cassandra backups in Medusa's store, as a file system.
#[derive(Debug, Parser)]
#[command(name = "medusafs", version, max_term_width = 100)]
#[command(after_help = help::ALL)]
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
    /// Keys of medusafs.ini that are stronger than the files; may be given more than once.
    #[arg(short, long = "options", value_name = "KEY=VALUE,…")]
    pub options: Vec<String>,
}

/// `medusafs mount`.
#[derive(Debug, Clone, clap::Args)]
pub struct MountArgs {
    /// Where the configuration is.
    #[command(flatten)]
    pub config: ConfigArgs,
    /// Only look at this store, without a cluster: the directory that holds the nodes' directories.
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
    /// The directory to mount on; root need not make it first.
    #[arg(value_name = "MOUNTPOINT")]
    pub mountpoint: PathBuf,
}

/// `medusafs unmount`.
#[derive(Debug, Clone, clap::Args)]
pub struct UnmountArgs {
    /// First cancel the backups and restores that run.
    #[arg(long)]
    pub now: bool,
    /// The directory on which it is mounted.
    #[arg(value_name = "MOUNTPOINT")]
    pub mountpoint: PathBuf,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Mount the backups as a directory; returns when it answers.
    #[command(after_help = help::MOUNT)]
    Mount(MountArgs),
    /// Take the mount away; backups and restores that run go on to their end.
    #[command(visible_alias = "umount", after_help = help::UNMOUNT)]
    Unmount(UnmountArgs),
    /// Look for everything that a backup and a restore need, on every node.
    #[command(after_help = help::CHECK)]
    Check {
        /// Where the configuration is.
        #[command(flatten)]
        config: ConfigArgs,
        /// Print JSON, for programs.
        #[arg(long)]
        json: bool,
    },
    /// Show the host keys of the nodes and record those that you accept.
    #[command(after_help = help::TRUST)]
    Trust {
        /// Where the configuration is.
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
    /// List the backups.
    #[command(after_help = help::LIST)]
    List {
        /// Where the configuration is.
        #[command(flatten)]
        config: ConfigArgs,
        /// Print JSON, for programs.
        #[arg(long)]
        json: bool,
    },
    /// Show one backup, or the newest one and what runs.
    #[command(after_help = help::STATUS)]
    Status {
        /// Where the configuration is.
        #[command(flatten)]
        config: ConfigArgs,
        /// Print JSON, for programs.
        #[arg(long)]
        json: bool,
        /// The backup.
        #[arg(value_name = "NAME")]
        name: Option<String>,
    },
    /// Wait until a backup or restore in a mount has ended, showing how far it is.
    #[command(after_help = help::WAIT)]
    Wait {
        /// A directory of the mount, such as /mnt/medusa/backups/NAME or /mnt/medusa/restore/NODE.
        #[arg(value_name = "PATH")]
        path: PathBuf,
    },
    /// Back up the cluster, or one node, and wait until it is done.
    #[command(after_help = help::BACKUP)]
    Backup {
        /// Where the configuration is.
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
    /// Restore a node from a backup, and wait until it is done.
    #[command(after_help = help::RESTORE)]
    Restore {
        /// Where the configuration is.
        #[command(flatten)]
        config: ConfigArgs,
        /// The node to restore.
        #[arg(long, value_name = "NODE")]
        node: String,
        /// Show what would be done, and do nothing.
        #[arg(long)]
        dry_run: bool,
        /// Accept the plan with this ID, if it is still the same.
        #[arg(long, value_name = "PLAN-ID")]
        accept: Option<String>,
        /// The backup.
        #[arg(value_name = "NAME")]
        name: String,
    },
    /// List the backups and restores that this host has run.
    #[command(after_help = help::JOBS)]
    Jobs {
        /// Where the configuration is.
        #[command(flatten)]
        config: ConfigArgs,
        /// Print JSON, for programs.
        #[arg(long)]
        json: bool,
    },
    /// Stop a job and take back what it has done so far.
    #[command(after_help = help::CANCEL)]
    Cancel {
        /// Where the configuration is.
        #[command(flatten)]
        config: ConfigArgs,
        /// The job's id, as `medusafs jobs` lists it.
        #[arg(value_name = "JOB")]
        job: String,
    },
    /// Go on with a job that was broken off.
    #[command(after_help = help::RESUME)]
    Resume {
        /// Where the configuration is.
        #[command(flatten)]
        config: ConfigArgs,
        /// The job's id, as `medusafs jobs` lists it.
        #[arg(value_name = "JOB")]
        job: String,
    },
    /// Put back the data that a node had before a restore.
    #[command(after_help = help::UNDO)]
    Undo {
        /// Where the configuration is.
        #[command(flatten)]
        config: ConfigArgs,
        /// The job's id, as `medusafs jobs` lists it.
        #[arg(value_name = "JOB")]
        job: String,
    },
    /// Print what makes a shell complete commands and options.
    #[command(after_help = help::COMPLETIONS)]
    Completions {
        /// Which shell.
        #[arg(value_name = "SHELL")]
        shell: Shell,
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
///
/// `HOME` is always there if the user is in `/etc/passwd`: systemd and mount(8) at boot set none,
/// and what is mounted then must find the keys and known hosts that `medusafs trust` found.
pub fn environment() -> BTreeMap<String, String> {
    let mut environment: BTreeMap<String, String> = std::env::vars_os()
        .filter_map(|(key, value)| Some((key.into_string().ok()?, value.into_string().ok()?)))
        .collect();
    if environment.get("HOME").is_none_or(String::is_empty) {
        let passwd = std::fs::read_to_string("/etc/passwd").unwrap_or_default();
        let home = home_in(&passwd, nix::unistd::geteuid().as_raw());
        environment.extend(home.map(|home| ("HOME".to_owned(), home)));
    }
    environment
}

/// The home of a user by the text of an `/etc/passwd`: `NAME:x:UID:GID:WORDS:HOME:SHELL`.
fn home_in(etc_passwd: &str, uid: u32) -> Option<String> {
    let uid = uid.to_string();
    etc_passwd.lines().find_map(|line| {
        let mut columns = line.split(':').skip(2);
        let home = (columns.next() == Some(&uid)).then(|| columns.nth(2))??;
        home.starts_with('/').then(|| home.to_owned())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_home_is_found_by_the_user_s_number() {
        let passwd = "root:x:0:0:root:/root:/bin/sh\nbroken\nno:x:7:7::none:/x\n\
                      a:x:10:0::/home/a:/bin/sh\n";
        assert_eq!(home_in(passwd, 0).as_deref(), Some("/root"));
        assert_eq!(home_in(passwd, 10).as_deref(), Some("/home/a"));
        assert_eq!(home_in(passwd, 7), None);
        assert_eq!(home_in(passwd, 1), None);
    }
}
