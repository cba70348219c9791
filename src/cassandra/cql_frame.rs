//! Frames of protocol version 4, and what the answers in them say.
#![warn(clippy::indexing_slicing, clippy::arithmetic_side_effects)]

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use super::cql_error::CqlError;
use super::cql_reader::{Malformed, Reader};
use super::cql_value::{Kind, Value};

/// A frame of an answer has no more bytes than this: a thousand rows of a schema have some 4 MiB.
const FRAME_LIMIT: u32 = 64 << 20;

/// Version 4, from the client; answers have the highest bit set.
const REQUEST: u8 = 0x04;
const RESPONSE: u8 = 0x84;

const COMPRESSED: u8 = 0x01;
const TRACED: u8 = 0x02;
const PAYLOAD: u8 = 0x04;
const WARNED: u8 = 0x08;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Opcode {
    Startup = 0x01,
    Query = 0x07,
    AuthResponse = 0x0F,
}

/// An answer, taken apart.
#[derive(Debug, PartialEq)]
pub(super) enum Answer {
    Error {
        code: i32,
        message: String,
    },
    Ready,
    Authenticate {
        class: String,
    },
    AuthChallenge,
    AuthSuccess,
    Rows(Page),
    /// A result without rows: void, a keyspace set, a schema changed.
    Done,
}

/// One page of rows.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Page {
    pub(super) columns: Vec<String>,
    pub(super) rows: Vec<Vec<Value>>,
    /// What to ask on with; none on the last page.
    pub(super) next: Option<Vec<u8>>,
}

pub(super) async fn send<S: AsyncWrite + Unpin>(
    stream: &mut S,
    opcode: Opcode,
    body: &[u8],
) -> Result<(), CqlError> {
    let length = u32::try_from(body.len()).map_err(|_long| CqlError::TooLarge(body.len()))?;
    let mut frame = Vec::with_capacity(body.len().saturating_add(9));
    frame.extend([REQUEST, 0, 0, 0, opcode as u8]);
    frame.extend(length.to_be_bytes());
    frame.extend(body);
    stream.write_all(&frame).await.map_err(CqlError::Broken)?;
    stream.flush().await.map_err(CqlError::Broken)
}

pub(super) async fn receive<S: AsyncRead + Unpin>(stream: &mut S) -> Result<Answer, CqlError> {
    let mut header = [0; 9];
    stream.read_exact(&mut header).await.map_err(CqlError::Broken)?;
    let [version, flags, _, _, opcode, a, b, c, d] = header;
    if version != RESPONSE {
        return Err(CqlError::NotCql { version });
    }
    let length = u32::from_be_bytes([a, b, c, d]);
    if length > FRAME_LIMIT {
        return Err(CqlError::TooLarge(usize::try_from(length).unwrap_or(usize::MAX)));
    }
    // Read as it comes: a header that lies about its length gets no memory for it.
    let mut body = Vec::new();
    let read = stream.take(length.into()).read_to_end(&mut body).await.map_err(CqlError::Broken)?;
    if u32::try_from(read).ok() != Some(length) {
        return Err(CqlError::Broken(std::io::ErrorKind::UnexpectedEof.into()));
    }
    answer(flags, opcode, &body).map_err(|Malformed(what)| CqlError::Malformed { what })
}

fn answer(flags: u8, opcode: u8, body: &[u8]) -> Result<Answer, Malformed> {
    if flags & COMPRESSED != 0 {
        return Err(Malformed("a compressed body that nobody asked for"));
    }
    let mut reader = Reader::new(body);
    if flags & TRACED != 0 {
        reader.take(16)?;
    }
    if flags & WARNED != 0 {
        for warning in reader.strings()? {
            tracing::debug!(warning, "Cassandra warns");
        }
    }
    if flags & PAYLOAD != 0 {
        reader.skip_bytes_map()?;
    }
    match opcode {
        0x00 => {
            let code = reader.i32()?;
            Ok(Answer::Error { code, message: reader.string()?.to_owned() })
        }
        0x02 => Ok(Answer::Ready),
        0x03 => Ok(Answer::Authenticate { class: reader.string()?.to_owned() }),
        0x08 => result(&mut reader),
        0x0E => Ok(Answer::AuthChallenge),
        0x10 => Ok(Answer::AuthSuccess),
        _ => Err(Malformed("an answer of another kind than was asked for")),
    }
}

