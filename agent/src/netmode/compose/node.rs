//! A value of the file, and where it stands: every refusal names the place.

use crate::failure::Failure;
use netmode_model::Code;
use serde_yaml_ng::Value;
use std::collections::BTreeMap;
use std::fmt::Display;

type Result<T> = std::result::Result<T, Failure>;

/// A value with its place, `service web: ports`.
#[derive(Debug, Clone)]
pub(crate) struct Node<'a> {
    place: String,
    value: &'a Value,
}

impl<'a> Node<'a> {
    pub(crate) fn new(place: impl Into<String>, value: &'a Value) -> Self {
        Self { place: place.into(), value }
    }

    /// The same value under another name.
    pub(crate) fn at(self, place: impl Into<String>) -> Self {
        Self { place: place.into(), ..self }
    }

    /// A refusal of this value.
    pub(crate) fn bad(&self, why: impl Display) -> Failure {
        Failure::invalid(format!("{}: {why}", self.place))
    }

    /// A refusal of something that can be written here and is not served.
    pub(crate) fn unsupported(&self, what: impl Display, instead: impl Display) -> Failure {
        Failure::new(Code::Unsupported, format!("{}: {what} is not supported; {instead}", self.place))
    }

    /// Whether this is a mapping: the long form of most things.
    pub(crate) fn is_map(&self) -> bool {
        self.value.is_mapping()
    }

    /// Whether this is one text, number or truth.
    pub(crate) fn is_scalar(&self) -> bool {
        matches!(self.value, Value::String(_) | Value::Number(_) | Value::Bool(_))
    }

    /// A text; numbers and truths as they are written.
    pub(crate) fn text(&self) -> Result<String> {
        match self.value {
            Value::String(text) if text.contains('\0') => Err(self.bad("a text cannot hold a zero byte")),
            Value::String(text) => Ok(text.clone()),
            Value::Number(number) => Ok(number.to_string()),
            Value::Bool(truth) => Ok(truth.to_string()),
            _ => Err(self.bad("write a text")),
        }
    }

    /// A text that is not empty.
    pub(crate) fn filled(&self) -> Result<String> {
        let text = self.text()?;
        if text.is_empty() { Err(self.bad("it is empty; write a value, or take the key out")) } else { Ok(text) }
    }

    /// `true` or `false`, also as a text that a variable left.
    pub(crate) fn truth(&self) -> Result<bool> {
        self.text()?.parse().map_err(|_| self.bad("write true or false"))
    }

    /// The items of a list.
    pub(crate) fn items(&self) -> Result<Vec<Node<'a>>> {
        match self.value {
            Value::Sequence(items) => Ok(items.iter().map(|item| Node::new(self.place.clone(), item)).collect()),
            _ => Err(self.bad("write a list, one item a line, each behind \"- \"")),
        }
    }

    /// A list of texts.
    pub(crate) fn texts(&self) -> Result<Vec<String>> {
        self.items()?.iter().map(Node::text).collect()
    }

    /// The entries of a mapping, in the file's order; those without a value too.
    pub(crate) fn entries(&self) -> Result<Vec<(String, Node<'a>)>> {
        let Value::Mapping(map) = self.value else { return Err(self.bad("write KEY: VALUE lines below it")) };
        let entry = |(key, value): (&'a Value, &'a Value)| {
            let key = Node::new(self.place.clone(), key).text()?;
            let place = if self.place.is_empty() { key.clone() } else { format!("{}: {key}", self.place) };
            Ok((key, Node::new(place, value)))
        };
        map.iter().map(entry).collect()
    }

    /// The entries that have a value: docker takes a key without one as if it were not there.
    pub(crate) fn given(&self) -> Result<Vec<(String, Node<'a>)>> {
        Ok(self.entries()?.into_iter().filter(|(_, node)| !node.is_null()).collect())
    }

    /// Whether nothing is written here.
    pub(crate) fn is_null(&self) -> bool {
        self.value.is_null()
    }

    /// `KEY=VALUE` items or `KEY: VALUE` lines; without a value there is none. Later ones win.
    pub(crate) fn pairs(&self) -> Result<BTreeMap<String, Option<String>>> {
        if self.is_map() {
            let pair = |(key, node): (String, Node<'_>)| Ok((key, (!node.is_null()).then(|| node.text()).transpose()?));
            return self.entries()?.into_iter().map(pair).collect();
        }
        let pair = |text: String| match text.split_once('=') {
            Some((key, value)) => (key.to_owned(), Some(value.to_owned())),
            None => (text, None),
        };
        Ok(self.texts()?.into_iter().map(pair).collect())
    }
}

/// Puts a value where it belongs: the end of a line in a table of keys.
///
/// # Errors
/// None.
pub(crate) fn set<T>(slot: &mut T, value: T) -> Result<()> {
    *slot = value;
    Ok(())
}
