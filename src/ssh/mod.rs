//! One remote machine: log in, run, start, write a file, reach a port. Nothing here can hang, and
//! nobody is trusted whom known_hosts does not vouch for.
//!
//! [`Connection`] is the [`Remote`], over russh.

mod authenticate;
mod channel;
mod client;
mod command;
mod error;
mod host_keys;
mod keys;
mod known_hosts;
mod login;
mod pipe;
mod preamble;
mod process;
mod remote;
#[cfg(test)]
mod scripted;
mod signer;
mod sudo;
mod target;
mod trust;

pub use client::Connection;
pub use command::RemoteCommand;
pub use error::{SshError, SshErrorKind, Stage};
pub use host_keys::{Fingerprint, HostKeyError};
pub use process::{ProcessStdin, ProcessStdout, RemoteProcess, StderrTail};
pub use remote::{Duplex, Exit, Output, Remote, Tunnel};
#[cfg(test)]
pub(crate) use scripted::ScriptedRemote;
pub use sudo::{SudoRefusal, probe_sudo};
pub use target::{Identity, Patience, Target};
pub use trust::{OfferedKey, is_recorded, offered_keys, record_key, refuse_changed};
