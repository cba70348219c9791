//! `cassandra::*` where it stands in earnest: this very program, run on the controller and on a node.

use crate::support::lab::Lab;

/// What a run of tests says of itself.
fn result(said: &str) -> &str {
    said.lines().find(|line| line.starts_with("test result: ")).unwrap_or(said)
}

#[test]
fn what_is_asked_of_cassandra_is_answered_on_the_controller_and_on_a_node() {
    let lab = Lab::up();
    let program = std::env::current_exe().unwrap();
    let program = program.to_str().unwrap();

    let said = lab.ctl(&[program, "--ignored", "cassandra::from_the_controller"]).ok();
    assert!(result(&said).starts_with("test result: ok. 5 passed"), "{said}");

    // A node sees nothing of the machine's, but a static program runs on it.
    lab.ctl_sh(&format!("cp {program} /mnt/backup/it")).ok();
    let said = lab.node_sh(1, "/mnt/backup/it --ignored cassandra::on_a_node").ok();
    assert!(result(&said).starts_with("test result: ok. 4 passed"), "{said}");
}
