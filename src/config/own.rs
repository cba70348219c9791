//! What `medusafs.ini` and the mount options say, typed and defaulted.

use std::collections::BTreeSet;
use std::fmt;
use std::net::Ipv6Addr;
use std::path::PathBuf;
use std::time::Duration;

use crate::model::ByteSize;

macro_rules! choice {
    ($(#[$doc:meta])* $name:ident { $($(#[$variant_doc:meta])* $variant:ident = $word:literal,)+ }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
        #[serde(rename_all = "lowercase")]
        pub enum $name {
            $($(#[$variant_doc])* $variant,)+
        }

        impl $name {
            /// The words of the setting.
            pub(super) const WORDS: &'static [&'static str] = &[$($word),+];

            /// The word of the setting.
            pub fn as_str(self) -> &'static str {
                match self {
                    $(Self::$variant => $word,)+
                }
            }

            /// Takes a word of the setting.
            pub(super) fn from_word(word: &str) -> Option<Self> {
                match word {
                    $($word => Some(Self::$variant),)+
                    _ => None,
                }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.as_str())
            }
        }
    };
}

choice! {
    /// `mode`: what a backup without a chosen mode is.
    BackupMode {
        /// Unchanged files are shared with earlier backups.
        Differential = "differential",
        /// Every file is stored again.
        Full = "full",
    }
}
choice! {
    /// `nodes_required`: which nodes a cluster's backup begins with.
    NodesRequired {
        /// Every node of the ring must be Up and Normal.
        All = "all",
        /// Nodes that are down are left out; the backup ends incomplete.
        Up = "up",
    }
}
choice! {
    /// `share`: whether every node must see the same store.
    ShareRequired {
        /// It must; a ring of one needs none.
        Required = "required",
        /// Each node writes to a path of its own.
        Local = "local",
    }
}
choice! {
    /// `restore`: what a whole set in `restore/` does.
    RestorePolicy {
        /// The plain case begins by itself, everything else is held.
        Auto = "auto",
        /// Every set is held until its plan is accepted.
        Manual = "manual",
        /// `restore/` and `import/` take nothing.
        Off = "off",
    }
}
choice! {
    /// `backup`: what begins a backup.
    BackupPolicy {
        /// `mkdir`, and the command line.
        Mkdir = "mkdir",
        /// The command line alone.
        Command = "command",
        /// Nothing.
        Off = "off",
    }
}
choice! {
    /// `passthrough`: whether the kernel may read stored files without asking.
    Passthrough {
        /// Where the kernel can.
        Auto = "auto",
        /// Never.
        Off = "off",
    }
}

/// A host and, if said, a port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostPort {
    /// A name or an address, without brackets.
    pub host: String,
    /// The port.
    pub port: Option<u16>,
}

impl HostPort {
    /// Reads `HOST`, `HOST:PORT`, `ADDRESS` or `[HOST]:PORT`, as known_hosts names hosts too.
    ///
    /// # Errors
    ///
    /// In words: what would be right.
    pub fn parse(text: &str) -> Result<Self, String> {
        let wrong = || format!("{text:?} is no HOST, HOST:PORT, ADDRESS or [ADDRESS]:PORT");
        let (host, port) = match text.strip_prefix('[') {
            Some(rest) => match rest.split_once(']').ok_or_else(wrong)? {
                (host, "") => (host, None),
                (host, port) => (host, Some(port.strip_prefix(':').ok_or_else(wrong)?)),
            },
            // More than one colon: an address of IPv6 alone.
            None if text.matches(':').count() > 1 => (text, None),
            None => match text.split_once(':') {
                Some((host, port)) => (host, Some(port)),
                None => (text, None),
            },
        };
        // `fe80::1%eth0` has a zone behind its address.
        let address = host.split_once('%').map_or(host, |(address, _zone)| address);
        let plain = |c: char| c.is_alphanumeric() || matches!(c, '.' | '-' | '_' | ':' | '%');
        let sixth = host.contains([':', '%']);
        if host.is_empty()
            || host.starts_with('-')
            || !host.chars().all(plain)
            || (sixth && address.parse::<Ipv6Addr>().is_err())
        {
            return Err(wrong());
        }
        let port = match port {
            None => None,
            Some(port) => match port.parse::<u16>() {
                Ok(port) if port > 0 => Some(port),
                _ => return Err(wrong()),
            },
        };
        Ok(Self { host: host.to_owned(), port })
    }
}

