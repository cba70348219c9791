//! What a restore would do, and everything that makes it other than the plain case.

use std::collections::BTreeMap;

use crate::agent::protocol::PlanFacts;
use crate::cassandra::TableFacts;
use crate::cluster::{Replaced, RingNode};
use crate::model::{Fqdn, UnixSeconds};

use super::RestoreRequest;
use super::snapshot::Snapshot;

/// What the plan is made from.
pub(super) struct Sight<'a> {
    pub(super) request: &'a RestoreRequest,
    pub(super) snapshot: &'a Snapshot,
    /// What the cluster runs; empty if nobody told.
    pub(super) release_version: &'a str,
    pub(super) ring: &'a BTreeMap<Fqdn, RingNode>,
    /// None if CQL of no node answered.
    pub(super) tables: Option<&'a [TableFacts]>,
    /// What could not be learned of the cluster.
    pub(super) doubts: &'a [String],
    /// Who had the node's name before the host that has it now.
    pub(super) replaced: Option<&'a Replaced>,
    pub(super) facts: &'a PlanFacts,
    pub(super) now: UnixSeconds,
    /// `restore = manual`.
    pub(super) is_manual: bool,
}

/// A restore worked out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Plan {
    /// Changes with everything that the plan was made from.
    pub(super) id: String,
    /// What speaks against doing it without asking; none in the plain case.
    pub(super) reasons: Vec<String>,
    /// What makes it impossible, whatever a person accepts.
    pub(super) refusals: Vec<String>,
    /// What to know.
    pub(super) remarks: Vec<String>,
}

/// How a file comes to be another than its manifest says, and is no damage.
pub(super) const WRITTEN_ANEW: &str =
    "Cassandra had written them anew, and a later backup by Medusa wrote over the stored ones";

/// Why a restore is held.
struct Reason {
    text: String,
    /// What of it makes another plan: not what grows while a person reads.
    counts: String,
}

impl<T: Into<String>> From<T> for Reason {
    fn from(text: T) -> Self {
        let text = text.into();
        Self { counts: text.clone(), text }
    }
}

impl Plan {
    pub(super) fn work_out(sight: &Sight<'_>) -> Self {
        let given = sight.request.hold.iter().chain(sight.doubts);
        let mut reasons: Vec<Reason> = given.map(|text| Reason::from(text.as_str())).collect();
        let mut refusals = sight.facts.obstacles.clone();
        let mut remarks = Vec::new();
        if sight.is_manual {
            reasons.push("restore = manual in the configuration".into());
        }
        let incomplete = sight.snapshot.incomplete.iter();
        reasons.extend(incomplete.map(|why| format!("the backup is not whole: {why}").into()));
        same_node(sight, &mut reasons, &mut refusals);
        same_host(sight, &mut reasons, &mut refusals);
        seen_to_run(sight, &mut refusals);
        others_up(sight, &mut reasons);
        same_version(sight, &mut reasons, &mut refusals);
        same_tables(sight, &mut reasons);
        young_enough(sight, &mut reasons, &mut remarks);
        if sight.facts.written_anew > 0 {
            remarks.push(format!(
                "{} files are stored otherwise than the backup's manifest says, and are taken as \
                 they are: {WRITTEN_ANEW}",
                sight.facts.written_anew
            ));
        }
        let id = id(sight, &reasons);
        let reasons = reasons.into_iter().map(|reason| reason.text).collect();
        Self { id, reasons, refusals, remarks }
    }

    /// Whether it may begin by itself.
    pub(super) fn is_plain(&self) -> bool {
        self.reasons.is_empty() && self.refusals.is_empty()
    }
}

fn node<'a>(sight: &'a Sight<'_>) -> Option<&'a RingNode> {
    sight.ring.get(&sight.request.node)
}

