//! The mount on a real cluster: what a person does at a prompt, and what breaks meanwhile.

use test_case::test_case;

use crate::support::lab::{Lab, MEDUSAFS, Ran};

const NODE: &str = "node2.cass.test";

/// What ends in the middle of a job.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Victim {
    Job,
    Agent,
    Mount,
}

fn kill(lab: &Lab, victim: Victim) {
    match victim {
        Victim::Job => lab.ctl_sh("pkill -KILL -f '[m]edusafs job'").ok(),
        Victim::Agent => lab.node_sh(2, "pkill -KILL -x medusafs-agent").ok(),
        Victim::Mount => {
            lab.ctl_sh("pkill -KILL -f '[m]edusafs mount'").ok();
            let gone = lab.medusafs(&["unmount", "/mnt/medusa"]).ok();
            lab.mount();
            gone
        }
    };
}

fn wait(lab: &Lab, what: &str) -> Ran {
    lab.ctl(&["timeout", "240", MEDUSAFS, "wait", &format!("/mnt/medusa/{what}")])
}

fn pid_of_cassandra(lab: &Lab) -> String {
    lab.node_sh(2, "pgrep -f '[C]assandraDaemon'").ok()
}

fn control(lab: &Lab, what: &str, file: &str) -> String {
    lab.ctl_sh(&format!("cat /mnt/medusa/{what}/.medusa/{file}")).ok()
}

/// Nothing of a backup that failed is in what Medusa reads, or on a node.
fn assert_no_trace(lab: &Lab, name: &str) {
    let index = lab.ctl_sh("find /mnt/backup/medusa/index -type f 2>/dev/null; true").ok();
    assert!(!index.contains(name), "{index}");
    assert_eq!(lab.snapshots_left(), "");
    assert_eq!(lab.agents_left(), "");
}

#[test]
fn what_dies_in_the_middle_of_a_backup_leaves_nothing_half() {
    let lab = Lab::up();
    lab.mount();
    let begin = |name: &str, phase: &str| {
        lab.ctl_sh(&format!("mkdir /mnt/medusa/backups/.full/{name}")).ok();
        lab.until(
            &format!("/mnt/medusa/backups/{name}/.medusa/progress"),
            &format!("phase {phase}"),
        );
    };
    for (victim, phase) in [
        (Victim::Agent, "snapshot"),
        (Victim::Agent, "copy"),
        (Victim::Job, "snapshot"),
        (Victim::Job, "copy"),
    ] {
        let name = format!("{victim:?}-{phase}");
        begin(&name, phase);
        kill(&lab, victim);
        let ended = wait(&lab, &format!("backups/{name}"));
        assert_eq!(ended.code, Some(1), "{name}: {}{}", ended.out, ended.err);
        let error = control(&lab, &format!("backups/{name}"), "error");
        let state = control(&lab, &format!("backups/{name}"), "state");
        if (victim, phase) == (Victim::Agent, "copy") {
            // The other nodes' parts are whole, and so is what the one command adds.
            assert_eq!(state, "incomplete", "{error}");
            assert!(error.contains(&format!("mkdir backups/{name}/{NODE}")), "{error}");
            assert_eq!(lab.snapshots_left(), "");
            lab.ctl_sh(&format!("mkdir /mnt/medusa/backups/{name}/{NODE}")).ok();
            wait(&lab, &format!("backups/{name}/{NODE}")).ok();
            let verified = lab.medusa(3, &["verify", "--backup-name", &name]).ok();
            assert!(verified.contains("Manifest validated: OK!!"), "{verified}");
        } else {
            assert_eq!(state, "failed", "{error}");
            assert_no_trace(&lab, &name);
        }
    }
    begin("mount", "copy");
    kill(&lab, Victim::Mount);
    wait(&lab, "backups/mount").ok();
    assert_eq!(control(&lab, "backups/mount", "state"), "complete");
    assert_no_trace(&lab, "-snapshot");
    lab.medusafs(&["unmount", "/mnt/medusa"]).ok();
}

