//! The hard power cut of a lab: Cassandra has what it has synced, as after a real one.

use crate::support::lab::Lab;

#[test]
fn a_node_whose_power_was_cut_has_all_rows() {
    let lab = Lab::up();
    lab.cluster(&["power-cut", "3"]).ok();
    lab.cluster(&["boot", "3"]).ok();
    lab.has_all_rows("the power was cut");
}
