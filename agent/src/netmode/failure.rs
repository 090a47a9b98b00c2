//! A command that failed: what is said, and with which exit status the program ends.

use crate::text::plain;
use netmode_client::{ClientError, ProtocolError};
use netmode_model::{ApiError, Code};
use std::io::{self, IsTerminal, Write};

/// Exit status of a command that failed.
pub(crate) const FAILED: u8 = 1;
/// Exit status for a command line that cannot be understood.
pub(crate) const USAGE: u8 = 2;
/// Exit status of `run` and `exec` when netmode failed, as docker's.
pub(crate) const RUN_FAILED: u8 = 125;

/// A failure with its stable code. Becomes an exit status by [`Failure::status`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub(crate) struct Failure {
    pub(crate) code: Code,
    pub(crate) message: String,
}

impl Failure {
    pub(crate) fn new(code: Code, message: impl Into<String>) -> Self {
        Self { code, message: message.into() }
    }

    /// A value that is not allowed.
    pub(crate) fn invalid(message: impl Into<String>) -> Self {
        Self::new(Code::Invalid, message)
    }

    /// The exit status; `run` and `exec` tell a command that cannot be started from one that is not there.
    pub(crate) fn status(&self, runs_a_command: bool) -> u8 {
        match self.code {
            _ if !runs_a_command => FAILED,
            Code::CommandNotExecutable => 126,
            Code::CommandNotFound => 127,
            _ => RUN_FAILED,
        }
    }

    /// One line on standard error, or an object for programs.
    pub(crate) fn print(&self, json: bool) {
        let message = plain(&self.message);
        if json {
            let error = ApiError::new(self.code, message);
            say(&serde_json::to_string(&error).unwrap_or_default());
        } else {
            say(&format!("netmode: {message}"));
        }
    }
}

/// What the caller should know and did not ask for.
pub(crate) fn warn(text: &str) {
    say(&format!("netmode: warning: {}", plain(text)));
}

/// A line on standard error; unlike `eprintln!` this does not panic where nobody reads it.
pub(crate) fn say(line: &str) {
    // Raw terminals need the carriage return, others take no notice: it goes only to terminals.
    let end = if io::stderr().is_terminal() { "\r\n" } else { "\n" };
    let _ = io::stderr().lock().write_all(format!("{line}{end}").as_bytes());
}

impl From<ClientError> for Failure {
    fn from(error: ClientError) -> Self {
        Self::new(error.code(), error.to_string())
    }
}

impl From<ApiError> for Failure {
    fn from(error: ApiError) -> Self {
        Self::new(error.code, error.message)
    }
}

impl From<ProtocolError> for Failure {
    fn from(error: ProtocolError) -> Self {
        ClientError::from(error).into()
    }
}
