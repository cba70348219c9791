//! A restore on the node when something fails, or the machine dies.
//!
//! The one thing that must never happen, whenever the machine dies, is a Cassandra that serves half
//! a restore: the played one looks at all of its data whenever anybody starts it.

use std::fs;
use std::os::unix::fs::MetadataExt;

use medusafs::agent::restore::RestoreError;
use medusafs::agent::restore::protocol::{Reached, RestoreReply, RestoreRequest};
use medusafs::model::JobState;
use test_case::test_case;

use crate::support::mortal::Life;
use crate::support::node::Node;
use crate::support::restoring::{Agent, JOB, Then, immortal, job, mend, order};

#[test_case(Then::Resume; "resumed")]
#[test_case(Then::Undo; "undone")]
#[tokio::test]
async fn a_cassandra_that_does_not_stop_is_told_of_as_drained_and_serves_in_the_end(then: Then) {
    let node = Node::with_two_disks();
    let before = node.tree();
    let agent = immortal(&node);
    agent.stage(&order(JOB)).await.unwrap();
    node.cassandra().refuses_to_stop(true);
    let error = agent.swap(Reached::Started).await.unwrap_err();
    assert!(matches!(error, RestoreError::Cassandra { .. }), "{error:?}");
    assert!(error.to_string().contains("out of service: it is drained"), "{error}");
    assert_eq!(node.tree(), before);
    assert!(node.cassandra().is_running() && !node.cassandra().serves());
    // The same again, as long as it does not end; and what the job shows says why.
    agent.resume().await.unwrap_err();
    let RestoreReply::Journal(reports) = agent.ask(RestoreRequest::Journal {}).await.unwrap()
    else {
        unreachable!()
    };
    assert!(reports[0].error.as_ref().unwrap().contains("it is drained"), "{reports:?}");
    assert!(!reports[0].fenced);
    drop(agent);
    node.cassandra().refuses_to_stop(false);
    let agent = immortal(&node);
    match then {
        Then::Resume => {
            assert_eq!(agent.resume().await.unwrap().state, JobState::Done);
            node.assert_restored();
        }
        Then::Undo => {
            assert_eq!(agent.undo().await.unwrap().state, JobState::Undone);
            assert_eq!(node.tree(), before);
        }
    }
    assert!(node.cassandra().serves());
}

#[tokio::test]
async fn a_cassandra_that_refused_drain_and_stop_serves_and_is_not_said_to_be_out_of_service() {
    let node = Node::with_two_disks();
    let before = node.tree();
    let agent = immortal(&node);
    agent.stage(&order(JOB)).await.unwrap();
    node.cassandra().refuses_to_drain(true);
    node.cassandra().refuses_to_stop(true);
    let error = agent.swap(Reached::Started).await.unwrap_err();
    assert!(!error.to_string().contains("out of service"), "{error}");
    assert!(node.cassandra().serves() && node.fence().is_none());
    agent.undo().await.unwrap();
    assert!(node.cassandra().serves());
    assert_eq!(node.tree(), before);
}

#[tokio::test]
async fn a_cassandra_that_ends_after_a_failed_stop_is_started_by_an_undo() {
    let node = Node::with_two_disks();
    let agent = immortal(&node);
    agent.stage(&order(JOB)).await.unwrap();
    node.cassandra().refuses_to_stop(true);
    agent.swap(Reached::Started).await.unwrap_err();
    node.cassandra().kill();
    assert_eq!(agent.undo().await.unwrap().state, JobState::Undone);
    assert!(node.cassandra().serves());
}

/// The stage is found wrong when Cassandra is about to be stopped, so that it is left alone.
#[tokio::test]
async fn a_stop_that_was_taken_back_leaves_a_mere_stage_and_says_why() {
    let node = Node::with_two_disks();
    let before = node.tree_with_hidden();
    let agent = immortal(&node);
    agent.stage(&order(JOB)).await.unwrap();
    fs::remove_file(node.job_folder(1).join("stage/shop/orders-1/oa-1-big-Data.db")).unwrap();
    agent.swap(Reached::Started).await.unwrap_err();
    assert!(node.cassandra().serves() && node.fence().is_none());
    // It stays for whoever comes next when the conversation breaks.
    agent.session.is_over().await;
    drop(agent);
    let agent = immortal(&node);
    let RestoreReply::Journal(reports) = agent.ask(RestoreRequest::Journal {}).await.unwrap()
    else {
        unreachable!()
    };
    assert!(reports[0].is_untouched(), "{reports:?}");
    assert!(reports[0].error.as_ref().unwrap().contains("no staged file"), "{reports:?}");
    let report = agent.report(RestoreRequest::Abort { job: job() }).await.unwrap();
    assert_eq!(report.state, JobState::Cancelled);
    assert_eq!(node.tree_with_hidden(), before);
}

#[tokio::test]
async fn a_cassandra_that_is_started_again_and_ends_at_the_fence_is_waited_for() {
    let node = Node::with_two_disks();
    node.cassandra().is_restarted_for(3);
    immortal(&node).restore(&order(JOB)).await.unwrap();
    node.assert_restored();
}

