//! CQL over any stream: a connection of one node, one question at a time.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite};

use super::cql_error::CqlError;
use super::cql_frame::{Answer, Opcode, Page, receive, send};
use super::cql_reader::Writer;
use super::cql_value::{Uuid, Value};
use crate::config::Credentials;
use crate::tasks::within;

/// Rows of a page.
const PAGE_SIZE: i32 = 1000;

/// Rows of one answer, all pages: more than any cluster has tables.
const ROW_LIMIT: usize = 2_000_000;

const LOCAL_ONE: u16 = 0x000A;

/// A CQL connection that is logged in.
///
/// A query that fails by time or by its connection leaves it out of step: each later one says so.
#[derive(Debug)]
pub struct CqlSession<S> {
    stream: S,
    in_step: bool,
}

/// One row of an answer.
#[derive(Debug, Clone, PartialEq)]
pub struct Row {
    columns: Arc<[String]>,
    values: Vec<Value>,
}

impl<S: AsyncRead + AsyncWrite + Unpin + Send> CqlSession<S> {
    /// Begins to speak CQL on a connected stream, with a password if one is wanted.
    pub async fn start(
        stream: S,
        login: Option<&Credentials>,
        deadline: Duration,
    ) -> Result<Self, CqlError> {
        let mut session = Self { stream, in_step: true };
        within(deadline, "for Cassandra to begin CQL", session.log_in(login)).await??;
        Ok(session)
    }

    async fn log_in(&mut self, login: Option<&Credentials>) -> Result<(), CqlError> {
        let options = BTreeMap::from([
            ("CQL_VERSION", "3.0.0"),
            ("DRIVER_NAME", env!("CARGO_PKG_NAME")),
            ("DRIVER_VERSION", env!("CARGO_PKG_VERSION")),
        ]);
        let mut body = Writer::default();
        body.string_map(&options);
        send(&mut self.stream, Opcode::Startup, &body.0).await?;
        let class = match receive(&mut self.stream).await? {
            Answer::Ready => return Ok(()),
            Answer::Authenticate { class } => class,
            other => return Err(unexpected(other)),
        };
        let login = login.ok_or(CqlError::PasswordWanted)?;
        // SASL PLAIN: nobody to act for, the user, the password.
        let mut body = Writer::default();
        body.bytes(format!("\0{}\0{}", login.username, login.password.expose()).as_bytes());
        send(&mut self.stream, Opcode::AuthResponse, &body.0).await?;
        match receive(&mut self.stream).await? {
            Answer::AuthSuccess => Ok(()),
            Answer::AuthChallenge => Err(CqlError::UnknownAuthentication { class }),
            other => Err(unexpected(other)),
        }
    }

    /// All rows that a query gives, all pages; none if it gives none. `deadline` is for all.
    pub async fn query(&mut self, text: &str, deadline: Duration) -> Result<Vec<Row>, CqlError> {
        if !std::mem::replace(&mut self.in_step, false) {
            return Err(CqlError::OutOfStep);
        }
        let answered = within(deadline, "for an answer by CQL", self.pages(text)).await?;
        // An error that the server sent is an answer too.
        self.in_step = match &answered {
            Ok(_) | Err(CqlError::Refused { .. } | CqlError::Unavailable { .. }) => true,
            Err(_) => false,
        };
        answered
    }

    async fn pages(&mut self, text: &str) -> Result<Vec<Row>, CqlError> {
        let mut rows = Vec::new();
        let mut from: Option<Vec<u8>> = None;
        loop {
            let page = self.page(text, from.as_deref()).await?;
            let columns: Arc<[String]> = page.columns.into();
            let more = page.rows.into_iter();
            rows.extend(more.map(|values| Row { columns: Arc::clone(&columns), values }));
            if rows.len() > ROW_LIMIT {
                return Err(CqlError::TooLarge(rows.len()));
            }
            match page.next {
                Some(next) => from = Some(next),
                None => return Ok(rows),
            }
        }
    }

