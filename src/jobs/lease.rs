//! Having the cluster, or a node of it, for one job alone.

use std::time::{Duration, Instant};

use crate::model::Fqdn;
use crate::observe::ErrorChain;
use crate::store::{Holder, LEASE_TERM, Lease, LeaseError, LeaseName, Leases, Owner};

use super::context::Context;
use super::job_error::JobError;
use super::unsettled::is_publishing;

/// The lease of a process of this job that died is over by then.
const OWN_ENDS: Duration = LEASE_TERM.saturating_add(Duration::from_secs(30));

/// How soon a lease that another has is asked for again.
const ASK_AGAIN: Duration = Duration::from_secs(2);

/// How often it is looked whether a lease is still held.
const WATCH_EVERY: Duration = Duration::from_secs(5);

/// A lease that is given back at the end. One that is dropped is given back too, and nobody waits
/// for that.
pub(super) struct HeldLease(Lease);

impl HeldLease {
    /// Ends the job if another may have what was leased. Asked before each step that cannot be
    /// taken back.
    pub(super) fn still_held(&self) -> Result<(), JobError> {
        self.0.check().map_err(|error| {
            JobError::Host(format!(
                "{}; nothing more was done: begin again when no other job runs",
                ErrorChain(&error)
            ))
        })
    }

    /// Waits for `work`, but not longer than the lease is held: a share that hangs ends it so.
    pub(super) async fn while_held<T>(
        &self,
        work: impl Future<Output = Result<T, JobError>>,
    ) -> Result<T, JobError> {
        let lost = async {
            loop {
                tokio::time::sleep(WATCH_EVERY).await;
                if let Err(lost) = self.still_held() {
                    return lost;
                }
            }
        };
        tokio::select! {
            done = work => done,
            lost = lost => Err(lost),
        }
    }

    pub(super) async fn give_back(self, cx: &Context) {
        let released = cx.on_share("to give a lease back", move || self.0.release()).await;
        let error = match released {
            Ok(Ok(())) => return,
            Ok(Err(error)) => error.to_string(),
            Err(error) => error.in_words(),
        };
        cx.board.log(&format!("the lease runs out by itself in a minute: {error}"));
    }
}

/// What is done while another job has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum IfBusy {
    /// The job fails, naming who has it.
    Fail,
    /// The job waits until a person cancels it: something of it is left, which it alone settles.
    Wait,
}

/// Takes the cluster for this job.
pub(super) async fn take_cluster(
    cx: &Context,
    purpose: &str,
    if_busy: IfBusy,
) -> Result<HeldLease, JobError> {
    take(cx, LeaseName::Cluster, purpose, if_busy).await
}

/// Takes one node for this job.
pub(super) async fn take_node(
    cx: &Context,
    node: &Fqdn,
    purpose: &str,
    if_busy: IfBusy,
) -> Result<HeldLease, JobError> {
    take(cx, LeaseName::Node(node.clone()), purpose, if_busy).await
}

async fn take(
    cx: &Context,
    name: LeaseName,
    purpose: &str,
    if_busy: IfBusy,
) -> Result<HeldLease, JobError> {
    let directory = cx.layout.leases().map_err(|error| JobError::Host(error.to_string()))?;
    let leases = Leases::new(cx.store.clone(), directory);
    let owner = Owner {
        host: cx.host_name.clone(),
        pid: std::process::id(),
        job: Some(cx.board.folder().id().clone()),
        purpose: purpose.to_owned(),
    };
    // Agents outlive their job by some seconds. What one of them publishes meanwhile is not to be
    // judged: then the lease runs out as anybody's.
    let agents_may_write = is_publishing(cx.journal.lock().records());
    let begun = Instant::now();
    let mut waits_for = None;
    loop {
        let (leases, name, owner) = (leases.clone(), name.clone(), owner.clone());
        let acquire = move || {
            leases.acquire(&name, &owner, |holder| {
                !agents_may_write && is_dead_process_of(&owner, holder)
            })
        };
        match cx.on_share("for a lease on the share", acquire).await? {
            Ok(lease) => {
                if waits_for.is_some() {
                    cx.board.change(|status| status.error.clear());
                }
                return Ok(HeldLease(lease));
            }
            Err(LeaseError::Held(holder)) if is_own(cx, &holder) && begun.elapsed() < OWN_ENDS => {
                cx.unless_cancelled(tokio::time::sleep(ASK_AGAIN)).await?;
            }
            Err(LeaseError::Held(holder)) if if_busy == IfBusy::Wait => {
                if waits_for.as_ref() != Some(&holder.owner) {
                    let words = format!("waits for the end of {holder}");
                    cx.board.log(&words);
                    cx.board.change(|status| status.error = words);
                    waits_for = Some(holder.owner);
                }
                cx.unless_cancelled(tokio::time::sleep(ASK_AGAIN)).await?;
            }
            Err(LeaseError::Held(holder)) => {
                return Err(JobError::Busy { holder: holder.to_string() });
            }
            Err(LeaseError::Store(error)) => return Err(error.into()),
            Err(error @ LeaseError::Lost) => return Err(JobError::Host(error.to_string())),
        }
    }
}

/// Whether this job itself holds the lease: a process of it that has died, for this one does it.
fn is_own(cx: &Context, holder: &Holder) -> bool {
    let job = holder.owner.as_ref().and_then(|owner| owner.job.as_ref());
    job == Some(cx.board.folder().id())
}

/// Whether `holder` is a process of this job that died on this host. This process has the lock of
/// the job's folder, which the kernel gives to one that lives.
fn is_dead_process_of(this: &Owner, holder: &Owner) -> bool {
    holder.host == this.host && holder.job == this.job && holder.pid != this.pid
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::JobId;
    use test_case::test_case;

    #[test_case("here", 7, "j", true; "an earlier process of this job")]
    #[test_case("there", 7, "j", false; "one of another host, whose lock is not seen")]
    #[test_case("here", 7, "k", false; "another job")]
    #[test_case("here", 1, "j", false; "this very process")]
    fn only_an_earlier_process_of_the_same_job_here_is_dead(
        host: &str,
        pid: u32,
        job: &str,
        is_dead: bool,
    ) {
        let owner = |host: &str, pid, job| Owner {
            host: host.to_owned(),
            pid,
            job: Some(JobId::parse(job).unwrap()),
            purpose: "backup b".to_owned(),
        };
        assert_eq!(is_dead_process_of(&owner("here", 1, "j"), &owner(host, pid, job)), is_dead);
    }
}
