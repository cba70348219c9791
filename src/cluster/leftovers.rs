//! What earlier jobs left on nodes, each with the command that settles it.

use crate::agent::protocol::{JobReport, Leftovers};

use super::{Finding, Survey};

impl Survey {
    /// What is left on the nodes that were reached. A job does not ask: what stands against it is
    /// found by itself, and what only lies there stands against nothing.
    pub fn leftovers(&self) -> Vec<Finding> {
        let nodes = self.reached.iter();
        nodes.flat_map(|(name, node)| left_on(name.as_str(), &node.facts.left)).collect()
    }
}

fn left_on(node: &str, left: &Leftovers) -> Vec<Finding> {
    let restores = left.restores.iter().filter_map(|report| of_restore(node, report));
    let is_told = left.restores.iter().any(|report| report.fenced);
    let fences = left.fences.iter().filter(|_| !is_told).map(|path| {
        let what = format!(
            "a restore's fence was left: Cassandra does not start with {path}",
            path = path.display()
        );
        Finding::error(Some(node), what, "look into it: it says which restore, and what to do")
    });
    let closed = left.closed.iter().filter(|_| !is_told && left.fences.is_empty()).map(|path| {
        let path = path.display();
        let what = format!("{path} is root's alone, so that Cassandra's user cannot enter it");
        Finding::error(Some(node), what, "give it to Cassandra's user with chown and chmod")
    });
    let snapshots = left.snapshots.iter().map(|snapshot| {
        let (tag, tables) = (&snapshot.tag, snapshot.tables);
        let what = format!("the snapshot {tag} of {tables} tables was left");
        let remedy = format!("unless a backup runs: `nodetool clearsnapshot -t {tag}` there");
        Finding::warning(Some(node), what, remedy)
    });
    restores.chain(fences).chain(closed).chain(snapshots).collect()
}

fn of_restore(node: &str, report: &JobReport) -> Option<Finding> {
    let job = &report.job;
    if report.fenced {
        let what = format!(
            "restore {job} is not finished there, and its fence keeps Cassandra from starting"
        );
        let remedy =
            format!("`medusafs resume {job}` goes on, `medusafs undo {job}` takes it back");
        return Some(Finding::error(Some(node), what, remedy));
    }
    if report.state.outcome().is_none() || report.error.is_some() {
        let what = format!("restore {job} is not finished there: {}", report.state);
        let remedy = if report.is_untouched() {
            format!("if it does not run: `medusafs undo {job}` removes it; then copy again")
        } else {
            format!(
                "if it does not run: `medusafs resume {job}` goes on, `medusafs undo {job}` takes \
                 it back"
            )
        };
        return Some(Finding::warning(Some(node), what, remedy));
    }
    let until = report.kept_until?;
    let what = format!("what restore {job} replaced is kept until {until}");
    let remedy = format!("nothing has to be done; `medusafs undo {job}` puts it back");
    Some(Finding::warning(Some(node), what, remedy))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::agent::protocol::{LeftSnapshot, Reached};
    use crate::cluster::Severity;
    use crate::model::{JobId, JobState, Phase, UnixSeconds};

    fn report(state: JobState) -> JobReport {
        JobReport {
            job: JobId::parse("20261122T161400Z-restore-node2").unwrap(),
            state,
            phase: Phase::Place,
            reached: Reached::Stopped,
            at: None,
            error: None,
            when: UnixSeconds(0),
            fenced: false,
            kept_until: None,
            remedy: None,
        }
    }

    fn found(left: &Leftovers) -> Vec<(Severity, String)> {
        left_on("node2", left).iter().map(|one| (one.severity, one.to_string())).collect()
    }

    #[test]
    fn a_fence_is_told_once_and_with_the_job_that_settles_it() {
        let fence = vec!["/data/fence".into()];
        let fenced = JobReport { fenced: true, ..report(JobState::Placing) };
        let left = Leftovers {
            restores: vec![fenced],
            fences: fence.clone(),
            closed: vec!["/data".into()],
            ..Leftovers::default()
        };
        let told = found(&left);
        assert_eq!((told.len(), told[0].0), (1, Severity::Error), "{told:?}");
        assert!(told[0].1.contains("`medusafs undo 20261122T161400Z-restore-node2`"), "{told:?}");
        let alone = found(&Leftovers { fences: fence, ..Leftovers::default() });
        assert!(alone[0].1.contains("/data/fence"), "{alone:?}");
    }

    #[test]
    fn a_stage_is_not_gone_on_with() {
        let staged = JobReport { reached: Reached::Staged, ..report(JobState::Waiting) };
        let placing = report(JobState::Placing);
        for (left, is_gone_on_with) in [(staged, false), (placing, true)] {
            let left = Leftovers { restores: vec![left], ..Leftovers::default() };
            let told = found(&left).remove(0).1;
            assert_eq!(told.contains("resume"), is_gone_on_with, "{told}");
            assert!(told.contains("undo"), "{told}");
        }
    }

    #[test]
    fn what_only_lies_there_stands_against_nothing() {
        let kept = JobReport { kept_until: Some(UnixSeconds(9)), ..report(JobState::Done) };
        let forgotten = report(JobState::Undone);
        let left = Leftovers {
            restores: vec![kept, forgotten],
            snapshots: vec![LeftSnapshot { tag: "medusa-old".into(), tables: 3 }],
            ..Leftovers::default()
        };
        let told = found(&left);
        assert_eq!(told.len(), 2, "{told:?}");
        assert!(told.iter().all(|(severity, _)| *severity == Severity::Warning), "{told:?}");
        assert!(told[1].1.contains("nodetool clearsnapshot -t medusa-old"), "{told:?}");
    }
}
