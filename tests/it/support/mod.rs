//! What several tests stand on.

pub(crate) mod archive;
pub(crate) mod copying;
pub(crate) mod mortal;
pub(crate) mod node;