#[tokio::test]
async fn an_undo_whose_stop_fails_leaves_what_was_restored_and_goes_on_later() {
    let node = Node::with_two_disks();
    let before = node.tree();
    let agent = immortal(&node);
    agent.restore(&order(JOB)).await.unwrap();
    node.cassandra().refuses_to_stop(true);
    let error = agent.undo().await.unwrap_err();
    assert!(error.to_string().contains("out of service"), "{error}");
    assert!(node.served_is_restored() && node.fence().is_none());
    node.cassandra().refuses_to_stop(false);
    assert_eq!(agent.undo().await.unwrap().state, JobState::Undone);
    assert_eq!(node.tree(), before);
}

#[tokio::test]
async fn a_cassandra_that_does_not_start_can_be_tried_again_or_undone() {
    let node = Node::with_two_disks();
    let before = node.tree();
    let agent = immortal(&node);
    agent.stage(&order(JOB)).await.unwrap();
    node.cassandra().refuses_to_start(true);
    agent.swap(Reached::Started).await.unwrap_err();
    let report = agent.report(RestoreRequest::Swap { job: job(), until: Reached::Started }).await;
    assert!(report.is_err());
    node.cassandra().refuses_to_start(false);
    assert_eq!(agent.undo().await.unwrap().state, JobState::Undone);
    assert_eq!(node.tree(), before);
}

/// The machine dies before each single change that a restore makes to the disk, one after the
/// other; then it boots, and its init system starts Cassandra.
#[test_case(Then::Resume; "resumed")]
#[test_case(Then::Undo; "undone")]
#[tokio::test]
async fn whenever_the_machine_dies_no_half_restore_is_served_and_it_ends_as_asked(then: Then) {
    for breaths in 0.. {
        let node = Node::with_two_disks_in_memory();
        let before = node.tree();
        let agent = Agent::born(&node, Life::of(breaths));
        let ended = agent.restore(&order(JOB)).await;
        let died = agent.life.is_over();
        drop(agent);
        if !died {
            ended.unwrap();
            assert!(breaths > 100, "only {breaths} changes were seen");
            break;
        }
        node.power_cut();
        node.somebody_starts_cassandra();
        let agent = immortal(&node);
        match then {
            Then::Undo => match agent.undo().await {
                Ok(_) | Err(RestoreError::Refused { .. }) => {
                    assert_eq!(node.tree(), before, "dead before change {breaths}");
                }
                Err(error) => unreachable!("dead before change {breaths}: {error:?}"),
            },
            Then::Resume => {
                match agent.resume().await {
                    Ok(_) | Err(RestoreError::Refused { .. }) => {}
                    Err(error) => unreachable!("dead before change {breaths}: {error:?}"),
                }
                // Where it had not come to the stop, or to a first line, the job asks again.
                if agent.swap(Reached::Started).await.is_err() {
                    agent.restore(&order(JOB)).await.unwrap();
                }
                node.assert_restored();
            }
        }
    }
}

/// The agent alone dies before each single change; Cassandra may run on, drained.
#[test_case(Then::Resume; "resumed")]
#[test_case(Then::Undo; "undone")]
#[tokio::test]
async fn whenever_the_agent_dies_cassandra_serves_again_in_the_end(then: Then) {
    for breaths in 0.. {
        let node = Node::with_two_disks_in_memory();
        let before = node.tree();
        let agent = Agent::born(&node, Life::of(breaths));
        drop(agent.restore(&order(JOB)).await);
        if !agent.life.is_over() {
            break;
        }
        drop(agent);
        mend(&immortal(&node), then).await;
        assert!(node.cassandra().serves(), "dead before change {breaths}");
        match then {
            Then::Undo => assert_eq!(node.tree(), before, "dead before change {breaths}"),
            Then::Resume => node.assert_restored(),
        }
    }
}

/// Each single change fails once, as on a full disk, of a line of the journal half; the agent lives.
#[test_case(Then::Resume; "resumed")]
#[test_case(Then::Undo; "undone")]
#[tokio::test]
async fn whatever_fails_once_the_node_serves_or_is_said_not_to_and_it_ends_as_asked(then: Then) {
    for breaths in 0.. {
        let node = Node::with_two_disks_in_memory();
        let before = node.tree();
        let agent = Agent::born(&node, Life::fainting_after(breaths));
        let ended = agent.restore(&order(JOB)).await;
        if !agent.life.is_over() {
            ended.unwrap();
            break;
        }
        if let Err(error) = ended {
            let is_closed = fs::metadata(node.data(0)).unwrap().uid() == 0;
            let is_on_its_way = is_closed || node.served_is_restored();
            let is_told = error.to_string().contains("out of service");
            let serves = node.cassandra().serves();
            assert!(serves || is_told || is_on_its_way, "change {breaths} failed: {error:?}");
        }
        mend(&agent, then).await;
        assert!(node.cassandra().serves(), "change {breaths} failed");
        match then {
            Then::Undo => assert_eq!(node.tree(), before, "change {breaths} failed"),
            Then::Resume => node.assert_restored(),
        }
    }
}

