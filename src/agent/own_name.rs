//! What Medusa would call this node, asked of the system's own resolver.

use std::net::IpAddr;
use std::time::Duration;

use crate::cassandra::Program;

/// For one question to the resolver, which may ask name servers that do not answer.
const PATIENCE: Duration = Duration::from_secs(10);

/// What Medusa's rule gives for this node's own name. It follows Python: the name that the host's
/// address resolves back to, or with `resolve` off the address itself. What the resolver does not
/// know stands for itself.
pub(super) async fn own_name(host: &str, resolve: bool) -> String {
    let full = full_name(host).await;
    // Medusa: network/hostname_resolver.py resolves for IPv4 first.
    let address = match address(&full, "ahostsv4").await {
        Some(address) => Some(address),
        None => address_any(&full).await,
    };
    match address {
        Some(address) if resolve => full_name(&address).await,
        Some(address) => address,
        None => full,
    }
}

/// Python's `socket.getfqdn`.
pub(super) async fn full_name(name: &str) -> String {
    let address = match name.parse::<IpAddr>() {
        Ok(address) => Some(address.to_string()),
        Err(_name) => address_any(name).await,
    };
    let found = match address {
        Some(address) => ask("hosts", &address).await,
        None => None,
    };
    found.and_then(|line| chosen(&line)).unwrap_or_else(|| name.to_owned())
}

/// Of the canonical name and the aliases the first with a dot, else the canonical name.
fn chosen(line: &str) -> Option<String> {
    let mut names = line.split_whitespace().skip(1);
    let canonical = names.next()?;
    let mut all = std::iter::once(canonical).chain(names);
    Some(all.find(|name| name.contains('.')).unwrap_or(canonical).to_owned())
}

async fn address_any(name: &str) -> Option<String> {
    address(name, "ahosts").await
}

async fn address(name: &str, database: &str) -> Option<String> {
    let line = ask(database, name).await?;
    let address = line.split_whitespace().next()?;
    address.parse::<IpAddr>().ok().map(|address| address.to_string())
}

/// The first line of getent's answer.
async fn ask(database: &str, key: &str) -> Option<String> {
    let asked = Program::new(["getent", database, key]).run(PATIENCE).await;
    let answer = asked.ok().filter(crate::cassandra::Finished::success)?;
    answer.stdout.lines().next().map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;
    use test_case::test_case;

    #[test_case("198.51.100.11 node1.example.com node1", "node1.example.com"; "canonical")]
    #[test_case("198.51.100.11 node1 node1.example.com", "node1.example.com"; "an alias has the dot")]
    #[test_case("198.51.100.11   node1 n1", "node1"; "no dot anywhere")]
    fn a_name_is_chosen_as_python_does(line: &str, name: &str) {
        assert_eq!(chosen(line).unwrap(), name);
    }

    #[tokio::test]
    async fn the_loopback_address_resolves_to_its_name_or_stays_an_address() {
        assert_eq!(full_name("127.0.0.1").await, "localhost");
        assert_eq!(own_name("localhost", false).await, "127.0.0.1");
        assert_eq!(full_name("no-such-host.invalid").await, "no-such-host.invalid");
    }
}
