//! What nodetool says of the ring: `status`, `info`, `describecluster`.
#![warn(clippy::indexing_slicing, clippy::arithmetic_side_effects)]

use crate::model::Token;

/// A node as another one sees it: a row of `nodetool status`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RingMember {
    /// Its data centre.
    pub datacenter: String,
    /// Whether it is up; none (`?`) if the asked node does not know. A node that lost its power
    /// is up for 20 s more.
    pub up: Option<bool>,
    /// What it does in the ring.
    pub state: MemberState,
    /// Its address, without a port; IPv6 without brackets.
    pub address: String,
    /// What it holds, as nodetool writes it (`73.65 KiB`); none if that is not known.
    pub load: Option<String>,
    /// How many tokens it has; none in the form for one token a node.
    pub tokens: Option<u32>,
    /// Its token, in the form for one token a node.
    pub token: Option<Token>,
    /// Its host id, in lower case.
    pub host_id: String,
    /// Its rack, blanks and all.
    pub rack: String,
}

/// What a node does in the ring.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum MemberState {
    /// Serves.
    Normal,
    /// Is being decommissioned.
    Leaving,
    /// Streams what it will own.
    Joining,
    /// Changes its token.
    Moving,
}

/// A node as it sees itself: `nodetool info -T`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeInfo {
    /// Its host id.
    pub host_id: String,
    /// Its data centre.
    pub datacenter: String,
    /// Its rack.
    pub rack: String,
    /// Its tokens, sorted; none before it has joined.
    pub tokens: Vec<Token>,
    /// Whether it gossips.
    pub gossip_active: bool,
    /// Whether it serves clients.
    pub native_active: bool,
}

/// The cluster's name, and who has which schema: `nodetool describecluster`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClusterDescription {
    /// `cluster_name`.
    pub name: String,
    /// Schema versions and the addresses that have them; `UNREACHABLE` for those that did not
    /// answer. More than one version of those that did is a disagreement.
    pub schema_versions: Vec<(String, Vec<String>)>,
}

impl RingMember {
    /// Reads the output of `nodetool status`, and says what it lacks if it cannot.
    pub fn parse_status(text: &str) -> Result<Vec<Self>, String> {
        let mut members = Vec::new();
        let (mut datacenter, mut header) = (None, None);
        for line in text.lines() {
            if let Some(name) = line.strip_prefix("Datacenter: ") {
                (datacenter, header) = (Some(name.trim()), None);
            } else if line.starts_with("--") {
                header = Some(Header::of(line));
            } else if let Some((up, state, row)) = flags(line) {
                let (Some(datacenter), Some(header)) = (datacenter, header) else {
                    return Err(format!("a row before the header: {line:?}"));
                };
                let member = row_of(row, header).map(|member| Self {
                    datacenter: datacenter.to_owned(),
                    up,
                    state,
                    ..member
                });
                members.push(member.ok_or_else(|| format!("a row of another form: {line:?}"))?);
            }
        }
        if members.is_empty() {
            return Err("there is no node in it".to_owned());
        }
        members.sort_by(|a, b| a.address.cmp(&b.address));
        Ok(members)
    }
}

/// What follows what in a row. With as many tokens as data centres, or fewer, the count of tokens
/// goes and each node's token stands before its rack.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Header {
    ManyTokens,
    OneToken,
}

impl Header {
    fn of(line: &str) -> Self {
        if line.split_whitespace().any(|word| word == "Tokens") {
            Self::ManyTokens
        } else {
            Self::OneToken
        }
    }
}

/// `UN`, `DL`, `?N`, … and the rest of the row.
fn flags(line: &str) -> Option<(Option<bool>, MemberState, &str)> {
    let (word, rest) = line.split_once(char::is_whitespace)?;
    let mut letters = word.chars();
    let up = match letters.next()? {
        'U' => Some(true),
        'D' => Some(false),
        '?' => None,
        _ => return None,
    };
    let state = match letters.next()? {
        'N' => MemberState::Normal,
        'L' => MemberState::Leaving,
        'J' => MemberState::Joining,
        'M' => MemberState::Moving,
        _ => return None,
    };
    letters.next().is_none().then_some((up, state, rest))
}

