//! One exchange: a request, and its answer or the connection it becomes.

use crate::error::{ClientError, ProtocolError};
use crate::events::EventStream;
use crate::head::Length;
use crate::session::Session;
use crate::wire::Wire;
use crate::{body, head};
use netmode_model::ApiError;
use netmode_model::api::STREAM_PROTOCOL;
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::marker::PhantomData;
use std::path::Path;
use std::time::Duration;

/// A request before it is sent.
pub(crate) struct Request {
    method: &'static str,
    target: String,
    body: Option<Vec<u8>>,
    upgrade: bool,
}

impl Request {
    pub(crate) fn new(method: &'static str, target: impl Into<String>) -> Self {
        Self { method, target: target.into(), body: None, upgrade: false }
    }

    /// With a JSON body.
    pub(crate) fn json(mut self, body: &impl Serialize) -> Result<Self, ClientError> {
        self.body = Some(serde_json::to_vec(body).map_err(ProtocolError::Json)?);
        Ok(self)
    }

    /// Asks for the connection to become a stream of frames.
    pub(crate) fn upgrade(mut self) -> Self {
        self.upgrade = true;
        self
    }

    /// The bytes on the wire. The target holds no raw user text (`path::encode`), so no header can be smuggled in.
    fn bytes(&self) -> Vec<u8> {
        let connection = if self.upgrade { "Upgrade" } else { "close" };
        let mut text =
            format!("{} {} HTTP/1.1\r\nHost: netmode\r\nConnection: {connection}\r\n", self.method, self.target);
        if self.upgrade {
            text += &format!("Upgrade: {STREAM_PROTOCOL}\r\n");
        }
        if let Some(body) = &self.body {
            text += &format!("Content-Type: application/json\r\nContent-Length: {}\r\n", body.len());
        } else if self.method != "GET" {
            text += "Content-Length: 0\r\n";
        }
        let mut bytes = (text + "\r\n").into_bytes();
        bytes.extend_from_slice(self.body.as_deref().unwrap_or_default());
        bytes
    }
}

/// Where and how patiently.
pub(crate) struct Way<'a> {
    pub(crate) socket: &'a Path,
    pub(crate) connect: Duration,
    /// For the whole exchange; none waits for ever.
    pub(crate) answer: Option<Duration>,
}

/// A request that was sent, its answer still to be read.
///
/// Holds the connection: dropped, it tells the agent that nobody waits any more.
pub struct Pending<T> {
    wire: Wire,
    answer: PhantomData<fn() -> T>,
}

impl<T> Pending<T> {
    /// Sends a request.
    pub(crate) fn send(way: &Way<'_>, request: &Request) -> Result<Self, ClientError> {
        let mut wire = Wire::connect(way.socket, way.connect, way.answer)?;
        wire.write(&request.bytes())?;
        Ok(Self { wire, answer: PhantomData })
    }

    /// Sends a request with a descriptor beside its first bytes.
    #[cfg(feature = "fd")]
    pub(crate) fn send_with_fd(
        way: &Way<'_>,
        request: &Request,
        fd: std::os::fd::BorrowedFd<'_>,
    ) -> Result<Self, ClientError> {
        use nix::sys::socket::{ControlMessage, MsgFlags, sendmsg};
        use std::os::fd::AsRawFd;
        let mut wire = Wire::connect(way.socket, way.connect, way.answer)?;
        let bytes = request.bytes();
        let sent = sendmsg::<()>(
            wire.stream().as_raw_fd(),
            &[std::io::IoSlice::new(&bytes)],
            &[ControlMessage::ScmRights(&[fd.as_raw_fd()])],
            MsgFlags::MSG_NOSIGNAL,
            None,
        )
        .map_err(|errno| ProtocolError::Io(errno.into()))?;
        // The descriptor went with the first byte; the rest of a long body follows plainly.
        wire.write(&bytes[sent..])?;
        Ok(Self { wire, answer: PhantomData })
    }

    /// Whether the answer begins within a while, or the connection ends.
    #[cfg(feature = "fd")]
    pub fn begins_within(&self, patience: Duration) -> bool {
        use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
        use std::os::fd::AsFd;
        let mut fds = [PollFd::new(self.wire.stream().as_fd(), PollFlags::POLLIN)];
        let timeout = PollTimeout::try_from(patience).unwrap_or(PollTimeout::MAX);
        poll(&mut fds, timeout).is_ok_and(|ready| ready > 0)
    }

    /// Reads the body of a success; an error's body becomes the error.
    fn body(mut self) -> Result<Vec<u8>, ClientError> {
        let (head, rest) = head::read(&mut self.wire)?;
        let body = body::read(self.wire, rest, &head.length)?;
        if (200..300).contains(&head.status) { Ok(body) } else { Err(refusal(head.status, &body)) }
    }

    /// Waits for an answer without a body.
    pub(crate) fn done(self) -> Result<(), ClientError> {
        self.body().map(|_| ())
    }

    /// Waits for the 101 and takes the connection.
    pub(crate) fn session(mut self) -> Result<Session, ClientError> {
        let (head, rest) = head::read(&mut self.wire)?;
        if head.status == 101 {
            return Ok(Session::new(self.wire.into_stream()?, rest));
        }
        let body = body::read(self.wire, rest, &head.length)?;
        Err(refusal(head.status, &body))
    }

    /// Waits for the head of a stream of events.
    pub(crate) fn events(mut self) -> Result<EventStream, ClientError> {
        let (head, rest) = head::read(&mut self.wire)?;
        if head.status == 200 && head.length == Length::Chunked {
            return Ok(EventStream::new(body::Source::new(self.wire, rest)));
        }
        let body = body::read(self.wire, rest, &head.length)?;
        Err(refusal(head.status, &body))
    }
}

impl<T: DeserializeOwned> Pending<T> {
    /// Waits for an answer that is text.
    ///
    /// # Errors
    /// As [`Pending::answer`].
    pub(crate) fn text(self) -> Result<String, ClientError> {
        Ok(String::from_utf8_lossy(&self.body()?).into_owned())
    }

    /// Waits for the answer.
    ///
    /// # Errors
    /// [`ClientError::Api`] if the agent refuses, [`ClientError::Protocol`] if the connection breaks or the time is up.
    pub fn answer(self) -> Result<T, ClientError> {
        let body = self.body()?;
        Ok(serde_json::from_slice(&body).map_err(ProtocolError::Json)?)
    }
}

/// The agent's error, or what can be said of an answer that has none.
fn refusal(status: u16, body: &[u8]) -> ClientError {
    match serde_json::from_slice::<ApiError>(body) {
        Ok(error) if status >= 400 => error.into(),
        _ => {
            let text = String::from_utf8_lossy(body).trim().chars().filter(|c| !c.is_control()).take(200).collect();
            ProtocolError::Status { status, text }.into()
        }
    }
}
