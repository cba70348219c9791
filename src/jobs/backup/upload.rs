//! The copy: each node sends its own snapshot to the share.

use std::collections::BTreeMap;
use std::time::Instant;

use crate::agent::protocol::{SnapshotTag, Upload, Uploaded};
use crate::cluster::AgentLine;
use crate::medusa::Mode;
use crate::model::{BackupName, Fqdn, JobState, Phase};

use super::agents::{on_agents, why};
use super::{Context, JobError, Record};

/// Files that one node copies at once. Measured: with eight, hashing and syncing keep pace with
/// `cp`; more gain nothing on NFS.
const THREADS: u32 = 8;

/// Has every node copy its snapshot, `parallel_nodes` at a time. A node that fails is shown so,
/// and does not end the others. Returns those that have copied everything.
pub(in crate::jobs) async fn upload(
    cx: &Context,
    agents: &BTreeMap<Fqdn, AgentLine>,
    backup: &BackupName,
    mode: Mode,
    tag: &SnapshotTag,
) -> Result<BTreeMap<Fqdn, Uploaded>, JobError> {
    cx.board.moves_to(JobState::Running, Phase::Copy);
    let settings = &cx.config.medusafs;
    let width = settings.parallel_nodes.max(1);
    let at_once = u64::try_from(width.min(agents.len()).max(1)).unwrap_or(1);
    let own = settings.bandwidth_node.map(|size| size.0);
    // 0 would be no limit.
    let shared = settings.bandwidth_total.map(|size| (size.0 / at_once).max(1));
    let bytes_per_second = own.into_iter().chain(shared).min().unwrap_or(0);
    let threads = u32::try_from(cx.config.storage.concurrent_transfers).unwrap_or(THREADS);
    let threads = threads.clamp(THREADS, 64);
    for node in agents.keys() {
        cx.write(Record::UploadBegins { node: node.clone() })?;
    }
    let uploading = on_agents(cx, width, agents, |name, agent| {
        let cx = cx.clone();
        let request = Upload {
            backup: backup.clone(),
            node: name.clone(),
            mode,
            tag: tag.clone(),
            threads,
            bytes_per_second,
        };
        async move {
            let begun = Instant::now();
            cx.show(&name, |node| node.phase = Phase::Copy);
            // No limit: a node may have terabytes. Its heartbeats tell that it lives, and the
            // agent itself gives up on a share that hangs.
            let answer = agent.ask(request, None, cx.listener(&name)).await;
            cx.show(&name, |node| node.seconds = begun.elapsed().as_secs());
            answer
        }
    });
    let mut uploaded = BTreeMap::new();
    for (node, answer) in cx.unless_cancelled(uploading).await? {
        match answer {
            Ok(answer) => {
                cx.board.log(&format!(
                    "{node}: {} files, {} bytes; {} new files, {} new bytes",
                    answer.files, answer.bytes, answer.new_files, answer.new_bytes
                ));
                cx.show(&node, |node| {
                    node.progress.files_done = answer.files;
                    node.progress.files_total = Some(answer.files);
                    node.progress.bytes_done = answer.bytes;
                    node.progress.bytes_total = Some(answer.bytes);
                    node.progress.bytes_new = answer.new_bytes;
                });
                uploaded.insert(node, answer);
            }
            Err(error) => {
                cx.board.node_failed(&node, &why(&error));
            }
        }
    }
    Ok(uploaded)
}
