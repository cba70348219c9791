//! The commands beside a mount and a job: what they find, what they tell them, how they end.

use std::fs;
use std::process::{Child, Command, Output, Stdio};
use std::sync::Arc;

use medusafs::config::BackupMode;
use medusafs::jobs::{
    AskedBy, BackupRequest, ConfigFrom, Folder, Held, Jobs, RestoreRequest, Work,
};
use medusafs::model::{BackupName, Fqdn, JobState, SystemClock, UnixSeconds};
use test_case::test_case;

use crate::support::host::{Host, PROGRAM, in_namespace};
use crate::support::mounted::{can_mount, mounted, run, serving, try_shell, until};
use crate::support::sshd::Sshd;
use crate::support::tree::Made;

/// Starts the program with the host's configuration.
#[expect(clippy::disallowed_methods, reason = "the program under test, which is watched")]
fn started(host: &Host, arguments: &[&str]) -> Child {
    let mut command = Command::new("timeout");
    command.args(["60", PROGRAM]).args(arguments);
    if arguments.first() != Some(&"wait") {
        command.arg("-c").arg(host.path("medusa.ini"));
    }
    command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
}

fn ended(child: Child) -> (Option<i32>, String) {
    let Output { status, stdout, stderr } = child.wait_with_output().unwrap();
    let said = [stdout, stderr].concat();
    (status.code(), String::from_utf8(said).unwrap())
}

/// A job of this host that this test does: its process is us.
struct Played {
    folder: Folder,
    _held: Held,
}

impl Played {
    fn begin(host: &Host, work: &Work, state: JobState) -> Self {
        let jobs = Jobs::open(&host.path("state"), "/bin/true".into(), Arc::new(SystemClock));
        let asked_by = AskedBy { uid: 0, pid: 1, program: "test".into() };
        let from = ConfigFrom { medusa_ini: host.path("medusa.ini"), options: Vec::new() };
        let id = jobs.begin(work, &asked_by, &from).unwrap();
        let folder = jobs.folder(&id).unwrap();
        let played = Self { _held: folder.hold().unwrap(), folder };
        played.shows(state);
        played
    }

    fn backup(host: &Host, name: &str) -> Self {
        let work = Work::Backup(BackupRequest {
            name: BackupName::parse(name).unwrap(),
            mode: BackupMode::Full,
            node: None,
            no_snapshot_before: UnixSeconds(0),
        });
        Self::begin(host, &work, JobState::Running)
    }

    fn held_restore(host: &Host, backup: &str, node: &str) -> Self {
        let work = Work::Restore(RestoreRequest {
            node: Fqdn::parse(node).unwrap(),
            backup: BackupName::parse(backup).unwrap(),
            source: Fqdn::parse(node).unwrap(),
            complete_since: UnixSeconds(0),
            hold: Vec::new(),
            accept: None,
            dry_run: false,
        });
        Self::begin(host, &work, JobState::Held)
    }

    fn shows(&self, state: JobState) {
        let mut status = self.folder.status().unwrap();
        status.state = state;
        self.folder.write_status(&status).unwrap();
    }

    fn id(&self) -> &str {
        self.folder.id().as_str()
    }
}

/// A host whose store has backups of n1 and n2.
fn with_backups() -> (Host, Made) {
    let (host, made) = (Host::new(), Made::usual());
    let (base_path, bucket) =
        (made.root().parent().unwrap().display(), made.root().file_name().unwrap().display());
    let share = format!("base_path = {}/share\n", host.directory.path().display());
    host.edit(&share, &format!("base_path = {base_path}\n"));
    host.edit("bucket_name = medusa", &format!("bucket_name = {bucket}"));
    (host, made)
}

/// A job's word that a backup which the share calls complete is not.
fn found_wanting(host: &Host, name: &str) {
    let played = Played::backup(host, name);
    let mut status = played.folder.status().unwrap();
    // Since the newest of them was begun.
    status.finished = Some(UnixSeconds(1_795_100_100));
    status.error = "n9 joined the ring while it was backed up".into();
    status.state = JobState::Incomplete;
    played.folder.write_status(&status).unwrap();
}

