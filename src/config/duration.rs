//! Lengths of time as people write them: `60s`, `7d`, `1d12h`.

use std::time::Duration;

/// Longest unit first, in seconds.
const UNITS: [(char, u64); 5] = [('w', 604_800), ('d', 86_400), ('h', 3_600), ('m', 60), ('s', 1)];

/// Reads a length of time: whole numbers with `w`, `d`, `h`, `m` or `s`, each unit at most once and
/// the longest first (`1d12h`); a number alone is seconds.
///
/// # Errors
///
/// In words, what would be right.
pub(super) fn parse_duration(text: &str) -> Result<Duration, String> {
    let wrong =
        || format!("{text:?} is no length of time, which is such as 90s, 30m, 26h, 7d or 1d12h");
    let text = text.trim();
    if !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit()) {
        return text.parse().map(Duration::from_secs).map_err(|_too_large| wrong());
    }
    let (mut seconds, mut number, mut units) = (0_u64, String::new(), UNITS.iter());
    for letter in text.chars() {
        if letter.is_ascii_digit() {
            number.push(letter);
            continue;
        }
        // `find` goes on from where the last unit was, so that a unit comes once and in order.
        let (_, unit) = units.find(|(unit, _)| *unit == letter).ok_or_else(wrong)?;
        let count: u64 = number.parse().map_err(|_none_or_too_large| wrong())?;
        seconds = count
            .checked_mul(*unit)
            .and_then(|more| seconds.checked_add(more))
            .ok_or_else(wrong)?;
        number.clear();
    }
    if text.is_empty() || !number.is_empty() {
        return Err(wrong());
    }
    Ok(Duration::from_secs(seconds))
}

/// Writes a length of time as [`parse_duration`] reads it, in whole seconds, days at the most.
pub(super) fn show_duration(length: Duration) -> String {
    let mut left = length.as_secs();
    let mut shown = Vec::new();
    for (letter, unit) in UNITS.into_iter().skip(1) {
        if left >= unit {
            shown.push(format!("{}{letter}", left / unit));
            left %= unit;
        }
    }
    if shown.is_empty() { "0s".to_owned() } else { shown.concat() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use test_case::test_case;

    #[test_case("60s", 60; "seconds")]
    #[test_case("30m", 1_800; "minutes")]
    #[test_case("26h", 93_600; "hours")]
    #[test_case("7d", 604_800; "days")]
    #[test_case("1d12h", 129_600; "two units")]
    #[test_case("45", 45; "a number alone")]
    #[test_case("0", 0; "nothing")]
    fn a_length_of_time_is_read(text: &str, seconds: u64) {
        assert_eq!(parse_duration(text), Ok(Duration::from_secs(seconds)));
    }

    #[test_case(""; "empty")]
    #[test_case("s"; "no number")]
    #[test_case("5x"; "no such unit")]
    #[test_case("5m5"; "a number left over")]
    #[test_case("5s1m"; "shorter unit first")]
    #[test_case("5m5m"; "twice the same")]
    #[test_case("-5s"; "negative")]
    #[test_case("1.5h"; "fraction")]
    #[test_case("99999999999999999999"; "too large")]
    #[test_case("99999999999999999w"; "too large with its unit")]
    fn a_text_that_is_no_length_of_time_is_refused(text: &str) {
        assert!(parse_duration(text).is_err());
    }

    proptest! {
        #[test]
        fn a_length_of_time_reads_back_as_it_was_written(seconds in 0_u64..10_000_000_000) {
            let length = Duration::from_secs(seconds);
            prop_assert_eq!(parse_duration(&show_duration(length)), Ok(length));
        }
    }
}
