//! Backups of a real cluster, judged by real Medusa.

use crate::support::lab::Lab;

fn new_files(line: &str) -> &str {
    line.rsplit("of it new ").next().unwrap()
}

#[test]
fn medusa_lists_verifies_and_extends_what_medusafs_backs_up() {
    let lab = Lab::up();
    lab.ctl_sh("rm /root/.ssh/known_hosts").ok();
    lab.medusafs(&["trust", "--yes"]).ok();
    let checked = lab.medusafs(&["check"]).ok();
    assert!(checked.ends_with("nothing stands against a backup"), "{checked}");

    lab.medusafs(&["backup", "one", "--full"]).ok();
    lab.medusafs(&["backup", "two"]).ok();
    lab.cluster(&[
        "exec",
        "1",
        "medusa",
        "backup-cluster",
        "--backup-name",
        "by-medusa",
        "--mode",
        "differential",
    ])
    .ok();
    let unchanged = lab.medusafs(&["backup", "three"]).ok();
    assert!(!new_files(&unchanged).contains("MB"), "{unchanged}");

    let listed = lab.medusa(2, &["list-backups"]).ok();
    for name in ["one", "two", "by-medusa", "three"] {
        assert!(listed.contains(name), "{listed}");
        let verified = lab.medusa(3, &["verify", "--backup-name", name]).ok();
        assert!(verified.contains("Manifest validated: OK!!"), "{verified}");
        let status = lab.medusa(1, &["status", "--backup-name", name]).ok();
        assert!(
            status.contains("3 nodes completed, 0 nodes incomplete, 0 nodes missing"),
            "{status}"
        );
        let shown = lab.medusafs(&["status", name]).ok();
        assert!(shown.starts_with(&format!("{name}: complete")), "{shown}");
    }
    assert_eq!(lab.snapshots_left(), "");
    assert_eq!(lab.agents_left(), "");

    let again = lab.medusafs(&["backup", "one"]);
    assert_eq!((again.code, again.err.contains("there is a backup one already")), (Some(2), true));

    lab.node_sh(2, "service cassandra stop && rm -r /var/lib/cassandra/data/shop").ok();
    lab.medusa(2, &["restore-node", "--in-place", "--backup-name", "three"]).ok();
    lab.has_all_rows("what medusafs backed up was restored by Medusa");
}

#[test]
fn a_cluster_that_is_not_fit_is_told_why_and_keeps_no_trace() {
    let lab = Lab::up();
    let refuses = |name: &str, words: &[&str]| {
        let ran = lab.medusafs(&["backup", name]);
        assert_eq!(ran.code, Some(1), "{}{}", ran.out, ran.err);
        for word in words {
            assert!(ran.err.contains(word), "{word:?} is not said: {}", ran.err);
        }
        assert_eq!(lab.snapshots_left(), "");
        let index = lab.ctl_sh("find /mnt/backup/medusa -path '*index*' -name '*' -type f").out;
        assert!(!index.contains(name), "{index}");
    };

    // From here on a node that cannot be reached has a name.
    lab.medusafs(&["backup", "good"]).ok();
    lab.cluster(&["sudo-refuse", "2"]).ok();
    refuses("no-sudo", &["node2", "sudoers"]);
    lab.cluster(&["sudo-allow", "2"]).ok();

    lab.cluster(&["share-apart", "3"]).ok();
    refuses("other-share", &["node3", "share"]);
    lab.cluster(&["share-join", "3"]).ok();

    lab.cluster(&["share-apart", "ctl"]).ok();
    lab.ctl_sh("mkdir -p /mnt/backup/medusa").ok();
    refuses("other-share-here", &["this host does not see", "node_store"]);
    lab.cluster(&["share-join", "ctl"]).ok();

    let known = "/mnt/backup/medusa/.medusafs/nodes.json";
    lab.ctl_sh(&format!(
        "cp {known} /root/good; sed -i '/cluster_name/s/: .*/: \"Another\",/' {known}"
    ))
    .ok();
    refuses("other-cluster", &["Another", "bucket_name"]);
    refuses("other-cluster-again", &["Another", "bucket_name"]);
    lab.ctl_sh(&format!("cp /root/good {known}")).ok();

    lab.ctl_sh("cp /etc/medusa/medusa.ini /etc/medusa/good; sed -i 's/^cql_password.*/cql_password = wrong/' /etc/medusa/medusa.ini").ok();
    refuses("bad-cql", &["CQL"]);
    lab.ctl_sh("cp /etc/medusa/good /etc/medusa/medusa.ini").ok();

    let password = "/etc/medusa/nodetool.password";
    lab.node_sh(2, &format!("cp -p {password} /root/good; echo 'backup wrong' > {password}")).ok();
    refuses("bad-jmx", &["node2", "password"]);
    lab.node_sh(2, &format!("cp -p /root/good {password}")).ok();

    lab.node_sh(2, "service cassandra stop").ok();
    refuses("one-down", &["node2", "DN"]);
    lab.node_sh(2, "service cassandra start").ok();
    lab.cluster(&["wait"]).ok();

    lab.cluster(&["rekey-host", "2"]).ok();
    refuses("other-key", &["node2", "known_hosts"]);
}