#[test]
fn what_a_job_found_wanting_is_not_complete_for_the_command_line() {
    let (host, _made) = with_backups();
    let says = |arguments: &[&str]| ended(started(&host, arguments));
    assert!(says(&["status"]).1.starts_with("newest complete backup: new,"));
    assert_eq!(says(&["status", "new"]).0, Some(0));
    found_wanting(&host, "new");
    let (code, said) = says(&["status", "new"]);
    assert_eq!(code, Some(1), "{said}");
    assert!(said.starts_with("new: incomplete") && said.contains("n9 joined the ring"), "{said}");
    let (code, said) = says(&["status"]);
    assert_eq!(code, Some(0), "{said}");
    assert!(said.starts_with("newest complete backup: whole,"), "{said}");
    let listed = says(&["list"]).1;
    assert!(listed.contains("new\tincomplete\t") && listed.contains("old\tcomplete\t"), "{listed}");
    found_wanting(&host, "whole");
    found_wanting(&host, "old");
    assert!(says(&["status"]).1.starts_with("newest complete backup: none\n"));
    assert!(says(&["status", "--json"]).1.starts_with(r#"{"latest":null,"#));
}

#[test]
fn a_backup_that_only_a_job_knows_is_told_by_what_the_job_says() {
    let (host, _made) = with_backups();
    let played = Played::backup(&host, "nightly");
    let (code, said) = ended(started(&host, &["status", "nightly"]));
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("nightly is running, and not on the share"), "{said}");
    played.shows(JobState::Failed);
    let (_, said) = ended(started(&host, &["status", "nightly"]));
    assert!(said.contains("nightly is failed, and not on the share"), "{said}");
    let (code, said) = ended(started(&host, &["status", "nothing"]));
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("there is no backup nothing"), "{said}");
}

#[test]
fn where_the_jobs_cannot_be_read_the_share_alone_is_looked_at_with_a_remark() {
    let (host, _made) = with_backups();
    let own = fs::read_to_string(host.path("medusafs.ini")).unwrap();
    host.write("medusafs.ini", &own.replace("/state\n", "/key\n"));
    for arguments in [&["list"][..], &["status"], &["status", "new"]] {
        let output = host.medusafs(arguments);
        let remarks = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(0), "{arguments:?}: {remarks}");
        assert_eq!(remarks.lines().count(), 1, "{arguments:?}: {remarks}");
        assert!(remarks.contains("key/jobs") && remarks.contains("left out"), "{remarks}");
    }
    let said = String::from_utf8(host.medusafs(&["status"]).stdout).unwrap();
    assert!(said.contains("complete backup: new,") && said.contains("jobs: not known"), "{said}");
}

/// A file system whose server never says a word, mounted on a directory of the store.
#[test_case(".medusafs"; "what is remembered")]
#[test_case("index/latest_backup"; "what is stored")]
fn a_share_that_stops_after_it_was_opened_holds_no_command_up(directory: &str) {
    if !can_mount() {
        return;
    }
    let host = Host::new();
    let root = host.directory.path().display();
    let at = host.path("share/medusa").join(directory);
    fs::create_dir_all(&at).unwrap();
    for command in ["check", "trust --node n1"] {
        let output = in_namespace(&format!(
            "exec 3<>/dev/fuse
            mount -i -t fuse -o fd=3,rootmode=40000,user_id=0,group_id=0 silent {at}
            timeout 20 {PROGRAM} {command} -c {root}/medusa.ini -o deadline=1s 3>&-",
            at = at.display()
        ));
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(3), "{command}: {said}");
        assert!(said.contains("did not answer within 1 s"), "{command}: {said}");
    }
}

#[test]
fn whoever_may_not_look_is_told_who_may() {
    if !can_mount() {
        return;
    }
    let output = in_namespace(&format!(
        "mount -t tmpfs ours /mnt; chmod 755 /mnt; install {PROGRAM} /mnt/medusafs
        mkdir -p /mnt/tree/backups/nightly/.medusa; chmod 750 /mnt/tree/backups
        setpriv --reuid=65534 --regid=65534 --clear-groups \
            /mnt/medusafs wait /mnt/tree/backups/nightly"
    ));
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(said.contains("read_group") && !said.contains("mount again"), "{said}");
}

