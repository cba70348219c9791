//! The plan as a person reads it: `.medusa/plan`.

use crate::model::{ByteSize, Keyspace};

use super::plan::{Plan, Sight};

/// The plan in words; its last line is `plan ID`.
pub(super) fn plan_text(plan: &Plan, sight: &Sight<'_>) -> String {
    let (request, facts) = (sight.request, sight.facts);
    let mut text = String::new();
    let mut line = |words: String| {
        text.push_str(&words);
        text.push('\n');
    };
    line(format!(
        "restore {} from {}, begun {}, of Cassandra {}",
        request.node,
        request.backup,
        sight.snapshot.started,
        sight.snapshot.version.release_version
    ));
    if request.source != request.node {
        line(format!("  with the snapshot of another node: {}", request.source));
    }
    line(format!(
        "files: {} of {}; {} of {} seem to be on the node and are proven and linked, not copied",
        facts.files,
        ByteSize(facts.bytes),
        facts.files_here,
        ByteSize(facts.bytes_here)
    ));
    for disk in &facts.disks {
        let paths: Vec<_> =
            disk.directories.iter().map(|path| path.display().to_string()).collect();
        line(format!(
            "disk: {} has {} free and takes {}",
            paths.join(" and "),
            ByteSize(disk.free_bytes),
            ByteSize(disk.needed_bytes)
        ));
    }
    let keyspaces: Vec<_> = facts.set_aside.keyspaces.iter().map(Keyspace::as_str).collect();
    let keyspaces = if keyspaces.is_empty() { "none".to_owned() } else { keyspaces.join(" ") };
    line(format!(
        "set aside, kept for `medusafs undo`: keyspaces {keyspaces}; commit log, saved caches, \
         hints, cdc"
    ));
    if !facts.set_aside.snapshots.is_empty() {
        line(format!("  with their snapshots: {}", facts.set_aside.snapshots.join(" ")));
    }
    line(if facts.running {
        "downtime: Cassandra stops and starts once; files are staged before that, while it runs"
            .to_owned()
    } else {
        "downtime: Cassandra does not run there; it is started when its data is in place".to_owned()
    });
    line(
        "afterwards this node is older than its replicas: run `nodetool repair -full` on it"
            .to_owned(),
    );
    plan.remarks.iter().for_each(|remark| line(format!("note: {remark}")));
    plan.refusals.iter().for_each(|refusal| line(format!("refused: {refusal}")));
    plan.reasons.iter().for_each(|reason| line(format!("held: {reason}")));
    line(format!("plan {}", plan.id));
    text
}
