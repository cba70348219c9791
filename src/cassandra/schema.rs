//! The schema as text: what Medusa stores as `schema.cql`.

use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite};

use super::cql::CqlSession;
use super::cql_error::CqlError;

/// Keyspaces that Medusa's own text leaves out, or that no statement can make: virtual tables come
/// as comments, which Medusa's parser takes for statements.
const LEFT_OUT: [&str; 3] = ["system_traces", "system_views", "system_virtual_schema"];

/// Asks one node for the whole schema, in the shape that Medusa's parser reads: statements of the
/// server, each keyspace's own first, parted by one empty line.
///
/// Over CQL, never through cqlsh, which may write a warning before the text.
pub async fn schema_text<S: AsyncRead + AsyncWrite + Unpin + Send>(
    session: &mut CqlSession<S>,
    deadline: Duration,
) -> Result<String, CqlError> {
    let statements = describe(session, "DESCRIBE FULL SCHEMA", deadline).await?;
    Ok(text(&statements))
}

/// The same for restoring: user keyspaces only, with table ids and dropped columns, so that it
/// makes the very tables again whose files a backup has.
pub async fn schema_text_with_internals<S: AsyncRead + AsyncWrite + Unpin + Send>(
    session: &mut CqlSession<S>,
    deadline: Duration,
) -> Result<String, CqlError> {
    let statements = describe(session, "DESCRIBE SCHEMA WITH INTERNALS", deadline).await?;
    Ok(text(&statements))
}

/// One row of DESCRIBE.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Described {
    keyspace: String,
    is_keyspace: bool,
    statement: String,
}

async fn describe<S: AsyncRead + AsyncWrite + Unpin + Send>(
    session: &mut CqlSession<S>,
    query: &str,
    deadline: Duration,
) -> Result<Vec<Described>, CqlError> {
    const SYNTAX_ERROR: i32 = 0x2000;
    let rows = session.query(query, deadline).await.map_err(|error| match error {
        CqlError::Refused { code: SYNTAX_ERROR, .. } => CqlError::TooOld("DESCRIBE"),
        other => other,
    })?;
    rows.iter()
        .map(|row| {
            Ok(Described {
                keyspace: unquoted(&row.text("keyspace_name")?),
                is_keyspace: row.text("type")? == "keyspace",
                statement: row.text("create_statement")?.trim().to_owned(),
            })
        })
        .collect()
}

/// Names come quoted where CQL needs it.
fn unquoted(name: &str) -> String {
    match name.strip_prefix('"').and_then(|name| name.strip_suffix('"')) {
        Some(inner) => inner.replace("\"\"", "\""),
        None => name.to_owned(),
    }
}

fn text(described: &[Described]) -> String {
    let mut kept: Vec<_> =
        described.iter().filter(|row| !LEFT_OUT.contains(&row.keyspace.as_str())).collect();
    // Stable: within a keyspace, in the order in which they depend on each other.
    kept.sort_by(|a, b| (&a.keyspace, !a.is_keyspace).cmp(&(&b.keyspace, !b.is_keyspace)));
    kept.iter().map(|row| row.statement.as_str()).collect::<Vec<_>>().join("\n\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(keyspace: &str, is_keyspace: bool, statement: &str) -> Described {
        Described { keyspace: unquoted(keyspace), is_keyspace, statement: statement.to_owned() }
    }

    #[test]
    fn keyspaces_come_first_virtual_ones_not_at_all_and_the_rest_in_its_order() {
        let rows = [
            row("shop", true, "CREATE KEYSPACE shop;"),
            row("shop", false, "CREATE TYPE shop.b;"),
            row("shop", false, "CREATE TABLE shop.a;"),
            row("system_views", true, "/* virtual */"),
            row("system_traces", true, "CREATE KEYSPACE system_traces;"),
            row("\"Mixed\"\"Ks\"", true, "CREATE KEYSPACE \"Mixed\"\"Ks\";"),
        ];
        assert_eq!(rows[5].keyspace, "Mixed\"Ks");
        assert_eq!(
            text(&rows),
            "CREATE KEYSPACE \"Mixed\"\"Ks\";\n\nCREATE KEYSPACE shop;\n\nCREATE TYPE shop.b;\n\n\
             CREATE TABLE shop.a;"
        );
    }
}
