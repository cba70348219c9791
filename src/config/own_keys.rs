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

const fn later(name: &'static str, kind: Kind, default: &'static str, reason: &'static str) -> Key {
    Key::later(OWN_SECTION, name, kind, Some(default), reason)
}

const BY_KERNEL: &str = "what was read is kept by the kernel alone, on no disk of this host";

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
    later(
        "allow_delete",
        Kind::Flag,
        "false",
        "rmdir removes only backups that failed and published nothing",
    ),
    later(
        "keep_last",
        Kind::Number(0, 1_000_000),
        "3",
        "medusafs removes no backups by age or number",
    ),
    own("read_group", Kind::Group, None),
    own("backup_group", Kind::Group, None),
    own("restore_group", Kind::Group, None),
    own("delete_group", Kind::Group, None),
    own("parallel_nodes", Kind::Number(1, 10_000), Some("4")),
    own("bandwidth_node", Kind::Size, Some("100MB/s")),
    own("bandwidth_total", Kind::Size, Some("0")),
    own("state_dir", Kind::HostPath, Some("/var/lib/medusafs")),
    later("cache_dir", Kind::HostPath, "/var/cache/medusafs", BY_KERNEL),
    later("cache_size", Kind::Size, "1GiB", BY_KERNEL),
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

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::super::ini::IniFile;
    use super::super::{Config, ConfigError, Sources, is_own_option};
    use super::*;

    const MEDUSA: &str = "[storage]\nstorage_provider = local\nbucket_name = b\nbase_path = /mnt\n";

    fn load(own: &str, options: &[(&str, &str)]) -> Result<Config, ConfigError> {
        let medusa = IniFile::parse(Path::new("/m.ini"), MEDUSA)?;
        let own = IniFile::parse(Path::new("/medusafs.ini"), own)?;
        let options = options.iter().map(|(key, text)| ((*key).to_owned(), (*text).to_owned()));
        let sources = Sources { options: options.collect(), ..Sources::default() };
        Config::from_files(&medusa, Some(&own), &sources)
    }

    /// A right text that is no default, as it is shown; a wrong text.
    fn texts(key: &Key) -> (&'static str, &'static str, &'static str) {
        match key.kind {
            Kind::Flag if key.default == Some("true") => ("off", "false", "perhaps"),
            Kind::Flag => ("yes", "true", "perhaps"),
            Kind::Number(..) => ("9", "9", "-1"),
            Kind::Size => ("50MiB", "50.0 MB", "fast"),
            Kind::Time => ("90m", "1h30m", "soon"),
            Kind::HostPath | Kind::NodePath => ("/a b", "/a b", "a/b"),
            Kind::Choice(words) => (words.last().unwrap(), words.last().unwrap(), "what"),
            Kind::Hosts => ("a:22;b", "a:22, b", "a:b:"),
            Kind::Host => ("[::1]:22", "[::1]:22", "a b"),
            Kind::Names => ("dc2;dc1", "dc2 dc1", ""),
            Kind::Group => ("wheel", "wheel", "a b"),
            _ => panic!("{key:?} has no texts here"),
        }
    }

    #[test]
    fn every_key_is_read_from_the_file_and_from_an_option_and_refused_if_it_is_wrong() {
        let own = OWN_KEYS.iter().map(|key| (key, OWN_SECTION, key.name.to_owned()));
        let node = NODE_KEYS.iter().map(|key| (key, "node a.b", format!("node.a.b.{}", key.name)));
        for (key, section, option) in own.chain(node) {
            let (text, shown, wrong) = texts(key);
            let line = |config: Config| {
                let head = format!("[{section}] {} = {shown} ", key.name);
                let all = config.config_text();
                let found = all.lines().find(|line| line.starts_with(&head)).map(str::to_owned);
                found.unwrap_or_else(|| panic!("{head:?} is not in {all}"))
            };
            let file = format!("[{section}]\n{} = {text}\n", key.name);
            assert!(line(load(&file, &[]).unwrap()).contains("# /medusafs.ini:2"));
            assert!(is_own_option(&option));
            let stronger =
                load(&format!("[{section}]\n{} = {wrong}\n", key.name), &[(&option, text)]);
            assert!(line(stronger.unwrap()).contains(&format!("# option {option}")));

            let refused = load(&format!("[{section}]\n{} = {wrong}\n", key.name), &[]);
            let said = refused.unwrap_err().to_string();
            let head = format!("/medusafs.ini:2: [{section}] {}: ", key.name);
            assert!(said.starts_with(&head) && said.lines().count() == 1, "{said}");
            let said = load("", &[(&option, wrong)]).unwrap_err().to_string();
            assert!(said.starts_with(&format!("option {option}: ")), "{said}");
        }
    }

    #[test]
    fn a_key_that_nobody_knows_is_a_warning_in_the_file_and_an_error_as_an_option() {
        let config = load("[medusafs]\nalow_delete = yes\n[nodes]\n", &[]).unwrap();
        let said: Vec<_> = config.warnings.iter().map(ToString::to_string).collect();
        assert!(said[0].starts_with(
            "/medusafs.ini:2: alow_delete is no key of [medusafs] (is allow_delete meant?)"
        ));
        assert!(said[1].starts_with("/medusafs.ini:3: [nodes] is no section of medusafs.ini"));
        let said = load("", &[("alow_delete", "true")]).unwrap_err().to_string();
        assert!(said.contains("is allow_delete meant?"), "{said}");
        assert!(!is_own_option("node.x") && !is_own_option("node..ssh"));
    }

    #[test]
    fn a_later_option_is_stronger_than_an_earlier_one() {
        let config = load("", &[("keep_last", "5"), ("keep_last", "6")]).unwrap();
        assert_eq!(config.medusafs.keep_last, 6);
    }
}
