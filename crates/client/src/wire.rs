//! A connection with a time by which the answer must be there.

use crate::error::{ClientError, ProtocolError};
use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::mpsc;
use std::time::{Duration, Instant};

/// A connection to the agent.
pub(crate) struct Wire {
    stream: UnixStream,
    limit: Option<(Instant, Duration)>,
}

impl Wire {
    /// Connects; `answer` is the time for the whole exchange, none for calls that wait.
    pub(crate) fn connect(socket: &Path, connect: Duration, answer: Option<Duration>) -> Result<Self, ClientError> {
        let unreachable = |source| ClientError::Unreachable { socket: socket.into(), source };
        let stream = connect_within(socket, connect).map_err(unreachable)?;
        Ok(Self { stream, limit: answer.map(|limit| (Instant::now() + limit, limit)) })
    }

    /// The socket itself, to send a descriptor over it.
    #[cfg(feature = "fd")]
    pub(crate) fn stream(&self) -> &UnixStream {
        &self.stream
    }

    /// Gives the connection away, without a time limit.
    pub(crate) fn into_stream(self) -> Result<UnixStream, ProtocolError> {
        self.stream.set_read_timeout(None).map_err(ProtocolError::Io)?;
        self.stream.set_write_timeout(None).map_err(ProtocolError::Io)?;
        Ok(self.stream)
    }

    /// What is left of the time; `None` means for ever.
    fn left(&self) -> Result<Option<Duration>, ProtocolError> {
        let Some((end, limit)) = self.limit else { return Ok(None) };
        match end.checked_duration_since(Instant::now()) {
            Some(left) if !left.is_zero() => Ok(Some(left)),
            _ => Err(ProtocolError::Timeout { seconds: limit.as_secs() }),
        }
    }

    fn failed(&self, error: io::Error) -> ProtocolError {
        match (error.kind(), self.limit) {
            // SO_RCVTIMEO and SO_SNDTIMEO answer EAGAIN (socket(7)).
            (io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut, Some((_, limit))) => {
                ProtocolError::Timeout { seconds: limit.as_secs() }
            }
            (io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset, _) => ProtocolError::Closed,
            _ => ProtocolError::Io(error),
        }
    }

    /// Reads some bytes; 0 at the end.
    pub(crate) fn read(&mut self, buffer: &mut [u8]) -> Result<usize, ProtocolError> {
        loop {
            self.stream.set_read_timeout(self.left()?).map_err(ProtocolError::Io)?;
            match self.stream.read(buffer) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                // A peer that closes with our bytes unread makes a unix socket say ECONNRESET: an end as well.
                Err(error) if error.kind() == io::ErrorKind::ConnectionReset => return Ok(0),
                result => return result.map_err(|error| self.failed(error)),
            }
        }
    }

    /// Writes all bytes. A peer that has stopped reading is no error: its answer says why.
    pub(crate) fn write(&mut self, bytes: &[u8]) -> Result<(), ProtocolError> {
        self.stream.set_write_timeout(self.left()?).map_err(ProtocolError::Io)?;
        match self.stream.write_all(bytes) {
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
            result => result.map_err(|error| self.failed(error)),
        }
    }
}

/// Connects in a thread of its own: connect(2) on a unix socket blocks while the backlog is full,
/// and std can set no time limit before it.
fn connect_within(socket: &Path, limit: Duration) -> io::Result<UnixStream> {
    let (sender, receiver) = mpsc::sync_channel(1);
    let path = socket.to_path_buf();
    let connect = move || {
        // Nobody waits any more if this fails.
        let _ = sender.send(UnixStream::connect(path));
    };
    std::thread::Builder::new().name("connect".into()).spawn(connect)?;
    receiver.recv_timeout(limit).unwrap_or_else(|_| {
        Err(io::Error::new(io::ErrorKind::TimedOut, format!("no connection within {} s", limit.as_secs_f32())))
    })
}
