//! What can go wrong between a caller and the agent.

use netmode_model::{ApiError, Code};
use std::path::PathBuf;
use std::{fmt, io};

/// A call failed.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// Nobody answers at the socket, or the caller may not connect to it.
    #[error("cannot reach the agent at {}: {}; {}", socket.display(), words(source), next_step(source))]
    Unreachable {
        /// The socket that was tried.
        socket: PathBuf,
        /// Why the connection failed.
        source: io::Error,
    },
    /// The agent refused, and says why.
    #[error(transparent)]
    Api(#[from] ApiError),
    /// The agent answered something that is no answer.
    #[error(transparent)]
    Protocol(#[from] ProtocolError),
}

impl ClientError {
    /// The stable code of the failure.
    pub fn code(&self) -> Code {
        match self {
            Self::Unreachable { .. } => Code::AgentUnreachable,
            Self::Api(error) => error.code,
            Self::Protocol(_) => Code::Unavailable,
        }
    }

    /// Whether the connection was lost or never made: the agent may be back in a moment.
    pub fn is_connection_lost(&self) -> bool {
        match self {
            Self::Unreachable { .. } | Self::Protocol(ProtocolError::Closed | ProtocolError::Io(_)) => true,
            Self::Api(error) => error.code == Code::Unavailable,
            Self::Protocol(_) => false,
        }
    }
}

/// The connection broke, or what came over it is not what the API says.
#[derive(Debug, thiserror::Error)]
pub enum ProtocolError {
    /// End of file in the middle of an answer.
    #[error(
        "the agent closed the connection before its answer was complete; \"journalctl -u netmode\" may say why, then try again"
    )]
    Closed,
    /// No complete answer in time.
    #[error("the agent did not answer within {seconds} s; look at \"journalctl -u netmode\"")]
    Timeout {
        /// The time given, in seconds.
        seconds: u64,
    },
    /// The socket failed.
    #[error("the connection to the agent broke: {}", words(.0))]
    Io(#[source] io::Error),
    /// The head of an answer is longer than this client takes.
    #[error("the agent's answer has a head of more than {limit} bytes; is something else listening on the socket?")]
    HeadTooLarge {
        /// Bytes.
        limit: usize,
    },
    /// The answer is not HTTP/1.1 (RFC 9112).
    #[error("the answer is not the agent's ({0}); is something else listening on the socket?")]
    NotHttp(&'static str),
    /// The body of an answer is longer than this client takes.
    #[error("the agent's answer is longer than {limit} bytes")]
    BodyTooLarge {
        /// Bytes.
        limit: usize,
    },
    /// The body is not the JSON that was expected.
    #[error("the agent's answer cannot be understood: {0}; \"netmode version\" shows whether client and agent differ")]
    Json(#[source] serde_json::Error),
    /// A status without the agent's error body.
    #[error("the agent answered with status {status}{}", after_colon(.text))]
    Status {
        /// Status of the HTTP answer.
        status: u16,
        /// How the body begins.
        text: String,
    },
    /// A frame of an upgraded connection is longer than this client takes.
    #[error("the agent sent a frame of {length} bytes; at most {limit} are taken")]
    FrameTooLarge {
        /// Bytes.
        length: u32,
        /// Bytes.
        limit: u32,
    },
}

/// An I/O error in the kernel's words, without Rust's "(os error N)".
fn words(error: &io::Error) -> String {
    let text = error.to_string();
    match text.find(" (os error ") {
        Some(at) => text[..at].to_string(),
        None => text,
    }
}

fn next_step(error: &io::Error) -> impl fmt::Display + use<> {
    match error.kind() {
        io::ErrorKind::PermissionDenied => {
            "become a member of the group \"netmode\" (\"usermod -aG netmode USER\", then log in again) or use sudo"
        }
        io::ErrorKind::TimedOut => "it may be overloaded: look at \"journalctl -u netmode\"",
        _ => "start it with \"systemctl start netmode\" or run \"netmoded\"",
    }
}

fn after_colon(text: &str) -> String {
    if text.is_empty() { String::new() } else { format!(": {text}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_absent_agent_and_a_missing_right_have_their_own_next_step() {
        let error = |errno| {
            ClientError::Unreachable { socket: "/run/x.sock".into(), source: io::Error::from_raw_os_error(errno) }
                .to_string()
        };
        assert_eq!(
            error(2),
            "cannot reach the agent at /run/x.sock: No such file or directory; start it with \"systemctl start netmode\" or run \"netmoded\""
        );
        assert!(error(111).contains("Connection refused; start it"), "{}", error(111));
        assert!(error(13).contains("Permission denied; become a member of the group \"netmode\""), "{}", error(13));
    }
}