#[test]
fn what_systemd_starts_without_a_home_knows_the_user_s_hosts_and_keys() {
    if !can_mount() {
        return;
    }
    let (host, sshd) = (Host::new(), Sshd::start(""));
    let root = host.directory.path().display();
    host.edit(&format!("{root}/key\n"), "~/key\n");
    let output = in_namespace(&format!(
        "echo root:x:0:0:root:{root}:/bin/sh >{root}/passwd
        mount --bind {root}/passwd /etc/passwd
        env -i {PROGRAM} trust -c {root}/medusa.ini --yes 127.0.0.1:{port}
        env -i HOME={root} {PROGRAM} trust -c {root}/medusa.ini 127.0.0.1:{port}
        env -i {PROGRAM} backup -c {root}/medusa.ini a/b",
        port = sshd.port()
    ));
    let said = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
    assert!(said.contains(&format!("recorded in {root}/.ssh/known_hosts")), "{said}");
    assert!(said.contains("known already"), "{said}");
    assert!(said.contains("is no name for a backup"), "the key's path is taken: {said}");
}

#[test]
fn the_remedy_for_an_unknown_host_key_can_be_typed_as_it_stands() {
    let (host, sshd) = (Host::new(), Sshd::start(""));
    let (root, port) = (host.directory.path().display(), sshd.port());
    host.write(
        "medusafs.ini",
        &format!(
            "[medusafs]\ncontact_points = 127.0.0.1:{port}\nstate_dir = {root}/state\n\
             known_hosts = {root}/known\n"
        ),
    );
    let (code, said) = ended(started(&host, &["check"]));
    assert_eq!(code, Some(3), "{said}");
    let words = said.split("run `medusafs ").nth(1).unwrap_or_else(|| panic!("no remedy: {said}"));
    let mut words: Vec<_> = words.split('`').next().unwrap().split(' ').collect();
    assert_eq!(words, ["trust", &format!("[127.0.0.1]:{port}")]);
    words.push("--yes");
    let (code, said) = ended(started(&host, &words));
    assert_eq!(code, Some(0), "{said}");
    let (_, said) = ended(started(&host, &["check"]));
    assert!(!said.contains("no known_hosts file"), "{said}");
}

#[test]
fn a_wait_for_a_mount_that_has_died_says_that_the_job_goes_on() {
    if !can_mount() {
        return;
    }
    let host = Host::new();
    let played = Played::backup(&host, "nightly");
    let tree = host.path("tree");
    let (code, said) = ended(started(&host, &["mount", tree.to_str().unwrap()]));
    assert_eq!(code, Some(0), "{said}");
    let path = tree.join("backups/nightly");
    until("the job is seen", || path.exists());
    let path = path.to_str().unwrap();
    let waits = started(&host, &["wait", path]);
    let server = serving(&tree).to_string();
    // It waits when its program has `.medusa/wait` open.
    let pid = waits.id();
    let open =
        format!("for p in $(pgrep -P {pid}) {pid}; do ls -l /proc/$p/fd; done | grep -q wait$");
    until("it waits", || try_shell(&tree, &open).status.success());
    run("kill", &["-KILL", &server]);
    let (code, said) = ended(waits);
    assert_eq!(code, Some(3), "{said}");
    assert!(said.contains("goes on without the mount") && said.contains("`medusafs jobs`"));
    let (code, said) = ended(started(&host, &["wait", path]));
    assert_eq!(code, Some(3), "{said}");
    assert!(run(PROGRAM, &["unmount", tree.to_str().unwrap()]).status.success());
    assert!(mounted(&tree).is_none());
    run("chattr", &["-i", tree.to_str().unwrap()]);
    let file = host.path("key/backups");
    let (code, said) = ended(started(&host, &["wait", file.to_str().unwrap()]));
    assert_eq!(code, Some(2), "{said}");
    assert_eq!(played.folder.control().cancelled(), None);
}

