//! `cassandra::*` where it stands in earnest: this very program, run on the controller and on a node.

use crate::support::lab::{Lab, MEDUSAFS};

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

/// `scripts/bench` speaks to an agent without this program's own words for it.
#[test]
fn the_benchmark_and_an_agent_understand_each_other() {
    let lab = Lab::up();
    lab.ctl_sh(&format!("cp {MEDUSAFS} /mnt/backup/ && cp -r scripts/measure /mnt/backup/")).ok();
    lab.node_sh(
        1,
        "python3 -B /mnt/backup/measure/stock.py /mnt/backup/medusafs /mnt/backup/b 40 400000",
    )
    .ok();
    let published = "/mnt/backup/b/node1.bench/stock/meta/manifest.json";
    lab.node_sh(1, &format!("grep -q -- -big-Data.db {published}")).ok();
}
