//! One remote machine: log in, run, start, write a file, reach a port. Nothing here can hang, and
//! nobody is trusted whom known_hosts does not vouch for.
//!
//! [`Connection`] is the real [`Remote`], over russh; [`ScriptedRemote`] plays a script.

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
pub use scripted::{Call, ScriptedProcess, ScriptedRemote};
pub use sudo::{SudoRefusal, probe_sudo};
pub use target::{Identity, Patience, Target};
pub use trust::{OfferedKey, is_recorded, offered_keys, record_key, refuse_changed};
