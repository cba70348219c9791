//! Commands in words, as Python's `shlex.split` parts them.

/// Parts a command into words: quotes of both kinds, backslashes outside of quotes and before `"`
/// and `\` in double quotes, no comments, no variables: what Medusa does with `start_cmd`.
///
/// # Errors
///
/// A quote that is not closed, a backslash at the end.
pub(super) fn split_words(text: &str) -> Result<Vec<String>, String> {
    const OPEN: &str = "a quote in the command is not closed";
    let (mut words, mut word) = (Vec::new(), None::<String>);
    let mut letters = text.chars();
    while let Some(letter) = letters.next() {
        match letter {
            // Only these four part words for shlex, not every blank of Unicode.
            ' ' | '\t' | '\r' | '\n' => words.extend(word.take()),
            '\'' => {
                let word = word.get_or_insert_default();
                loop {
                    match letters.next().ok_or(OPEN)? {
                        '\'' => break,
                        inside => word.push(inside),
                    }
                }
            }
            '"' => {
                let word = word.get_or_insert_default();
                loop {
                    match letters.next().ok_or(OPEN)? {
                        '"' => break,
                        '\\' => {
                            let escaped = letters.next().ok_or(OPEN)?;
                            if !matches!(escaped, '"' | '\\') {
                                word.push('\\');
                            }
                            word.push(escaped);
                        }
                        inside => word.push(inside),
                    }
                }
            }
            '\\' => {
                let escaped = letters.next().ok_or("the command ends in a backslash")?;
                word.get_or_insert_default().push(escaped);
            }
            plain => word.get_or_insert_default().push(plain),
        }
    }
    words.extend(word);
    Ok(words)
}

/// Writes words so that [`split_words`] gives them back, as Python's `shlex.join` does.
pub(super) fn join_words(words: &[String]) -> String {
    let safe = |c: char| c.is_ascii_alphanumeric() || "@%+=:,./-_".contains(c);
    let quoted = words.iter().map(|word| {
        if !word.is_empty() && word.chars().all(safe) {
            word.clone()
        } else {
            format!("'{}'", word.replace('\'', "'\"'\"'"))
        }
    });
    quoted.collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use test_case::test_case;

    #[test_case("sudo service cassandra stop", &["sudo", "service", "cassandra", "stop"]; "plain")]
    #[test_case("\n\na b\n\nc", &["a", "b", "c"]; "over lines")]
    #[test_case(r#"sh -c "a \"b\" \$c 'd'""#, &["sh", "-c", r#"a "b" \$c 'd'"#]; "double quotes")]
    #[test_case(r"a\ b 'c\d' e''f", &["a b", r"c\d", "ef"]; "backslash and single quotes")]
    #[test_case("a '' b", &["a", "", "b"]; "an empty word")]
    #[test_case("a # b", &["a", "#", "b"]; "no comment")]
    fn a_command_is_parted_as_python_parts_it(text: &str, words: &[&str]) {
        assert_eq!(split_words(text).unwrap(), words);
    }

    proptest! {
        #[test]
        fn words_joined_are_parted_again(words in prop::collection::vec(any::<String>(), 0..5)) {
            prop_assert_eq!(split_words(&join_words(&words)), Ok(words));
        }
    }
}