fn same_node(sight: &Sight<'_>, reasons: &mut Vec<Reason>, refusals: &mut Vec<String>) {
    let (Some(now), request) = (node(sight), sight.request) else {
        refusals.push(format!("{} is not in the ring", sight.request.node));
        return;
    };
    let place = sight.snapshot.place.as_ref();
    let has_same_tokens = place.filter(|_| !now.tokens.is_empty()).map(|then| {
        let mut tokens = then.tokens.clone();
        tokens.sort_unstable();
        tokens == now.tokens
    });
    let mut refuse = |what: &str| {
        refusals.push(format!(
            "{what}, and {} has data under its own host id: its data would lie where nobody looks \
             for it",
            request.node
        ));
    };
    match (has_same_tokens, request.source == request.node) {
        (Some(true), _) => {}
        (Some(false), true) => refuse("the node has other tokens than when it was backed up"),
        // Only its tokens would tell that it is the node's own, under another name.
        (Some(false) | None, false) => {
            refuse(&format!("this is the snapshot of {}", request.source));
        }
        (None, true) if place.is_none() => {
            reasons.push("the backup does not tell which tokens the node had".into());
        }
        (None, true) => reasons.push(
            "which tokens the node has is not known, nor whether they are those of the backup"
                .into(),
        ),
    }
    let Some(then) = place else { return };
    let pairs =
        [("data centre", &then.datacenter, &now.datacenter), ("rack", &then.rack, &now.rack)];
    for (what, then, now) in pairs {
        match then {
            Some(then) if then != now => {
                reasons.push(format!("its {what} was {then} and is {now} now").into());
            }
            Some(_) => {}
            None => reasons.push(format!("the backup does not tell its {what}").into()),
        }
    }
}

/// The tables of `system` have a host id in them. With that of a node that has left, Cassandra does
/// not start where the ring knows another one at the same address.
fn same_host(sight: &Sight<'_>, reasons: &mut Vec<Reason>, refusals: &mut Vec<String>) {
    let (Some(replaced), Some(now)) = (sight.replaced, node(sight)) else { return };
    let (started, name) = (sight.snapshot.started, &sight.request.node);
    if sight.request.source != *name {
        return;
    }
    let (was, is) = (&replaced.host_id, &now.host_id);
    if started <= replaced.seen {
        refusals.push(format!(
            "the backup is of host {was}, which was called {name} until it was replaced; {name} is \
             {is} now, and does not start with the other's system tables: let it stream from its \
             replicas with `nodetool rebuild`, or copy tables out of the backup and load them with \
             `sstableloader`"
        ));
    } else if started <= replaced.until {
        reasons.push(
            format!(
                "the backup was begun before the name {name} was given to host {is}: if it is of \
                 {was}, which had it before, Cassandra does not start"
            )
            .into(),
        );
    }
}

/// What the agent does not see it would not stop: the data would be swapped under a live Cassandra.
fn seen_to_run(sight: &Sight<'_>, refusals: &mut Vec<String>) {
    let is_up = node(sight).is_some_and(|node| node.up == Some(true));
    if is_up && !sight.facts.running {
        refusals.push(format!(
            "other nodes say that {} is up, and no Cassandra is seen to run there: if it was stopped \
             just now, copy again when `nodetool status` says DN; else see with `ps` on the node \
             what has its data open",
            sight.request.node
        ));
    }
}

fn others_up(sight: &Sight<'_>, reasons: &mut Vec<Reason>) {
    for (name, node) in sight.ring {
        if *name != sight.request.node && !node.is_up_and_normal() {
            reasons.push(format!("{name} is {}, not UN", node.status_letters()).into());
        }
    }
}

fn same_version(sight: &Sight<'_>, reasons: &mut Vec<Reason>, refusals: &mut Vec<String>) {
    let parts = |version: &str| -> Vec<u32> {
        version.split(['.', '-']).map_while(|part| part.parse().ok()).collect()
    };
    let (then, now) = (sight.snapshot.version.release_version.as_str(), sight.release_version);
    let (old, new) = (parts(then), parts(now));
    match (old.first(), new.first()) {
        (_, Some(major)) if *major < 4 => {
            refusals.push(format!("Cassandra {now} is too old: 4.0 is the first that is restored"));
        }
        (Some(old), Some(new)) if old != new => {
            reasons.push(format!("the backup is of Cassandra {then}, the node runs {now}").into());
        }
        (Some(_), Some(_)) if new < old => {
            reasons.push(format!("Cassandra {now} is older than the backup's {then}").into());
        }
        (Some(_), Some(_)) => {}
        (_, None) => reasons.push("which release the node runs is not known".into()),
        (None, Some(_)) => {
            reasons.push(format!("the backup's Cassandra release is {then:?}").into());
        }
    }
}

/// Tables of users, by keyspace and name.
fn live_tables(tables: &[TableFacts]) -> BTreeMap<(&str, &str), &TableFacts> {
    tables
        .iter()
        .filter(|table| !table.keyspace.starts_with("system"))
        .map(|table| ((table.keyspace.as_str(), table.name.as_str()), table))
        .collect()
}