fn result(reader: &mut Reader<'_>) -> Result<Answer, Malformed> {
    const ROWS: i32 = 2;
    const GLOBAL_TABLE: i32 = 1;
    const MORE_PAGES: i32 = 2;
    const NO_METADATA: i32 = 4;
    match reader.i32()? {
        ROWS => {}
        1 | 3 | 5 => return Ok(Answer::Done),
        _ => return Err(Malformed("a result of another kind than was asked for")),
    }
    let flags = reader.i32()?;
    let count = reader.count()?;
    let next = match flags & MORE_PAGES {
        0 => None,
        _ => reader.bytes()?.map(<[u8]>::to_vec),
    };
    if flags & NO_METADATA != 0 {
        return Err(Malformed("rows without a description of their columns"));
    }
    if flags & GLOBAL_TABLE != 0 {
        reader.string()?;
        reader.string()?;
    }
    let (mut columns, mut kinds) = (Vec::new(), Vec::new());
    for _ in 0..count {
        if flags & GLOBAL_TABLE == 0 {
            reader.string()?;
            reader.string()?;
        }
        columns.push(reader.string()?.to_owned());
        kinds.push(Kind::read(reader)?);
    }
    let mut rows = Vec::new();
    for _ in 0..reader.count()? {
        let row = kinds.iter().map(|kind| kind.decode(reader.bytes()?));
        rows.push(row.collect::<Result<Vec<_>, Malformed>>()?);
    }
    Ok(Answer::Rows(Page { columns, rows, next }))
}

#[cfg(test)]
mod tests {
    use super::super::cql_value::Uuid;
    use super::*;
    use proptest::prelude::*;

    fn string(text: &str) -> Vec<u8> {
        let length = u16::try_from(text.len()).unwrap();
        [&length.to_be_bytes(), text.as_bytes()].concat()
    }

    fn cell(bytes: &[u8]) -> Vec<u8> {
        [&i32::try_from(bytes.len()).unwrap().to_be_bytes(), bytes].concat()
    }

    fn int(number: i32) -> Vec<u8> {
        number.to_be_bytes().to_vec()
    }

    type Column<'a> = (&'a str, &'a [u8], Option<Vec<u8>>);

