//! Files of variables, as compose reads them: `.env` beside the compose file, and those of `env_file`.

use super::substitute::Variables;
use std::collections::BTreeMap;

/// The variables of a file. A later line sees what earlier ones set, and `known`, which nobody overrides.
///
/// # Errors
/// The first line that is none, with its number.
pub(crate) fn parse(text: &str, known: &BTreeMap<String, String>) -> Result<Vec<(String, String)>, String> {
    let mut seen = known.clone();
    let mut out = Vec::new();
    for (number, line) in text.trim_start_matches('\u{feff}').lines().enumerate() {
        let line = line.trim();
        let line = line.strip_prefix("export ").map_or(line, str::trim_start);
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let bad = |why: &str| format!("line {}: {why}", number + 1);
        let (key, value) = match line.split_once('=') {
            // Docker: a name alone takes what is known, and is left out where nothing is.
            None => match known.get(line) {
                Some(value) => (line, value.clone()),
                None => continue,
            },
            Some((key, value)) => {
                let value = literal(value.trim_start(), &seen).map_err(|why| bad(&why))?;
                (key.trim_end(), value)
            }
        };
        if key.is_empty() || key.contains(char::is_whitespace) {
            return Err(bad("write KEY=VALUE, the name without blanks"));
        }
        if !known.contains_key(key) {
            seen.insert(key.into(), value.clone());
        }
        out.push((key.to_owned(), value));
    }
    Ok(out)
}

/// A value: in single quotes as it is, else with variables; a comment may follow behind a blank.
fn literal(text: &str, seen: &BTreeMap<String, String>) -> Result<String, String> {
    let substitute = |text: &str| Variables::new(seen).in_text(text).map_err(|error| error.to_string());
    let quoted = |quote: char| {
        let inside = text.strip_prefix(quote)?;
        let mut escaped = false;
        let end = inside.find(|c| {
            let ends = c == quote && !escaped;
            escaped = c == '\\' && !escaped;
            ends
        });
        Some(end.map(|end| (&inside[..end], inside[end + 1..].trim_start())).ok_or("a quote is not closed"))
    };
    let comment = |rest: &str| rest.is_empty() || rest.starts_with('#');
    if let Some(found) = quoted('\'') {
        let (inside, rest) = found?;
        return if comment(rest) { Ok(inside.into()) } else { Err("something follows the closing quote".into()) };
    }
    if let Some(found) = quoted('"') {
        let (inside, rest) = found?;
        let value = substitute(&unescaped(inside))?;
        return if comment(rest) { Ok(value) } else { Err("something follows the closing quote".into()) };
    }
    let end = text.find(" #").or_else(|| text.find("\t#")).unwrap_or(text.len());
    substitute(if text.starts_with('#') { "" } else { text[..end].trim_end() })
}

/// What a backslash means between double quotes.
fn unescaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        match (c, c == '\\') {
            (_, false) => out.push(c),
            _ => match chars.next() {
                Some('n') => out.push('\n'),
                Some('t') => out.push('\t'),
                Some('r') => out.push('\r'),
                // Substitution comes after this, and takes two for one.
                Some('$') => out.push_str("$$"),
                Some(other @ ('"' | '\\')) => out.push(other),
                Some(other) => out.extend(['\\', other]),
                None => out.push('\\'),
            },
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> Result<Vec<(String, String)>, String> {
        parse(text, &[("HOME".to_string(), "/root".to_string())].into())
    }

    #[test]
    fn lines_are_read_as_compose_reads_them() {
        for (line, value) in [
            ("A=1", "1"),
            ("export A=1", "1"),
            ("  A = 1  ", "1"),
            ("A=", ""),
            ("A=two words # a comment", "two words"),
            ("A=a#b", "a#b"),
            ("A=# nothing", ""),
            ("A='$HOME # \"x\"'", "$HOME # \"x\""),
            ("A=\"$HOME\\n\\\"x\\\"\" # y", "/root\n\"x\""),
            ("A=\"\\$HOME\"", "$HOME"),
            ("A=${B:-c}", "c"),
            ("A=x=y", "x=y"),
        ] {
            assert_eq!(parsed(line), Ok(vec![("A".into(), value.into())]), "{line}");
        }
        let several = parsed("# c\n\nA=1\nB=$A$HOME\nHOME\nGONE\n").unwrap();
        let wanted = [("A", "1"), ("B", "1/root"), ("HOME", "/root")].map(|(k, v)| (k.to_owned(), v.to_owned()));
        assert_eq!(several, wanted);
    }

    #[test]
    fn a_line_that_is_none_is_named_by_its_number() {
        for (text, line) in [("A=1\nB C=2", "line 2"), ("A='x", "line 1"), ("A=\"x\" y", "line 1"), ("A=$ ", "line 1")]
        {
            assert!(parsed(text).unwrap_err().starts_with(line), "{text}");
        }
    }
}