fn same_tables(sight: &Sight<'_>, reasons: &mut Vec<Reason>) {
    let Some(tables) = sight.tables else { return };
    let live = live_tables(tables);
    for table in &sight.facts.tables_in_backup {
        let keyspace = table.keyspace.as_str();
        if keyspace.starts_with("system") {
            continue;
        }
        let (name, id) = table.directory.split();
        match (live.get(&(keyspace, name)), id) {
            (None, _) => reasons.push(
                format!(
                    "{keyspace}.{name} has been dropped since: its files come back, the table does \
                     not"
                )
                .into(),
            ),
            (Some(now), Some(id)) if now.id != id => reasons.push(
                format!(
                    "{keyspace}.{name} has been dropped and made again since: its old rows will \
                     not be seen"
                )
                .into(),
            ),
            (Some(_), _) => {}
        }
    }
    for table in &sight.facts.set_aside.tables_not_in_backup {
        let keyspace = table.keyspace.as_str();
        if !keyspace.starts_with("system")
            && live.contains_key(&(keyspace, table.directory.table()))
        {
            reasons.push(
                format!(
                    "{keyspace}.{} is newer than the backup: on this node it will be empty until \
                     it is repaired",
                    table.directory.table()
                )
                .into(),
            );
        }
    }
}

/// A backup older than gc_grace_seconds brings back rows whose tombstones are gone elsewhere.
fn young_enough(sight: &Sight<'_>, reasons: &mut Vec<Reason>, remarks: &mut Vec<String>) {
    let age = sight.now.since(sight.snapshot.started).unwrap_or(0);
    let mut too_old = Vec::new();
    let mut without = Vec::new();
    for table in live_tables(sight.tables.unwrap_or_default()).values() {
        let name = format!("{}.{}", table.keyspace, table.name);
        match table.gc_grace_seconds {
            0 => without.push(name),
            grace if u64::try_from(grace).is_ok_and(|grace| age > grace) => too_old.push(name),
            _ => {}
        }
    }
    if !too_old.is_empty() {
        let more = format!(
            "more than gc_grace_seconds of {}: rows deleted since may come back",
            few(&too_old)
        );
        let text = format!("the backup is {} hours old, {more}", age / 3600);
        reasons.push(Reason { text, counts: more });
    }
    if !without.is_empty() {
        remarks.push(format!(
            "gc_grace_seconds is 0 for {}: rows deleted since the backup may come back",
            few(&without)
        ));
    }
}

fn few(names: &[String]) -> String {
    match names {
        [a, b, c, rest @ ..] if !rest.is_empty() => {
            format!("{a}, {b}, {c} and {} more tables", rest.len())
        }
        _ => names.join(", "),
    }
}

