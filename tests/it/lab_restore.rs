//! Restores of a real node, counted at consistency level ALL.

use crate::support::lab::Lab;

#[test]
fn a_node_that_lost_its_data_has_all_rows_again() {
    let lab = Lab::up();
    let before = lab.count();
    lab.medusafs(&["backup", "good"]).ok();
    lab.node_sh(
        2,
        "service cassandra stop && cd /var/lib/cassandra/data && for keyspace in *; do \
         case $keyspace in system*) ;; *) find $keyspace -name '*.db' -delete ;; esac; done; \
         rm -rf /var/lib/cassandra/commitlog/*; service cassandra start",
    )
    .ok();
    lab.cluster(&["wait"]).ok();

    let planned = lab.medusafs(&["restore", "good", "--node", "node2.cass.test", "--dry-run"]).ok();
    assert!(planned.lines().last().unwrap().starts_with("plan "), "{planned}");
    lab.medusafs(&["restore", "good", "--node", "node2.cass.test"]).ok();
    lab.cluster(&["wait"]).ok();
    assert_eq!(lab.count(), before);

    // One that does not even start, and is the first that is asked for the ring.
    let points = "contact_points = node1.cass.test, node2.cass.test";
    lab.ctl_sh(&format!("sed -i 's/^contact_points.*/{points}/' /etc/medusa/medusafs.ini")).ok();
    lab.node_sh(1, "service cassandra stop; rm -rf /var/lib/cassandra/*/*").ok();
    lab.medusafs(&["restore", "good", "--node", "node1.cass.test"]).ok();
    lab.cluster(&["wait"]).ok();
    assert_eq!(lab.count(), before);
    assert_eq!(lab.agents_left(), "");
}
