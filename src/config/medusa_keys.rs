//! The one table of what `medusa.ini` may say.
//!
//! It follows Medusa 0.31: the tuples of `medusa/config.py`, its defaults, and
//! `medusa-example.ini`, of which every key is here.

use super::key::Key;
use super::kind::{Kind, PORT};

/// Sections that Medusa knows; it stops with a `KeyError` at any other but `[DEFAULT]`.
pub(super) const MEDUSA_SECTIONS: [&str; 8] =
    ["storage", "cassandra", "ssh", "checks", "monitoring", "logging", "grpc", "kubernetes"];

/// The most of a number without a bound of its own.
const MANY: u64 = 1_000_000;
const ANY: Kind = Kind::Number(0, u64::MAX);

const OBJECT_STORES: &str = "only object stores have it, a local store is a directory";
const UNTHROTTLED: &str =
    "Medusa throttles object stores alone; see bandwidth_node of medusafs.ini";
const BY_IMPORT: &str = "medusafs loads tables with nodetool import, not with sstableloader";
const ALWAYS_HASHED: &str = "medusafs hashes every file that it copies";
const OWN_LOG: &str = "medusafs writes a log for each job, and its own to standard error";
const OWN_METRICS: &str = "medusafs shows its metrics in .medusa/metrics";
const BY_PURGE: &str = "medusafs removes no backups by age or number; Medusa's purge does";
const BY_MAP: &str = "medusafs restores no cluster by a list of hosts";
const BY_QUERY: &str =
    "medusafs judges a restored node by another node's Up and Normal, and by whether CQL answers";
const BY_USE_SUDO: &str = "medusafs works on nodes by use_sudo of [cassandra], in a restore too";
const NO_GRPC: &str = "medusafs has no gRPC server";
const NO_KUBERNETES: &str = "only Medusa's Kubernetes mode has it";

