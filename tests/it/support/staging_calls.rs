//! The calls that a set takes while tools copy into it, drawn at random.

use proptest::prelude::*;
use proptest::sample::Index;

/// A call, its objects chosen by number among what there is.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Call {
    /// Opens for writing, made if it is not there.
    Open {
        path: Index,
        truncate: bool,
    },
    /// Writes bytes of the object that the name stands for in some snapshot, or others.
    Write {
        handle: Index,
        of: Index,
        from: u8,
        len: u8,
        garbled: bool,
    },
    /// Writes all of it, in pieces.
    Stream {
        handle: Index,
        of: Index,
        piece: u8,
        backwards: bool,
    },
    Copy {
        handle: Index,
        of: Index,
        from: u8,
        len: u8,
    },
    CopyAll {
        handle: Index,
        of: Index,
    },
    Truncate {
        handle: Index,
        size: u8,
    },
    Flush {
        handle: Index,
    },
    Close {
        handle: Index,
    },
    Link {
        path: Index,
        of: Index,
    },
    LinkStaged {
        from: Index,
        to: Index,
    },
    Rename {
        from: Index,
        to: Index,
    },
    Unlink {
        path: Index,
    },
    /// A whole `cp` of one file that is still missing, by a given way.
    Copied {
        of: Index,
        which: Index,
        way: u8,
    },
}

/// Any of them, mostly whole copies of a file.
pub(crate) fn call() -> impl Strategy<Value = Call> {
    let i = any::<Index>;
    prop_oneof![
        1 => (i(), any::<bool>()).prop_map(|(path, truncate)| Call::Open { path, truncate }),
        1 => (i(), i(), 0..45_u8, 0..45_u8, proptest::bool::weighted(0.1)).prop_map(
            |(handle, of, from, len, garbled)| Call::Write { handle, of, from, len, garbled }
        ),
        1 => (i(), i(), 1..30_u8, proptest::bool::weighted(0.3))
            .prop_map(|(handle, of, piece, backwards)| Call::Stream { handle, of, piece, backwards }),
        1 => (i(), i(), 0..45_u8, 0..45_u8)
            .prop_map(|(handle, of, from, len)| Call::Copy { handle, of, from, len }),
        1 => (i(), i()).prop_map(|(handle, of)| Call::CopyAll { handle, of }),
        1 => (i(), 0..50_u8).prop_map(|(handle, size)| Call::Truncate { handle, size }),
        1 => i().prop_map(|handle| Call::Flush { handle }),
        1 => i().prop_map(|handle| Call::Close { handle }),
        1 => (i(), i()).prop_map(|(path, of)| Call::Link { path, of }),
        1 => (i(), i()).prop_map(|(from, to)| Call::LinkStaged { from, to }),
        1 => (i(), i()).prop_map(|(from, to)| Call::Rename { from, to }),
        1 => i().prop_map(|path| Call::Unlink { path }),
        8 => (i(), i(), any::<u8>()).prop_map(|(of, which, way)| Call::Copied { of, which, way }),
    ]
}
