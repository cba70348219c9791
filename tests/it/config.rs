//! Settings as they are found: files on a disk, options, the environment.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::time::Duration;

use medusafs::config::{
    BackupMode, Config, ConfigError, Datacenters, NodeNaming, NodetoolPassword, Sources,
};
use medusafs::model::{ByteSize, Fqdn};
use tempfile::TempDir;
use test_case::test_case;

const LEAST: &str =
    "[storage]\nstorage_provider = local\nbucket_name = medusa\nbase_path = /mnt/backup\n";

/// A directory with Medusa's file and, if given, medusafs's beside it.
struct Files(TempDir);

impl Files {
    fn new(medusa: impl AsRef<[u8]>) -> Self {
        let directory = tempfile::tempdir().unwrap();
        fs::write(directory.path().join("medusa.ini"), medusa).unwrap();
        Self(directory)
    }

    fn beside(self, own: &str) -> Self {
        fs::write(self.0.path().join("medusafs.ini"), own).unwrap();
        self
    }

    fn load_with(
        &self,
        options: &[(&str, &str)],
        environment: &[(&str, &str)],
    ) -> Result<Config, ConfigError> {
        let owned = |pairs: &[(&str, &str)]| -> Vec<(String, String)> {
            pairs.iter().map(|(name, text)| ((*name).to_owned(), (*text).to_owned())).collect()
        };
        Config::load(&Sources {
            medusa_ini: self.0.path().join("medusa.ini"),
            options: owned(options),
            environment: owned(environment).into_iter().collect(),
        })
    }

    fn load(&self) -> Result<Config, ConfigError> {
        self.load_with(&[], &[])
    }

    /// Text without the directory's name.
    fn plain(&self, text: &str) -> String {
        text.replace(&format!("{}/", self.0.path().display()), "")
    }

    fn refusal(&self) -> String {
        self.plain(&self.load().unwrap_err().to_string())
    }

    fn warnings(&self) -> Vec<String> {
        let config = self.load().unwrap();
        config.warnings.iter().map(|warning| self.plain(&warning.to_string())).collect()
    }
}

/// A file of a cluster that Medusa backs up.
const CLUSTER: &str = "\
[cassandra]
stop_cmd = service cassandra stop
start_cmd = service cassandra start
cql_username = reader
cql_password = hunter2
nodetool_username = jmx
nodetool_password = hunter3
resolve_ip_addresses = False
use_sudo = False
certfile = /etc/medusa/ca.pem
usercert = /etc/medusa/client.pem
userkey = /etc/medusa/client.key
[storage]
storage_provider = local
bucket_name = medusa
base_path = /mnt/backup
prefix = clusterA
fqdn = db1.example.com
max_backup_age = 30
max_backup_count = 0
transfer_max_bandwidth = 1000MB/s
concurrent_transfers = 4
[ssh]
username = root
key_file = ~/.ssh/id_rsa
port = 2222
[checks]
query = SELECT a FROM ks.t
  WHERE k = 1
expected_rows = 3
";