#[test_case(&[(Victim::Agent, "staging"), (Victim::Agent, "stopping"), (Victim::Agent, "starting")]; "the agent")]
#[test_case(&[(Victim::Job, "stopping"), (Victim::Mount, "stopping")]; "the job, the mount")]
fn what_dies_in_the_middle_of_a_restore_is_brought_to_its_end(deaths: &[(Victim, &str)]) {
    let lab = Lab::up();
    lab.mount();
    lab.ctl_sh("mkdir /mnt/medusa/backups/good").ok();
    wait(&lab, "backups/good").ok();
    let restore = format!("restore/{NODE}");
    for (victim, state) in deaths.iter().copied() {
        let cassandra = pid_of_cassandra(&lab);
        lab.ctl_sh(&format!("cp -r /mnt/medusa/backups/good/{NODE} /mnt/medusa/restore/")).ok();
        // `staging` is shown from the plan on, before there is an agent to die.
        let (file, line) = match state {
            "staging" => ("progress", "phase stage"),
            _ => ("state", state),
        };
        lab.until(&format!("/mnt/medusa/{restore}/.medusa/{file}"), line);
        kill(&lab, victim);
        let ended = wait(&lab, &restore);
        match victim {
            Victim::Agent if state == "staging" => {
                assert_eq!(ended.code, Some(1), "{}{}", ended.out, ended.err);
                let error = control(&lab, &restore, "error");
                assert!(error.contains("nothing was changed"), "{error}");
                assert_eq!(pid_of_cassandra(&lab), cassandra);
                assert_eq!(lab.agents_left(), "");
                continue;
            }
            // Another agent goes on where it died.
            Victim::Agent => {
                ended.ok();
                assert_eq!(control(&lab, &restore, "error"), "");
            }
            Victim::Job | Victim::Mount => {
                ended.ok();
            }
        }
        assert_ne!(pid_of_cassandra(&lab), cassandra);
        lab.has_all_rows(&format!("{victim:?} died while {state}"));
        assert_eq!(lab.agents_left(), "");
    }
    lab.medusafs(&["unmount", "/mnt/medusa"]).ok();
}

#[test]
fn what_is_copied_into_restore_is_restored_only_if_it_is_whole_and_meant() {
    let lab = Lab::up();
    lab.settings("restore_hold = 1h"); // none of it may come to its end
    lab.mount();
    lab.ctl_sh("mkdir /mnt/medusa/backups/good").ok();
    lab.ctl_sh("cat /mnt/medusa/backups/good/.medusa/wait").ok();
    let restore = format!("restore/{NODE}");
    let in_tree = |script: &str| lab.ctl_sh(&format!("cd /mnt/medusa && {script}"));

    // One byte.
    in_tree(&format!(
        "mkdir /tmp/wrong && cp -r backups/good/{NODE} /tmp/wrong/ && cd /tmp/wrong/{NODE} && \
         file=$(find shop -name '*-Data.db' -size +100k | head -n 1) && \
         printf X | dd of=$file bs=1 seek=5000 conv=notrunc status=none"
    ))
    .ok();
    let copied = in_tree(&format!("cp -r /tmp/wrong/{NODE} restore/"));
    assert_eq!(copied.code, Some(1), "{}{}", copied.out, copied.err);
    assert!(copied.err.contains("Input/output error"), "{}", copied.err);
    assert_eq!(control(&lab, &restore, "state"), "partial");
    assert_eq!(wait(&lab, &restore).code, Some(1));
    in_tree(&format!("rm -r {restore}")).ok();
    assert_eq!(control(&lab, &restore, "state"), "empty");

    // Half of it.
    in_tree(&format!(
        "(cp -r backups/good/{NODE} restore/ & pid=$!; \
         until [ -e {restore}/shop ]; do :; done; kill -KILL $pid; wait $pid; [ $? = 137 ])"
    ))
    .ok();
    assert_eq!(control(&lab, &restore, "state"), "partial");
    assert!(control(&lab, &restore, "missing").lines().count() > 10);
    in_tree(&format!("rm -r {restore}")).ok();

    // Taken back within the hold time.
    let cassandra = pid_of_cassandra(&lab);
    in_tree(&format!("cp -r backups/good/{NODE} restore/")).ok();
    lab.until(&format!("/mnt/medusa/{restore}/.medusa/state"), "waiting");
    in_tree(&format!("rm -r {restore}")).ok();
    assert_eq!(wait(&lab, &restore).code, Some(1));
    assert_eq!(control(&lab, &restore, "state"), "cancelled");

    // Another node's.
    in_tree(&format!("cp -r backups/good/node1.cass.test {restore}/")).ok();
    let ended = wait(&lab, &restore);
    assert_eq!(ended.code, Some(1));
    assert!(ended.err.contains("the snapshot of node1.cass.test"), "{}", ended.err);

    assert_eq!(pid_of_cassandra(&lab), cassandra);
    assert_eq!(lab.agents_left(), "");
    lab.medusafs(&["unmount", "/mnt/medusa"]).ok();
}
