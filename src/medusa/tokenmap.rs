//! `tokenmap.json`: the ring, as the node that wrote it saw it.

use std::collections::BTreeSet;
use std::fmt;

use serde::de::{Error, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

use crate::model::{ByteSize, Fqdn, Token};

use super::FormatError;
use super::json::{push_string, read_slice};

/// The largest token map that is read: a thousand nodes of 256 tokens have 6 MB.
pub const TOKENMAP_LIMIT: ByteSize = ByteSize(64 << 20);

/// The nodes of the writer's data centre, in the order of the file: by address, as text.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tokenmap {
    nodes: Vec<(Fqdn, TokenmapNode)>,
}

/// One node of a [`Tokenmap`].
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TokenmapNode {
    /// In ring order.
    pub tokens: Vec<Token>,
    /// Whether the driver took it for up; none if it did not know.
    pub is_up: Option<bool>,
    /// Absent before Medusa 0.12.
    pub rack: Option<String>,
    /// Absent before Medusa 0.12.
    pub datacenter: Option<String>,
}

impl Tokenmap {
    /// A token map of these nodes, in this order. A name that comes again is left out.
    pub fn new(nodes: impl IntoIterator<Item = (Fqdn, TokenmapNode)>) -> Self {
        let mut seen = BTreeSet::new();
        let nodes = nodes.into_iter().filter(|(fqdn, _)| seen.insert(fqdn.clone())).collect();
        Self { nodes }
    }

    /// Reads the file's content.
    pub fn parse(bytes: &[u8]) -> Result<Self, FormatError> {
        read_slice("tokenmap", TOKENMAP_LIMIT, bytes)
    }

    /// The nodes, in the order of the file.
    pub fn nodes(&self) -> impl ExactSizeIterator<Item = (&Fqdn, &TokenmapNode)> {
        self.nodes.iter().map(|(fqdn, node)| (fqdn, node))
    }

    /// What it says of a node.
    pub fn get(&self, fqdn: &Fqdn) -> Option<&TokenmapNode> {
        self.nodes.iter().find(|(name, _)| name == fqdn).map(|(_, node)| node)
    }

    /// How many nodes it has.
    pub fn len(&self) -> usize {
        self.nodes.len()
    }

    /// True if it has no node.
    pub fn is_empty(&self) -> bool {
        self.nodes.is_empty()
    }

    /// The file's content, as Medusa writes it.
    pub fn to_json(&self) -> String {
        let mut out = String::from("{");
        for (place, (fqdn, node)) in self.nodes.iter().enumerate() {
            if place > 0 {
                out.push_str(", ");
            }
            push_string(&mut out, fqdn.as_str());
            out.push_str(": {\"tokens\": [");
            for (place, token) in node.tokens.iter().enumerate() {
                if place > 0 {
                    out.push_str(", ");
                }
                out.push_str(&token.to_string());
            }
            out.push_str("], \"is_up\": ");
            out.push_str(match node.is_up {
                Some(true) => "true",
                Some(false) => "false",
                None => "null",
            });
            for (key, value) in [("rack", &node.rack), ("dc", &node.datacenter)] {
                if let Some(value) = value {
                    out.push_str(", \"");
                    out.push_str(key);
                    out.push_str("\": ");
                    push_string(&mut out, value);
                }
            }
            out.push('}');
        }
        out.push('}');
        out
    }
}

impl<'de> Deserialize<'de> for Tokenmap {
    fn deserialize<D: Deserializer<'de>>(json: D) -> Result<Self, D::Error> {
        struct Nodes;

        impl<'de> Visitor<'de> for Nodes {
            type Value = Tokenmap;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object of nodes")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Tokenmap, A::Error> {
                let (mut nodes, mut seen) = (Vec::new(), BTreeSet::new());
                while let Some((fqdn, node)) = map.next_entry::<String, WrittenNode<'_>>()? {
                    let fqdn = Fqdn::parse(&fqdn).map_err(A::Error::custom)?;
                    if !seen.insert(fqdn.clone()) {
                        return Err(A::Error::custom(format_args!("the node {fqdn} comes twice")));
                    }
                    nodes.push((fqdn, node.read().map_err(A::Error::custom)?));
                }
                Ok(Tokenmap { nodes })
            }
        }

        json.deserialize_map(Nodes)
    }
}

