//! JSON as Python writes it, and JSON from strangers within bounds.

use std::io::{self, BufReader, Read};

use serde::Deserialize;
use serde::de::DeserializeSeed;
use thiserror::Error;

use crate::model::ByteSize;

use super::FormatError;

/// The deepest that any of Medusa's files goes is four; more than this is an attack.
pub(super) const DEPTH_LIMIT: u32 = 8;

#[derive(Debug, Error)]
enum OutOfBounds {
    #[error("too large")]
    Large,
    #[error("too deep")]
    Deep,
}

/// Passes bytes on, until they are too many or nested too deep.
struct Guard<R> {
    inner: R,
    left: u64,
    depth: u32,
    in_text: bool,
    escaped: bool,
}

impl<R> Guard<R> {
    fn new(inner: R, limit: u64) -> Self {
        Self { inner, left: limit, depth: 0, in_text: false, escaped: false }
    }

    /// Follows brackets outside of strings. That the JSON is right is the parser's affair.
    fn watch(&mut self, bytes: &[u8]) -> Result<(), OutOfBounds> {
        for byte in bytes {
            if self.in_text {
                match byte {
                    _ if self.escaped => self.escaped = false,
                    b'\\' => self.escaped = true,
                    b'"' => self.in_text = false,
                    _ => {}
                }
            } else {
                match byte {
                    b'"' => self.in_text = true,
                    b'[' | b'{' => {
                        self.depth = self.depth.saturating_add(1);
                        if self.depth > DEPTH_LIMIT {
                            return Err(OutOfBounds::Deep);
                        }
                    }
                    b']' | b'}' => self.depth = self.depth.saturating_sub(1),
                    _ => {}
                }
            }
        }
        Ok(())
    }
}

impl<R: Read> Read for Guard<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(buffer)?;
        self.left = u64::try_from(count)
            .ok()
            .and_then(|count| self.left.checked_sub(count))
            .ok_or_else(|| io::Error::other(OutOfBounds::Large))?;
        self.watch(buffer.get(..count).unwrap_or_default()).map_err(io::Error::other)?;
        Ok(count)
    }
}

/// Reads one JSON document and nothing after it, through `seed`.
pub(super) fn read_with<'de, S: DeserializeSeed<'de>>(
    what: &'static str,
    limit: ByteSize,
    reader: impl Read,
    seed: S,
) -> Result<S::Value, FormatError> {
    // A document of exactly the limit is allowed, so the guard must see one byte more to refuse.
    let guard = Guard::new(reader, limit.0);
    let mut json = serde_json::Deserializer::from_reader(BufReader::with_capacity(1 << 16, guard));
    let read = seed.deserialize(&mut json).and_then(|value| json.end().map(|()| value));
    read.map_err(|source| explain(what, limit, source))
}

/// Reads one JSON document from memory.
pub(super) fn read_slice<'de, T: Deserialize<'de>>(
    what: &'static str,
    limit: ByteSize,
    bytes: &'de [u8],
) -> Result<T, FormatError> {
    if u64::try_from(bytes.len()).map_or(true, |len| len > limit.0) {
        return Err(FormatError::TooLarge { what, limit });
    }
    if Guard::new(io::empty(), 0).watch(bytes).is_err() {
        return Err(FormatError::TooDeep { what, limit: DEPTH_LIMIT });
    }
    serde_json::from_slice(bytes).map_err(|source| explain(what, limit, source))
}

fn explain(what: &'static str, limit: ByteSize, source: serde_json::Error) -> FormatError {
    if !source.is_io() {
        return FormatError::Malformed { what, source };
    }
    let source = io::Error::from(source);
    match source.get_ref().and_then(|inner| inner.downcast_ref()) {
        Some(OutOfBounds::Large) => FormatError::TooLarge { what, limit },
        Some(OutOfBounds::Deep) => FormatError::TooDeep { what, limit: DEPTH_LIMIT },
        None => FormatError::Read { what, source },
    }
}

/// Adds `text` as `json.dumps` writes it: in quotes, ASCII only.
pub(super) fn push_string(out: &mut String, text: &str) {
    out.push('"');
    for letter in text.chars() {
        match letter {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\u{8}' => out.push_str("\\b"),
            '\u{c}' => out.push_str("\\f"),
            ' '..='~' => out.push(letter),
            _ => {
                // Python escapes what is beyond 16 bits as a pair of surrogates.
                for unit in letter.encode_utf16(&mut [0; 2]) {
                    out.push_str("\\u");
                    for place in [12, 8, 4, 0] {
                        let digit = u32::from(*unit >> place) & 0xf;
                        out.extend(char::from_digit(digit, 16));
                    }
                }
            }
        }
    }
    out.push('"');
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_string_is_escaped_as_python_does() {
        // json.dumps('a"\\\n\x07\x7f/é😀')
        let mut out = String::new();
        push_string(&mut out, "a\"\\\n\u{7}\u{7f}/é😀");
        assert_eq!(out, r#""a\"\\\n\u0007\u007f/\u00e9\ud83d\ude00""#);
    }

    #[test]
    fn a_document_of_just_the_limit_is_read_and_one_byte_more_is_not() {
        let read = |bytes: &'static [u8]| {
            read_with("test", ByteSize(4), bytes, std::marker::PhantomData::<Vec<u8>>)
        };
        assert_eq!(read(b"[10]").unwrap(), [10]);
        assert!(matches!(read(b"[10] "), Err(FormatError::TooLarge { .. })));
    }

    #[test]
    fn brackets_in_strings_do_not_count_as_depth() {
        let text = format!("[{:?}]", "[".repeat(20));
        assert!(read_slice::<Vec<String>>("test", ByteSize(99), text.as_bytes()).is_ok());
        let deep = format!("{}{}", "[".repeat(9), "]".repeat(9));
        let read = read_slice::<serde::de::IgnoredAny>("test", ByteSize(99), deep.as_bytes());
        assert!(matches!(read, Err(FormatError::TooDeep { .. })));
    }

    proptest! {
        #[test]
        fn any_text_comes_back_from_what_was_written(text in any::<String>()) {
            let mut out = String::new();
            push_string(&mut out, &text);
            prop_assert!(out.is_ascii());
            prop_assert_eq!(serde_json::from_str::<String>(&out).unwrap(), text);
        }
    }
}
