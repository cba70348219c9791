//! `medusafs::cassandra` with a real cluster. `lab_cassandra` runs these inside a lab.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use medusafs::cassandra::{
    CassandraYaml, ClusterFacts, ColumnFacts, CqlError, CqlSession, CqlTlsSettings, Nodetool,
    NodetoolError, Program, TableFacts, running, schema_text, schema_text_with_internals,
    storage_directory,
};
use medusafs::config::{Config, CqlTls, Credentials, NodetoolPassword, Secret, Sources};
use medusafs::model::SystemClock;
use medusafs::ssh::{Connection, Identity, Patience, Remote, Target};
use tokio::net::TcpStream;

const LONG: Duration = Duration::from_mins(1);
const NODE: &str = "198.51.100.11";
const PORT: u16 = 9042;

fn config(file: &str) -> Config {
    Config::load(&Sources {
        medusa_ini: Path::new("/etc/medusa").join(file),
        options: Vec::new(),
        environment: BTreeMap::new(),
    })
    .unwrap()
}

mod from_the_controller {
    use super::*;

    fn login() -> Credentials {
        config("medusa.ini").cassandra.cql.unwrap()
    }

    async fn tcp() -> TcpStream {
        TcpStream::connect((NODE, PORT)).await.unwrap()
    }

    async fn plain() -> CqlSession<TcpStream> {
        CqlSession::start(tcp().await, Some(&login()), LONG).await.unwrap()
    }

    fn target() -> Target {
        let ssh = config("medusa.ini").ssh;
        Target {
            host: NODE.to_owned(),
            port: ssh.port,
            user: ssh.username.unwrap(),
            identity: Identity::File { key: ssh.key_file.unwrap(), certificate: ssh.cert_file },
            known_hosts: vec!["/root/.ssh/known_hosts".into()],
            login_shell: ssh.login_shell,
            patience: Patience::default(),
        }
    }

    #[tokio::test]
    #[ignore = "run inside a lab, by lab_cassandra"]
    async fn a_node_tells_the_same_of_its_cluster_in_the_clear_by_tls_and_through_ssh() {
        let in_the_clear = ClusterFacts::ask(&mut plain().await, LONG).await.unwrap();

        let tls = config("medusa-tls.ini").cassandra.cql_tls.unwrap();
        for check_name in [false, true] {
            let settings = CqlTlsSettings::load(&tls, check_name).unwrap();
            let stream = settings.connect(tcp().await, NODE, LONG).await.unwrap();
            let mut session = CqlSession::start(stream, Some(&login()), LONG).await.unwrap();
            assert_eq!(ClusterFacts::ask(&mut session, LONG).await.unwrap(), in_the_clear);
        }

        let connection = Connection::open(target(), &SystemClock).await.unwrap();
        let stream = connection.tunnel(NODE, PORT, LONG).await.unwrap();
        let mut session = CqlSession::start(stream, Some(&login()), LONG).await.unwrap();
        assert_eq!(ClusterFacts::ask(&mut session, LONG).await.unwrap(), in_the_clear);
        connection.close().await;

        assert_eq!(in_the_clear.nodes.len(), 3, "{in_the_clear:?}");
        assert!(in_the_clear.schemas_agree() && in_the_clear.half_known.is_empty());
        assert_eq!(in_the_clear.nodes[0].address.to_string(), NODE);
        assert_eq!(in_the_clear.partitioner, "Murmur3Partitioner");
        for node in &in_the_clear.nodes {
            assert_eq!(node.native_port, Some(PORT));
            assert_eq!(node.native_address, Some(node.address));
            assert!(!node.tokens.is_empty() && node.release_version.is_some(), "{node:?}");
        }
    }

