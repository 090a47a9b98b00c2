//! Names that people give to tasks, networks and groups.

use serde::{Deserialize, Serialize};
use std::{fmt, str::FromStr};

/// A name given by a person: 1–128 of `A-Z a-z 0-9 _ . -`, the first one a letter or digit.
///
/// The set is Docker's for container names, of which the names that ECS takes
/// (`A-Z a-z 0-9 _ -`) are a part. Nothing in it means anything to a shell, to nft, to HTML or
/// to a path, so a name may be shown and compared anywhere; it is still never formatted into a rule.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Name(String);

/// Longest name accepted, in bytes.
pub const MAX_NAME: usize = 128;

/// The text cannot be a name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadName {
    /// Nothing was given.
    #[error("a name cannot be empty")]
    Empty,
    /// More than [`MAX_NAME`] bytes.
    #[error("the name \"{start}…\" has {len} characters; at most {MAX_NAME} are allowed")]
    TooLong {
        /// How it begins.
        start: String,
        /// Its length in bytes.
        len: usize,
    },
    /// A character outside the set.
    #[error(
        "the name {name:?} is not allowed: only letters, digits, \"_\", \".\" and \"-\", the first a letter or digit"
    )]
    Character {
        /// The name as given.
        name: String,
    },
}

impl Name {
    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Name {
    type Err = BadName;
    fn from_str(s: &str) -> Result<Self, BadName> {
        let allowed = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'-');
        match s.bytes().next() {
            None => Err(BadName::Empty),
            Some(_) if s.len() > MAX_NAME => {
                Err(BadName::TooLong { start: s.chars().take(20).collect(), len: s.len() })
            }
            Some(b) if b.is_ascii_alphanumeric() && s.bytes().all(allowed) => Ok(Self(s.into())),
            Some(_) => Err(BadName::Character { name: s.into() }),
        }
    }
}

impl TryFrom<String> for Name {
    type Error = BadName;
    fn try_from(s: String) -> Result<Self, BadName> {
        s.parse()
    }
}

impl From<Name> for String {
    fn from(n: Name) -> String {
        n.0
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_with_meaning_elsewhere_are_refused() {
        for good in ["web", "a", "web-1.x_y", "9lives"] {
            assert!(good.parse::<Name>().is_ok(), "{good}");
        }
        let long = "x".repeat(MAX_NAME + 1);
        for bad in ["", "-x", ".x", "a b", "a;b", "$(x)", "<b>", "a/b", "a\n", "ü", "\"", &long] {
            assert!(bad.parse::<Name>().is_err(), "{bad}");
        }
    }
}