#[derive(Deserialize)]
struct WrittenNode<'a> {
    // Numbers of up to 128 bits, or a bare one: neither can be had through serde's own types.
    #[serde(borrow)]
    tokens: &'a RawValue,
    #[serde(default)]
    is_up: Option<bool>,
    #[serde(default)]
    rack: Option<String>,
    #[serde(default)]
    dc: Option<String>,
}

impl WrittenNode<'_> {
    fn read(self) -> Result<TokenmapNode, String> {
        let tokens = tokens(self.tokens.get())?;
        Ok(TokenmapNode { tokens, is_up: self.is_up, rack: self.rack, datacenter: self.dc })
    }
}

fn tokens(json: &str) -> Result<Vec<Token>, String> {
    let json = json.trim();
    let inner = json.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(json);
    if inner.trim().is_empty() {
        return Ok(Vec::new());
    }
    let token = |text: &str| {
        let text = text.trim();
        text.parse().map(Token).map_err(|_wrong| format!("{text:?} is no token"))
    };
    inner.split(',').map(token).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use test_case::test_case;

    const WRITTEN: &str = r#"{"node1.example.com": {"tokens": [-9000000000000000000, 0], "is_up": true, "rack": "rack1", "dc": "dc1"}, "node2.example.com": {"tokens": [170141183460469231731687303715884105727], "is_up": null, "rack": "rack2", "dc": "dc1"}}"#;

    #[test]
    fn what_medusa_wrote_is_written_back_byte_for_byte() {
        assert_eq!(Tokenmap::parse(WRITTEN.as_bytes()).unwrap().to_json(), WRITTEN);
    }

    #[test]
    fn a_token_map_of_old_releases_has_no_racks() {
        let map = Tokenmap::parse(br#"{"n": {"tokens": [1], "is_up": true}}"#).unwrap();
        let node = map.get(&Fqdn::parse("n").unwrap()).unwrap();
        assert_eq!((&node.rack, &node.datacenter), (&None, &None));
    }

    #[test]
    fn a_bare_token_counts_as_a_list_of_one() {
        let map = Tokenmap::parse(br#"{"n": {"tokens": 7}}"#).unwrap();
        assert_eq!(map.nodes().next().unwrap().1.tokens, [Token(7)]);
    }

    #[test_case(r#"{"n": {"tokens": [1"#; "half-written")]
    #[test_case(r#"{"n": {"tokens": ["1"]}}"#; "a token in quotes")]
    #[test_case(r#"{"n": {"tokens": [1.5]}}"#; "half a token")]
    #[test_case(r#"{"n": {"tokens": [[1]]}}"#; "a list in a list")]
    #[test_case(r#"{"..": {"tokens": [1]}}"#; "a node that is no name")]
    #[test_case(r#"{"n": {"tokens": [1]}, "n": {"tokens": [2]}}"#; "a node twice")]
    #[test_case(r#"{"n": {}}"#; "no tokens")]
    #[test_case("[]"; "no object")]
    fn what_medusa_would_not_write_is_refused(text: &str) {
        assert!(matches!(Tokenmap::parse(text.as_bytes()), Err(FormatError::Malformed { .. })));
    }

    prop_compose! {
        fn node()(tokens in prop::collection::vec(any::<i128>().prop_map(Token), 0..5),
                  is_up: Option<bool>, rack: Option<String>, datacenter: Option<String>)
            -> TokenmapNode
        {
            TokenmapNode { tokens, is_up, rack, datacenter }
        }
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_back(nodes in prop::collection::btree_map("[a-z0-9:]{1,9}", node(), 0..4)) {
            let map = Tokenmap::new(nodes.into_iter().map(|(name, node)| (Fqdn::parse(&name).unwrap(), node)));
            prop_assert_eq!(Tokenmap::parse(map.to_json().as_bytes()).unwrap(), map);
        }

        #[test]
        fn arbitrary_bytes_are_an_error_and_no_panic(bytes: Vec<u8>) {
            drop(Tokenmap::parse(&bytes));
        }
    }
}