#[test]
fn a_file_of_a_cluster_becomes_settings_with_medusas_meaning() {
    let files = Files::new(CLUSTER);
    let config = files.load_with(&[], &[("HOME", "/root"), ("USER", "me")]).unwrap();
    assert_eq!(config.warnings, []);
    assert_eq!(config.store_root(), Path::new("/mnt/backup/medusa"));
    assert_eq!(config.storage.prefix.as_deref(), Some("clusterA"));
    assert_eq!(config.storage.fqdn, Some(Fqdn::parse("db1.example.com").unwrap()));
    assert_eq!(config.storage.max_backup_age, Some(Duration::from_hours(30 * 24)));
    assert_eq!(config.storage.max_backup_count, None);
    assert_eq!(config.storage.backup_grace_period, Duration::from_hours(240));
    assert_eq!(config.storage.concurrent_transfers, 4);
    assert!(!config.cassandra.use_sudo);
    assert_eq!(config.cassandra.stop_cmd, ["service", "cassandra", "stop"]);
    assert!(!config.cassandra.resolve_ip_addresses && !config.cassandra.resolve_own_name);
    let cql = config.cassandra.cql.as_ref().unwrap();
    assert_eq!((cql.username.as_str(), cql.password.expose()), ("reader", "hunter2"));
    let nodetool = &config.cassandra.nodetool;
    assert_eq!(nodetool.flags, ["-Dcom.sun.jndi.rmiURLParsing=legacy"]);
    assert!(
        matches!(&nodetool.password, Some(NodetoolPassword::Given(given)) if given.expose() == "hunter3")
    );
    let tls = config.cassandra.cql_tls.as_ref().unwrap();
    assert_eq!(tls.certfile, Path::new("/etc/medusa/ca.pem"));
    assert!(tls.client.is_some());
    assert_eq!(config.ssh.key_file.as_deref(), Some(Path::new("/root/.ssh/id_rsa")));
    assert_eq!((config.ssh.port, config.ssh.keepalive), (2222, Some(Duration::from_mins(1))));
    assert_eq!(config.checks.query.as_deref(), Some("SELECT a FROM ks.t\nWHERE k = 1"));
    assert_eq!(config.checks.expected_rows, Some(3));
    let ignored = config.ignored();
    let said: Vec<_> =
        ignored.iter().map(|one| one.what.split(':').next().unwrap_or_default()).collect();
    assert_eq!(
        said,
        [
            "[storage] max_backup_age has no effect yet",
            "[storage] transfer_max_bandwidth has no effect",
            "[checks] query has no effect yet",
            "[checks] expected_rows has no effect yet",
        ]
    );
}

#[test]
fn what_nobody_sets_has_its_default() {
    let config = Files::new(LEAST).load().unwrap();
    assert_eq!(config.cassandra.start_cmd, ["sudo", "service", "cassandra", "start"]);
    assert!(config.cassandra.resolve_ip_addresses && config.cassandra.resolve_own_name);
    assert_eq!((config.ssh.username, config.ssh.key_file, config.ssh.port), (None, None, 22));
    assert_eq!(config.storage.max_backup_age, None);
    let own = config.medusafs;
    assert_eq!((own.contact_points, own.known_hosts, own.agent_dir), (None, None, None));
    assert_eq!((own.mode, own.datacenters), (BackupMode::Differential, Datacenters::All));
    assert_eq!(
        (own.restore_hold, own.undo_keep),
        (Duration::from_mins(1), Duration::from_hours(168))
    );
    assert_eq!((own.bandwidth_node, own.bandwidth_total), (Some(ByteSize(100 << 20)), None));
    assert_eq!((own.cache_size, own.memory), (ByteSize(1 << 30), ByteSize(512 << 20)));
    assert_eq!((own.parallel_nodes, own.keep_last), (4, 3));
    assert!(!own.allow_delete && !own.tls_host_name && own.medusa_writes_too);
}

#[test]
fn medusafs_own_file_lies_beside_medusas_and_an_option_is_stronger() {
    let files = Files::new(LEAST).beside(
        "[medusafs]\ncontact_points = db1, db2:2222\nnode_store = /srv/backup\nmode = full\n\
         datacenters = dc1, dc2\n[node db1.example.com]\nssh = 10.0.0.1:2200\nstore = /nfs\n",
    );
    let config =
        files.load_with(&[("mode", "differential"), ("node.db2.ssh", "[::1]:22")], &[]).unwrap();
    assert_eq!(config.warnings, []);
    assert_eq!(config.medusafs.mode, BackupMode::Differential);
    assert_eq!(config.medusafs.contact_points.as_ref().map(Vec::len), Some(2));
    assert!(
        config.medusafs.datacenters.contains("dc2") && !config.medusafs.datacenters.contains("dc3")
    );
    let [db1, db2, db3] = ["db1.example.com", "db2", "db3"].map(|name| Fqdn::parse(name).unwrap());
    assert_eq!(config.store_root_on(&db1), Path::new("/nfs/medusa"));
    assert_eq!(config.store_root_on(&db2), Path::new("/srv/backup/medusa"));
    assert_eq!(config.ssh_address(&db1, "192.0.2.1"), ("10.0.0.1".to_owned(), 2200));
    assert_eq!(config.ssh_address(&db2, "192.0.2.2"), ("::1".to_owned(), 22));
    assert_eq!(config.ssh_address(&db3, "192.0.2.3"), ("192.0.2.3".to_owned(), 22));
    let own = files.0.path().join("medusafs.ini");
    assert_eq!(config.files(), [files.0.path().join("medusa.ini"), own]);
}