/// The host id is the fixed point: what is before it are words, what is after it may hold blanks.
fn row_of(row: &str, header: Header) -> Option<RingMember> {
    let host_id = row.split_whitespace().find(|word| is_uuid(word))?;
    let (before, after) = row.split_once(host_id)?;
    let mut words = before.split_whitespace();
    let address = words.next()?.to_owned();
    let mut words = words.peekable();
    let load = match words.next()? {
        "?" => None,
        amount => Some(format!("{amount} {}", words.next()?)),
    };
    let tokens = match header {
        Header::ManyTokens => Some(words.next()?.parse().ok()?),
        Header::OneToken => None,
    };
    let (token, rack) = match header {
        Header::ManyTokens => (None, after.trim()),
        Header::OneToken => {
            let (token, rack) = after.trim().split_once(char::is_whitespace)?;
            // ByteOrderedPartitioner's are no numbers, and of no use here.
            (token.parse().ok().map(Token), rack.trim())
        }
    };
    Some(RingMember {
        datacenter: String::new(),
        up: None,
        state: MemberState::Normal,
        address,
        load,
        tokens,
        token,
        host_id: host_id.to_ascii_lowercase(),
        rack: rack.to_owned(),
    })
}

fn is_uuid(word: &str) -> bool {
    let mut parts = word.split('-');
    let of_length = |length| {
        move |part: &str| part.len() == length && part.bytes().all(|b| b.is_ascii_hexdigit())
    };
    [8, 4, 4, 4, 12].into_iter().all(|length| parts.next().is_some_and(of_length(length)))
        && parts.next().is_none()
}

impl NodeInfo {
    /// Reads the output of `nodetool info -T`.
    pub fn parse(text: &str) -> Result<Self, String> {
        let value = |name: &str| {
            text.lines()
                .filter_map(|line| line.split_once(':'))
                .find(|(key, _)| key.trim() == name)
                .map(|(_, value)| value.trim().to_owned())
        };
        let must = |name| value(name).ok_or_else(|| format!("there is no line {name:?}"));
        let active = |name| value(name).is_some_and(|value| value == "true");
        let mut tokens = Vec::new();
        for line in text.lines() {
            match line.split_once(':') {
                Some((key, number)) if key.trim() == "Token" => {
                    // `(node is not joined to the cluster)` and the like are no tokens.
                    tokens.extend(number.trim().parse().ok().map(Token));
                }
                _ => {}
            }
        }
        tokens.sort_unstable();
        Ok(Self {
            host_id: must("ID")?.to_ascii_lowercase(),
            datacenter: must("Data Center")?,
            rack: must("Rack")?,
            tokens,
            gossip_active: active("Gossip active"),
            native_active: active("Native Transport active"),
        })
    }
}

impl ClusterDescription {
    /// Reads the output of `nodetool describecluster`.
    pub fn parse(text: &str) -> Result<Self, String> {
        let name = text.lines().find_map(|line| line.trim().strip_prefix("Name:"));
        let name = name.ok_or_else(|| "there is no line \"Name\"".to_owned())?.trim().to_owned();
        let mut after = text.lines().skip_while(|line| line.trim() != "Schema versions:");
        if after.next().is_none() {
            return Err("there is no line \"Schema versions\"".to_owned());
        }
        let schema_versions = after
            .map(str::trim)
            .filter(|line| !line.is_empty())
            .map_while(|line| {
                let (version, addresses) = line.split_once(": [")?;
                let addresses = addresses.strip_suffix(']')?;
                let addresses = addresses.split(',').map(|address| address.trim().to_owned());
                Some((version.to_owned(), addresses.collect()))
            })
            .collect();
        Ok(Self { name, schema_versions })
    }

