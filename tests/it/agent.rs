//! The backup side of an agent, as its own process, on real files.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use medusafs::agent::protocol::{
    Clear, FaultKind, ShareProbe, ShareRead, ShareWrite, SnapshotTag, Upload, Withdraw,
};
use medusafs::medusa::Mode;

use super::support::agent::{Agent, AgentNode, names, tag};

const USERS: &str = "shop/users-1b255f4def2540a60000000000000005";

/// A node with data enough that an upload at `SLOW` can be caught at work.
fn node() -> AgentNode {
    let node = AgentNode::new();
    for generation in 1..=8 {
        node.write(USERS, &format!("nb-{generation}-big-Data.db"), 1 << 20);
        node.write(USERS, &format!("nb-{generation}-big-Digest.crc32"), 10);
    }
    node
}

fn slow(mode: Mode) -> Upload {
    Upload { bytes_per_second: 2 << 20, ..AgentNode::upload(mode) }
}

fn back_up(agent: &mut Agent, mode: Mode) {
    agent.ask(AgentNode::snapshot()).unwrap();
    agent.ask(AgentNode::upload(mode)).unwrap();
    agent.ask(AgentNode::publish(mode)).unwrap();
    assert_eq!(agent.ask(Clear { tag: tag() }).unwrap().directories, 2);
}

/// Every live file is in the store, whole.
fn assert_stored(node: &AgentNode, below: &str) {
    let stored = node.stored();
    for (name, content) in node.live() {
        assert!(stored[&Path::new(below).join(&name)] == content, "{}", name.display());
    }
}

#[test]
fn a_backup_by_an_agent_leaves_the_share_with_it_and_the_node_without_a_snapshot() {
    let node = node();
    let mut agent = Agent::on(&node);
    let nonce = "0123456789abcdef".to_owned();
    let other = "fedcba9876543210".to_owned();
    agent.ask(ShareWrite { nonce: nonce.clone() }).unwrap();
    let found = agent.ask(ShareRead { nonces: vec![other, nonce.clone()] }).unwrap().found;
    assert_eq!(found, [nonce]);
    assert!(agent.ask(ShareProbe {}).unwrap().has_exact_names);
    back_up(&mut agent, Mode::Differential);
    assert_eq!(agent.hang_up(), Some(0));
    assert!(node.snapshots_left().is_empty());
    assert_stored(&node, "node1/data");
    let own = node.stored().into_keys().filter(|path| path.starts_with(".medusafs"));
    assert_eq!(own.count(), 0);
}

#[test]
fn an_agent_whose_job_is_gone_clears_the_snapshot_that_it_took() {
    let node = node();
    let mut agent = Agent::on(&node);
    assert_eq!(agent.ask(AgentNode::snapshot()).unwrap().tables, 2);
    assert!(!node.snapshots_left().is_empty());
    assert_eq!(agent.hang_up(), Some(0));
    assert!(node.snapshots_left().is_empty());
}

#[test]
fn an_agent_that_cannot_even_log_finishes_what_is_left_to_do() {
    let node = node();
    let mut agent = Agent::on(&node);
    agent.ask(ShareWrite { nonce: "0123456789abcdef".to_owned() }).unwrap();
    agent.ask(AgentNode::snapshot()).unwrap();
    // No name of Cassandra's: where this stands, clearing ends with an error, which is logged.
    let odd = node.path("data").join(OsStr::from_bytes(b"\xff/t-1/snapshots")).join(tag().as_str());
    fs::create_dir_all(&odd).unwrap();
    assert_eq!(agent.lose_the_line(), Some(0));
    assert!(node.stored().is_empty(), "{:?}", node.stored().into_keys());
}

#[test]
fn an_upload_whose_job_is_gone_leaves_whole_files_only_and_no_snapshot() {
    let node = node();
    let mut agent = Agent::on(&node);
    agent.ask(AgentNode::snapshot()).unwrap();
    agent.begin(slow(Mode::Full));
    agent.copies();
    agent.hang_up();
    assert!(node.snapshots_left().is_empty());
    assert!(node.stored().is_empty(), "{:?}", node.stored().into_keys());
}

#[test]
fn after_a_kill_in_an_upload_nothing_looks_whole_and_the_next_backup_succeeds() {
    for mode in [Mode::Full, Mode::Differential] {
        let node = node();
        let mut agent = Agent::on(&node);
        agent.ask(AgentNode::snapshot()).unwrap();
        agent.begin(slow(mode));
        agent.copies();
        agent.kill();
        let live = node.live();
        for (path, content) in node.stored() {
            let text = path.to_str().unwrap();
            assert!(!text.starts_with("index") && !text.contains("/meta/"), "{text}");
            if !text.starts_with(".medusafs") {
                let name = text.split_once("/data/").unwrap().1;
                assert!(live[Path::new(name)] == content, "{name} is half");
            }
        }
        let mut agent = Agent::on(&node);
        let fault = agent.ask(AgentNode::snapshot()).unwrap_err();
        assert_eq!(fault.kind, FaultKind::Exists);
        agent.ask(Clear { tag: tag() }).unwrap();
        back_up(&mut agent, mode);
        assert_eq!(agent.hang_up(), Some(0));
        let below = if mode == Mode::Full { "node1/nightly/data" } else { "node1/data" };
        assert_stored(&node, below);
        let own = node.stored().into_keys().filter(|path| path.starts_with(".medusafs"));
        assert_eq!(own.count(), 0);
    }
}