/// Every key of Medusa's.
pub(super) static MEDUSA_KEYS: &[Key] = &[
    Key::only(
        "storage",
        "storage_provider",
        Kind::Text,
        None,
        "local",
        "medusafs reads a store that lies in a directory, such as an NFS share",
    ),
    Key::used("storage", "bucket_name", Kind::Text, None),
    Key::used("storage", "base_path", Kind::HostPath, None),
    Key::used("storage", "prefix", Kind::Text, None).or_empty(),
    Key::used("storage", "fqdn", Kind::Text, None),
    Key::later("storage", "max_backup_age", Kind::Number(0, MANY), Some("0"), BY_PURGE),
    Key::later("storage", "max_backup_count", Kind::Number(0, MANY), Some("0"), BY_PURGE),
    Key::later(
        "storage",
        "backup_grace_period_in_days",
        Kind::Number(0, MANY),
        Some("10"),
        BY_PURGE,
    ),
    Key::used("storage", "concurrent_transfers", Kind::Number(1, 1024), Some("1")),
    Key::ignored("storage", "use_sudo_for_restore", Kind::Flag, Some("True"), BY_USE_SUDO),
    Key::later("storage", "host_file_separator", Kind::Text, Some(","), BY_MAP),
    Key::ignored("storage", "key_file", Kind::Text, None, OBJECT_STORES),
    Key::ignored("storage", "storage_class", Kind::Text, None, OBJECT_STORES),
    Key::ignored("storage", "transfer_max_bandwidth", Kind::Size, Some("50MB/s"), UNTHROTTLED),
    Key::ignored("storage", "multi_part_upload_threshold", Kind::Size, Some("20MB"), OBJECT_STORES),
    Key::ignored("storage", "multipart_chunksize", Kind::Size, Some("50MB"), OBJECT_STORES),
    Key::ignored("storage", "multipart_max_concurrency", ANY, Some("4"), OBJECT_STORES),
    Key::ignored("storage", "api_profile", Kind::Text, Some(""), OBJECT_STORES),
    Key::ignored("storage", "region", Kind::Text, Some("default"), OBJECT_STORES),
    Key::ignored("storage", "host", Kind::Text, None, OBJECT_STORES),
    Key::ignored("storage", "port", PORT, None, OBJECT_STORES),
    Key::ignored("storage", "secure", Kind::Flag, Some("True"), OBJECT_STORES),
    Key::ignored("storage", "ssl_verify", Kind::Flag, Some("False"), OBJECT_STORES),
    Key::ignored(
        "storage",
        "s3_addressing_style",
        Kind::Choice(&["auto", "path", "virtual"]),
        Some("auto"),
        OBJECT_STORES,
    ),
    Key::ignored("storage", "aws_cli_path", Kind::Text, Some("aws"), OBJECT_STORES),
    Key::ignored("storage", "kms_id", Kind::Text, None, OBJECT_STORES),
    Key::ignored("storage", "sse_c_key", Kind::Secret, None, OBJECT_STORES),
    Key::ignored("storage", "read_timeout", ANY, None, OBJECT_STORES),
    Key::ignored("storage", "k8s_mode", Kind::Text, None, "Medusa overwrites it itself"),
    Key::used("cassandra", "config_file", Kind::NodePath, Some("/etc/cassandra/cassandra.yaml")),
    Key::used("cassandra", "start_cmd", Kind::Command, Some("sudo service cassandra start")),
    Key::used("cassandra", "stop_cmd", Kind::Command, Some("sudo service cassandra stop")),
    Key::used("cassandra", "use_sudo", Kind::Flag, Some("True")),
    Key::used("cassandra", "resolve_ip_addresses", Kind::Flag, Some("True"))
        .or_variables(&["MEDUSA_RESOLVE_IP_ADDRESSES"]),
    Key::used("cassandra", "nodetool_executable", Kind::Text, Some("nodetool")),
    Key::used(
        "cassandra",
        "nodetool_flags",
        Kind::Flags,
        Some("-Dcom.sun.jndi.rmiURLParsing=legacy"),
    ),
    Key::used("cassandra", "nodetool_ssl", Kind::ExactlyTrue, None).or_empty(),
    Key::used("cassandra", "nodetool_username", Kind::Text, None)
        .or_variables(&["MEDUSA_NODETOOL_USERNAME"])
        .or_empty(),
    Key::used("cassandra", "nodetool_password", Kind::Secret, None)
        .or_variables(&["MEDUSA_NODETOOL_PASSWORD"])
        .or_empty(),
    Key::used("cassandra", "nodetool_password_file_path", Kind::NodePath, None),
    Key::used("cassandra", "nodetool_host", Kind::Text, None).or_empty(),
    Key::used("cassandra", "nodetool_port", PORT, None),
    Key::used("cassandra", "nodetool_k8s_secrets_path", Kind::HostPath, None)
        .or_variables(&["MEDUSA_NODETOOL_K8S_SECRETS_PATH"])
        .or_empty(),
    Key::used("cassandra", "cql_username", Kind::Text, None)
        .or_variables(&["CQL_USERNAME", "MEDUSA_CQL_USERNAME"])
        .or_empty(),
    Key::used("cassandra", "cql_password", Kind::Secret, None)
        .or_variables(&["CQL_PASSWORD", "MEDUSA_CQL_PASSWORD"])
        .or_empty(),
    Key::used("cassandra", "cql_k8s_secrets_path", Kind::HostPath, None)
        .or_variables(&["MEDUSA_CQL_K8S_SECRETS_PATH"])
        .or_empty(),
    Key::used("cassandra", "certfile", Kind::HostPath, None),
    Key::used("cassandra", "usercert", Kind::HostPath, None),
    Key::used("cassandra", "userkey", Kind::HostPath, None),
    Key::ignored("cassandra", "sstableloader_bin", Kind::Text, Some("sstableloader"), BY_IMPORT),
    Key::ignored("cassandra", "sstableloader_ts", Kind::Text, None, BY_IMPORT),
    Key::ignored("cassandra", "sstableloader_tspw", Kind::Secret, None, BY_IMPORT)
        .or_variables(&["MEDUSA_SSTABLELOADER_TSPW"]),
    Key::ignored("cassandra", "sstableloader_ks", Kind::Text, None, BY_IMPORT),
    Key::ignored("cassandra", "sstableloader_kspw", Kind::Secret, None, BY_IMPORT)
        .or_variables(&["MEDUSA_SSTABLELOADER_KSPW"]),
    Key::ignored(
        "cassandra",
        "check_running",
        Kind::Command,
        Some("nodetool version"),
        "Medusa does not use it either; medusafs asks another node and CQL",
    ),
    Key::only(
        "cassandra",
        "is_ccm",
        Kind::Number(0, 1),
        Some("0"),
        "0",
        "medusafs drives nodes over SSH, not a cluster of ccm",
    ),
    Key::used("ssh", "username", Kind::Text, Some("")).or_empty().else_variable("USER"),
    Key::used("ssh", "key_file", Kind::HostPath, Some("")).or_empty(),
    Key::used("ssh", "cert_file", Kind::HostPath, Some("")).or_empty(),
    Key::used("ssh", "port", PORT, Some("22")),
    Key::used("ssh", "keepalive_seconds", Kind::Number(0, 86_400), Some("60")),
    Key::used("ssh", "login_shell", Kind::Flag, Some("False")),
    Key::ignored(
        "ssh",
        "use_pty",
        Kind::Flag,
        Some("False"),
        "a terminal would garble what medusafs and its agent say to each other",
    ),
    Key::ignored(
        "checks",
        "health_check",
        Kind::Choice(&["cql", "thrift", "all"]),
        Some("cql"),
        "a node is up when another node says Up and Normal and it answers CQL; Cassandra 4 has no \
         Thrift",
    ),
    Key::later("checks", "query", Kind::Lines, Some(""), BY_QUERY).or_empty(),
    Key::later("checks", "expected_rows", ANY, Some("0"), BY_QUERY),
    Key::later("checks", "expected_result", Kind::Lines, Some(""), BY_QUERY).or_empty(),
    Key::ignored("checks", "enable_md5_checks", Kind::Flag, Some("false"), ALWAYS_HASHED),
    Key::ignored("checks", "md5_check_concurrency", ANY, Some("1"), ALWAYS_HASHED),
    Key::ignored(
        "monitoring",
        "monitoring_provider",
        Kind::Choice(&["None", "local", "dog-statsd"]),
        Some("None"),
        OWN_METRICS,
    ),
    Key::ignored("monitoring", "send_backup_name_tag", Kind::Flag, Some("False"), OWN_METRICS),
    Key::ignored("logging", "enabled", Kind::Flag, Some("false"), OWN_LOG),
    Key::ignored("logging", "file", Kind::Text, Some("medusa.log"), OWN_LOG),
    Key::ignored("logging", "level", Kind::Text, Some("INFO"), OWN_LOG),
    Key::ignored(
        "logging",
        "format",
        Kind::Lines,
        Some("[%(asctime)s] %(levelname)s: %(message)s"),
        OWN_LOG,
    ),
    Key::ignored("logging", "maxbytes", ANY, Some("20000000"), OWN_LOG),
    Key::ignored("logging", "backupcount", ANY, Some("50"), OWN_LOG),
    Key::ignored("grpc", "enabled", Kind::Flag, Some("False"), NO_GRPC),
    Key::ignored("grpc", "port", PORT, Some("50051"), NO_GRPC),
    Key::ignored("grpc", "max_send_message_length", ANY, Some("536870912"), NO_GRPC),
    Key::ignored("grpc", "max_receive_message_length", ANY, Some("134217728"), NO_GRPC),
    Key::ignored("grpc", "ca_cert", Kind::Text, None, NO_GRPC),
    Key::ignored("grpc", "tls_cert", Kind::Text, None, NO_GRPC),
    Key::ignored("grpc", "tls_key", Kind::Text, None, NO_GRPC),
    Key::only(
        "kubernetes",
        "enabled",
        Kind::Flag,
        Some("False"),
        "False",
        "medusafs reaches nodes by SSH, not by Kubernetes' management API; look at such a store \
         with --store DIR",
    ),
    Key::ignored("kubernetes", "cassandra_url", Kind::Text, Some("None"), NO_KUBERNETES),
    Key::ignored("kubernetes", "use_mgmt_api", Kind::Flag, Some("False"), NO_KUBERNETES),
    Key::ignored("kubernetes", "ca_cert", Kind::Text, Some(""), NO_KUBERNETES),
    Key::ignored("kubernetes", "tls_cert", Kind::Text, Some(""), NO_KUBERNETES),
    Key::ignored("kubernetes", "tls_key", Kind::Text, Some(""), NO_KUBERNETES),
];

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};
    use std::path::Path;

    use serde_json::Value;

    use super::super::ini::IniFile;
    use super::super::key::Role;
    use super::super::{Config, ConfigError, Sources};
    use super::*;

    /// The rest of a file that is right, without this key.
    fn file_with(key: &Key, text: Option<&str>) -> String {
        let needed = [("storage_provider", "local"), ("bucket_name", "b"), ("base_path", "/mnt")];
        let own = text.map(|text| format!("{} = {text}\n", key.name)).unwrap_or_default();
        let head = if key.section == "storage" { "" } else { "[storage]\n" };
        let rest = needed.iter().filter(|(name, _)| *name != key.name);
        let rest: Vec<_> = rest.map(|(name, value)| format!("{name} = {value}\n")).collect();
        format!("[{}]\n{own}{head}{}", key.section, rest.concat())
    }

    fn load(text: &str, environment: &[(&str, &str)]) -> Result<Config, ConfigError> {
        let medusa = IniFile::parse(Path::new("/m.ini"), text)?;
        let environment =
            environment.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        let sources = Sources { environment: environment.collect(), ..Sources::default() };
        Config::from_files(&medusa, None, &sources)
    }

    /// A directory as Kubernetes makes it for a secret; other paths may name it too.
    fn secret_directory() -> tempfile::TempDir {
        let directory = tempfile::tempdir().unwrap();
        for name in ["username", "password"] {
            std::fs::write(directory.path().join(name), "it\n").unwrap();
        }
        directory
    }

    /// A text that is right for a kind, not the default of any key, and how it is shown.
    fn right(kind: Kind, directory: &Path) -> (String, String) {
        let (text, shown) = match kind {
            Kind::Text => ("something", "something"),
            Kind::Lines => ("one\n  two", "one\\ntwo"),
            Kind::Secret => ("hunter2", "***"),
            Kind::Command => ("sudo 'a b'", "sudo 'a b'"),
            Kind::Flags => ("-a  -b", "-a -b"),
            Kind::Flag => ("no", "false"),
            Kind::ExactlyTrue => ("true", "true"),
            Kind::Number(..) => ("7", "7"),
            Kind::Size => ("3KB", "3.0 KB"),
            Kind::HostPath | Kind::NodePath => {
                (directory.to_str().unwrap(), directory.to_str().unwrap())
            }
            Kind::Choice(words) => (*words.last().unwrap(), *words.last().unwrap()),
            Kind::Time | Kind::Hosts | Kind::Host | Kind::Names | Kind::Group => {
                panic!("Medusa has no such kind")
            }
        };
        (text.to_owned(), shown.to_owned())
    }

    /// The line of the configuration's text that shows this value, with its origin.
    fn line_of(config: &Config, key: &Key, shown: &str) -> String {
        let line = format!("[{}] {} = {shown} ", key.section, key.name);
        let text = config.config_text();
        let found = text.lines().find(|told| told.starts_with(&line));
        found.unwrap_or_else(|| panic!("{line:?} is not in {text}")).to_owned()
    }

    /// A text that is wrong for a kind, if there is one.
    fn wrong(kind: Kind) -> Option<&'static str> {
        match kind {
            Kind::Text | Kind::Lines | Kind::Secret | Kind::Flags | Kind::ExactlyTrue => None,
            Kind::Command => Some("'open"),
            Kind::HostPath | Kind::NodePath => Some("not/from/the/root"),
            _ => Some("what?"),
        }
    }

    #[test]
    fn every_key_is_read_shown_with_its_line_and_refused_if_it_is_wrong() {
        let directory = secret_directory();
        for key in MEDUSA_KEYS {
            let (text, shown) = match key.role {
                Role::Only("False", _) => ("False".to_owned(), "false".to_owned()),
                Role::Only(only, _) => (only.to_owned(), only.to_owned()),
                _ => right(key.kind, directory.path()),
            };
            let config = load(&file_with(key, Some(&text)), &[]);
            let config = config.unwrap_or_else(|error| panic!("{key:?}: {error}"));
            assert!(line_of(&config, key, &shown).contains("# /m.ini:2"), "{key:?}");
            let ignored = config.ignored().iter().any(|warning| warning.what.contains(key.name));
            let wished = matches!(key.role, Role::Ignored(_) | Role::Later(_));
            assert_eq!(ignored, wished, "{key:?}");

            let Some(text) = wrong(key.kind) else { continue };
            match (key.role, load(&file_with(key, Some(text)), &[])) {
                (Role::Ignored(reason), Ok(config)) => {
                    let said = config.warnings.iter().map(ToString::to_string).collect::<String>();
                    assert!(said.starts_with("/m.ini:2: ") && said.contains(reason), "{said}");
                }
                (
                    Role::Used | Role::Later(_) | Role::Only(..),
                    Err(ConfigError::Wrong(problems)),
                ) => {
                    let said = problems[0].to_string();
                    let head = format!("/m.ini:2: [{}] {}: ", key.section, key.name);
                    assert!(said.starts_with(&head) && problems.len() == 1, "{problems:?}");
                }
                (_, other) => panic!("{key:?}: {other:?}"),
            }
        }
    }

    #[test]
    fn every_key_is_known_that_medusa_has_with_medusas_default() {
        let medusa = include_str!("../../tests/fixtures/config/medusa-0.31.0-defaults.json");
        let medusa: BTreeMap<String, BTreeMap<String, Value>> =
            serde_json::from_str(medusa).unwrap();
        let named = |pairs: &mut dyn Iterator<Item = (String, String)>| {
            pairs.collect::<BTreeSet<(String, String)>>()
        };
        let theirs = named(&mut medusa.iter().flat_map(|(section, keys)| {
            keys.keys().map(move |name| (section.clone(), name.clone()))
        }));
        let ours =
            named(&mut MEDUSA_KEYS.iter().map(|key| (key.section.to_owned(), key.name.to_owned())));
        assert_eq!(ours, theirs);
        assert_eq!(ours.len(), MEDUSA_KEYS.len(), "a key stands twice");
        for key in MEDUSA_KEYS {
            let theirs = medusa[key.section][key.name].as_str();
            assert_eq!(key.default, theirs, "{}.{}", key.section, key.name);
        }
    }

    #[test]
    fn medusas_own_example_has_no_key_that_is_unknown() {
        let example = include_str!("../../tests/fixtures/config/medusa-0.31.0-example.ini");
        // Its keys in comments too: `;key = …`, `; key = …`.
        let setting = |line: &str| {
            let name = line.split('=').next().unwrap_or_default().trim().to_owned();
            let plain = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
            let key = !name.is_empty() && name.bytes().all(plain) && line.contains('=');
            key.then(|| name.to_lowercase())
        };
        let (mut section, mut count) = ("", 0);
        for line in example.lines() {
            let bare = line.trim_start_matches([';', ' ']);
            if let Some(name) = line.strip_prefix('[').and_then(|line| line.strip_suffix(']')) {
                section = MEDUSA_SECTIONS.into_iter().find(|known| *known == name).unwrap();
            } else if let Some(name) = setting(bare) {
                let known = MEDUSA_KEYS.iter().any(|k| k.section == section && k.name == name);
                assert!(known, "[{section}] {name}");
                count += 1;
            }
        }
        assert!(count > 60, "only {count} keys were found in the example");
        let file = example.replace("<Storage system used for backups>", "local");
        let file = file.replace(";base_path =", "base_path =");
        let config = load(&file, &[]).unwrap();
        assert_eq!(config.warnings, []);
        assert_eq!(config.store_root(), Path::new("/path/to/backups/cassandra_backups"));
    }

    #[test]
    fn a_variable_of_the_environment_is_stronger_than_the_file() {
        let directory = secret_directory();
        let mut variables = 0;
        for key in MEDUSA_KEYS {
            let (text, shown) = right(key.kind, directory.path());
            let file = file_with(key, Some(if key.kind == Kind::Flag { "True" } else { "/x" }));
            let mut set: Vec<(&str, &str)> = Vec::new();
            for variable in key.variables {
                set.push((*variable, &text));
                let config = load(&file, &set).unwrap();
                let origin = format!("# variable {variable}");
                assert!(line_of(&config, key, &shown).contains(&origin), "{key:?}");
                variables += 1;
            }
        }
        assert_eq!(variables, 11);
    }
}