#[test]
fn unmount_now_cancels_what_it_can_and_takes_the_tree_away_in_any_case() {
    if !can_mount() {
        return;
    }
    let host = Host::new();
    let tree = host.path("tree");
    let there = tree.to_str().unwrap();
    let played = Played::backup(&host, "nightly");
    for (options, is_cancelled) in [("ro", false), ("rw", true)] {
        let (code, said) = ended(started(&host, &["mount", "-o", options, there]));
        assert_eq!(code, Some(0), "{said}");
        until("the job is seen", || tree.join("backups/nightly").exists());
        for wrong in [
            format!("{there}/typo"),
            format!("{there}/README"),
            host.path("x").display().to_string(),
        ] {
            for now in [&["unmount", "--now", &wrong][..], &["unmount", &wrong]] {
                let output = run(PROGRAM, now);
                let said = String::from_utf8(output.stderr).unwrap();
                assert_eq!(output.status.code(), Some(2), "{said}");
                assert_eq!(said, format!("medusafs: {wrong} is no mountpoint of medusafs\n"));
            }
        }
        assert_eq!(played.folder.control().cancelled(), None);
        let output = run(PROGRAM, &["unmount", "--now", there]);
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(0), "{said}");
        assert!(mounted(&tree).is_none());
        assert_eq!(played.folder.control().cancelled().is_some(), is_cancelled, "{said}");
        assert_eq!(said.is_empty(), is_cancelled, "{said}");
        assert!(is_cancelled || said.contains("nightly is not cancelled and goes on"), "{said}");
    }
    run("chattr", &["-i", there]);
}

#[test]
fn a_mount_whose_command_was_given_up_is_taken_away() {
    if !can_mount() {
        return;
    }
    let host = Host::new();
    let (root, tree) = (host.directory.path().display(), host.path("tree"));
    let there = tree.display();
    // Nobody reads that it is ready, as after ^C.
    let line = format!(
        "{{ {PROGRAM} mount --ready -c {root}/medusa.ini {there}; echo $? >{root}/code; }} | true"
    );
    try_shell(&tree, &line);
    until("it has ended", || host.path("code").exists());
    assert!(mounted(&tree).is_none());
    assert_eq!(fs::read_to_string(host.path("code")).unwrap(), "1\n");
    run("chattr", &["-i", tree.to_str().unwrap()]);
}

#[test]
fn accepting_a_plan_goes_to_the_restore_that_is_held_for_it() {
    let (host, _made) = with_backups();
    let played = Played::held_restore(&host, "new", "n1");
    let other = Played::held_restore(&host, "old", "n1");
    let accept = ["restore", "new", "--node", "n1", "--accept", "3f9c52d1"];
    let command = started(&host, &accept);
    until("it is told", || played.folder.control().is_answered());
    assert_eq!(played.folder.control().take_commit().as_deref(), Some("3f9c52d1"));
    played.shows(JobState::Staging);
    played.shows(JobState::Done);
    let (code, said) = ended(command);
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains(&format!("`medusafs undo {}`", played.id())), "{said}");
    assert!(!other.folder.control().is_answered());
    let jobs = run(PROGRAM, &["jobs", "-c", host.path("medusa.ini").to_str().unwrap()]).stdout;
    assert_eq!(String::from_utf8(jobs).unwrap().lines().count(), 2, "no job was begun");
}

#[test]
fn a_plan_that_is_void_is_shown_again_as_held() {
    let (host, _made) = with_backups();
    let played = Played::held_restore(&host, "new", "n1");
    played.folder.write_text("plan", "restore n1\nplan 5566\n").unwrap();
    let command = started(&host, &["restore", "new", "--node", "n1", "--accept", "1122"]);
    until("it is told", || played.folder.control().take_commit().is_some());
    let (code, said) = ended(command);
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("the restore is held:\nrestore n1\nplan 5566"), "{said}");
}

#[test]
fn a_held_restore_is_cancelled() {
    let host = Host::new();
    let played = Played::held_restore(&host, "new", "n1");
    let command = started(&host, &["cancel", played.id()]);
    until("it is told", || played.folder.control().cancelled().is_some());
    played.shows(JobState::Cancelled);
    let (code, said) = ended(command);
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("is cancelled"), "{said}");
}

#[test]
fn only_a_restore_is_undone() {
    let host = Host::new();
    let played = Played::backup(&host, "nightly");
    let id = played.id().to_owned();
    played.shows(JobState::Failed);
    drop(played);
    let (code, said) = ended(started(&host, &["undo", &id]));
    assert_eq!(code, Some(2), "{said}");
    assert!(said.contains("is a backup, which changes nothing on a node"), "{said}");
}
