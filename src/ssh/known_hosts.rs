//! known_hosts files, read as OpenSSH reads them.
//!
//! russh has a reader of its own, which takes no notice of `@revoked`, `@cert-authority` and
//! patterns, and refuses a host that has an old and a new key. A line that cannot be read, or is
//! not UTF-8, is no line; the rest of the file counts.

use std::fs;
use std::path::{Path, PathBuf};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use russh::keys::PublicKey;
use sha1::Sha1;

use super::target::HostAndPort;

/// A file of more bytes than this is not somebody's list of hosts.
const FILE_LIMIT: u64 = 16 << 20;

/// A line of a known_hosts file that is about the host in question.
#[derive(Debug, Clone)]
pub(super) struct KnownLine {
    pub(super) file: PathBuf,
    /// From 1, as editors count.
    pub(super) number: usize,
    pub(super) marker: Marker,
    /// It names the host without the port that we go to: good for a match, never for a change.
    pub(super) without_port: bool,
    pub(super) key: PublicKey,
}

impl KnownLine {
    /// Whether it says whose key it is, and that with the port that we go to.
    pub(super) fn is_plain(&self) -> bool {
        self.marker == Marker::Plain && !self.without_port
    }
}

/// What a line says of its key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Marker {
    /// It is the host's.
    Plain,
    /// It signs the certificates of hosts.
    CertAuthority,
    /// It was lost to others, and is never to be trusted.
    Revoked,
}

/// All lines about a host, in the order of the files. A file that cannot be read knows nobody;
/// that it is there but unreadable is logged.
pub(super) fn lookup(files: &[PathBuf], host: &str, port: u16) -> Vec<KnownLine> {
    let mut found = Vec::new();
    for file in files {
        match read(file) {
            Ok(bytes) => lookup_in(&bytes, file, host, port, &mut found),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => {
                tracing::warn!(file = %file.display(), %error, "known_hosts file cannot be read");
            }
        }
    }
    // OpenSSH asks for the bare name only where the name with the port is not known at all.
    if found.iter().any(|line| !line.without_port) {
        found.retain(|line| !line.without_port || line.marker == Marker::Revoked);
    }
    found
}

fn read(file: &Path) -> std::io::Result<Vec<u8>> {
    if fs::metadata(file)?.len() > FILE_LIMIT {
        return Err(std::io::Error::other("it has more than 16 MiB"));
    }
    fs::read(file)
}

fn lookup_in(bytes: &[u8], file: &Path, host: &str, port: u16, found: &mut Vec<KnownLine>) {
    let bare = host.to_ascii_lowercase();
    let name = name_in_file(host, port);
    for (index, line) in bytes.split(|byte| *byte == b'\n').enumerate() {
        let Ok(line) = std::str::from_utf8(line) else { continue };
        let Some((marker, hosts, key)) = fields(line) else { continue };
        let exact = names_host(hosts, &name);
        if !exact && (port == 22 || !names_host(hosts, &bare)) {
            continue;
        }
        let Ok(key) = key.parse::<PublicKey>() else { continue };
        let (file, number) = (file.to_owned(), index + 1);
        found.push(KnownLine { file, number, marker, without_port: !exact, key });
    }
}

/// How a host is called in such a file: `host`, or `[host]:port` where the port is not 22.
pub(super) fn name_in_file(host: &str, port: u16) -> String {
    let host = host.to_ascii_lowercase();
    match port {
        22 => host,
        _ if host.contains(':') => HostAndPort { host: &host, port }.to_string(),
        _ => format!("[{host}]:{port}"),
    }
}

/// Marker, host field, and `type base64` of a line that has them.
fn fields(line: &str) -> Option<(Marker, &str, String)> {
    let mut words = line.split_whitespace().peekable();
    let marker = match *words.peek()? {
        word if word.starts_with('#') => return None,
        "@cert-authority" => Marker::CertAuthority,
        "@revoked" => Marker::Revoked,
        word if word.starts_with('@') => return None,
        _ => Marker::Plain,
    };
    if marker != Marker::Plain {
        words.next();
    }
    let hosts = words.next()?;
    Some((marker, hosts, format!("{} {}", words.next()?, words.next()?)))
}

/// Whether a host field names `name`, which is in lower case.
fn names_host(field: &str, name: &str) -> bool {
    if let Some(hashed) = field.strip_prefix("|1|") {
        return names_host_hashed(hashed, name).unwrap_or(false);
    }
    let mut named = false;
    for pattern in field.split(',') {
        let (negated, pattern) = match pattern.strip_prefix('!') {
            Some(pattern) => (true, pattern),
            None => (false, pattern),
        };
        if matches_pattern(&pattern.to_ascii_lowercase(), name) {
            if negated {
                return false;
            }
            named = true;
        }
    }
    named
}

/// `SALT|HMAC-SHA1(SALT, name)`, both in base64.
fn names_host_hashed(field: &str, name: &str) -> Option<bool> {
    let (salt, hash) = field.split_once('|')?;
    let (salt, hash) = (STANDARD.decode(salt).ok()?, STANDARD.decode(hash).ok()?);
    let mac = Hmac::<Sha1>::new_from_slice(&salt).ok()?.chain_update(name.as_bytes());
    Some(mac.verify_slice(&hash).is_ok())
}

