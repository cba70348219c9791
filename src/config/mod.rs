//! Settings: Medusa's own file as Medusa reads it, and medusafs's beside it.
//!
//! [`Config::load`] is the door. It reads `medusa.ini` in the dialect of Python's `configparser`,
//! with Medusa's defaults and variables of the environment, then `medusafs.ini` beside it and the
//! options of mount, and gives everything typed and checked, with the origin of each value.
//!
//! A path says in its documentation whose it is: those of `[cassandra]` are the nodes', but
//! `certfile`, `usercert`, `userkey`, `key_file`, `cert_file` and `base_path` are this host's.

mod dialect;
mod duration;
mod error;
mod ini;
mod key;
mod key_file;
mod kind;
mod load;
mod medusa_keys;
mod naming;
mod of_medusa;
mod of_medusafs;
mod option_text;
mod origin;
mod own;
mod own_keys;
mod resolver;
mod secret;
mod settings;
mod text;
mod unknown;
mod words;

pub use error::{ConfigError, Problem, Warning};
pub use key_file::{KeyFileError, check_key_file};
pub use load::{Config, DEFAULT_MEDUSA_INI, Sources};
pub use naming::NodeNaming;
pub use of_medusafs::is_own_option;
pub use option_text::split_options;
pub use origin::Place;
pub use own::{
    BackupMode, BackupPolicy, Datacenters, Group, HostPort, MedusafsSettings, NodeSettings,
    NodesRequired, Passthrough, RestorePolicy, ShareRequired,
};
pub use secret::Secret;
pub use settings::{
    CassandraSettings, ChecksSettings, CqlTls, Credentials, NodetoolPassword, NodetoolSettings,
    SshSettings, StorageSettings,
};