    /// A result of one row: each column's name, type and bytes (none is null).
    fn rows(columns: &[Column<'_>], next: Option<&[u8]>) -> Vec<u8> {
        let flags = 1 | if next.is_some() { 2 } else { 0 };
        let mut body = [int(2), int(flags), int(i32::try_from(columns.len()).unwrap())].concat();
        body.extend(next.map(cell).unwrap_or_default());
        body.extend([string("system"), string("local")].concat());
        for (name, kind, _) in columns {
            body.extend(string(name));
            body.extend(*kind);
        }
        body.extend(int(1));
        for (_, _, value) in columns {
            body.extend(value.as_ref().map_or_else(|| int(-1), |value| cell(value)));
        }
        body
    }

    fn list(items: &[&[u8]]) -> Vec<u8> {
        let mut bytes = int(i32::try_from(items.len()).unwrap());
        for item in items {
            bytes.extend(cell(item));
        }
        bytes
    }

    fn page(flags: u8, body: &[u8]) -> Page {
        match answer(flags, 0x08, body).unwrap() {
            Answer::Rows(page) => page,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn rows_of_every_type_that_we_use_are_decoded() {
        let tokens = list(&[b"-1", b"2"]);
        let map = [int(1), cell(b"class"), cell(b"Simple")].concat();
        let body = rows(
            &[
                ("text", &[0, 0x0D], Some(b"caf\xc3\xa9".to_vec())),
                ("nothing", &[0, 0x0D], None),
                ("id", &[0, 0x0C], Some((0..16).collect())),
                ("int", &[0, 0x09], Some((-7_i32).to_be_bytes().to_vec())),
                ("bigint", &[0, 0x02], Some((1_i64 << 40).to_be_bytes().to_vec())),
                ("v4", &[0, 0x10], Some(vec![198, 51, 100, 11])),
                ("v6", &[0, 0x10], Some([vec![0xfe, 0x80], vec![0; 13], vec![1]].concat())),
                ("bool", &[0, 0x04], Some(vec![1])),
                ("tokens", &[0, 0x22, 0, 0x0D], Some(tokens)),
                ("replication", &[0, 0x21, 0, 0x0D, 0, 0x0D], Some(map)),
                ("empty", &[0, 0x09], Some(Vec::new())),
            ],
            Some(b"page2"),
        );
        let page = page(0, &body);
        assert_eq!(page.next.as_deref(), Some(b"page2".as_slice()));
        let text = |text: &str| Value::Text(text.to_owned());
        assert_eq!(
            page.rows,
            [[
                text("café"),
                Value::Null,
                Value::Uuid(Uuid(std::array::from_fn(|index| u8::try_from(index).unwrap()))),
                Value::Int(-7),
                Value::Int(1 << 40),
                Value::Inet("198.51.100.11".parse().unwrap()),
                Value::Inet("fe80::1".parse().unwrap()),
                Value::Bool(true),
                Value::List(vec![text("-1"), text("2")]),
                Value::Map(vec![(text("class"), text("Simple"))]),
                Value::Null,
            ]]
        );
        let Value::Uuid(id) = &page.rows[0][2] else { panic!() };
        assert_eq!(id.to_string(), "00010203-0405-0607-0809-0a0b0c0d0e0f");
        assert_eq!(id.simple(), "000102030405060708090a0b0c0d0e0f");
    }

    #[test]
    fn types_that_we_do_not_use_are_passed_over_whole() {
        let udt = [&[0, 0x30][..], &string("ks"), &string("t"), &[0, 1], &string("f"), &[0, 0x09]];
        let custom = [&[0, 0x00][..], &string("org.apache.cassandra.db.marshal.X")].concat();
        let body = rows(
            &[
                ("udt", &udt.concat(), Some(vec![1, 2])),
                ("tuple", &[0, 0x31, 0, 2, 0, 0x09, 0, 0x0D], None),
                ("custom", &custom, Some(vec![3])),
                ("after", &[0, 0x0D], Some(b"x".to_vec())),
            ],
            None,
        );
        let row = &page(0, &body).rows[0];
        assert_eq!(row[0], Value::Other(vec![1, 2]));
        assert_eq!(row[3], Value::Text("x".to_owned()));
    }

    #[test]
    fn warnings_traces_and_payloads_stand_before_the_answer() {
        let rows = rows(&[("a", &[0, 0x0D], Some(b"x".to_vec()))], None);
        let warnings = [vec![0, 1], string("tombstones")].concat();
        let payload = [vec![0, 1], string("key"), cell(b"v")].concat();
        let body = [vec![0; 16], warnings, payload, rows].concat();
        assert_eq!(page(TRACED | WARNED | PAYLOAD, &body).rows, [[Value::Text("x".to_owned())]]);
    }

    #[test]
    fn a_count_that_lies_takes_no_memory() {
        let body = [int(2), int(1), int(i32::MAX)].concat();
        assert!(answer(0, 0x08, &body).is_err());
    }

    #[test]
    fn a_type_nested_without_end_is_refused() {
        let body = [int(2), int(0), int(1), string("k"), string("t"), string("c")].concat();
        let body = [body, [0, 0x20].repeat(100_000)].concat();
        assert!(answer(0, 0x08, &body).is_err());
    }

    #[tokio::test]
    async fn a_frame_that_is_too_long_or_too_short_is_refused() {
        let long = [RESPONSE, 0, 0, 0, 8, 0xff, 0xff, 0xff, 0xff];
        let error = receive(&mut long.as_slice()).await.unwrap_err();
        assert!(matches!(error, CqlError::TooLarge(_)), "{error}");
        let short = [RESPONSE, 0, 0, 0, 8, 0, 0, 1, 0, 7];
        let error = receive(&mut short.as_slice()).await.unwrap_err();
        assert!(matches!(error, CqlError::Broken(_)), "{error}");
        let http = *b"HTTP/1.1 400 Bad Request";
        let error = receive(&mut http.as_slice()).await.unwrap_err();
        assert!(matches!(error, CqlError::NotCql { version: b'H' }), "{error}");
    }

    proptest! {
        #[test]
        fn no_body_however_odd_stops_the_reading(
            flags in any::<u8>(),
            opcode in 0_u8..0x12,
            body in proptest::collection::vec(any::<u8>(), 0..120),
            kind in 1_i32..6,
        ) {
            drop(answer(flags, opcode, &body));
            drop(answer(0, 0x08, &[int(kind), body].concat()));
        }
    }
}
