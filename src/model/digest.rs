//! MD5 as manifests write it.

use std::fmt;

use thiserror::Error;

/// The MD5 of some content: 16 bytes.
#[derive(
    Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize,
)]
#[serde(try_from = "String", into = "String")]
pub struct Md5(pub [u8; 16]);

/// A text that is no MD5.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{0:?} is no MD5 of 32 hex digits")]
pub struct Md5ParseError(pub String);

impl Md5 {
    /// Takes 32 hex digits, as `local` and the S3 family write them.
    pub fn parse_hex(text: &str) -> Result<Self, Md5ParseError> {
        let wrong = || Md5ParseError(text.to_owned());
        if text.len() != 32 || !text.bytes().all(|b| b.is_ascii_hexdigit()) {
            return Err(wrong());
        }
        let mut bytes = [0; 16];
        for (byte, pair) in bytes.iter_mut().zip(text.as_bytes().chunks_exact(2)) {
            let pair = std::str::from_utf8(pair).map_err(|_invalid| wrong())?;
            *byte = u8::from_str_radix(pair, 16).map_err(|_invalid| wrong())?;
        }
        Ok(Self(bytes))
    }
}

impl fmt::Display for Md5 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Md5 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl TryFrom<String> for Md5 {
    type Error = Md5ParseError;

    fn try_from(text: String) -> Result<Self, Md5ParseError> {
        Self::parse_hex(&text)
    }
}

impl From<Md5> for String {
    fn from(md5: Md5) -> Self {
        md5.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_digest_prints_what_it_was_parsed_from() {
        let text = "d1f12c37c9d318a711062bf4fee2ba71";
        assert_eq!(Md5::parse_hex(text).unwrap().to_string(), text);
        assert!(Md5::parse_hex("no-md5-hash").is_err());
        assert!(Md5::parse_hex("+1f12c37c9d318a711062bf4fee2ba71").is_err());
    }
}