#[test]
fn a_cancelled_upload_can_be_begun_again_in_the_same_conversation() {
    let node = node();
    let mut agent = Agent::on(&node);
    agent.ask(AgentNode::snapshot()).unwrap();
    let id = agent.begin(slow(Mode::Full));
    agent.copies();
    agent.cancel(id);
    assert_eq!(agent.end::<Upload>(id).unwrap_err().kind, FaultKind::Cancelled);
    assert!(node.stored().is_empty(), "{:?}", node.stored().into_keys());
    agent.ask(AgentNode::upload(Mode::Full)).unwrap();
    agent.ask(AgentNode::publish(Mode::Full)).unwrap();
    assert_stored(&node, "node1/nightly/data");
}

#[test]
fn a_finished_upload_is_published_by_another_agent_or_withdrawn_by_it() {
    for publish in [true, false] {
        let node = node();
        let mut agent = Agent::on(&node);
        agent.ask(AgentNode::snapshot()).unwrap();
        agent.ask(AgentNode::upload(Mode::Full)).unwrap();
        agent.kill();
        let mut agent = Agent::on(&node);
        if publish {
            agent.ask(AgentNode::publish(Mode::Full)).unwrap();
            assert_stored(&node, "node1/nightly/data");
        } else {
            let (backup, node_name) = names();
            let withdrawn = agent.ask(Withdraw { backup, node: node_name }).unwrap();
            assert_eq!(withdrawn.files, 17 + 1, "the data and the record");
            assert!(node.stored().is_empty());
        }
    }
}

#[test]
fn what_nodetool_says_of_a_wrong_password_reaches_the_job_by_its_kind() {
    let node = node();
    node.nodetool_fails(2, "error: Invalid username or password\n-- StackTrace --\n");
    let mut agent = Agent::on(&node);
    let fault = agent.ask(AgentNode::snapshot()).unwrap_err();
    assert_eq!(fault.kind, FaultKind::Credentials);
    assert!(node.snapshots_left().is_empty());
}

#[test]
fn a_nodetool_that_talks_to_another_cassandra_is_found_out() {
    let node = node();
    node.nodetool_fails(0, "");
    let fault = Agent::on(&node).ask(AgentNode::snapshot()).unwrap_err();
    assert_eq!(fault.kind, FaultKind::Damaged);
    assert!(fault.to_string().contains("nodetool_host"), "{fault}");
}

#[test]
fn a_tag_of_somebody_elses_cannot_even_be_said() {
    let wrong = serde_json::from_str::<Clear>(r#"{"tag": "before-upgrade"}"#);
    assert!(wrong.unwrap_err().to_string().contains("no snapshot tag of medusafs"));
    assert!(SnapshotTag::parse("truncated-1-users").is_err());
}

/// A share of so much room, in a mount namespace that ends with the agent.
fn agent_with_share(node: &AgentNode, options: &str) -> Agent {
    let store = node.store();
    let mount = format!(
        "mount -t tmpfs -o {options} tmpfs {} && exec {} agent",
        store.display(),
        env!("CARGO_BIN_EXE_medusafs")
    );
    let mut agent = Agent::started(&["unshare", "--mount", "sh", "-c", &mount]);
    agent.ask(node.hello()).unwrap();
    agent
}

#[test]
fn a_share_that_lacks_the_room_is_told_from_one_that_fills_up_and_both_are_left_clean() {
    let node = node();
    let mut agent = agent_with_share(&node, "size=4m");
    agent.ask(AgentNode::snapshot()).unwrap();
    let fault = agent.ask(AgentNode::upload(Mode::Full)).unwrap_err();
    assert_eq!(fault.kind, FaultKind::ShareFull);
    assert!(fault.what.contains("are to be written"), "{fault}");
    drop(agent);
    fs::remove_dir_all(node.path("data").join(USERS).join("snapshots")).unwrap();
    fs::remove_dir_all(
        node.path("data/system_schema/tables-afddfb9dbc1e30688056eed6c302ba09/snapshots"),
    )
    .unwrap();
    // Room for the bytes, none for so many files: the system says ENOSPC in the midst of it.
    let mut agent = agent_with_share(&node, "size=64m,nr_inodes=20");
    agent.ask(AgentNode::snapshot()).unwrap();
    let fault = agent.ask(AgentNode::upload(Mode::Full)).unwrap_err();
    assert_eq!(fault.kind, FaultKind::ShareFull);
    assert!(fault.what.contains("no space is left on the share"), "{fault}");
    // What was written has been taken back: there is room for a probe again.
    agent.ask(ShareProbe {}).unwrap();
}