/// `*` is any text, `?` any one byte. Linear in memory and never worse than length times length.
fn matches_pattern(pattern: &str, text: &str) -> bool {
    let (pattern, text) = (pattern.as_bytes(), text.as_bytes());
    let (mut at, mut from) = (0, 0);
    // Where to go on if what follows the last star does not fit: behind the star, one byte later.
    let mut star: Option<(usize, usize)> = None;
    while let Some(byte) = text.get(from) {
        match pattern.get(at) {
            Some(b'*') => {
                star = Some((at + 1, from));
                at += 1;
            }
            Some(wanted) if *wanted == b'?' || wanted == byte => (at, from) = (at + 1, from + 1),
            _ => {
                let Some((after, taken)) = star else { return false };
                star = Some((after, taken + 1));
                (at, from) = (after, taken + 1);
            }
        }
    }
    pattern.get(at..).is_some_and(|rest| rest.iter().all(|byte| *byte == b'*'))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use test_case::test_case;

    const KEY: &str =
        "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIMSu6Qp/Un0YSBpg+N5tFMbfrKo8MPzD9bOWmhYURVE7";

    fn found(text: &str, host: &str, port: u16) -> Vec<(usize, Marker)> {
        let mut lines = Vec::new();
        lookup_in(text.as_bytes(), Path::new("kh"), host, port, &mut lines);
        lines.iter().map(|line| (line.number, line.marker)).collect()
    }

    #[test_case("node1", "node1", 22; "plain")]
    #[test_case("NODE1", "node1", 22; "upper case in the file")]
    #[test_case("node1", "Node1", 22; "upper case asked for")]
    #[test_case("a,node1,b", "node1", 22; "list")]
    #[test_case("198.51.*", "198.51.100.7", 22; "star")]
    #[test_case("node?", "node1", 22; "question mark")]
    #[test_case("*,!node2", "node1", 22; "negation of another")]
    #[test_case("[node1]:2222", "node1", 2222; "port")]
    #[test_case("[*]:2222", "node1", 2222; "pattern and port")]
    #[test_case("[fe80::1]:2222", "fe80::1", 2222; "address and port")]
    #[test_case("fe80::1", "fe80::1", 22; "address")]
    #[test_case("|1|I2jfERvSkgNrQCTxOpL1L2+XVHg=|fnZVmFWNB5knmOXl/yO7hjfFW50=", "node1", 22; "hashed")]
    fn a_field_names_its_hosts(field: &str, host: &str, port: u16) {
        assert_eq!(found(&format!("{field} {KEY}"), host, port), [(1, Marker::Plain)]);
    }

    #[test_case("*,!node1"; "negated")]
    #[test_case("[node1]:2222"; "another port")]
    #[test_case("node"; "shorter")]
    #[test_case("node11"; "longer")]
    #[test_case("|1|notbase64|x"; "broken hash")]
    fn a_field_does_not_name_others(field: &str) {
        assert_eq!(found(&format!("{field} {KEY}"), "node1", 22), []);
    }

    #[test]
    fn lines_that_cannot_be_read_are_skipped_and_counted() {
        let text = format!(
            "# comment\n\n  node1\t{KEY} me@here\r\nnode1 ssh-ed25519 AAAA\n@odd node1 {KEY}\n\
             @revoked * {KEY}\n@cert-authority *.cass.test,node1 {KEY}\nnode1 2048 35 1234\n"
        );
        let mut bytes = text.into_bytes();
        bytes.extend(b"node1 \xff\xfe\n");
        bytes.extend(format!("node1   {KEY}\n").bytes());
        let mut lines = Vec::new();
        lookup_in(&bytes, Path::new("kh"), "node1", 22, &mut lines);
        let found: Vec<_> = lines.iter().map(|line| (line.number, line.marker)).collect();
        let revoked = (6, Marker::Revoked);
        assert_eq!(
            found,
            [(3, Marker::Plain), revoked, (7, Marker::CertAuthority), (10, Marker::Plain)]
        );
    }

    #[test]
    fn a_line_without_the_port_counts_only_where_none_has_it() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("known_hosts");
        fs::write(&file, format!("node1 {KEY}\n")).unwrap();
        let lines = lookup(std::slice::from_ref(&file), "node1", 2222);
        assert!(matches!(lines.as_slice(), [line] if line.without_port));
        fs::write(&file, format!("node1 {KEY}\n[node1]:2222 {KEY}\n")).unwrap();
        let lines = lookup(&[file], "node1", 2222);
        assert!(matches!(lines.as_slice(), [line] if line.number == 2));
    }

    #[test]
    fn a_file_that_is_absent_knows_nobody() {
        assert!(lookup(&[PathBuf::from("/nonexistent/known_hosts")], "node1", 22).is_empty());
    }

    /// The definition, word for word.
    fn slowly(pattern: &[u8], text: &[u8]) -> bool {
        match (pattern.split_first(), text.split_first()) {
            (None, None) => true,
            (Some((b'*', rest)), None) => slowly(rest, text),
            (Some((b'*', rest)), Some((_, tail))) => slowly(rest, text) || slowly(pattern, tail),
            (Some((b'?', rest)), Some((_, tail))) => slowly(rest, tail),
            (Some((a, rest)), Some((b, tail))) => a == b && slowly(rest, tail),
            _ => false,
        }
    }

    proptest! {
        #[test]
        fn a_pattern_matches_as_it_is_defined(pattern in "[ab*?]{0,8}", text in "[ab]{0,10}") {
            let slow = slowly(pattern.as_bytes(), text.as_bytes());
            prop_assert_eq!(matches_pattern(&pattern, &text), slow);
        }

        #[test]
        fn no_file_however_broken_stops_a_lookup(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let mut lines = Vec::new();
            lookup_in(&bytes, Path::new("kh"), "node1", 22, &mut lines);
        }
    }

    #[test]
    fn many_stars_cost_no_time() {
        assert!(!matches_pattern(&"*a".repeat(500), &"a".repeat(499)));
    }
}
