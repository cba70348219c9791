//! Whether a node is Up and Normal again: what others say of it, or it itself if there are none.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::time::{Instant, sleep};

use crate::agent::protocol::{AskNodetool, MemberState, RingMember};
use crate::cluster::{Deaf, Reached};
use crate::model::{Fqdn, JobId};

use super::{ASK_EVERY, Context, survey};

/// Gossip marks a node up within seconds of its start.
const UP_WITHIN: Duration = Duration::from_mins(5);

/// For the answer of a witness, a start of a JVM.
const WITNESS_WITHIN: Duration = Duration::from_mins(1);

/// Nodes that are tried as a witness: each that is down costs a connection's patience.
const WITNESSES: usize = 5;

/// What is said of the node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Said {
    /// It is Up and Normal.
    IsUp,
    /// Another node answers, and says something else of it.
    NotByOthers,
    /// It alone answers, and says something else of itself.
    NotByItself,
    /// Nobody answers.
    Nothing,
}

impl Said {
    fn read(members: Option<&[RingMember]>, by_another: bool, host_id: Option<&str>) -> Self {
        match (members, by_another) {
            (None, _) => Self::Nothing,
            (Some(members), _) if is_up(members, host_id) => Self::IsUp,
            (Some(_), true) => Self::NotByOthers,
            (Some(_), false) => Self::NotByItself,
        }
    }

    /// Why that is not enough, and what to do; none if it is.
    pub(super) fn complaint(self, job: &JobId) -> Option<(&'static str, String)> {
        let undo = || {
            format!(
                "look at `nodetool status` and its system.log; `medusafs undo {job}` puts back what \
                 was there"
            )
        };
        match self {
            Self::IsUp => None,
            Self::NotByOthers => Some(("other nodes do not say UN of it", undo())),
            Self::NotByItself => {
                Some(("it does not say UN of itself, and no other node answers", undo()))
            }
            Self::Nothing => Some((
                "nobody could be asked whether it is UN, for nodetool of no node answers",
                format!("when it does on some node, `medusafs resume {job}` asks again"),
            )),
        }
    }
}

/// Whether `nodetool status` says UN of the node; of every node, if its host id is not known.
fn is_up(members: &[RingMember], host_id: Option<&str>) -> bool {
    let is_un =
        |member: &RingMember| member.up == Some(true) && member.state == MemberState::Normal;
    match host_id {
        Some(id) => members.iter().any(|member| member.host_id == id && is_un(member)),
        None => !members.is_empty() && members.iter().all(is_un),
    }
}

/// Waits until the node is said to be up, and returns what was said last.
pub(super) async fn until_up(
    cx: &Context,
    node: &Fqdn,
    target: &Reached,
    host_id: Option<&str>,
) -> Said {
    until_said(&Nodes { cx, node, target, is_alone: AtomicBool::new(false) }, host_id).await
}

/// Who can be asked.
trait Witnesses {
    /// A node beside the one that is asked about.
    type Beside;

    /// One that answers, if there is one.
    async fn beside(&self) -> Option<Self::Beside>;

    /// The ring as it is seen there, or by the node itself; none if that does not answer.
    async fn ask(&self, witness: Option<&Self::Beside>) -> Option<Vec<RingMember>>;
}

async fn until_said(witnesses: &impl Witnesses, host_id: Option<&str>) -> Said {
    let until = Instant::now() + UP_WITHIN;
    let mut beside = None;
    loop {
        if beside.is_none() {
            beside = witnesses.beside().await;
        }
        let members = witnesses.ask(beside.as_ref()).await;
        let said = Said::read(members.as_deref(), beside.is_some(), host_id);
        if said == Said::IsUp || Instant::now() >= until {
            return said;
        }
        // One that does not answer any more is followed by another.
        if said == Said::Nothing {
            beside = None;
        }
        sleep(ASK_EVERY).await;
    }
}

/// The nodes of the cluster.
struct Nodes<'a> {
    cx: &'a Context,
    node: &'a Fqdn,
    target: &'a Reached,
    /// It was said that no other node answers.
    is_alone: AtomicBool,
}

