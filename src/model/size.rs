//! Sizes in bytes.

use std::fmt;

use thiserror::Error;

/// A number of bytes.
#[derive(
    Debug,
    Clone,
    Copy,
    Default,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    serde::Serialize,
    serde::Deserialize,
)]
#[serde(transparent)]
pub struct ByteSize(pub u64);

/// A text that is no size.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error(
    "{0:?} is no size: a number and B, KB, MB, GB, TB or PB (steps of 1024; KiB … mean the same)"
)]
pub struct SizeParseError(
    /// The text.
    pub String,
);

const UNITS: [(&str, u64); 6] =
    [("P", 1 << 50), ("T", 1 << 40), ("G", 1 << 30), ("M", 1 << 20), ("K", 1 << 10), ("", 1)];

impl ByteSize {
    /// Takes `50MB/s`, `1GiB`, `4096`, as Medusa reads its settings: steps of 1024 whatever the
    /// spelling, an optional `/s`, a plain number being bytes.
    pub fn parse(text: &str) -> Result<Self, SizeParseError> {
        let wrong = || SizeParseError(text.to_owned());
        let upper = text.trim().to_ascii_uppercase();
        let amount = upper.strip_suffix("/S").unwrap_or(&upper).trim_end();
        let amount =
            amount.strip_suffix("IB").or_else(|| amount.strip_suffix('B')).unwrap_or(amount);
        let (number, unit) = UNITS
            .into_iter()
            .find_map(|(letter, unit)| amount.strip_suffix(letter).map(|number| (number, unit)))
            .ok_or_else(wrong)?;
        let number = number.trim();
        let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
        let digits = |part: &str| part.bytes().all(|b| b.is_ascii_digit());
        if whole.is_empty() || !digits(whole) || !digits(fraction) || fraction.len() > 6 {
            return Err(wrong());
        }
        let whole: u64 = whole.parse().map_err(|_invalid| wrong())?;
        let mut bytes = whole.checked_mul(unit).ok_or_else(wrong)?;
        if !fraction.is_empty() {
            let parts: u64 = fraction.parse().map_err(|_invalid| wrong())?;
            let scale = 10_u64.pow(u32::try_from(fraction.len()).map_err(|_invalid| wrong())?);
            let more = u128::from(unit) * u128::from(parts) / u128::from(scale);
            bytes = bytes
                .checked_add(u64::try_from(more).map_err(|_invalid| wrong())?)
                .ok_or_else(wrong)?;
        }
        Ok(Self(bytes))
    }
}

impl fmt::Display for ByteSize {
    /// Three digits at most before the point, one after it: `0 B`, `1.2 GB`, steps of 1024.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (letter, unit) in UNITS {
            if self.0 >= unit && unit > 1 {
                let tenths = u128::from(self.0) * 10 / u128::from(unit);
                return write!(f, "{}.{} {letter}B", tenths / 10, tenths % 10);
            }
        }
        write!(f, "{} B", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use test_case::test_case;

    #[test_case("50MB/s", 50 << 20; "Medusa's default bandwidth")]
    #[test_case("1GiB", 1 << 30; "binary spelling")]
    #[test_case("4096", 4096; "plain bytes")]
    #[test_case("0", 0; "nothing")]
    #[test_case("1.5 KB", 1536; "fraction and blank")]
    #[test_case("3b", 3; "lower case")]
    fn a_size_is_read_as_medusa_reads_it(text: &str, bytes: u64) {
        assert_eq!(ByteSize::parse(text), Ok(ByteSize(bytes)));
    }

    #[test_case(""; "empty")]
    #[test_case("MB"; "no number")]
    #[test_case("-1MB"; "negative")]
    #[test_case("1XB"; "no such unit")]
    #[test_case("99999999999PB"; "too large")]
    fn a_text_that_is_no_size_is_refused(text: &str) {
        assert!(ByteSize::parse(text).is_err());
    }

    #[test]
    fn a_size_prints_short() {
        let shown = [0, 1023, 1024, 1_300_000_000].map(|bytes| ByteSize(bytes).to_string());
        assert_eq!(shown, ["0 B", "1023 B", "1.0 KB", "1.2 GB"]);
    }
}
