//! Values of CQL, as protocol version 4 writes them.
#![warn(clippy::indexing_slicing, clippy::arithmetic_side_effects)]

use std::fmt;
use std::net::IpAddr;

use super::cql_reader::{Malformed, Reader};

/// A value of a row.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// Nothing is there.
    Null,
    /// `text`, `varchar`, `ascii`.
    Text(String),
    /// `uuid`, `timeuuid`.
    Uuid(Uuid),
    /// `tinyint`, `smallint`, `int`, `bigint`, `counter`, `timestamp` (milliseconds since 1970).
    Int(i64),
    /// `float`, `double`.
    Float(f64),
    /// `boolean`.
    Bool(bool),
    /// `inet`.
    Inet(IpAddr),
    /// `list`, `set`.
    List(Vec<Value>),
    /// `map`, in Cassandra's order.
    Map(Vec<(Value, Value)>),
    /// A type that medusafs has no use for: its bytes.
    Other(Vec<u8>),
}

/// A UUID. It prints in lower case, with dashes.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Uuid(pub [u8; 16]);

impl Uuid {
    /// 32 hex digits without dashes, as in the name of a table's directory.
    pub fn simple(self) -> String {
        format!("{:032x}", u128::from_be_bytes(self.0))
    }
}

impl fmt::Display for Uuid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, byte) in self.0.iter().enumerate() {
            let dash = if matches!(index, 4 | 6 | 8 | 10) { "-" } else { "" };
            write!(f, "{dash}{byte:02x}")?;
        }
        Ok(())
    }
}

impl fmt::Debug for Uuid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A column's type, as far as we decode.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Kind {
    Text,
    Uuid,
    Int,
    Float,
    Bool,
    Inet,
    List(Box<Kind>),
    Map(Box<Kind>, Box<Kind>),
    Other,
}

/// Deeper than anybody nests collections.
const DEEPEST: u8 = 16;

impl Kind {
    /// Reads an `[option]`, with the options inside it.
    pub(super) fn read(reader: &mut Reader<'_>) -> Result<Self, Malformed> {
        Self::read_at(reader, 0)
    }

    fn read_at(reader: &mut Reader<'_>, depth: u8) -> Result<Self, Malformed> {
        let deeper = depth.saturating_add(1);
        if deeper > DEEPEST {
            return Err(Malformed("a type that is nested too deeply"));
        }
        Ok(match reader.u16()? {
            0x0000 => {
                // A class of Java; the empty collection of thrift days, vectors, durations.
                reader.string()?;
                Self::Other
            }
            0x0001 | 0x000D | 0x000A => Self::Text,
            0x0002 | 0x0005 | 0x0009 | 0x000B | 0x0013 | 0x0014 => Self::Int,
            0x0007 | 0x0008 => Self::Float,
            0x0004 => Self::Bool,
            0x000C | 0x000F => Self::Uuid,
            0x0010 => Self::Inet,
            0x0020 | 0x0022 => Self::List(Box::new(Self::read_at(reader, deeper)?)),
            0x0021 => {
                let key = Self::read_at(reader, deeper)?;
                Self::Map(Box::new(key), Box::new(Self::read_at(reader, deeper)?))
            }
            0x0030 => {
                reader.string()?;
                reader.string()?;
                for _ in 0..reader.u16()? {
                    reader.string()?;
                    Self::read_at(reader, deeper)?;
                }
                Self::Other
            }
            0x0031 => {
                for _ in 0..reader.u16()? {
                    Self::read_at(reader, deeper)?;
                }
                Self::Other
            }
            _ => Self::Other,
        })
    }

    /// Decodes one value; none is null.
    pub(super) fn decode(&self, bytes: Option<&[u8]>) -> Result<Value, Malformed> {
        let Some(bytes) = bytes else { return Ok(Value::Null) };
        let text = || std::str::from_utf8(bytes).map_err(|_invalid| Malformed("text, not UTF-8"));
        Ok(match self {
            Self::Text => Value::Text(text()?.to_owned()),
            Self::Other => Value::Other(bytes.to_vec()),
            // Thrift left empty values in old tables.
            _ if bytes.is_empty() => Value::Null,
            Self::Uuid => Value::Uuid(Uuid(array(bytes, "a UUID of another length")?)),
            Self::Int => Value::Int(match bytes.len() {
                1 => i8::from_be_bytes(array(bytes, "a number")?).into(),
                2 => i16::from_be_bytes(array(bytes, "a number")?).into(),
                4 => i32::from_be_bytes(array(bytes, "a number")?).into(),
                _ => i64::from_be_bytes(array(bytes, "a number of another length")?),
            }),
            Self::Float => Value::Float(match bytes.len() {
                4 => f32::from_be_bytes(array(bytes, "a number")?).into(),
                _ => f64::from_be_bytes(array(bytes, "a number of another length")?),
            }),
            Self::Bool => Value::Bool(bytes.iter().any(|byte| *byte != 0)),
            Self::Inet => Value::Inet(match bytes.len() {
                4 => <[u8; 4]>::into(array(bytes, "an address")?),
                _ => <[u8; 16]>::into(array(bytes, "an address of another length")?),
            }),
            Self::List(of) => {
                let mut reader = Reader::new(bytes);
                let count = reader.count()?;
                let mut values = Vec::new();
                for _ in 0..count {
                    values.push(of.decode(reader.bytes()?)?);
                }
                Value::List(values)
            }
            Self::Map(key, of) => {
                let mut reader = Reader::new(bytes);
                let count = reader.count()?;
                let mut values = Vec::new();
                for _ in 0..count {
                    let key = key.decode(reader.bytes()?)?;
                    values.push((key, of.decode(reader.bytes()?)?));
                }
                Value::Map(values)
            }
        })
    }
}

fn array<const N: usize>(bytes: &[u8], what: &'static str) -> Result<[u8; N], Malformed> {
    bytes.try_into().map_err(|_length| Malformed(what))
}

impl fmt::Display for Value {
    /// As Python's driver and `str()` give it, for Medusa's `expected_result`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Null => f.write_str("None"),
            Self::Text(text) => f.write_str(text),
            Self::Uuid(uuid) => uuid.fmt(f),
            Self::Int(number) => number.fmt(f),
            Self::Float(number) => write!(f, "{number:?}"),
            Self::Bool(true) => f.write_str("True"),
            Self::Bool(false) => f.write_str("False"),
            Self::Inet(address) => address.fmt(f),
            Self::List(values) => {
                let values: Vec<_> = values.iter().map(ToString::to_string).collect();
                write!(f, "[{}]", values.join(", "))
            }
            Self::Map(values) => {
                let values: Vec<_> = values.iter().map(|(k, v)| format!("{k}: {v}")).collect();
                write!(f, "{{{}}}", values.join(", "))
            }
            Self::Other(bytes) => {
                f.write_str("0x")?;
                bytes.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
            }
        }
    }
}
