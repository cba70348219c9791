//! Restores of real nodes, counted at consistency level ALL.

use crate::support::lab::Lab;

#[test]
fn nodes_that_lost_their_data_have_all_rows_again() {
    let lab = Lab::up();
    lab.medusa(1, &["backup-cluster", "--backup-name", "theirs", "--mode", "full"]).ok();
    lab.medusafs(&["backup", "ours"]).ok();
    lab.node_sh(
        2,
        "service cassandra stop && cd /var/lib/cassandra/data && for keyspace in *; do \
         case $keyspace in system*) ;; *) find $keyspace -name '*.db' -delete ;; esac; done; \
         rm -rf /var/lib/cassandra/commitlog/*; service cassandra start",
    )
    .ok();
    lab.cluster(&["wait"]).ok();

    // What Medusa backed up is shown as it is, and restored by cp.
    let planned =
        lab.medusafs(&["restore", "theirs", "--node", "node2.cass.test", "--dry-run"]).ok();
    assert!(planned.lines().last().unwrap().starts_with("plan "), "{planned}");
    lab.mount();
    lab.ctl_sh(
        "cd /mnt/medusa && diff -r -x 'empty-*' backups/theirs/node2.cass.test/shop \
         /mnt/backup/medusa/node2.cass.test/theirs/data/shop && \
         cp -r backups/theirs/node2.cass.test restore/ && \
         cat restore/node2.cass.test/.medusa/wait",
    )
    .ok();
    lab.has_all_rows("a backup by Medusa was restored");
    lab.medusafs(&["unmount", "/mnt/medusa"]).ok();

    // One that does not even start, and is the first that is asked for the ring.
    let points = "contact_points = node1.cass.test, node2.cass.test";
    lab.ctl_sh(&format!("sed -i 's/^contact_points.*/{points}/' /etc/medusa/medusafs.ini")).ok();
    lab.node_sh(1, "service cassandra stop; rm -rf /var/lib/cassandra/*/*").ok();
    lab.medusafs(&["restore", "ours", "--node", "node1.cass.test"]).ok();
    lab.has_all_rows("a node that had nothing left was restored");
    assert_eq!(lab.agents_left(), "");
}