impl Witnesses for Nodes<'_> {
    type Beside = Reached;

    async fn beside(&self) -> Option<Reached> {
        let (cx, node) = (self.cx, self.node);
        let known = survey::memory(cx).await.map(|memory| memory.known.nodes).unwrap_or_default();
        let others = known.into_iter().map(|known| known.name).filter(|name| name != node);
        for name in others.take(WITNESSES) {
            let reached =
                survey::reach_known(cx, &BTreeSet::from([name.clone()])).await.remove(&name);
            if let Some(Ok(reached)) = reached
                && ring_seen_from(&reached).await.is_some()
            {
                return Some(reached);
            }
        }
        if !self.is_alone.swap(true, Ordering::Relaxed) {
            cx.board.log(&format!(
                "no other node answers, so that {node} is asked itself whether it is up"
            ));
        }
        None
    }

    async fn ask(&self, witness: Option<&Reached>) -> Option<Vec<RingMember>> {
        ring_seen_from(witness.unwrap_or(self.target)).await
    }
}

/// What `nodetool status` says on this node; none if it does not answer.
async fn ring_seen_from(node: &Reached) -> Option<Vec<RingMember>> {
    let question = AskNodetool { status: true, ..AskNodetool::default() };
    let answer = node.agent.ask(question, Some(WITNESS_WITHIN), Arc::new(Deaf)).await;
    answer.ok()?.status?.ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use parking_lot::Mutex;
    use test_case::test_case;

    fn member(host_id: &str, up: bool, state: MemberState) -> RingMember {
        RingMember {
            host_id: host_id.to_owned(),
            address: "198.51.100.11".to_owned(),
            datacenter: "dc1".to_owned(),
            rack: "r1".to_owned(),
            up: Some(up),
            state,
        }
    }

    #[test]
    fn a_node_that_nobody_lists_is_not_up() {
        assert!(!is_up(&[], Some("a")));
        assert!(!is_up(&[], None));
        assert!(!is_up(&[member("b", true, MemberState::Normal)], Some("a")));
    }

    #[test]
    fn a_node_is_up_when_it_is_up_and_normal() {
        let ring =
            [member("a", true, MemberState::Normal), member("b", false, MemberState::Normal)];
        assert!(is_up(&ring, Some("a")) && !is_up(&ring, Some("b")) && !is_up(&ring, None));
        assert!(!is_up(&[member("a", true, MemberState::Joining)], Some("a")));
    }

    /// Whether each witness says UN, answer by answer; without any left it has gone. The first is
    /// the node itself.
    struct Played(Mutex<Vec<Vec<bool>>>);

    impl Witnesses for Played {
        type Beside = usize;

        async fn beside(&self) -> Option<usize> {
            let all = self.0.lock();
            (1..all.len()).find(|number| !all[*number].is_empty())
        }

        async fn ask(&self, witness: Option<&usize>) -> Option<Vec<RingMember>> {
            let mut all = self.0.lock();
            let answers = &mut all[witness.copied().unwrap_or(0)];
            let says = if answers.is_empty() { None } else { Some(answers.remove(0)) };
            says.map(|up| vec![member("a", up, MemberState::Normal)])
        }
    }

    fn played(answers: &[&[bool]]) -> Played {
        Played(Mutex::new(answers.iter().map(|one| one.to_vec()).collect()))
    }

    const LONG: [bool; 1000] = [false; 1000];

    #[test_case(&[&[], &[false], &[false, true]], Said::IsUp; "a witness that goes is followed by another")]
    #[test_case(&[&[false, true], &[false]], Said::IsUp; "the last is followed by the node itself")]
    #[test_case(&[&LONG, &LONG], Said::NotByOthers; "others say DN")]
    #[test_case(&[&LONG, &[]], Said::NotByItself; "it alone says DN")]
    #[test_case(&[&[], &[false]], Said::Nothing; "nobody is left")]
    #[tokio::test(start_paused = true)]
    async fn whoever_answers_is_asked_as_long_as_it_answers(answers: &[&[bool]], said: Said) {
        assert_eq!(until_said(&played(answers), Some("a")).await, said);
    }

    #[test]
    fn an_undo_is_advised_only_where_something_speaks_against_the_node() {
        let job = JobId::parse("j").unwrap();
        let advised = |said: Said| said.complaint(&job).map(|(_, remedy)| remedy.contains("undo"));
        assert_eq!(advised(Said::IsUp), None);
        assert_eq!(advised(Said::NotByOthers), Some(true));
        assert_eq!(advised(Said::NotByItself), Some(true));
        assert_eq!(advised(Said::Nothing), Some(false));
    }
}
