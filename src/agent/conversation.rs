//! The job's end of a conversation, without its wire.
#![warn(clippy::indexing_slicing, clippy::arithmetic_side_effects)]

use super::protocol::{
    Event, Message, PROTOCOL_VERSION, ProtocolError, Request, RequestId, decode, encode,
    greeted_version,
};

/// Of what comes before a greeting this much is kept, to show if no greeting comes.
const NOISE_LIMIT: usize = 4096;

/// Numbers requests and understands lines. Pure: the caller moves the bytes and keeps the time.
#[derive(Debug, Default)]
pub struct Conversation {
    last: u64,
    greeted: bool,
    noise: String,
}

impl Conversation {
    /// A conversation in which nothing has been said.
    pub fn new() -> Self {
        Self::default()
    }

    /// The line that begins `request`, and the id that its events will bear.
    pub fn request(
        &mut self,
        request: impl Into<Request>,
    ) -> Result<(RequestId, Vec<u8>), ProtocolError> {
        self.last = self.last.saturating_add(1);
        let id = RequestId(self.last);
        Ok((id, encode(&Message::Request { id, request: request.into() })?))
    }

    /// The line that stops a request.
    pub fn cancel(&self, id: RequestId) -> Result<Vec<u8>, ProtocolError> {
        encode(&Message::Cancel { id })
    }

    /// The line that says that the job lives.
    pub fn heartbeat(&self) -> Result<Vec<u8>, ProtocolError> {
        encode(&Message::Heartbeat)
    }

    /// What a line from the agent says; none for the greeting and the noise before it.
    ///
    /// # Errors
    ///
    /// Each ends the conversation.
    pub fn line(&mut self, line: &[u8]) -> Result<Option<Event>, ProtocolError> {
        if self.greeted {
            return decode(line).map(Some);
        }
        let text = String::from_utf8_lossy(line);
        match greeted_version(&text) {
            Some(PROTOCOL_VERSION) => {
                self.greeted = true;
                self.noise.clear();
            }
            Some(theirs) => return Err(ProtocolError::Version { theirs }),
            None if self.noise.len() < NOISE_LIMIT => {
                self.noise.extend(text.trim_end().chars().take(NOISE_LIMIT));
                self.noise.push('\n');
            }
            None => return Err(self.no_greeting()),
        }
        Ok(None)
    }

    /// Whether the agent has greeted.
    pub fn is_greeted(&self) -> bool {
        self.greeted
    }

    /// The error for an agent that ended, or said nothing in time, before it greeted: it shows
    /// what was said instead.
    pub fn no_greeting(&self) -> ProtocolError {
        ProtocolError::NoGreeting { said: self.noise.trim().to_owned() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::agent::protocol::{ShareProbe, greeting};

    #[test]
    fn lines_before_the_greeting_are_noise_and_after_it_events() {
        let mut talk = Conversation::new();
        assert_eq!(talk.line(b"stty: standard input: not a tty\n").unwrap(), None);
        for line in greeting().lines() {
            assert_eq!(talk.line(line.as_bytes()).unwrap(), None);
        }
        assert!(talk.is_greeted());
        let heartbeat = encode(&Event::Heartbeat).unwrap();
        assert_eq!(talk.line(&heartbeat).unwrap(), Some(Event::Heartbeat));
        assert!(talk.line(b"Killed\n").is_err());
    }

    #[test]
    fn what_was_said_instead_of_a_greeting_is_shown_and_bounded() {
        let mut talk = Conversation::new();
        talk.line(b"sudo: a password is required\n").unwrap();
        let said = talk.no_greeting().to_string();
        assert!(said.contains("a password is required"), "{said}");
        let endless = (0..1_000_000).find_map(|_| talk.line(b"y\n").err());
        assert!(matches!(endless, Some(ProtocolError::NoGreeting { .. })));
    }

    #[test]
    fn an_agent_of_another_version_is_refused() {
        let mut talk = Conversation::new();
        let error = talk.line(b"medusafs-agent 99\n").unwrap_err();
        assert!(matches!(error, ProtocolError::Version { theirs: 99 }));
    }

    #[test]
    fn requests_are_numbered_from_one() {
        let mut talk = Conversation::new();
        assert_eq!(talk.request(ShareProbe {}).unwrap().0, RequestId(1));
        assert_eq!(talk.request(ShareProbe {}).unwrap().0, RequestId(2));
    }
}
