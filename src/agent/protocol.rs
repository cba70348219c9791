//! What job and agent say to each other: one JSON line a message, a version first.
//!
//! The agent's first line is the [`greeting`]; whatever a login shell prints before it is noise.
//! Then either side may speak at any time. The job sends [`Message`]s, the agent [`Event`]s. A
//! request runs until it answers [`Event::Done`] or [`Event::Failed`]; several may run at once,
//! told apart by their [`RequestId`]. Each side sends a heartbeat every [`HEARTBEAT`] and takes
//! the other for dead after [`DEAD_AFTER`] without a line.
//!
//! Both sides are the same program pushed for the length of a job, so that versions meet only by
//! mistake: a greeting of another version ends the conversation, there is no negotiation.
#![warn(clippy::indexing_slicing, clippy::arithmetic_side_effects)]

use std::fmt;
use std::time::Duration;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::model::Progress;

pub use super::backup_protocol::{
    Clear, Cleared, Publish, Published, ShareFacts, ShareProbe, ShareRead, ShareWrite,
    ShareWritten, SharedNonces, Snapshot, SnapshotTag, SnapshotTagError, SnapshotTaken, Upload,
    Uploaded, Withdraw, Withdrawn,
};
pub use super::conversation::Conversation;
pub use super::facts_protocol::{
    AskNodetool, CassandraFacts, Facts, Hello, LeftSnapshot, Leftovers, MemberState, NodeInfo,
    NodetoolFacts, NodetoolSettings, RingMember, SchemaVersion, WireSecret,
};
pub use super::fault::{Fault, FaultKind};
pub use super::restore::protocol::{
    Commands, DiskSpace, Folders, JobReport, NodeStep, PlanFacts, Reached, RestoreReply,
    RestoreRequest, Staged, TableOnDisk,
};

/// The version of everything in this module. Any change of a message's meaning raises it.
pub const PROTOCOL_VERSION: u32 = 1;

/// How often each side says that it lives.
pub const HEARTBEAT: Duration = Duration::from_secs(2);

/// After this long without a line the other side is dead.
pub const DEAD_AFTER: Duration = Duration::from_secs(15);

/// No line is longer than this, in bytes with its newline: a schema of many thousand tables or
/// the token map of a thousand nodes fits.
pub const LINE_LIMIT: usize = 64 << 20;

const MAGIC: &str = "medusafs-agent";

/// The agent's first output. It begins with a newline, so that the last line of a shell's noise
/// ends even if the shell did not end it.
pub fn greeting() -> String {
    format!("\n{MAGIC} {PROTOCOL_VERSION}\n")
}

/// The version that a line greets with; none if the line is noise.
pub fn greeted_version(line: &str) -> Option<u32> {
    line.trim_end().strip_prefix(MAGIC)?.strip_prefix(' ')?.parse().ok()
}

/// Tells requests of one conversation apart. The job counts them up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct RequestId(pub u64);

impl fmt::Display for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// From the job to the agent.
#[expect(
    clippy::large_enum_variant,
    reason = "a few are alive at once, and each is as long as its line"
)]
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Message {
    /// Begin this.
    Request {
        /// Never used before in this conversation.
        id: RequestId,
        /// What to do.
        request: Request,
    },
    /// Stop that request, as far as it can be; it ends with a fault of kind
    /// [`FaultKind::Cancelled`], or with its answer if that came first.
    Cancel {
        /// The request.
        id: RequestId,
    },
    /// The job lives.
    Heartbeat,
}

/// From the agent to the job.
#[expect(
    clippy::large_enum_variant,
    reason = "a few are alive at once, and each is as long as its line"
)]
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Event {
    /// The agent lives.
    Heartbeat,
    /// How far a request is. Two a second at most for each.
    Progress {
        /// The request.
        id: RequestId,
        /// All of it so far, not what is new since the last one.
        progress: Progress,
    },
    /// A line for the job's log.
    Note {
        /// The request that it is about.
        id: RequestId,
        /// One line, without its newline.
        text: String,
    },
    /// A request's answer, its last event.
    Done {
        /// The request.
        id: RequestId,
        /// The answer.
        reply: Reply,
    },
    /// A request's failure, its last event. What it began has been taken back, but for what the
    /// next try goes on from: files in the pool, half a stage, a swap that Cassandra is stopped for.
    Failed {
        /// The request.
        id: RequestId,
        /// Why.
        fault: Fault,
    },
}

