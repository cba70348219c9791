//! `server_version.json`: which server a backup is of.

use serde::Deserialize;

use crate::model::ByteSize;

use super::FormatError;
use super::json::{push_string, read_slice};

/// The server that was backed up.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct ServerVersion {
    /// `cassandra` or `dse`.
    pub server_type: String,
    /// As `system.local` has it: `4.1.5`.
    pub release_version: String,
}

impl ServerVersion {
    /// The most that is read: the file has some 60 bytes.
    pub const LIMIT: ByteSize = ByteSize(1 << 16);

    /// Reads the file's content.
    pub fn parse(bytes: &[u8]) -> Result<Self, FormatError> {
        read_slice("server version", Self::LIMIT, bytes)
    }

    /// The file's content, as Medusa writes it.
    pub fn to_json(&self) -> String {
        let mut out = String::from("{\"server_type\": ");
        push_string(&mut out, &self.server_type);
        out.push_str(", \"release_version\": ");
        push_string(&mut out, &self.release_version);
        out.push('}');
        out
    }

    /// The first number of the release; none if there is none, as in Medusa's `unknown`.
    pub fn major(&self) -> Option<u32> {
        self.release_version.split('.').next()?.parse().ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn it_has_the_bytes_that_medusa_writes() {
        let text = r#"{"server_type": "cassandra", "release_version": "4.1.5"}"#;
        let version = ServerVersion::parse(text.as_bytes()).unwrap();
        assert_eq!(version.to_json(), text);
        assert_eq!(version.major(), Some(4));
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_are_an_error_and_no_panic(bytes: Vec<u8>) {
            drop(ServerVersion::parse(&bytes));
        }
    }
}
