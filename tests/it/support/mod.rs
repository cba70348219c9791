//! What tests stand on.

pub(crate) mod agent;
pub(crate) mod archive;
pub(crate) mod copy_desk;
pub(crate) mod copy_tools;
pub(crate) mod copying;
pub(crate) mod host;
pub(crate) mod lab;
pub(crate) mod mortal;
pub(crate) mod mounted;
pub(crate) mod node;
pub(crate) mod node_share;
pub(crate) mod restoring;
pub(crate) mod sshd;
pub(crate) mod staging_calls;
pub(crate) mod tree;
