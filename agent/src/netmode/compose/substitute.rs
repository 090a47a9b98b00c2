//! Variables in a compose file: `$NAME`, `${NAME}`, `${NAME:-default}` and their kin, `$$` for a dollar sign.

use serde_yaml_ng::Value;
use std::collections::{BTreeMap, BTreeSet};

/// A text whose variables cannot be substituted.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum BadVariable {
    /// A dollar sign that begins nothing.
    #[error("{0:?} has a \"$\" that begins no variable; write ${{NAME}}, or \"$$\" for a dollar sign")]
    Dollar(String),
    /// A brace that is not closed.
    #[error("{0:?} has a \"${{\" without its \"}}\"; close it, or write \"$$\" for a dollar sign")]
    Open(String),
    /// `${NAME:?message}` without a value.
    #[error("the variable {name} needs a value: {message}")]
    Required { name: String, message: String },
}

/// Values of variables; remembers which ones were asked for in vain.
#[derive(Debug)]
pub(crate) struct Variables<'a> {
    values: &'a BTreeMap<String, String>,
    unset: BTreeSet<String>,
}

impl<'a> Variables<'a> {
    pub(crate) fn new(values: &'a BTreeMap<String, String>) -> Self {
        Self { values, unset: BTreeSet::new() }
    }

    /// The names that had no value and no default: docker warns and takes an empty text.
    pub(crate) fn unset(&self) -> impl Iterator<Item = &String> {
        self.unset.iter()
    }

    /// Substitutes in every text of a YAML value; keys stay as they are written.
    ///
    /// # Errors
    /// The first text that cannot be understood.
    pub(crate) fn in_value(&mut self, value: &mut Value) -> Result<(), BadVariable> {
        match value {
            Value::String(text) => *text = self.in_text(text)?,
            Value::Sequence(items) => items.iter_mut().try_for_each(|item| self.in_value(item))?,
            Value::Mapping(map) => map.iter_mut().try_for_each(|(_, value)| self.in_value(value))?,
            _ => {}
        }
        Ok(())
    }

    /// Substitutes in a text.
    ///
    /// # Errors
    /// A dollar sign that begins nothing, an open brace, a required variable without a value.
    pub(crate) fn in_text(&mut self, text: &str) -> Result<String, BadVariable> {
        let mut out = String::with_capacity(text.len());
        let mut rest = text;
        while let Some(at) = rest.find('$') {
            out.push_str(&rest[..at]);
            rest = &rest[at + 1..];
            if let Some(after) = rest.strip_prefix('$') {
                out.push('$');
                rest = after;
            } else if let Some(braced) = rest.strip_prefix('{') {
                let end = closing(braced).ok_or_else(|| BadVariable::Open(text.into()))?;
                out.push_str(&self.braced(&braced[..end], text)?);
                rest = &braced[end + 1..];
            } else {
                let length = name_length(rest);
                if length == 0 {
                    return Err(BadVariable::Dollar(text.into()));
                }
                out.push_str(&self.plain(&rest[..length]));
                rest = &rest[length..];
            }
        }
        Ok(out + rest)
    }

    /// What stands between the braces.
    fn braced(&mut self, inside: &str, text: &str) -> Result<String, BadVariable> {
        let (name, operator) = inside.split_at(name_length(inside));
        if name.is_empty() {
            return Err(BadVariable::Dollar(text.into()));
        }
        // With the colon an empty value counts as none.
        let (empty_counts, operator) = operator.strip_prefix(':').map_or((true, operator), |rest| (false, rest));
        let value = self.values.get(name).filter(|value| empty_counts || !value.is_empty()).cloned();
        let Some(kind) = operator.chars().next() else {
            let is_plain = inside == name;
            return if is_plain { Ok(self.plain(name)) } else { Err(BadVariable::Dollar(text.into())) };
        };
        let word = &operator[kind.len_utf8()..];
        match (kind, value) {
            ('-' | '?', Some(value)) => Ok(value),
            ('-', None) | ('+', Some(_)) => self.in_text(word),
            ('+', None) => Ok(String::new()),
            ('?', None) => Err(BadVariable::Required { name: name.into(), message: self.in_text(word)? }),
            _ => Err(BadVariable::Dollar(text.into())),
        }
    }

