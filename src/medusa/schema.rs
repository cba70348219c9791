//! Which keyspaces a backup must hold, by its `schema.cql`.

use std::collections::BTreeSet;

/// Keyspaces that have a table in `schema.cql` and so a directory on disk.
///
/// A keyspace without tables has none, virtual ones have none either, and Medusa leaves
/// `system_traces` out: a manifest without these is whole. Names are as on disk: unquoted ones in
/// lower case.
pub fn keyspaces_with_tables(schema: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let mut words = Words { rest: schema };
    while let Some(word) = words.next() {
        if !word.is("create") {
            continue;
        }
        if !words.next().is_some_and(|word| word.is("table")) {
            continue;
        }
        let Some(mut name) = words.next() else { break };
        if name.is("if") {
            // IF NOT EXISTS
            let not_exists = (words.next(), words.next());
            match (not_exists, words.next()) {
                ((Some(_), Some(_)), Some(word)) => name = word,
                _ => break,
            }
        }
        if words.peek_dot() {
            found.insert(name.into_name());
        }
    }
    for keyspace in ["system_traces", "system_views", "system_virtual_schema"] {
        found.remove(keyspace);
    }
    found
}

#[derive(Debug)]
enum Word<'a> {
    Plain(&'a str),
    Quoted(String),
    Sign,
}

impl Word<'_> {
    fn is(&self, keyword: &str) -> bool {
        matches!(self, Self::Plain(word) if word.eq_ignore_ascii_case(keyword))
    }

    fn into_name(self) -> String {
        match self {
            Self::Plain(word) => word.to_ascii_lowercase(),
            Self::Quoted(name) => name,
            Self::Sign => String::new(),
        }
    }
}

/// The words of CQL, without comments and strings: a schema's comments and function bodies may
/// say `CREATE TABLE` too.
struct Words<'a> {
    rest: &'a str,
}

impl<'a> Words<'a> {
    fn next(&mut self) -> Option<Word<'a>> {
        loop {
            self.rest = self.rest.trim_start();
            let first = self.rest.chars().next()?;
            if let Some(rest) = self.rest.strip_prefix("/*") {
                self.rest = after(rest, "*/");
            } else if self.rest.starts_with("--") || self.rest.starts_with("//") {
                self.rest = after(self.rest, "\n");
            } else if let Some(rest) = self.rest.strip_prefix("$$") {
                self.rest = after(rest, "$$");
            } else if let Some(rest) = self.rest.strip_prefix('\'') {
                // A doubled quote inside is the end of one string and the start of another.
                self.rest = after(rest, "'");
            } else if let Some(rest) = self.rest.strip_prefix('"') {
                return Some(self.quoted(rest));
            } else if first.is_alphanumeric() || first == '_' {
                let end = self.rest.find(|c: char| !c.is_alphanumeric() && c != '_');
                let (word, rest) = self.rest.split_at(end.unwrap_or(self.rest.len()));
                self.rest = rest;
                return Some(Word::Plain(word));
            } else {
                self.rest = self.rest.strip_prefix(first).unwrap_or_default();
                return Some(Word::Sign);
            }
        }
    }

    fn quoted(&mut self, mut rest: &'a str) -> Word<'a> {
        let mut name = String::new();
        while let Some((part, behind)) = rest.split_once('"') {
            name.push_str(part);
            rest = behind;
            match rest.strip_prefix('"') {
                Some(behind) => {
                    name.push('"');
                    rest = behind;
                }
                None => break,
            }
        }
        self.rest = rest;
        Word::Quoted(name)
    }

    /// True if the next thing is the dot between keyspace and table.
    fn peek_dot(&self) -> bool {
        self.rest.trim_start().starts_with('.')
    }
}

fn after<'a>(text: &'a str, end: &str) -> &'a str {
    text.split_once(end).map_or("", |(_, rest)| rest)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn keyspaces(schema: &str) -> Vec<String> {
        keyspaces_with_tables(schema).into_iter().collect()
    }

    #[test]
    fn a_keyspace_counts_only_if_it_has_a_table() {
        let schema = "CREATE KEYSPACE empty WITH replication = {};\n\n\
            CREATE KEYSPACE shop WITH replication = {};\n\n\
            CREATE TABLE shop.orders (id int PRIMARY KEY) WITH comment = 'CREATE TABLE no.t';\n\
            CREATE TABLE \"Camel\".\"T\" (id int PRIMARY KEY);\n\
            CREATE TABLE IF NOT EXISTS Third.t (id int PRIMARY KEY);\n\
            CREATE TABLE system_traces.events (id int PRIMARY KEY);";
        assert_eq!(keyspaces(schema), ["Camel", "shop", "third"]);
    }

    #[test]
    fn a_virtual_keyspace_is_not_missed() {
        // As the Python driver and the server write them.
        let schema = "/*\nWarning: Keyspace system_views is a virtual keyspace.\n\
            CREATE VIRTUAL KEYSPACE system_views;\n\n\
            CREATE TABLE system_views.clients (a int);\n*/\n\
            CREATE VIRTUAL TABLE other.t (a int);\n\
            CREATE FUNCTION k.f() AS $$ CREATE TABLE body.t $$;\n\
            -- CREATE TABLE comment.t\n// CREATE TABLE comment.t\n\
            CREATE TABLE a.b (c int);";
        assert_eq!(keyspaces(schema), ["a"]);
    }

    proptest! {
        #[test]
        fn any_text_is_read_without_harm(schema in ".{0,200}") {
            drop(keyspaces_with_tables(&schema));
        }

        #[test]
        fn a_quoted_keyspace_is_found_by_its_own_name(name in "[^\0/]{1,10}") {
            let schema = format!("CREATE TABLE \"{}\".t (a int);", name.replace('"', "\"\""));
            prop_assert_eq!(keyspaces(&schema), [name]);
        }
    }
}