#[test]
fn a_file_that_cannot_be_read_is_one_clear_sentence() {
    let directory = tempfile::tempdir().unwrap();
    let said = |medusa_ini: &Path| {
        let sources = Sources { medusa_ini: medusa_ini.to_owned(), ..Sources::default() };
        let said = Config::load(&sources).unwrap_err().to_string();
        said.replace(directory.path().to_str().unwrap(), "DIR")
    };
    assert_eq!(
        said(&directory.path().join("no.ini")),
        "cannot read DIR/no.ini: there is no such file; name Medusa's with -c, or look at a store \
         alone with --store DIR"
    );
    assert_eq!(said(directory.path()), "cannot read DIR: it is a directory; name the file in it");
    assert!(said(Path::new("/dev/zero")).ends_with("it is no ordinary file"));
    let large = directory.path().join("large.ini");
    fs::write(&large, vec![b'#'; (1 << 20) + 1]).unwrap();
    assert!(said(&large).contains("more than 1 MiB"));
    assert!(said(&large.join("below")).contains("cannot read DIR/large.ini/below"));
}

#[test_case(b"[storage]\nbucket" as &[u8], "medusa.ini:2: this line is neither"; "half written")]
#[test_case(b"[storage]\nbucket_name = caf\xe9\n", "medusa.ini:2: this line is not UTF-8"; "latin 1")]
#[test_case(b"", "medusa.ini: [storage] storage_provider: it is missing"; "empty")]
#[test_case(b"bucket_name = x\n", "medusa.ini:1: this line stands before the first [section]"; "no section")]
fn a_broken_file_is_told_by_its_line(text: &[u8], says: &str) {
    let said = Files::new(text).refusal();
    assert!(said.starts_with(says), "{said}");
}

#[test]
fn all_wrong_values_are_told_at_once_each_with_line_and_what_would_be_right() {
    let files = Files::new(
        "[storage]\nstorage_provider = local\nbucket_name = a/b\nbase_path = mnt\nprefix = x\n\
         max_backup_age = many ; days\n[ssh]\nport = 0\n",
    );
    assert_eq!(
        files.refusal(),
        "medusa.ini:3: [storage] bucket_name: \"a/b\" holds a slash, at which Medusa stops; the \
         directories above belong to base_path\n\
         medusa.ini:4: [storage] base_path: \"mnt\" is no path from the root, which begins with /\n\
         medusa.ini:5: [storage] prefix: \"x\" is one character, with which Medusa puts data below the \
         prefix and its index beside it; take at least two\n\
         medusa.ini:6: [storage] max_backup_age: \"many ; days\" is no whole number from 0 to \
         1000000; a comment needs a line of its own\n\
         medusa.ini:8: [ssh] port: \"0\" is no whole number from 1 to 65535"
    );
}

#[test_case("google_storage"; "google")]
#[test_case("s3_us_west"; "one of the s3")]
#[test_case("azure_blobs"; "azure")]
fn a_provider_that_medusafs_has_not_is_refused_by_name(provider: &str) {
    let files = Files::new(format!("[storage]\nstorage_provider = {provider}\nbucket_name = b\n"));
    assert!(matches!(files.load(), Err(ConfigError::NotSupported(_))));
    let said = files.refusal();
    let head = format!(
        "medusa.ini:2: [storage] storage_provider: {provider:?} is not supported yet, only local"
    );
    assert!(said.starts_with(&head), "{said}");
}

#[test]
fn a_provider_that_nobody_has_is_a_wrong_value() {
    let files = Files::new(LEAST.replace("local", "ftp"));
    assert_eq!(
        files.refusal(),
        "medusa.ini:2: [storage] storage_provider: \"ftp\" is no provider of Medusa's; right would be local"
    );
    assert!(Files::new(LEAST.replace("local", "LOCAL")).load().is_ok());
}

#[test_case("kubernetes", "enabled = yes", "[kubernetes] enabled"; "kubernetes")]
#[test_case("cassandra", "is_ccm = 1", "[cassandra] is_ccm"; "ccm")]
fn a_mode_of_medusas_that_medusafs_has_not_is_refused_by_name(
    section: &str,
    key: &str,
    says: &str,
) {
    let files = Files::new(format!("{LEAST}[{section}]\n{key}\n"));
    assert!(matches!(files.load(), Err(ConfigError::NotSupported(_))));
    assert!(files.refusal().contains(says));
}