    #[tokio::test]
    #[ignore = "run inside a lab, by lab_cassandra"]
    async fn what_is_wrong_with_a_login_or_with_tls_is_told_apart() {
        let wrong = Credentials { password: Secret::new("wrong"), ..login() };
        let error = CqlSession::start(tcp().await, Some(&wrong), LONG).await.unwrap_err();
        assert!(matches!(error, CqlError::WrongPassword { .. }), "{error}");
        let error = CqlSession::start(tcp().await, None, LONG).await.unwrap_err();
        assert!(matches!(error, CqlError::PasswordWanted), "{error}");

        let sshd = TcpStream::connect((NODE, 22)).await.unwrap();
        let error = CqlSession::start(sshd, None, LONG).await.unwrap_err();
        assert!(matches!(error, CqlError::NotCql { .. }), "{error}");

        let tls = config("medusa-tls.ini").cassandra.cql_tls.unwrap();
        let named = CqlTlsSettings::load(&tls, true).unwrap();
        let error = named.connect(tcp().await, "elsewhere.cass.test", LONG).await.unwrap_err();
        assert!(matches!(error, CqlError::Tls(_)), "{error}");
        let unnamed = CqlTlsSettings::load(&tls, false).unwrap();
        assert!(unnamed.connect(tcp().await, "elsewhere.cass.test", LONG).await.is_ok());

        let (client, _) = tls.client.clone().unwrap();
        let stranger = CqlTls { certfile: client, client: None };
        let settings = CqlTlsSettings::load(&stranger, false).unwrap();
        let error = settings.connect(tcp().await, NODE, LONG).await.unwrap_err();
        assert!(matches!(error, CqlError::Tls(_)), "{error}");
    }

    #[tokio::test]
    #[ignore = "run inside a lab, by lab_cassandra"]
    async fn a_refused_query_leaves_the_session_in_step() {
        let mut session = plain().await;
        let error = session.query("SELECT * FROM no.such", LONG).await.unwrap_err();
        assert!(matches!(error, CqlError::Refused { .. }), "{error}");
        let all = session.query(r#"SELECT id FROM "MixedKs"."Upper""#, LONG).await.unwrap();
        assert!(all.len() > 1000, "one page would have been enough: {}", all.len());
    }

    /// The tables of each keyspace as Medusa's own parser sees them, one `keyspace.table` a line.
    const PARSER: &str = "import sys\n\
        from medusa.schema import parse_schema\n\
        for name, keyspace in sorted(parse_schema(sys.stdin.read()).items()):\n    \
            for table in sorted([*keyspace['tables'], *keyspace['materialized_views']]):\n        \
                print(f'{name}.{table}'.replace('\"', ''))";

    #[tokio::test]
    #[ignore = "run inside a lab, by lab_cassandra"]
    async fn medusa_s_own_parser_finds_every_table_in_the_schema() {
        let mut session = plain().await;
        let schema = schema_text(&mut session, LONG).await.unwrap();
        let tables = TableFacts::ask(&mut session, LONG).await.unwrap();
        let python = "/opt/medusa/bin/python";
        let parser = Program::new([python, "-c", PARSER]).stdin(schema.clone());
        let parsed = parser.run(LONG).await.unwrap();
        assert!(parsed.success(), "{}", parsed.stderr);
        let mut expected: Vec<_> = tables
            .iter()
            .filter(|table| table.keyspace != "system_traces")
            .map(|table| format!("{}.{}", table.keyspace, table.name))
            .collect();
        expected.sort();
        let mut found: Vec<_> = parsed.stdout.lines().collect();
        found.sort_unstable();
        assert_eq!(found, expected);
        assert!(!schema.contains("system_views") && !schema.ends_with('\n'));
    }

    #[tokio::test]
    #[ignore = "run inside a lab, by lab_cassandra"]
    async fn a_schema_for_restoring_names_every_table_s_id() {
        let mut session = plain().await;
        let schema = schema_text_with_internals(&mut session, LONG).await.unwrap();
        let tables = TableFacts::ask(&mut session, LONG).await.unwrap();
        let columns = ColumnFacts::ask(&mut session, LONG).await.unwrap();
        let plain_ids = schema.replace('-', "");
        let of_users: Vec<_> =
            tables.iter().filter(|table| !table.keyspace.starts_with("system")).collect();
        assert!(of_users.iter().any(|table| table.is_view));
        for table in of_users {
            assert!(plain_ids.contains(&table.id), "{table:?}");
            let key = (table.keyspace.clone(), table.name.clone());
            assert!(columns[&key].iter().any(|column| column.kind == "partition_key"), "{key:?}");
        }
    }
}

mod on_a_node {
    use super::*;