    async fn page(&mut self, text: &str, from: Option<&[u8]>) -> Result<Page, CqlError> {
        const WITH_PAGE_SIZE: u8 = 0x04;
        const WITH_PAGING_STATE: u8 = 0x08;
        let mut body = Writer::default();
        body.bytes(text.as_bytes());
        body.0.extend(LOCAL_ONE.to_be_bytes());
        body.0.push(WITH_PAGE_SIZE | if from.is_some() { WITH_PAGING_STATE } else { 0 });
        body.i32(PAGE_SIZE);
        if let Some(from) = from {
            body.bytes(from);
        }
        send(&mut self.stream, Opcode::Query, &body.0).await?;
        match receive(&mut self.stream).await? {
            Answer::Rows(page) => Ok(page),
            Answer::Done => Ok(Page::default()),
            other => Err(unexpected(other)),
        }
    }
}

fn unexpected(answer: Answer) -> CqlError {
    match answer {
        Answer::Error { code, message } => CqlError::of_server(code, message),
        _ => CqlError::Malformed { what: "an answer of another kind than was asked for" },
    }
}

impl Row {
    /// The value of a column; none if there is no such column, which is not the same as null.
    pub fn get(&self, column: &str) -> Option<&Value> {
        let at = self.columns.iter().position(|name| name == column)?;
        self.values.get(at)
    }

    /// The values, in the order of the query.
    pub fn values(&self) -> &[Value] {
        &self.values
    }

    /// A text that must be there.
    pub fn text(&self, column: &str) -> Result<String, CqlError> {
        match self.get(column) {
            Some(Value::Text(text)) => Ok(text.clone()),
            _ => Err(wrong(column)),
        }
    }

    /// A UUID that must be there.
    pub fn uuid(&self, column: &str) -> Result<Uuid, CqlError> {
        match self.get(column) {
            Some(Value::Uuid(uuid)) => Ok(*uuid),
            _ => Err(wrong(column)),
        }
    }

    /// A number that must be there.
    pub fn int(&self, column: &str) -> Result<i64, CqlError> {
        match self.get(column) {
            Some(Value::Int(number)) => Ok(*number),
            _ => Err(wrong(column)),
        }
    }
}