macro_rules! requests {
    ($($(#[$doc:meta])* $request:ident => $reply:ident),+ $(,)?) => {
        /// What can be asked of an agent. Each variant's answer is the [`Ask::Answer`] of its
        /// content.
        #[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
        #[serde(rename_all = "snake_case")]
        pub enum Request {
            $($(#[$doc])* $request($request),)+
            /// Something of the restore side.
            Restore(RestoreRequest),
        }

        /// An agent's answers.
        #[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
        #[serde(rename_all = "snake_case")]
        pub enum Reply {
            $(#[doc = concat!("To [`Request::", stringify!($request), "`].")] $reply($reply),)+
            /// To [`Request::Restore`].
            Restore(RestoreReply),
        }

        $(
            impl From<$request> for Request {
                fn from(request: $request) -> Self {
                    Self::$request(request)
                }
            }

            impl From<$reply> for Reply {
                fn from(reply: $reply) -> Self {
                    Self::$reply(reply)
                }
            }

            impl TryFrom<Reply> for $reply {
                type Error = ProtocolError;

                fn try_from(reply: Reply) -> Result<Self, ProtocolError> {
                    match reply {
                        Reply::$reply(reply) => Ok(reply),
                        _ => Err(ProtocolError::WrongReply { asked: stringify!($request) }),
                    }
                }
            }

            impl Ask for $request {
                type Answer = $reply;
            }
        )+
    };
}

requests! {
    /// Who is to be served and what is where: the first request of every conversation.
    Hello => Facts,
    /// What nodetool says. Each question costs a Java start on the node.
    AskNodetool => NodetoolFacts,
    /// Leaves a nonce on the share as this node sees it.
    ShareWrite => ShareWritten,
    /// Looks for nonces on the share as this node sees it.
    ShareRead => SharedNonces,
    /// What the share is and can do, by trying.
    ShareProbe => ShareFacts,
    /// Has Cassandra take a snapshot of everything.
    Snapshot => SnapshotTaken,
    /// Copies a snapshot to the share.
    Upload => Uploaded,
    /// Writes what an upload copied into Medusa's index.
    Publish => Published,
    /// Removes a snapshot from the node.
    Clear => Cleared,
    /// Takes an unpublished upload back.
    Withdraw => Withdrawn,
}

/// A request that knows the type of its answer.
pub trait Ask: Into<Request> {
    /// What [`Event::Done`] brings.
    type Answer: TryFrom<Reply, Error = ProtocolError>;
}

/// Bytes that are not this protocol.
#[derive(Debug, Error)]
pub enum ProtocolError {
    /// Noise where the greeting should have been.
    #[error("no medusafs agent answers: {said:?}")]
    NoGreeting {
        /// What came instead, its beginning.
        said: String,
    },
    /// An agent of another version.
    #[error("the agent speaks version {theirs} of the protocol, this program {PROTOCOL_VERSION}")]
    Version {
        /// Its version.
        theirs: u32,
    },
    /// A line over [`LINE_LIMIT`].
    #[error("a line of the agent protocol is longer than {LINE_LIMIT} bytes")]
    TooLong,
    /// A line that is no message. It may hold a secret and is not shown.
    #[error("a line of {bytes} bytes is no message of the agent protocol")]
    Garbled {
        /// Its length.
        bytes: usize,
        /// What the parser says.
        #[source]
        source: serde_json::Error,
    },
    /// A message that cannot be written, such as a path that is not UTF-8.
    #[error("cannot write a message of the agent protocol")]
    Unwritable(#[source] serde_json::Error),
    /// An answer to something else.
    #[error("the agent's answer to {asked} is of another kind")]
    WrongReply {
        /// What was asked.
        asked: &'static str,
    },
}

/// A message or event as its line, newline and all.
pub fn encode<T: Serialize>(message: &T) -> Result<Vec<u8>, ProtocolError> {
    let mut line = serde_json::to_vec(message).map_err(ProtocolError::Unwritable)?;
    line.push(b'\n');
    if line.len() > LINE_LIMIT { Err(ProtocolError::TooLong) } else { Ok(line) }
}

/// The message or event of a line, with or without its newline.
pub fn decode<T: DeserializeOwned>(line: &[u8]) -> Result<T, ProtocolError> {
    if line.len() > LINE_LIMIT {
        return Err(ProtocolError::TooLong);
    }
    serde_json::from_slice(line)
        .map_err(|source| ProtocolError::Garbled { bytes: line.len(), source })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::medusa::Mode;
    use crate::model::{BackupName, Fqdn};
    use proptest::prelude::*;

    #[test]
    fn a_greeting_is_found_behind_a_shells_noise() {
        let said = format!("Welcome to node1{}", greeting());
        let versions: Vec<_> = said.lines().filter_map(greeted_version).collect();
        assert_eq!(versions, [PROTOCOL_VERSION]);
        assert_eq!(greeted_version("medusafs-agent"), None);
        assert_eq!(greeted_version("medusafs-agentry 1"), None);
    }

    #[test]
    fn a_request_is_one_line_and_reads_back() {
        let request = Upload {
            backup: BackupName::for_new("nightly").unwrap(),
            node: Fqdn::parse("node1.example.com").unwrap(),
            mode: Mode::Differential,
            tag: SnapshotTag::parse("medusa-nightly").unwrap(),
            threads: 8,
            bytes_per_second: 100 << 20,
        };
        let message = Message::Request { id: RequestId(7), request: request.into() };
        let line = encode(&message).unwrap();
        insta::assert_snapshot!(String::from_utf8(line.clone()).unwrap().trim_end(), @r#"{"request":{"id":7,"request":{"upload":{"backup":"nightly","node":"node1.example.com","mode":"differential","tag":"medusa-nightly","threads":8,"bytes_per_second":104857600}}}}"#);
        assert_eq!(decode::<Message>(&line).unwrap(), message);
    }

    #[test]
    fn an_answer_to_something_else_is_no_answer() {
        let cleared = Reply::from(Cleared { directories: 3 });
        assert!(Withdrawn::try_from(cleared.clone()).is_err());
        assert_eq!(Cleared::try_from(cleared).unwrap(), Cleared { directories: 3 });
    }

    proptest! {
        #[test]
        fn no_line_makes_the_reader_panic(line in proptest::collection::vec(any::<u8>(), 0..200)) {
            drop(decode::<Message>(&line));
            drop(decode::<Event>(&line));
        }
    }
}