/// Twelve hex digits of everything that counts: backup, set, ring, versions, reasons.
fn id(sight: &Sight<'_>, reasons: &[Reason]) -> String {
    use sha2::Digest;
    let mut hash = sha2::Sha256::new();
    let mut add = |text: &str| {
        hash.update(text.as_bytes());
        hash.update([0]);
    };
    add(sight.request.backup.as_str());
    add(sight.request.source.as_str());
    add(sight.request.node.as_str());
    add(&sight.facts.manifest.to_string());
    add(sight.release_version);
    for (name, node) in sight.ring {
        add(name.as_str());
        add(&node.host_id);
        add(&node.status_letters());
        node.tokens.iter().for_each(|token| add(&token.to_string()));
    }
    for reason in reasons {
        add(&reason.counts);
    }
    let digest = hash.finalize();
    let head = digest.iter().take(6).fold(0_u64, |sum, byte| (sum << 8) | u64::from(*byte));
    format!("{head:012x}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::IpAddr;

    use crate::agent::protocol::{Folders, MemberState, TableOnDisk};
    use crate::medusa::{ServerVersion, TokenmapNode};
    use crate::model::{BackupName, Keyspace, Md5, TableDirectory, Token};

    const ID: &str = "1b255f4def2540a60000000000000005";

    /// The plain case, to be spoilt in one place by each test.
    struct Case {
        request: RestoreRequest,
        snapshot: Snapshot,
        ring: BTreeMap<Fqdn, RingNode>,
        tables: Vec<TableFacts>,
        has_cql: bool,
        facts: PlanFacts,
        release: &'static str,
        doubts: Vec<String>,
        replaced: Option<Replaced>,
        now: UnixSeconds,
        is_manual: bool,
    }

    type Spoil = fn(&mut Case);

    fn fqdn(n: u8) -> Fqdn {
        Fqdn::parse(&format!("node{n}")).unwrap()
    }

    fn ring_node(n: u8) -> RingNode {
        RingNode {
            host_id: format!("id{n}"),
            address: IpAddr::from([198, 51, 100, n]),
            datacenter: "dc1".into(),
            rack: format!("r{n}"),
            tokens: vec![Token(i128::from(n))],
            up: Some(true),
            state: MemberState::Normal,
        }
    }

    fn table(name: &str) -> TableOnDisk {
        TableOnDisk {
            keyspace: Keyspace::parse("shop").unwrap(),
            directory: TableDirectory::parse(&format!("{name}-{ID}")).unwrap(),
        }
    }

    fn live(name: &str) -> TableFacts {
        TableFacts {
            keyspace: "shop".into(),
            name: name.into(),
            id: ID.into(),
            gc_grace_seconds: 864_000,
            is_view: false,
        }
    }

    /// The node's name was another host's, that a job saw last at this time.
    fn replaced(seen: i64) -> Replaced {
        let (seen, until) = (UnixSeconds(seen), UnixSeconds(2000));
        Replaced { host_id: "before".into(), seen, until }
    }

    fn plain() -> Case {
        Case {
            request: RestoreRequest {
                node: fqdn(2),
                backup: BackupName::parse("nightly").unwrap(),
                source: fqdn(2),
                complete_since: UnixSeconds(0),
                hold: Vec::new(),
                accept: None,
                dry_run: false,
            },
            snapshot: Snapshot {
                incomplete: Vec::new(),
                started: UnixSeconds(1000),
                place: Some(TokenmapNode {
                    tokens: vec![Token(2)],
                    is_up: Some(true),
                    rack: Some("r2".into()),
                    datacenter: Some("dc1".into()),
                }),
                version: ServerVersion {
                    server_type: "cassandra".into(),
                    release_version: "5.0.2".into(),
                },
            },
            ring: (1..=3).map(|n| (fqdn(n), ring_node(n))).collect(),
            tables: vec![live("orders")],
            has_cql: true,
            facts: PlanFacts {
                manifest: Md5([7; 16]),
                disks: Vec::new(),
                files: 8,
                bytes: 100,
                files_here: 0,
                bytes_here: 0,
                written_anew: 0,
                tables_in_backup: vec![table("orders")],
                tables_on_disk: vec![table("orders")],
                set_aside: Folders::default(),
                running: true,
                obstacles: Vec::new(),
            },
            release: "5.0.6",
            doubts: Vec::new(),
            replaced: None,
            now: UnixSeconds(5000),
            is_manual: false,
        }
    }

    fn plan(case: &Case) -> Plan {
        Plan::work_out(&Sight {
            request: &case.request,
            snapshot: &case.snapshot,
            release_version: case.release,
            ring: &case.ring,
            tables: case.has_cql.then_some(case.tables.as_slice()),
            doubts: &case.doubts,
            replaced: case.replaced.as_ref(),
            facts: &case.facts,
            now: case.now,
            is_manual: case.is_manual,
        })
    }

    #[test]
    fn the_plain_case_is_plain() {
        let mut case = plain();
        let first = plan(&case);
        assert!(first.is_plain(), "{first:?}");
        assert_eq!(first.id.len(), 12);
        // The node has replaced another one, and was backed up since.
        (case.replaced, case.snapshot.started) = (Some(replaced(1000)), UnixSeconds(2001));
        assert!(plan(&case).is_plain(), "{:?}", plan(&case));
    }

    #[test]
    fn whatever_is_not_plain_is_held_with_its_reason() {
        let held: [(&str, Spoil); 14] = [
            ("manual", |case| case.is_manual = true),
            ("CQL of no node", |case| {
                case.doubts.push("CQL of no node answered".into());
                case.has_cql = false;
            }),
            ("which release", |case| case.release = ""),
            ("which tokens", |case| case.ring.get_mut(&fqdn(2)).unwrap().tokens.clear()),
            ("not whole", |case| case.snapshot.incomplete.push("node3 missing".into())),
            ("not UN", |case| case.ring.get_mut(&fqdn(3)).unwrap().up = Some(false)),
            ("is older", |case| case.release = "5.0.1"),
            ("the node runs 4.1.5", |case| case.release = "4.1.5"),
            ("dropped since", |case| case.tables.clear()),
            ("made again", |case| case.tables[0].id = "0".repeat(32)),
            ("newer than the backup", |case| {
                case.tables.push(live("later"));
                case.facts.set_aside.tables_not_in_backup.push(table("later"));
            }),
            ("gc_grace_seconds", |case| case.now = UnixSeconds(1_000_000)),
            ("rack was", |case| {
                case.snapshot.place.as_mut().unwrap().rack = Some("r9".into());
            }),
            ("begun before the name node2 was given", |case| case.replaced = Some(replaced(999))),
        ];
        for (word, spoil) in held {
            let mut case = plain();
            spoil(&mut case);
            let plan = plan(&case);
            assert!(plan.refusals.is_empty() && !plan.is_plain(), "{word}: {plan:?}");
            assert!(plan.reasons.iter().any(|reason| reason.contains(word)), "{word}: {plan:?}");
        }
    }

    #[test]
    fn what_would_lose_data_is_refused_whoever_accepts_it() {
        let refused: [(&str, Spoil); 7] = [
            ("snapshot of node1", |case| {
                case.request.source = fqdn(1);
                case.snapshot.place.as_mut().unwrap().tokens = vec![Token(1)];
            }),
            // As where nodetool answers, CQL does not, and the share remembers nothing yet.
            ("snapshot of node1", |case| {
                case.request.source = fqdn(1);
                case.snapshot.place.as_mut().unwrap().tokens = vec![Token(1)];
                case.ring.values_mut().for_each(|node| node.tokens.clear());
            }),
            ("snapshot of node1", |case| {
                case.request.source = fqdn(1);
                case.snapshot.place = None;
            }),
            ("other tokens", |case| case.snapshot.place.as_mut().unwrap().tokens.clear()),
            ("is of host before", |case| case.replaced = Some(replaced(1000))),
            ("no Cassandra is seen", |case| case.facts.running = false),
            ("too old", |case| case.release = "3.11.19"),
        ];
        for (word, spoil) in refused {
            let mut case = plain();
            spoil(&mut case);
            let plan = plan(&case);
            assert!(plan.refusals.iter().any(|why| why.contains(word)), "{word}: {plan:?}");
        }
    }

    #[test]
    fn the_tokens_tell_a_node_that_has_another_name_now() {
        let mut case = plain();
        case.request.source = fqdn(9);
        assert!(plan(&case).is_plain(), "{:?}", plan(&case));
    }

    #[test]
    fn a_plan_that_changes_has_another_id_and_one_that_ages_has_not() {
        let mut case = plain();
        let first = plan(&case).id;
        case.now = UnixSeconds(6000);
        assert_eq!(plan(&case).id, first);
        case.ring.get_mut(&fqdn(1)).unwrap().up = None;
        assert_ne!(plan(&case).id, first);
        let mut old = plain();
        old.now = UnixSeconds(1_000_000);
        let first = plan(&old);
        old.now = UnixSeconds(1_010_000);
        assert_ne!(plan(&old).reasons, first.reasons);
        assert_eq!(plan(&old).id, first.id);
    }

    #[test]
    fn whatever_a_person_has_not_read_makes_another_plan() {
        let first = plan(&plain()).id;
        let spoilt: [Spoil; 3] = [
            |case| case.snapshot.incomplete.push("node3 missing".into()),
            |case| case.snapshot.version.release_version = "4.1.5".into(),
            |case| case.doubts.push("nobody answered".into()),
        ];
        for spoil in spoilt {
            let mut case = plain();
            spoil(&mut case);
            assert_ne!(plan(&case).id, first, "{:?}", plan(&case).reasons);
        }
    }

    #[test]
    fn a_node_that_is_down_is_restored_as_one_that_runs() {
        let mut case = plain();
        case.ring.get_mut(&fqdn(2)).unwrap().up = Some(false);
        case.facts.running = false;
        assert!(plan(&case).is_plain(), "{:?}", plan(&case));
    }

    #[test]
    fn files_that_were_written_anew_are_counted_and_do_not_hold() {
        let mut case = plain();
        case.facts.written_anew = 2;
        let plan = plan(&case);
        assert!(plan.is_plain() && plan.remarks[0].starts_with("2 files"), "{plan:?}");
    }

    #[test]
    fn a_table_without_grace_is_named_and_does_not_hold() {
        let mut case = plain();
        case.tables[0].gc_grace_seconds = 0;
        let plan = plan(&case);
        assert!(plan.is_plain() && plan.remarks[0].contains("shop.orders"), "{plan:?}");
    }
}
