//! Jobs of the real program whose cluster does not answer: how they end, and that they do.

use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use medusafs::medusa::Layout;
use medusafs::store::{LeaseName, Leases, Owner, Store};

use crate::support::host::{Host, PROGRAM};
use crate::support::mounted::{can_mount, run, until};

fn words(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// The only job's folder, once it is there.
fn folder(host: &Host) -> PathBuf {
    let jobs = host.path("state/jobs");
    let found =
        || fs::read_dir(&jobs).ok()?.flatten().map(|entry| entry.path()).find(|path| is_job(path));
    let is_there = || found().is_some();
    until("there is a job", is_there);
    found().unwrap()
}

fn is_job(path: &Path) -> bool {
    !path.file_name().unwrap().to_string_lossy().starts_with('.')
}

#[expect(clippy::disallowed_methods, reason = "the program under test, which is watched")]
fn begin(host: &Host, name: &str) -> Child {
    Command::new("timeout")
        .args(["60", PROGRAM, "backup", name, "-c"])
        .arg(host.path("medusa.ini"))
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
}

#[test]
fn a_backup_whose_cluster_cannot_be_reached_fails_at_once_and_holds_nothing() {
    let host = Host::new();
    for name in ["one", "two"] {
        let begun = Instant::now();
        let output = host.medusafs(&["backup", name]);
        let said = words(&output);
        assert_eq!(output.status.code(), Some(3), "{said}");
        assert!(said.contains("127.255.255.254") && said.contains("medusafs check"), "{said}");
        assert!(!said.contains("busy"), "{said}");
        assert!(begun.elapsed() < Duration::from_secs(15), "{:?}", begun.elapsed());
    }
    assert_eq!(fs::read_dir(host.path("share/medusa/index/backup_index")).unwrap().count(), 0);
}

#[test]
fn a_backup_whose_cluster_another_host_has_is_told_by_its_exit_code() {
    let host = Host::new();
    let store = Store::open(&host.path("share/medusa")).unwrap();
    let leases = Leases::new(store, Layout::new(None).unwrap().leases().unwrap());
    let owner = Owner { host: "other".into(), pid: 1, job: None, purpose: "backup theirs".into() };
    let lease = leases.acquire(&LeaseName::Cluster, &owner, |_| false).unwrap();
    let output = host.medusafs(&["backup", "one"]);
    let said = words(&output);
    assert_eq!(output.status.code(), Some(4), "{said}");
    assert!(said.contains("backup theirs"), "{said}");
    let jobs = String::from_utf8(host.medusafs(&["jobs", "--json"]).stdout).unwrap();
    assert!(jobs.contains(r#""cause":"busy""#), "{jobs}");
    lease.release().unwrap();
    assert_eq!(host.medusafs(&["backup", "two"]).status.code(), Some(3));
}

#[test]
fn a_job_whose_share_is_not_there_says_what_it_left_and_what_settles_it() {
    let host = Host::new();
    assert_eq!(host.medusafs(&["backup", "one"]).status.code(), Some(3));
    let folder = folder(&host);
    let job = folder.file_name().unwrap().to_str().unwrap();
    let mut journal = fs::read_to_string(folder.join("journal")).unwrap();
    journal.push_str("{\"snapshot_begins\":{\"node\":\"n1\",\"tag\":\"medusafs-x\"}}\n");
    fs::write(folder.join("journal"), journal).unwrap();
    fs::rename(host.path("share"), host.path("elsewhere")).unwrap();
    let resumed = host.medusafs(&["resume", job]);
    assert_eq!(resumed.status.code(), Some(3));
    let said = words(&resumed);
    let left = format!("n1 may still have the snapshot medusafs-x: `medusafs resume {job}` clears");
    assert!(said.contains(&left), "{said}");
    assert!(fs::read_to_string(folder.join("error")).unwrap().contains(&left));
    let log = fs::read_to_string(folder.join("log")).unwrap();
    assert!(!log.contains("medusafs: failed"), "{log}");
}

#[test]
fn a_job_that_is_killed_in_its_first_step_is_brought_to_an_end_by_who_waits_for_it() {
    let host = Host::new();
    let _silent = silent(&host);
    let waiting = begin(&host, "one");
    let folder = folder(&host);
    kill_the_job(&folder);
    let output = waiting.wait_with_output().unwrap();
    let said = words(&output);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("nothing had been begun on any node"), "{said}");
    assert!(fs::read_to_string(folder.join("error")).unwrap().contains("nothing had been begun"));
}

#[test]
fn a_failed_backup_that_is_resumed_says_why_it_failed_and_not_that_it_died() {
    let host = Host::new();
    assert_eq!(host.medusafs(&["backup", "one"]).status.code(), Some(3));
    let folder = folder(&host);
    let job = folder.file_name().unwrap().to_str().unwrap();
    for _ in 0..2 {
        let resumed = host.medusafs(&["resume", job]);
        assert_eq!(resumed.status.code(), Some(1), "{}", words(&resumed));
        let error = fs::read_to_string(folder.join("error")).unwrap();
        assert!(error.contains("127.255.255.254"), "{error}");
        assert!(!error.contains("ended before its work did"), "{error}");
        let again =
            "nothing had been begun on any node: `rmdir backups/one`, then `mkdir` it again";
        assert_eq!(error.matches(again).count(), 1, "{error}");
    }
}

/// Waits until the job's process has taken it, and kills that.
fn kill_the_job(folder: &Path) {
    let journal = || fs::read_to_string(folder.join("journal")).unwrap_or_default();
    until("the job is taken", || journal().ends_with('\n'));
    let taken: serde_json::Value = serde_json::from_str(journal().trim()).unwrap();
    run("kill", &["-KILL", &taken["taken"]["pid"].to_string()]);
}

/// The cluster is one that takes connections and never speaks.
fn silent(host: &Host) -> TcpListener {
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = silent.local_addr().unwrap().port();
    let own = fs::read_to_string(host.path("medusafs.ini")).unwrap();
    host.write("medusafs.ini", &own.replace("127.255.255.254", &format!("127.0.0.1:{port}")));
    silent
}

#[test]
fn a_mount_brings_a_job_to_its_end_whose_process_dies_while_it_looks() {
    if !can_mount() {
        return;
    }
    let host = Host::new();
    let _silent = silent(&host);
    let tree = host.path("tree");
    fs::create_dir(&tree).unwrap();
    let mounted = host.medusafs(&["mount", tree.to_str().unwrap()]);
    assert_eq!(mounted.status.code(), Some(0), "{}", words(&mounted));
    fs::create_dir(tree.join("backups/one")).unwrap();
    kill_the_job(&folder(&host));
    let state = || fs::read_to_string(tree.join("backups/one/.medusa/state"));
    let begun = Instant::now();
    while state().unwrap() != "failed\n" && begun.elapsed() < Duration::from_secs(40) {
        std::thread::yield_now();
    }
    let error = fs::read_to_string(tree.join("backups/one/.medusa/error"));
    let gone = run(PROGRAM, &["unmount", tree.to_str().unwrap()]);
    assert_eq!(gone.status.code(), Some(0), "{}", words(&gone));
    assert!(error.unwrap().contains("nothing had been begun on any node"));
}

#[test]
fn a_job_whose_process_dies_again_and_again_is_left_to_a_person() {
    let host = Host::new();
    assert_eq!(host.medusafs(&["backup", "one"]).status.code(), Some(3));
    let folder = folder(&host);
    let status = folder.join("status.json");
    let ended = fs::read_to_string(&status).unwrap();
    fs::write(&status, ended.replace("\"state\": \"failed\"", "\"state\": \"running\"")).unwrap();
    let journal = fs::read_to_string(folder.join("journal")).unwrap();
    let taken: Vec<_> = journal.lines().filter(|line| line.contains("taken")).collect();
    fs::write(folder.join("journal"), format!("{}\n", taken.join("\n")).repeat(3)).unwrap();
    // The process that has shown its end is there a moment longer.
    until("its recovery has begun", || {
        words(&host.medusafs(&["jobs"])).contains("its recovery has begun")
    });
    until("it has ended", || {
        fs::read_to_string(folder.join("error")).unwrap().contains("has died")
    });
    let error = fs::read_to_string(folder.join("error")).unwrap();
    let job = folder.file_name().unwrap().to_str().unwrap();
    assert!(error.contains(&format!("`medusafs resume {job}` tries once more")), "{error}");
    // What was cancelled before is wanted again.
    fs::write(folder.join("control/cancel"), "by a person").unwrap();
    let resumed = host.medusafs(&["resume", job]);
    assert_eq!(resumed.status.code(), Some(1));
    assert!(words(&resumed).contains("nothing had been begun on any node"), "{}", words(&resumed));
    assert!(!folder.join("control/cancel").exists());
    until("the wish counts no more", || !folder.join("control/wish").exists());
}

#[test]
fn a_node_s_name_is_not_passed_on_while_the_ring_cannot_be_asked() {
    let host = Host::new();
    let nodes = host.path("share/medusa/.medusafs/nodes.json");
    fs::create_dir_all(nodes.parent().unwrap()).unwrap();
    let text = r#"{"version":1,"cluster_name":"lab","nodes":[]}"#;
    fs::write(&nodes, text).unwrap();
    for arguments in [&["trust", "--node", "n1"][..], &["trust", "--node", "n1", "--yes"]] {
        let output = host.medusafs(arguments);
        let said = words(&output);
        assert_eq!(output.status.code(), Some(3), "{said}");
        assert!(said.contains("127.255.255.254") && said.contains("medusafs check"), "{said}");
        assert_eq!(fs::read_to_string(&nodes).unwrap(), text);
    }
    fs::write(&nodes, "{").unwrap();
    for arguments in [&["trust", "--node", "n1"][..], &["check"]] {
        let output = host.medusafs(arguments);
        let said = words(&output);
        assert_eq!(output.status.code(), Some(3), "{said}");
        assert!(said.contains("nodes.json is damaged"), "{said}");
    }
}