impl fmt::Display for HostPort {
    /// As it is read: `[::1]:2222`, `node1:22`, `::1`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.port {
            None => f.write_str(&self.host),
            Some(port) if self.host.contains(':') => write!(f, "[{}]:{port}", self.host),
            Some(port) => write!(f, "{}:{port}", self.host),
        }
    }
}

/// `datacenters`: those whose nodes a complete backup has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Datacenters {
    /// Every one.
    All,
    /// These, by name.
    Only(BTreeSet<String>),
}

impl Datacenters {
    /// Whether nodes of this data centre belong to a backup.
    pub fn contains(&self, datacenter: &str) -> bool {
        match self {
            Self::All => true,
            Self::Only(names) => names.contains(datacenter),
        }
    }
}

/// A group of this host's users.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Group {
    /// By number.
    Id(u32),
    /// By name.
    Name(String),
}

impl Group {
    /// Its number, a name being looked up in the text of an `/etc/group`.
    ///
    /// A group that only a directory service knows is not in that file: give its number instead.
    pub fn id_in(&self, etc_group: &str) -> Option<u32> {
        match self {
            Self::Id(id) => Some(*id),
            Self::Name(name) => etc_group.lines().find_map(|line| {
                let mut columns = line.split(':');
                (columns.next() == Some(name)).then(|| columns.nth(1)?.parse().ok())?
            }),
        }
    }
}

impl fmt::Display for Group {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Id(id) => write!(f, "{id}"),
            Self::Name(name) => f.write_str(name),
        }
    }
}

/// `[medusafs]`: medusafs's own settings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MedusafsSettings {
    /// Hosts to ask for the ring. None: not said, so this host, if it has
    /// `[cassandra] config_file`. Empty: `none` was said, the tree is for looking only.
    pub contact_points: Option<Vec<HostPort>>,
    /// Where the nodes see `base_path`, an absolute path **on the nodes**, if elsewhere than here.
    pub node_store: Option<PathBuf>,
    /// The one file of host keys to trust; none means the user's and the system's.
    pub known_hosts: Option<PathBuf>,
    /// What a backup without a chosen mode is.
    pub mode: BackupMode,
    /// The data centres that a complete backup has.
    pub datacenters: Datacenters,
    /// Which nodes a cluster's backup begins with.
    pub nodes_required: NodesRequired,
    /// Whether every node must see the same store.
    pub share: ShareRequired,
    /// What a whole set in `restore/` does.
    pub restore: RestorePolicy,
    /// How long after the last file a node is stopped at the earliest.
    pub restore_hold: Duration,
    /// What begins a backup.
    pub backup: BackupPolicy,
    /// Whether `rmdir` of a backup deletes it.
    pub allow_delete: bool,
    /// The newest complete backups that a purge never takes.
    pub keep_last: u64,
    /// Who may read, beside root.
    pub read_group: Option<Group>,
    /// Who may back up, beside root.
    pub backup_group: Option<Group>,
    /// Who may restore and import, beside root.
    pub restore_group: Option<Group>,
    /// Who may delete, beside root.
    pub delete_group: Option<Group>,
    /// Nodes that upload at once, at least 1.
    pub parallel_nodes: usize,
    /// The most that one node copies in a second; none is no limit.
    pub bandwidth_node: Option<ByteSize>,
    /// The most that all nodes together copy in a second; none is no limit.
    pub bandwidth_total: Option<ByteSize>,
    /// Where jobs and the last seen ring are kept, on this host.
    pub state_dir: PathBuf,
    /// Where what may be lost is kept, on this host.
    pub cache_dir: PathBuf,
    /// The most that `cache_dir` holds.
    pub cache_size: ByteSize,
    /// The most memory that the mount takes for what it knows.
    pub memory: ByteSize,
    /// How long what a restore set aside is kept for `undo`.
    pub undo_keep: Duration,
    /// Whether the kernel may read stored files without asking.
    pub passthrough: Passthrough,
    /// How long a read may wait for the share.
    pub deadline: Duration,
    /// Where the agent lies on a node while a job runs, **on the nodes**; none is found by trying.
    pub agent_dir: Option<PathBuf>,
    /// Whether the host name in the certificate for CQL is checked, beside its chain.
    pub tls_host_name: bool,
    /// Whether Medusa writes to the store too, so that names must suit its purge.
    pub medusa_writes_too: bool,
}

/// `[node NAME]`: what is different for one node.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NodeSettings {
    /// Where its SSH server answers, if not at its broadcast address.
    pub ssh: Option<HostPort>,
    /// Where this node sees `base_path`, an absolute path on the node.
    pub store: Option<PathBuf>,
}
