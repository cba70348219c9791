//! The text behind `-o`, parted.

/// Parts the text of `-o` at its commas: `key=value`, or a key alone, which means `true`.
///
/// A comma in a value stands between double quotes or behind a backslash, as mount(8) has it:
/// `contact_points="a,b"`, `contact_points=a\,b`. Empty places are passed over.
///
/// # Errors
///
/// In words: a quote that is not closed, a value without a key.
pub fn split_options(text: &str) -> Result<Vec<(String, String)>, String> {
    let (mut options, mut part, mut quoted) = (Vec::new(), String::new(), false);
    let mut letters = text.chars();
    while let Some(letter) = letters.next() {
        match letter {
            '"' => quoted = !quoted,
            '\\' => match letters.next() {
                Some(escaped @ (',' | '"' | '\\')) => part.push(escaped),
                Some(plain) => part.extend(['\\', plain]),
                None => part.push('\\'),
            },
            ',' if !quoted => options.extend(option(&std::mem::take(&mut part))?),
            plain => part.push(plain),
        }
    }
    if quoted {
        return Err(format!("the options {text:?} have a quote that is not closed"));
    }
    options.extend(option(&part)?);
    Ok(options)
}

fn option(part: &str) -> Result<Option<(String, String)>, String> {
    match part.split_once('=') {
        None if part.trim().is_empty() => Ok(None),
        None => Ok(Some((part.trim().to_owned(), "true".to_owned()))),
        Some((key, _)) if key.trim().is_empty() => {
            Err(format!("the option {part:?} has no name before its ="))
        }
        Some((key, value)) => Ok(Some((key.trim().to_owned(), value.to_owned()))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use test_case::test_case;

    #[test_case("", &[]; "nothing")]
    #[test_case("mode=full,,allow_delete", &[("mode", "full"), ("allow_delete", "true")]; "plain")]
    #[test_case(r#"contact_points="a,b",ro"#, &[("contact_points", "a,b"), ("ro", "true")]; "quoted")]
    #[test_case(r"a=1\,2,b=\\,c=\d", &[("a", "1,2"), ("b", r"\"), ("c", r"\d")]; "escaped")]
    #[test_case("allow_delete=", &[("allow_delete", "")]; "an empty value is no yes")]
    #[test_case("a=b=c", &[("a", "b=c")]; "an equals sign in a value")]
    fn options_are_parted_at_their_commas(text: &str, options: &[(&str, &str)]) {
        let parted = split_options(text).unwrap();
        let parted: Vec<_> = parted.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
        assert_eq!(parted, options);
    }

    #[test_case("=x"; "no name")]
    #[test_case(r#"a="b,c"#; "an open quote")]
    fn options_that_could_be_misread_are_refused(text: &str) {
        assert!(split_options(text).is_err());
    }
}
