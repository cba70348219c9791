//! Whether a `Statistics.db` is whole, by the checksums in it: nothing else speaks for one that was
//! written anew, and Cassandra does not start with a bad one.
//!
//! Since 4.0 it is: how many parts there are; a checksum; for each its kind and where it begins; a
//! checksum of all that; the parts, each with its checksum at its end. Numbers are of four bytes, the
//! big end first.
#![warn(clippy::indexing_slicing, clippy::arithmetic_side_effects)]

/// More than any has.
pub(super) const LIMIT: u64 = 64 << 20;

/// False if its checksums are wrong. One of an older Cassandra has none, and must be believed.
pub(super) fn is_whole(name: &str, bytes: &[u8]) -> bool {
    !has_checksums(name) || checked(bytes).is_some()
}

/// As the versions of SSTables go: `nb-1-big-Statistics.db`, `da-1-bti-Statistics.db`.
fn has_checksums(name: &str) -> bool {
    let mut words = name.split('-');
    let (version, format) = (words.next().unwrap_or_default(), words.nth(1));
    format != Some("big") || version >= "na"
}

fn checked(bytes: &[u8]) -> Option<()> {
    let (count, rest) = bytes.split_first_chunk::<4>()?;
    let (sum, rest) = rest.split_first_chunk::<4>()?;
    is_right(*sum, &[count])?;
    let parts = usize::try_from(u32::from_be_bytes(*count)).ok().filter(|parts| *parts > 0)?;
    let (table, rest) = rest.split_at_checked(parts.checked_mul(8)?)?;
    is_right(*rest.first_chunk()?, &[count, table])?;
    let begins = table.chunks_exact(8).map(|entry| {
        let place = entry.last_chunk::<4>()?;
        usize::try_from(u32::from_be_bytes(*place)).ok()
    });
    let begins: Vec<usize> = begins.collect::<Option<_>>()?;
    let ends = begins.iter().skip(1).copied().chain([bytes.len()]);
    for (begin, end) in begins.iter().zip(ends) {
        let (part, sum) = bytes.get(*begin..end)?.split_last_chunk::<4>()?;
        is_right(*sum, &[part])?;
    }
    Some(())
}

fn is_right(sum: [u8; 4], of: &[&[u8]]) -> Option<()> {
    let mut crc = crc32fast::Hasher::new();
    for bytes in of {
        crc.update(bytes);
    }
    (crc.finalize() == u32::from_be_bytes(sum)).then_some(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use test_case::test_case;

    /// As Cassandra 5.0.6 wrote it for a table of one row.
    const REAL: &[u8] = include_bytes!("../../../tests/fixtures/cassandra/oa-2-big-Statistics.db");

    #[test]
    fn what_cassandra_wrote_is_whole() {
        assert!(is_whole("oa-2-big-Statistics.db", REAL));
    }

    proptest! {
        #[test]
        fn one_that_is_cut_short_or_changed_is_not_whole(at in 0..REAL.len(), change in 1_u8..) {
            prop_assert!(!is_whole("oa-2-big-Statistics.db", &REAL[..at]));
            let mut changed = REAL.to_vec();
            changed[at] ^= change;
            prop_assert!(!is_whole("oa-2-big-Statistics.db", &changed));
        }

        #[test]
        fn any_bytes_are_judged(bytes: Vec<u8>) {
            prop_assert!(!is_whole("da-1-bti-Statistics.db", &bytes));
        }
    }

    #[test_case("me-1-big-Statistics.db", false; "of Cassandra 3")]
    #[test_case("na-1-big-Statistics.db", true; "of 4.0")]
    #[test_case("nb-3g1a_0xyz_4abc-big-Statistics.db", true; "with an identifier that is no number")]
    #[test_case("oa-1-big-Statistics.db", true; "of 5.0")]
    #[test_case("da-1-bti-Statistics.db", true; "by tries")]
    fn checksums_came_with_cassandra_4(name: &str, has: bool) {
        assert_eq!(has_checksums(name), has);
    }
}
