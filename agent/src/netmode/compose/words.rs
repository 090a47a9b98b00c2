//! A command written as one text, cut into words as a shell would cut it.

/// The words; no variable, no glob, no shell takes part.
///
/// # Errors
/// A quote that is not closed, or a backslash at the end.
pub(crate) fn split(text: &str) -> Result<Vec<String>, &'static str> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut quote: Option<char> = None;
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        match (quote, c) {
            (Some(open), c) if c == open => quote = None,
            (Some('"'), '\\') => {
                let next = chars.next().ok_or("a quote is not closed")?;
                let kept = !matches!(next, '"' | '\\' | '$' | '`');
                word.get_or_insert_default().extend(kept.then_some('\\').into_iter().chain([next]));
            }
            (Some(_), c) => word.get_or_insert_default().push(c),
            (None, '\'' | '"') => {
                quote = Some(c);
                word.get_or_insert_default();
            }
            (None, '\\') => word.get_or_insert_default().push(chars.next().ok_or("a backslash ends it")?),
            (None, c) if c.is_whitespace() => words.extend(word.take()),
            (None, c) => word.get_or_insert_default().push(c),
        }
    }
    if quote.is_some() {
        return Err("a quote is not closed");
    }
    words.extend(word);
    Ok(words)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_cut_as_a_shell_cuts_them() {
        for (text, wanted) in [
            ("", &[][..]),
            ("  nginx  -g 'daemon off;' ", &["nginx", "-g", "daemon off;"]),
            (r#"sh -c "echo \"a b\" \n""#, &["sh", "-c", r#"echo "a b" \n"#]),
            (r"a\ b '' c'd'e", &["a b", "", "cde"]),
            ("a\nb\tc", &["a", "b", "c"]),
            (r"'a\b'", &[r"a\b"]),
        ] {
            assert_eq!(split(text).unwrap(), wanted, "{text}");
        }
        for bad in ["'a", "\"a", "\"a\\", "a\\"] {
            assert!(split(bad).is_err(), "{bad}");
        }
    }
}
