//! The one table of what `medusafs.ini`, and a mount option, may say.

use super::key::Key;
use super::kind::Kind;
use super::own::{
    BackupMode, BackupPolicy, NodesRequired, Passthrough, RestorePolicy, ShareRequired,
};

/// The section of medusafs's own settings.
pub(super) const OWN_SECTION: &str = "medusafs";

const fn own(name: &'static str, kind: Kind, default: Option<&'static str>) -> Key {
    Key::used(OWN_SECTION, name, kind, default)
}

/// Every key of `[medusafs]`.
pub(super) static OWN_KEYS: &[Key] = &[
    own("contact_points", Kind::Hosts, None),
    own("node_store", Kind::NodePath, None),
    own("known_hosts", Kind::HostPath, None),
    own("mode", Kind::Choice(BackupMode::WORDS), Some("differential")),
    own("datacenters", Kind::Names, Some("all")),
    own("nodes_required", Kind::Choice(NodesRequired::WORDS), Some("all")),
    own("share", Kind::Choice(ShareRequired::WORDS), Some("required")),
    own("restore", Kind::Choice(RestorePolicy::WORDS), Some("auto")),
    own("restore_hold", Kind::Time, Some("60s")),
    own("backup", Kind::Choice(BackupPolicy::WORDS), Some("mkdir")),
    own("allow_delete", Kind::Flag, Some("false")),
    own("keep_last", Kind::Number(0, 1_000_000), Some("3")),
    own("read_group", Kind::Group, None),
    own("backup_group", Kind::Group, None),
    own("restore_group", Kind::Group, None),
    own("delete_group", Kind::Group, None),
    own("parallel_nodes", Kind::Number(1, 10_000), Some("4")),
    own("bandwidth_node", Kind::Size, Some("100MB/s")),
    own("bandwidth_total", Kind::Size, Some("0")),
    own("state_dir", Kind::HostPath, Some("/var/lib/medusafs")),
    own("cache_dir", Kind::HostPath, Some("/var/cache/medusafs")),
    own("cache_size", Kind::Size, Some("1GiB")),
    own("memory", Kind::Size, Some("512MiB")),
    own("undo_keep", Kind::Time, Some("7d")),
    own("passthrough", Kind::Choice(Passthrough::WORDS), Some("auto")),
    own("deadline", Kind::Time, Some("30s")),
    own("agent_dir", Kind::NodePath, None),
    own("tls_host_name", Kind::Flag, Some("false")),
    own("medusa_writes_too", Kind::Flag, Some("true")),
];

/// The keys of a `[node NAME]`; the section stands for each.
pub(super) static NODE_KEYS: &[Key] =
    &[Key::used("node", "ssh", Kind::Host, None), Key::used("node", "store", Kind::NodePath, None)];
