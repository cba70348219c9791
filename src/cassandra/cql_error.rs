//! Why CQL gave no answer.

use std::io;
use std::path::PathBuf;

use thiserror::Error;

use crate::tasks::TimedOut;

/// What kept a query from being answered.
#[derive(Debug, Error)]
pub enum CqlError {
    /// The connection broke. A plain client on a port for TLS sees this too.
    #[error("the CQL connection broke; if the port is for TLS, set [cassandra] certfile")]
    Broken(#[source] io::Error),
    /// Something else than Cassandra answered, or one that knows no protocol version 4.
    #[error(
        "what answers on the CQL port does not speak CQL version 4 (first byte {version:#04x})"
    )]
    NotCql {
        /// What it began with.
        version: u8,
    },
    /// An answer that is not what the protocol says.
    #[error("Cassandra's answer holds {what}")]
    Malformed {
        /// What is wrong with it.
        what: &'static str,
    },
    /// More than is ever taken.
    #[error("a CQL message of {0} bytes is more than is ever taken")]
    TooLarge(usize),
    /// Wrong user or password.
    #[error(
        "Cassandra refuses the CQL user or password ({message}); correct [cassandra] cql_username \
         and cql_password"
    )]
    WrongPassword {
        /// What it said.
        message: String,
    },
    /// It could not look up the user: the replicas of `system_auth` are down. Try again later.
    #[error(
        "Cassandra cannot check the password now ({message}); see that the replicas of system_auth \
         are up"
    )]
    CannotCheckPassword {
        /// What it said.
        message: String,
    },
    /// It wants a password and none is set.
    #[error("Cassandra wants a password for CQL; set [cassandra] cql_username and cql_password")]
    PasswordWanted,
    /// It wants to be convinced in another way than by a password.
    #[error(
        "Cassandra authenticates CQL by {class}; medusafs knows passwords and client certificates"
    )]
    UnknownAuthentication {
        /// Its authenticator.
        class: String,
    },
    /// It is starting, overloaded or lacks replicas. Try again later.
    #[error("Cassandra cannot answer now: {message}")]
    Unavailable {
        /// What it said.
        message: String,
    },
    /// It refuses the query.
    #[error("Cassandra refuses the query (error {code:#06x}): {message}")]
    Refused {
        /// The protocol's number for it.
        code: i32,
        /// What it said.
        message: String,
    },
    /// Its release has not what is asked for.
    #[error("this Cassandra has no {0}; medusafs wants 4.0 or later")]
    TooOld(&'static str),
    /// A row has not the value that it must have.
    #[error("Cassandra's answer has no {column} of the kind that is known")]
    Column {
        /// The column.
        column: String,
    },
    /// An earlier query on this connection was not answered; what comes now is of that one.
    #[error("the CQL connection is out of step after an earlier failure; open another")]
    OutOfStep,
    /// No answer in time.
    #[error(transparent)]
    TimedOut(#[from] TimedOut),
    /// A file for TLS is of no use.
    #[error("cannot use {} for CQL's TLS: {what}", .path.display())]
    TlsFile {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        what: String,
    },
    /// The other side could not be proven, or does not want us.
    #[error(
        "no TLS with Cassandra; compare [cassandra] certfile, usercert and userkey with its client_encryption_options"
    )]
    Tls(#[source] io::Error),
}

impl CqlError {
    /// What an ERROR message means, told apart by its number and, for 0x0100, its text: it is sent
    /// for a wrong password and for one that cannot be checked.
    pub(super) fn of_server(code: i32, message: String) -> Self {
        match code {
            0x0100 if message.contains("Unable to perform authentication") => {
                Self::CannotCheckPassword { message }
            }
            0x0100 => Self::WrongPassword { message },
            // Unavailable, overloaded, bootstrapping, time-outs and failures of replicas.
            0x1000..=0x1002 | 0x1100 | 0x1200 | 0x1300 | 0x1500 => Self::Unavailable { message },
            _ => Self::Refused { code, message },
        }
    }
}