#[test]
fn what_nobody_knows_is_a_warning_with_file_and_line() {
    let files = Files::new(format!(
        "{LEAST}bukket_name = x\nport = 22\nusername = me\n[Storage]\n[ssh ]\n[DEFAULT]\nnothing = 1\nport = 22\n"
    ));
    assert_eq!(
        files.warnings(),
        [
            "medusa.ini:5: bukket_name is no key of [storage] (is bucket_name meant?); it is passed over",
            "medusa.ini:7: username is no key of [storage] (it belongs into [ssh]); it is passed over",
            "medusa.ini:8: [Storage] is no section of Medusa's (is storage meant?); Medusa stops with \
             a KeyError at it, medusafs passes it over",
            "medusa.ini:9: [ssh ] is no section of Medusa's (is ssh meant?); Medusa stops with a \
             KeyError at it, medusafs passes it over",
            "medusa.ini:11: nothing is no key of [DEFAULT]; it is passed over",
        ]
    );
}

#[test]
fn medusafs_own_section_in_medusas_file_is_refused_for_medusa_would_die_of_it() {
    let said = Files::new(format!("{LEAST}[medusafs]\nmode = full\n")).refusal();
    assert!(
        said.starts_with("medusa.ini:5: [medusafs]: this section belongs into medusafs.ini"),
        "{said}"
    );
}

#[test]
fn the_mark_and_the_line_ends_of_an_editor_on_windows_change_nothing() {
    let files = Files::new(format!("\u{feff}{}", CLUSTER.replace('\n', "\r\n")));
    let config = files.load_with(&[], &[("HOME", "/root")]).unwrap();
    let plain = Files::new(CLUSTER).load_with(&[], &[("HOME", "/root")]).unwrap();
    assert_eq!((&config.storage, &config.cassandra), (&plain.storage, &plain.cassandra));
    let warning = files.plain(&config.warnings[0].to_string());
    assert!(
        warning.starts_with("medusa.ini:1: the file begins with a byte order mark"),
        "{warning}"
    );
}

#[test]
fn a_key_that_is_indented_by_mistake_is_not_misread_silently() {
    let files = Files::new(LEAST.replace("base_path", "  base_path"));
    let said = files.refusal();
    assert!(said.contains("medusa.ini:3: [storage] bucket_name"), "{said}");
    let files = Files::new(format!("{LEAST}[cassandra]\nstop_cmd = x\n  use_sudo = False\n"));
    let said = files.warnings();
    assert!(
        said[0].contains(
            "medusa.ini:7: this line is indented, so it goes on with the value of line 6"
        ),
        "{said:?}"
    );
}

#[test]
fn a_section_default_gives_what_has_no_default_of_medusas() {
    let files = Files::new(format!("[DEFAULT]\nprefix = clusterA\nmax_backup_age = 9\n{LEAST}"));
    let config = files.load().unwrap();
    assert_eq!(config.storage.prefix.as_deref(), Some("clusterA"));
    assert_eq!(config.storage.max_backup_age, None, "Medusa's own default hides [DEFAULT]");
}

#[test]
fn the_trap_of_resolving_own_names_is_seen() {
    for (spelled, own, others) in
        [("False", false, false), ("false", true, false), ("yes", true, true)]
    {
        let files = Files::new(format!("{LEAST}[cassandra]\nresolve_ip_addresses = {spelled}\n"));
        let cassandra = files.load().unwrap().cassandra;
        assert_eq!((cassandra.resolve_own_name, cassandra.resolve_ip_addresses), (own, others));
        assert_eq!(files.warnings().len(), usize::from(own && !others));
    }
}

