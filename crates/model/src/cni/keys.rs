//! Values of a configuration by their keys, with an error that names key and value.

use super::{CniCode, CniError, field};
use serde_json::{Map, Value};
use std::fmt::Display;
use std::str::FromStr;

/// Keys of an object, matched without regard to case. An empty one where there is no object.
#[derive(Debug, Clone, Copy)]
pub struct Keys<'v> {
    /// What the object is called in errors.
    name: &'v str,
    map: Option<&'v Map<String, Value>>,
}

/// A value that cannot be.
pub(super) fn invalid(key: &str, value: &Value, why: impl Display) -> CniError {
    CniError::new(CniCode::InvalidConfig, format!("{key} {}: {why}", shown(value)))
}

/// A key that cannot be honoured.
pub fn unsupported(key: &str, value: &Value, why: &str) -> CniError {
    CniError::new(CniCode::UnsupportedField, format!("{key} {} is not supported: {why}", shown(value)))
}

/// What a message shows of a value that somebody else chose.
fn shown(value: &Value) -> String {
    value.to_string().chars().take(200).collect()
}

impl<'v> Keys<'v> {
    /// Keys of an object.
    pub fn of(map: &'v Map<String, Value>) -> Self {
        Self { name: "", map: Some(map) }
    }

    /// Keys of a value; a value that is no object is an error.
    ///
    /// # Errors
    /// It is no object.
    pub fn in_value(name: &'v str, value: &'v Value) -> Result<Self, CniError> {
        let map = value.as_object().ok_or_else(|| invalid(name, value, "an object is expected"))?;
        Ok(Self { name, map: Some(map) })
    }

    /// The value of a key; null is none.
    pub fn get(&self, key: &str) -> Option<&'v Value> {
        field(self.map?, key)
    }

    /// Whether there are no keys.
    pub fn is_empty(&self) -> bool {
        self.map.is_none_or(Map::is_empty)
    }

    fn wrong<T>(&self, key: &str, value: &Value, why: impl Display) -> Result<T, CniError> {
        let dot = if self.name.is_empty() { "" } else { "." };
        Err(invalid(&format!("{}{dot}{key}", self.name), value, why))
    }

    /// A text; an empty one is none.
    ///
    /// # Errors
    /// Another kind of value.
    pub fn text(&self, key: &str) -> Result<Option<&'v str>, CniError> {
        match self.get(key) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text.as_str()).filter(|text| !text.is_empty())),
            Some(other) => self.wrong(key, other, "a text is expected"),
        }
    }

    /// A flag; false where it is not given.
    ///
    /// # Errors
    /// Another kind of value.
    pub fn flag(&self, key: &str) -> Result<bool, CniError> {
        match self.get(key) {
            None => Ok(false),
            Some(Value::Bool(on)) => Ok(*on),
            Some(other) => self.wrong(key, other, "true or false is expected"),
        }
    }

    /// An integer from `first` to `last`.
    ///
    /// # Errors
    /// Anything else: numbers with a fraction as well.
    pub fn integer(&self, key: &str, first: u64, last: u64) -> Result<Option<u64>, CniError> {
        match self.get(key) {
            None => Ok(None),
            Some(value) => match value.as_u64() {
                Some(number) if (first..=last).contains(&number) => Ok(Some(number)),
                _ => self.wrong(key, value, format!("an integer from {first} to {last} is expected")),
            },
        }
    }

    /// A text that stands for something.
    ///
    /// # Errors
    /// It does not.
    pub fn parsed<T: FromStr>(&self, key: &str, what: &str) -> Result<Option<T>, CniError> {
        match self.text(key)? {
            None => Ok(None),
            Some(text) => match text.parse() {
                Ok(value) => Ok(Some(value)),
                Err(_) => self.wrong(key, &Value::from(text), format!("{what} is expected")),
            },
        }
    }

    /// An object; an empty one where there is none.
    ///
    /// # Errors
    /// Another kind of value.
    pub fn object(&self, key: &'v str) -> Result<Self, CniError> {
        match self.get(key) {
            None => Ok(Self { name: key, map: None }),
            Some(value) => Self::in_value(key, value),
        }
    }

    /// A list; an empty one where there is none.
    ///
    /// # Errors
    /// Another kind of value.
    pub fn list(&self, key: &str) -> Result<&'v [Value], CniError> {
        match self.get(key) {
            None => Ok(&[]),
            Some(Value::Array(list)) => Ok(list),
            Some(other) => self.wrong(key, other, "a list is expected"),
        }
    }

    /// Names and values of all keys.
    pub fn pairs(&self) -> impl Iterator<Item = (&'v String, &'v Value)> + use<'v> {
        self.map.into_iter().flatten()
    }
}