    fn plain(&mut self, name: &str) -> String {
        self.values.get(name).cloned().unwrap_or_else(|| {
            self.unset.insert(name.into());
            String::new()
        })
    }
}

/// How many bytes at the beginning are the name of a variable.
fn name_length(text: &str) -> usize {
    let is_name = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
    match text.bytes().next() {
        Some(first) if is_name(first) && !first.is_ascii_digit() => text.bytes().take_while(|b| is_name(*b)).count(),
        _ => 0,
    }
}

/// Where the brace closes; defaults may have variables of their own.
fn closing(text: &str) -> Option<usize> {
    let mut depth = 0;
    let bytes = text.as_bytes();
    for (at, byte) in bytes.iter().enumerate() {
        match byte {
            b'{' if at > 0 && bytes[at - 1] == b'$' => depth += 1,
            b'}' if depth == 0 => return Some(at),
            b'}' => depth -= 1,
            _ => {}
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn substituted(text: &str) -> Result<String, BadVariable> {
        let values = [("PORT", "8080"), ("EMPTY", ""), ("A_1", "x")].map(|(k, v)| (k.into(), v.into())).into();
        Variables::new(&values).in_text(text)
    }

    #[test]
    fn variables_are_substituted_as_docker_does() {
        for (text, wanted) in [
            ("plain", "plain"),
            ("$PORT:80", "8080:80"),
            ("${PORT}:80", "8080:80"),
            ("$A_1$PORT", "x8080"),
            ("$$PORT", "$PORT"),
            ("$${PORT}", "${PORT}"),
            ("${UNSET:-80}", "80"),
            ("${UNSET-80}", "80"),
            ("${EMPTY:-80}", "80"),
            ("${EMPTY-80}", ""),
            ("${PORT:-80}", "8080"),
            ("${UNSET:-}", ""),
            ("${UNSET:-${PORT}}", "8080"),
            ("${UNSET:-a${UNSET:-b}c}d", "abcd"),
            ("${PORT:+set}", "set"),
            ("${UNSET:+set}", ""),
            ("${EMPTY+set}", "set"),
            ("${PORT:?needed}", "8080"),
            ("${UNSET:-http://a:1}", "http://a:1"),
            ("$UNSET", ""),
            ("ü$PORT ü", "ü8080 ü"),
        ] {
            assert_eq!(substituted(text).as_deref(), Ok(wanted), "{text}");
        }
    }

    #[test]
    fn what_begins_no_variable_is_refused() {
        for bad in ["$", "a$", "$1", "$ x", "${}", "${1}", "${PORT PORT}", "${PORT:}", "${PORT:=x}"] {
            assert_eq!(substituted(bad), Err(BadVariable::Dollar(bad.into())), "{bad}");
        }
        assert_eq!(substituted("${PORT"), Err(BadVariable::Open("${PORT".into())));
        let missing = substituted("${TOKEN:?write it into .env}").unwrap_err().to_string();
        assert_eq!(missing, "the variable TOKEN needs a value: write it into .env");
    }

    #[test]
    fn values_are_substituted_and_keys_are_not() {
        let values = [("PORT".to_string(), "8080".to_string())].into();
        let mut variables = Variables::new(&values);
        let mut value: Value = serde_yaml_ng::from_str("{$PORT: ['$PORT', {a: '$GONE'}, 5]}").unwrap();
        variables.in_value(&mut value).unwrap();
        let wanted: Value = serde_yaml_ng::from_str("{$PORT: ['8080', {a: ''}, 5]}").unwrap();
        assert_eq!(value, wanted);
        assert_eq!(variables.unset().collect::<Vec<_>>(), ["GONE"]);
    }
}