    fn nodetool(password: Option<NodetoolPassword>) -> Nodetool {
        let mut settings = config("medusa.ini").cassandra.nodetool;
        if password.is_some() {
            settings.password = password;
        }
        Nodetool::new(settings)
    }

    #[tokio::test]
    #[ignore = "run inside a lab, by lab_cassandra"]
    async fn nodetool_s_answers_are_understood() {
        let tool = nodetool(None);
        let members = tool.status(LONG).await.unwrap();
        assert_eq!(members.len(), 3);
        assert!(members.iter().all(|member| member.up == Some(true)), "{members:?}");
        let info = tool.info(LONG).await.unwrap();
        assert!(info.gossip_active && info.native_active && !info.tokens.is_empty());
        let own = members.iter().find(|member| member.host_id == info.host_id).unwrap();
        assert_eq!((&own.rack, &own.datacenter), (&info.rack, &info.datacenter));
        let described = tool.describe_cluster(LONG).await.unwrap();
        assert!(described.schemas_agree() && !described.schema_versions.is_empty());
        assert!(tool.version(LONG).await.unwrap().starts_with("5.0."));
        assert!(tool.serves_clients(LONG).await.unwrap());
    }

    #[tokio::test]
    #[ignore = "run inside a lab, by lab_cassandra"]
    async fn a_snapshot_is_taken_once_and_cleared_as_often_as_one_likes() {
        let tool = nodetool(None);
        tool.snapshot("medusafs-it", Some(Duration::from_mins(2)), LONG).await.unwrap();
        let error = tool.snapshot("medusafs-it", None, LONG).await.unwrap_err();
        assert!(matches!(error, NodetoolError::SnapshotExists { .. }), "{error}");
        for _ in 0..2 {
            tool.clear_snapshot("medusafs-it", LONG).await.unwrap();
        }
    }

    #[tokio::test]
    #[ignore = "run inside a lab, by lab_cassandra"]
    async fn a_wrong_password_and_a_given_one_are_told_apart() {
        let file = std::fs::read_to_string("/etc/medusa/nodetool.password").unwrap();
        let given = file.trim().split_once(' ').unwrap().1.to_owned();
        let right = nodetool(Some(NodetoolPassword::Given(Secret::new(given))));
        assert!(right.version(LONG).await.is_ok());
        let wrong = nodetool(Some(NodetoolPassword::Given(Secret::new("wrong"))));
        let error = wrong.version(LONG).await.unwrap_err();
        assert!(matches!(error, NodetoolError::WrongPassword { .. }), "{error}");
        let mut settings = config("medusa.ini").cassandra.nodetool;
        (settings.username, settings.password) = (None, None);
        let error = Nodetool::new(settings.clone()).version(LONG).await.unwrap_err();
        assert!(matches!(error, NodetoolError::PasswordWanted), "{error}");
        settings.port = Some(1);
        let error = Nodetool::new(settings).version(LONG).await.unwrap_err();
        assert!(matches!(error, NodetoolError::NotRunning { .. }), "{error}");
    }

    #[test]
    #[ignore = "run inside a lab, by lab_cassandra"]
    fn the_node_s_own_cassandra_and_its_directories_are_found() {
        let found = running().unwrap();
        assert_eq!(found.len(), 1, "{found:?}");
        // The lab's stands in a file of options, where its command line does not show it.
        let file = config("medusa.ini").cassandra.config_file;
        assert!(found[0].config.as_ref().is_none_or(|known| *known == file), "{found:?}");
        let yaml = CassandraYaml::load(&file, storage_directory(&found).as_deref()).unwrap();
        for directory in yaml.all_data_directories() {
            assert!(directory.join("system").is_dir() || directory.is_dir(), "{directory:?}");
        }
        assert!(yaml.commitlog_directory.is_dir(), "{yaml:?}");
        assert_eq!(yaml.native_transport_port, PORT);
    }
}