/// The machine dies while what a finished restore set aside is removed, of a tree half.
#[tokio::test]
async fn whenever_the_machine_dies_while_a_restore_is_forgotten_it_is_whole_or_forgotten() {
    let next = order("20261123T000000Z-restore-nightly");
    for breaths in 0.. {
        let node = Node::with_two_disks_in_memory();
        let before = node.tree();
        immortal(&node).restore(&order(JOB)).await.unwrap();
        let agent = Agent::born(&node, Life::of(breaths));
        let ended = agent.report(RestoreRequest::Clean { job: job(), forget: true }).await;
        let died = agent.life.is_over();
        drop(agent);
        node.power_cut();
        node.somebody_starts_cassandra();
        node.assert_restored();
        match immortal(&node).undo().await {
            Ok(_) => assert_eq!(node.tree(), before, "dead before change {breaths}"),
            Err(RestoreError::Refused { .. }) => {
                node.assert_restored();
                let plan = immortal(&node).plan(&next).await.unwrap();
                assert_eq!(plan.obstacles, Vec::<String>::new(), "dead before change {breaths}");
                immortal(&node).stage(&next).await.unwrap();
                for number in [0, 1] {
                    let left = fs::read_dir(node.data(number).join(".medusafs/backups")).unwrap();
                    assert_eq!(left.count(), 1, "dead before change {breaths}");
                }
            }
            Err(error) => unreachable!("dead before change {breaths}: {error:?}"),
        }
        if !died {
            ended.unwrap();
            break;
        }
    }
}

/// The same for an undo of a finished restore.
#[tokio::test]
async fn whenever_the_machine_dies_in_an_undo_no_half_of_it_is_served_and_it_ends() {
    for breaths in 0.. {
        let node = Node::with_two_disks_in_memory();
        let before = node.tree();
        immortal(&node).restore(&order(JOB)).await.unwrap();
        let agent = Agent::born(&node, Life::of(breaths));
        let ended = agent.undo().await;
        let died = agent.life.is_over();
        drop(agent);
        if !died {
            ended.unwrap();
            break;
        }
        node.power_cut();
        node.somebody_starts_cassandra();
        let report = immortal(&node).undo().await.unwrap();
        assert_eq!(report.state, JobState::Undone);
        assert_eq!(node.tree(), before, "dead before change {breaths}");
    }
}

/// It dies twice: in the restore, and in what was to mend it.
#[test_case(Then::Resume; "resumed")]
#[test_case(Then::Undo; "undone")]
#[tokio::test]
async fn a_second_power_cut_while_the_first_is_mended_changes_nothing(then: Then) {
    for first in (60..).step_by(7) {
        let mut first_survived = false;
        for second in (0..).step_by(5) {
            let node = Node::with_two_disks_in_memory();
            let before = node.tree();
            let agent = Agent::born(&node, Life::of(first));
            drop(agent.restore(&order(JOB)).await);
            first_survived = !agent.life.is_over();
            drop(agent);
            node.power_cut();
            node.somebody_starts_cassandra();
            let agent = Agent::born(&node, Life::of(second));
            let mended = match then {
                Then::Undo => agent.undo().await,
                Then::Resume => agent.resume().await,
            };
            let died = agent.life.is_over();
            drop((agent, mended));
            node.power_cut();
            node.somebody_starts_cassandra();
            let agent = immortal(&node);
            match then {
                Then::Undo => {
                    drop(agent.undo().await);
                    assert_eq!(node.tree(), before, "dead before {first}, then before {second}");
                }
                Then::Resume => {
                    drop(agent.resume().await);
                    if agent.swap(Reached::Started).await.is_err() {
                        agent.restore(&order(JOB)).await.unwrap();
                    }
                    node.assert_restored();
                }
            }
            if !died {
                break;
            }
        }
        if first_survived {
            break;
        }
    }
}

#[tokio::test]
async fn what_stands_in_the_way_of_a_repeated_step_is_kept_and_not_mixed_in() {
    let node = Node::with_two_disks_in_memory();
    let before = node.tree();
    let mut kept = 0;
    for breaths in (90..).step_by(3) {
        let node = Node::with_two_disks_in_memory();
        let agent = Agent::born(&node, Life::of(breaths));
        let ended = agent.restore(&order(JOB)).await;
        if ended.is_ok() {
            break;
        }
        drop(agent);
        node.power_cut();
        // Somebody took the fence away and started Cassandra, which made a new node of it, and put
        // the fence back.
        let is_aside = !node.data(0).join("system").exists();
        if is_aside {
            node.cassandra_writes("system/local-7ad5/oa-1-big-Data.db");
        }
        let agent = immortal(&node);
        drop(agent.resume().await);
        if agent.swap(Reached::Started).await.is_err() {
            agent.restore(&order(JOB)).await.unwrap();
        }
        node.assert_restored();
        if is_aside {
            kept += 1;
            let fresh = "in-the-way/0/system/local-7ad5/oa-1-big-Data.db";
            assert!(node.job_folder(0).join(fresh).exists());
        }
        agent.undo().await.unwrap();
        assert_eq!(node.tree().len(), before.len());
    }
    assert!(kept > 3, "{kept}");
}