#[test]
fn settings_that_have_no_effect_without_another_are_told() {
    let files = Files::new(format!(
        "{LEAST}[cassandra]\ncql_password = a\nnodetool_password = b\nusercert = /c\n\
         nodetool_ssl = True\nstop_cmd = a && b\nstart_cmd = a ; b\n[ssh]\ncert_file = /d\n"
    ));
    let said = files.warnings().join("\n");
    for wanted in [
        "medusa.ini:6: cql_password has no effect without cql_username",
        "medusa.ini:7: a password for nodetool has no effect",
        "medusa.ini:8: usercert has no effect without userkey",
        "medusa.ini:9: nodetool_ssl is off, in Medusa too",
        "medusa.ini:10: stop_cmd: \"&&\" means nothing",
        "medusa.ini:11: [cassandra] start_cmd: what looks like a comment",
        "medusa.ini:13: cert_file has no effect",
    ] {
        assert!(said.contains(wanted), "{wanted} is not in\n{said}");
    }
    let cassandra = files.load().unwrap().cassandra;
    assert!(
        cassandra.cql.is_none() && cassandra.nodetool.password.is_none() && !cassandra.nodetool.ssl
    );
}

#[test]
fn secrets_of_kubernetes_come_from_their_directory_and_are_the_strongest() {
    let secrets = tempfile::tempdir().unwrap();
    fs::write(secrets.path().join("username"), " k8s\n").unwrap();
    fs::write(secrets.path().join("password"), "hunter4\n").unwrap();
    let path = secrets.path().to_str().unwrap();
    let files = Files::new(format!("{LEAST}[cassandra]\ncql_username = a\ncql_password = b\n"));
    let environment = [
        ("MEDUSA_CQL_USERNAME", "c"),
        ("CQL_PASSWORD", "d"),
        ("MEDUSA_CQL_K8S_SECRETS_PATH", path),
    ];
    let config = files.load_with(&[], &environment).unwrap();
    let cql = config.cassandra.cql.unwrap();
    assert_eq!((cql.username.as_str(), cql.password.expose()), ("k8s", "hunter4"));
    assert!(
        config.warnings[0].to_string().starts_with("variable CQL_PASSWORD: this is the old name")
    );
}

#[test]
fn no_password_stands_in_the_text_of_the_configuration_nor_in_a_message() {
    let files = Files::new(format!(
        "{CLUSTER}[cassandra2]\n[grpc]\n"
    ).replace(
        "use_sudo = False",
        "use_sudo = False\nsstableloader_tspw = hunter5\nnodetool_flags = -Dx.Password=hunter6 -pw hunter7\n\
         check_running = nodetool -u a -pw hunter9 version",
    ));
    let config = files
        .load_with(&[], &[("MEDUSA_SSTABLELOADER_KSPW", "hunter8"), ("HOME", "/root")])
        .unwrap();
    let text = config.config_text();
    let all = format!("{text}{config:?}{:?}", config.ignored());
    // The settings themselves hold nodetool's flags, which are argv in any case.
    assert!(!text.contains("hunter"), "{text}");
    for secret in ["hunter2", "hunter3", "hunter5", "hunter8"] {
        assert!(!all.contains(secret), "{secret} is in {all}");
    }
    assert!(text.contains("[cassandra] nodetool_flags = -Dx.Password=*** -pw ***"), "{text}");
}

#[test]
fn a_store_alone_needs_no_file_and_has_no_cluster() {
    let none = BTreeMap::new();
    let options =
        [("prefix".to_owned(), "clusterA".to_owned()), ("memory".to_owned(), "64MiB".to_owned())];
    let config = Config::for_store(Path::new("/srv/store"), &options, &none).unwrap();
    assert_eq!(config.store_root(), Path::new("/srv/store"));
    assert_eq!(config.storage.prefix.as_deref(), Some("clusterA"));
    assert_eq!(config.medusafs.memory, ByteSize(64 << 20));
    assert_eq!(config.medusafs.contact_points.map(|hosts| hosts.len()), Some(0));
    assert_eq!(config.warnings, []);
    assert!(Config::for_store(Path::new("store"), &[], &none).is_err());
    assert!(Config::for_store(Path::new("/"), &[], &none).is_err());
}

#[test]
fn a_node_is_named_by_its_own_file_whatever_else_is_wrong_there() {
    let files = Files::new("[storage]\nfqdn = db1\nstorage_provider = ftp\nmax_backup_age = x\n");
    let none = BTreeMap::new();
    let read = |path: &Path| NodeNaming::read(path, &none).unwrap();
    let named = read(&files.0.path().join("medusa.ini"));
    assert_eq!(named, NodeNaming { fqdn: Fqdn::parse("db1").ok(), resolve_own_name: true });
    let default = read(&files.0.path().join("none.ini"));
    assert_eq!(default, NodeNaming { fqdn: None, resolve_own_name: true });
}