fn wrong(column: &str) -> CqlError {
    CqlError::Column { column: column.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Secret;
    use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};

    const LONG: Duration = Duration::from_secs(20);

    /// Answers each request by the next of `answers` (opcode, body); gives what was asked.
    async fn server(mut stream: DuplexStream, answers: Vec<(u8, Vec<u8>)>) -> Vec<(u8, Vec<u8>)> {
        let mut asked = Vec::new();
        for (opcode, body) in answers {
            let mut header = [0; 9];
            stream.read_exact(&mut header).await.unwrap();
            let length = u32::from_be_bytes(header[5..].try_into().unwrap());
            let mut request = vec![0; length.try_into().unwrap()];
            stream.read_exact(&mut request).await.unwrap();
            asked.push((header[4], request));
            let mut frame = vec![0x84, 0, 0, 0, opcode];
            frame.extend(u32::try_from(body.len()).unwrap().to_be_bytes());
            frame.extend(body);
            stream.write_all(&frame).await.unwrap();
        }
        asked
    }

    fn string(text: &str) -> Vec<u8> {
        [&u16::try_from(text.len()).unwrap().to_be_bytes(), text.as_bytes()].concat()
    }

    fn error(code: i32, message: &str) -> (u8, Vec<u8>) {
        (0, [code.to_be_bytes().to_vec(), string(message)].concat())
    }

    /// A page with one row of one text.
    fn one(text: &str, next: Option<&[u8]>) -> (u8, Vec<u8>) {
        let cell =
            |bytes: &[u8]| [&i32::try_from(bytes.len()).unwrap().to_be_bytes(), bytes].concat();
        let flags: i32 = if next.is_some() { 3 } else { 1 };
        let mut body = [2, flags, 1].map(i32::to_be_bytes).concat();
        body.extend(next.map(cell).unwrap_or_default());
        body.extend([string("k"), string("t"), string("c"), vec![0, 0x0D]].concat());
        body.extend(1_i32.to_be_bytes());
        body.extend(cell(text.as_bytes()));
        (8, body)
    }

    fn login() -> Credentials {
        Credentials { username: "cassandra".to_owned(), password: Secret::new("s3cret") }
    }

    fn authenticate() -> (u8, Vec<u8>) {
        (3, string("org.apache.cassandra.auth.PasswordAuthenticator"))
    }

    async fn started(
        answers: Vec<(u8, Vec<u8>)>,
        login: Option<&Credentials>,
    ) -> Result<Vec<(u8, Vec<u8>)>, CqlError> {
        let (near, far) = duplex(1 << 16);
        let (session, asked) =
            tokio::join!(CqlSession::start(near, login, LONG), server(far, answers));
        session.map(|_session| asked)
    }

    #[tokio::test]
    async fn a_password_is_sent_only_when_it_is_wanted() {
        let asked = started(vec![(2, vec![])], Some(&login())).await.unwrap();
        assert_eq!(asked.len(), 1);
        let asked = started(vec![authenticate(), (16, vec![0; 4])], Some(&login())).await.unwrap();
        assert_eq!(asked[1], (15, [&[0, 0, 0, 17][..], b"\0cassandra\0s3cret"].concat()));
    }

    #[tokio::test]
    async fn a_wrong_password_is_told_from_one_that_cannot_be_checked_and_from_none() {
        let wrong = error(0x100, "Provided username cassandra and/or password are incorrect");
        let answer = started(vec![authenticate(), wrong], Some(&login())).await.unwrap_err();
        assert!(matches!(answer, CqlError::WrongPassword { .. }), "{answer}");
        assert!(!answer.to_string().contains("s3cret"));
        let down = error(0x100, "Unable to perform authentication: Cannot achieve consistency");
        let answer = started(vec![authenticate(), down], Some(&login())).await.unwrap_err();
        assert!(matches!(answer, CqlError::CannotCheckPassword { .. }), "{answer}");
        let answer = started(vec![authenticate()], None).await.unwrap_err();
        assert!(matches!(answer, CqlError::PasswordWanted), "{answer}");
    }

    #[tokio::test]
    async fn all_pages_are_asked_for_each_with_what_the_last_one_said() {
        let (near, far) = duplex(1 << 16);
        let answers = vec![(2, vec![]), one("first", Some(b"more")), one("second", None)];
        let ask = async {
            let mut session = CqlSession::start(near, None, LONG).await.unwrap();
            session.query("SELECT c FROM k.t", LONG).await.unwrap()
        };
        let (rows, asked) = tokio::join!(ask, server(far, answers));
        let texts: Vec<_> = rows.iter().map(|row| row.text("c").unwrap()).collect();
        assert_eq!(texts, ["first", "second"]);
        assert!(rows[0].text("d").is_err() && rows[0].get("d").is_none());
        assert!(!asked[1].1.ends_with(b"more") && asked[2].1.ends_with(b"\0\0\0\x04more"));
    }

    #[tokio::test]
    async fn after_a_refusal_the_connection_serves_on() {
        let (near, far) = duplex(1 << 16);
        let answers = vec![(2, vec![]), error(0x2200, "unconfigured table"), one("x", None)];
        let ask = async {
            let mut session = CqlSession::start(near, None, LONG).await.unwrap();
            let refused = session.query("SELECT 1", LONG).await.unwrap_err();
            assert!(matches!(refused, CqlError::Refused { code: 0x2200, .. }), "{refused}");
            session.query("SELECT 2", LONG).await.unwrap().len()
        };
        assert_eq!(tokio::join!(ask, server(far, answers)).0, 1);
    }

    #[tokio::test(start_paused = true)]
    async fn after_a_silence_the_connection_serves_no_more() {
        let (near, far) = duplex(1 << 16);
        let ask = async {
            let mut session = CqlSession::start(near, None, LONG).await.unwrap();
            let silent = session.query("SELECT 1", LONG).await.unwrap_err();
            assert!(matches!(silent, CqlError::TimedOut(_)), "{silent}");
            let next = session.query("SELECT 2", LONG).await.unwrap_err();
            assert!(matches!(next, CqlError::OutOfStep), "{next}");
        };
        let answer_one = async {
            let mut far = far;
            let mut request = vec![0; 1 << 10];
            assert!(far.read(&mut request).await.unwrap() > 0);
            far.write_all(&[0x84, 0, 0, 0, 2, 0, 0, 0, 0]).await.unwrap();
            tokio::time::sleep(LONG * 3).await;
            drop(far);
        };
        tokio::join!(ask, answer_one);
    }
}
