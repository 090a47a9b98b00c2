//! Versions of the specification.

use super::{CniCode, CniError};
use serde_json::{Value, json};

/// A version that is understood, oldest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Version {
    /// 0.1.0
    V010,
    /// 0.2.0
    V020,
    /// 0.3.0
    V030,
    /// 0.3.1
    V031,
    /// 0.4.0: CHECK
    V040,
    /// 1.0.0: results without a version for each address
    V100,
    /// 1.1.0: GC and STATUS
    V110,
}

impl Version {
    /// All of them, oldest first.
    pub const ALL: [Self; 7] = [Self::V010, Self::V020, Self::V030, Self::V031, Self::V040, Self::V100, Self::V110];

    /// The newest.
    pub const NEWEST: Self = Self::V110;

    /// As it is written.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::V010 => "0.1.0",
            Self::V020 => "0.2.0",
            Self::V030 => "0.3.0",
            Self::V031 => "0.3.1",
            Self::V040 => "0.4.0",
            Self::V100 => "1.0.0",
            Self::V110 => "1.1.0",
        }
    }

    /// The version of a configuration; one that names none is of 0.1.0 (specification, section "VERSION").
    ///
    /// # Errors
    /// [`CniCode::Version`] with the list of those that are understood.
    pub fn of(text: &str) -> Result<Self, CniError> {
        if text.is_empty() {
            return Ok(Self::V010);
        }
        Self::ALL.into_iter().find(|v| v.as_str() == text).ok_or_else(|| {
            let shown: String = text.chars().take(32).collect();
            CniError::new(CniCode::Version, format!("incompatible CNI versions: the configuration has {shown:?}"))
                .with_details(format!("understood are {}", Self::list()))
        })
    }

    /// All of them as people read them.
    pub fn list() -> String {
        Self::ALL.map(Self::as_str).join(", ")
    }

    /// What VERSION answers: the caller's own version where it names one that is understood.
    pub fn answer(asked: Option<Self>) -> Value {
        let own = asked.unwrap_or(Self::NEWEST);
        json!({ "cniVersion": own.as_str(), "supportedVersions": Self::ALL.map(Self::as_str) })
    }
}