    /// Whether all nodes that answered have one schema.
    pub fn schemas_agree(&self) -> bool {
        let answered = self.schema_versions.iter().filter(|(version, _)| version != "UNREACHABLE");
        answered.count() <= 1
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const VNODES: &str = "\
Datacenter: dc1
===============
Status=Up/Down
|/ State=Normal/Leaving/Joining/Moving
--  Address        Load        Tokens  Owns (effective)  Host ID                               Rack
UN  198.51.100.12  283.92 MiB  4       70.9%             bd08f733-7c22-4016-bf7c-adf484a97572  r2  
DL  198.51.100.13  5.27 MiB    4       ?                 951542b6-1920-4086-8e90-f8ed7f689400  r3 east
?N  fe80::11       ?           16      ?                 0F5542B6-1920-4086-8E90-F8ED7F689400  r1

Datacenter: Berlin Mitte
========================
Status=Up/Down
|/ State=Normal/Leaving/Joining/Moving
--  Address        Load        Tokens  Owns  Host ID                               Rack
UJ  198.51.100.14  73.65 KiB   256     ?     c1d2e3f4-1920-4086-8e90-f8ed7f689400  r1

Note: Non-system keyspaces don't have the same replication settings, effective ownership information is meaningless
";

    #[test]
    fn rows_of_status_are_read_by_their_header() {
        let members = RingMember::parse_status(VNODES).unwrap();
        let seen: Vec<_> = members
            .iter()
            .map(|m| (m.address.as_str(), m.datacenter.as_str(), m.up, m.state, m.rack.as_str()))
            .collect();
        assert_eq!(
            seen,
            [
                ("198.51.100.12", "dc1", Some(true), MemberState::Normal, "r2"),
                ("198.51.100.13", "dc1", Some(false), MemberState::Leaving, "r3 east"),
                ("198.51.100.14", "Berlin Mitte", Some(true), MemberState::Joining, "r1"),
                ("fe80::11", "dc1", None, MemberState::Normal, "r1"),
            ]
        );
        assert_eq!(members[0].load.as_deref(), Some("283.92 MiB"));
        assert_eq!((members[3].load.as_deref(), members[3].tokens), (None, Some(16)));
        assert_eq!(members[3].host_id, "0f5542b6-1920-4086-8e90-f8ed7f689400");
    }

    #[test]
    fn a_ring_of_one_token_a_node_has_the_token_before_the_rack() {
        let text = "\
Datacenter: datacenter1
=======================
Status=Up/Down
|/ State=Normal/Leaving/Joining/Moving
--  Address    Load       Owns (effective)  Host ID                               Token                Rack
UN  127.0.0.1  108.2 KiB  100.0%            b0bd0ea5-1b3c-4ef0-9d43-a1d1d2ac6d5c  -9113256829474827365 rack 1
";
        let members = RingMember::parse_status(text).unwrap();
        assert_eq!(members[0].token, Some(Token(-9_113_256_829_474_827_365)));
        assert_eq!((members[0].tokens, members[0].rack.as_str()), (None, "rack 1"));
    }

    #[test]
    fn what_is_no_ring_is_no_ring() {
        assert!(RingMember::parse_status("").is_err());
        assert!(RingMember::parse_status("UN  198.51.100.12  1 KiB").is_err());
        let cut = VNODES.lines().take(5).collect::<Vec<_>>().join("\n");
        assert!(RingMember::parse_status(&format!("{cut}\nUN  198.51.100.12  283")).is_err());
    }

    #[test]
    fn info_tells_a_node_s_own_place() {
        let text = "\
ID                     : bd08f733-7c22-4016-bf7c-adf484a97572
Gossip active          : true
Native Transport active: false
Load                   : 283.92 MiB
Data Center            : dc1
Rack                   : r2
Exceptions             : 0
Token                  : 300
Token                  : -9113256829474827365
";
        let info = NodeInfo::parse(text).unwrap();
        assert_eq!(info.tokens, [Token(-9_113_256_829_474_827_365), Token(300)]);
        assert_eq!((info.rack.as_str(), info.datacenter.as_str()), ("r2", "dc1"));
        assert_eq!((info.gossip_active, info.native_active), (true, false));
        assert!(NodeInfo::parse("nonsense").is_err());
    }

    #[test]
    fn describecluster_tells_who_has_which_schema() {
        let text = "\
Cluster Information:
\tName: Test Cluster
\tSnitch: org.apache.cassandra.locator.GossipingPropertyFileSnitch
\tDynamicEndPointSnitch: disabled
\tPartitioner: org.apache.cassandra.dht.Murmur3Partitioner
\tSchema versions:
\t\t2207c2a9-f598-3971-986b-2926e09e239d: [198.51.100.11, 198.51.100.12]

\t\tUNREACHABLE: [198.51.100.13]

Stats for all nodes:
\tLive: 2
";
        let described = ClusterDescription::parse(text).unwrap();
        assert_eq!(described.name, "Test Cluster");
        assert_eq!(described.schema_versions.len(), 2);
        assert_eq!(described.schema_versions[1].1, ["198.51.100.13"]);
        assert!(described.schemas_agree());
        let torn = text.replace("UNREACHABLE", "aaaaaaaa-f598-3971-986b-2926e09e239d");
        assert!(!ClusterDescription::parse(&torn).unwrap().schemas_agree());
    }

    proptest! {
        #[test]
        fn no_output_however_odd_stops_the_reading(text in "(?s).{0,200}") {
            drop(RingMember::parse_status(&format!("Datacenter: x\n-- Tokens\nUN {text}")));
            drop(NodeInfo::parse(&text));
            drop(ClusterDescription::parse(&format!("Name: x\nSchema versions:\n{text}")));
        }
    }
}
