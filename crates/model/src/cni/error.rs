//! Why a call is refused.

use super::Version;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

/// Codes of errors: CNI specification, section "Error", and for 8 the reference library (`pkg/types`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub enum CniCode {
    /// The version of the configuration is none that is understood.
    Version = 1,
    /// A field of the configuration is not supported; the message has its key and value.
    UnsupportedField = 2,
    /// The container is unknown or gone; the runtime need not call DEL.
    UnknownContainer = 3,
    /// A variable of the environment is missing or cannot be.
    Environment = 4,
    /// Standard input could not be read.
    Io = 5,
    /// The configuration is no JSON, or of another shape.
    Decode = 6,
    /// The configuration is not valid.
    InvalidConfig = 7,
    /// The namespace is none, or the plugin's own.
    InvalidNetns = 8,
    /// The runtime should try again later: the agent does not answer.
    TryAgain = 11,
    /// STATUS: the plugin cannot serve ADD.
    NotAvailable = 50,
    /// STATUS: nor do attached containers have their connectivity.
    NotAvailableAndLimited = 51,
    /// What is not in this release.
    NotInThisRelease = 100,
    /// The agent refused; the message is its own.
    Refused = 101,
}

/// An error as it is printed on standard output.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{message}")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct CniError {
    /// The code.
    pub code: CniCode,
    /// One sentence.
    pub message: String,
    /// More, where there is more.
    #[serde(default)]
    pub details: String,
}

impl CniError {
    /// An error in one sentence.
    pub fn new(code: CniCode, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), details: String::new() }
    }

    /// Adds what a person may want to know besides.
    #[must_use]
    pub fn with_details(self, details: impl Into<String>) -> Self {
        Self { details: details.into(), ..self }
    }

    /// The document for a caller that speaks a version.
    pub fn document(&self, version: Version) -> Value {
        let mut document = json!({ "cniVersion": version.as_str(), "code": self.code as u32, "msg": self.message });
        if !self.details.is_empty() {
            document["details"] = json!(self.details);
        }
        document
    }
}
