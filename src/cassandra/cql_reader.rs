//! Reads the notations of the native protocol from bytes that somebody else wrote.
#![warn(clippy::indexing_slicing, clippy::arithmetic_side_effects)]

use std::collections::BTreeMap;

use thiserror::Error;

/// Bytes that are not what they must be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("{0}")]
pub(super) struct Malformed(pub(super) &'static str);

/// What is left of a body.
#[derive(Debug, Clone, Copy)]
pub(super) struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    pub(super) fn take(&mut self, count: usize) -> Result<&'a [u8], Malformed> {
        let short = Malformed("a body that ends too soon");
        let (taken, rest) = self.0.split_at_checked(count).ok_or(short)?;
        self.0 = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Malformed> {
        let short = Malformed("a body that ends too soon");
        let (taken, rest) = self.0.split_first_chunk().ok_or(short)?;
        self.0 = rest;
        Ok(*taken)
    }

    /// `[short]`.
    pub(super) fn u16(&mut self) -> Result<u16, Malformed> {
        self.array().map(u16::from_be_bytes)
    }

    /// `[int]`.
    pub(super) fn i32(&mut self) -> Result<i32, Malformed> {
        self.array().map(i32::from_be_bytes)
    }

    /// An `[int]` that counts things of at least one byte each, so no more than bytes are left.
    pub(super) fn count(&mut self) -> Result<usize, Malformed> {
        let count =
            usize::try_from(self.i32()?).map_err(|_negative| Malformed("a negative count"))?;
        if count > self.0.len() { Err(Malformed("a count beyond the body")) } else { Ok(count) }
    }

    /// `[string]`.
    pub(super) fn string(&mut self) -> Result<&'a str, Malformed> {
        let length = self.u16()?;
        let bytes = self.take(length.into())?;
        std::str::from_utf8(bytes).map_err(|_invalid| Malformed("a string that is not UTF-8"))
    }

    /// `[bytes]`; none is null.
    pub(super) fn bytes(&mut self) -> Result<Option<&'a [u8]>, Malformed> {
        match usize::try_from(self.i32()?) {
            Ok(length) => self.take(length).map(Some),
            Err(_negative) => Ok(None),
        }
    }

    /// `[string list]`.
    pub(super) fn strings(&mut self) -> Result<Vec<&'a str>, Malformed> {
        let count = self.u16()?;
        (0..count).map(|_| self.string()).collect()
    }

    /// `[bytes map]`, which nobody here wants.
    pub(super) fn skip_bytes_map(&mut self) -> Result<(), Malformed> {
        for _ in 0..self.u16()? {
            self.string()?;
            self.bytes()?;
        }
        Ok(())
    }
}

/// Writes the notations of the native protocol.
#[derive(Debug, Default)]
pub(super) struct Writer(pub(super) Vec<u8>);

impl Writer {
    pub(super) fn string_map(&mut self, map: &BTreeMap<&str, &str>) {
        self.0.extend(u16::try_from(map.len()).unwrap_or(u16::MAX).to_be_bytes());
        for word in map.iter().flat_map(|(key, value)| [key, value]) {
            self.0.extend(u16::try_from(word.len()).unwrap_or(u16::MAX).to_be_bytes());
            self.0.extend(word.bytes());
        }
    }

    /// `[long string]` and `[bytes]` are written alike.
    pub(super) fn bytes(&mut self, bytes: &[u8]) {
        self.i32(i32::try_from(bytes.len()).unwrap_or(i32::MAX));
        self.0.extend(bytes);
    }

    pub(super) fn i32(&mut self, number: i32) {
        self.0.extend(number.to_be_bytes());
    }
}
