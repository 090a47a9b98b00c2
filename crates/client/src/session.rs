//! Upgraded connections: the bytes of a container's standard streams, in frames.

use crate::error::ProtocolError;
use netmode_model::api::{Control, Stream};
use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;

/// Longest body of a frame taken or sent, in bytes.
pub const MAX_FRAME: u32 = 1024 * 1024;

/// A connection that carries frames both ways ([`Stream`] says how).
#[derive(Debug)]
pub struct Session {
    stream: UnixStream,
    /// Frames that came with the head of the answer.
    buffered: Vec<u8>,
}

impl Session {
    pub(crate) fn new(stream: UnixStream, buffered: Vec<u8>) -> Self {
        Self { stream, buffered }
    }

    /// The two directions, each for a thread of its own.
    ///
    /// # Errors
    /// EMFILE: the halves are two descriptors of one socket.
    pub fn split(self) -> io::Result<(FrameReader, FrameWriter)> {
        let writer = FrameWriter { stream: self.stream.try_clone()?, frame: Vec::new() };
        Ok((FrameReader { source: io::Cursor::new(self.buffered).chain(self.stream), body: Vec::new() }, writer))
    }
}

/// A frame from the agent.
#[derive(Debug, PartialEq, Eq)]
pub enum Frame<'a> {
    /// Bytes of standard output.
    Stdout(&'a [u8]),
    /// Bytes of standard error.
    Stderr(&'a [u8]),
    /// A message beside the bytes.
    Control(Control),
}

/// The direction from the agent.
#[derive(Debug)]
pub struct FrameReader {
    source: io::Chain<io::Cursor<Vec<u8>>, UnixStream>,
    body: Vec<u8>,
}

impl FrameReader {
    /// The next frame; `None` when the agent has closed the stream between two frames.
    /// Frames and messages of kinds this client does not know are left out.
    ///
    /// # Errors
    /// [`ProtocolError::Closed`] for an end inside of a frame, [`ProtocolError::FrameTooLarge`] beyond [`MAX_FRAME`].
    // Not an Iterator: a frame borrows the reader's buffer.
    #[allow(clippy::should_implement_trait)]
    pub fn next(&mut self) -> Result<Option<Frame<'_>>, ProtocolError> {
        loop {
            let Some((kind, length)) = self.head()? else { return Ok(None) };
            self.body.resize(length, 0);
            self.source.read_exact(&mut self.body).map_err(broken)?;
            match kind.and_then(|kind| self.known(kind)) {
                Some(Known::Control(control)) => return Ok(Some(Frame::Control(control))),
                Some(Known::Stdout) => return Ok(Some(Frame::Stdout(&self.body))),
                Some(Known::Stderr) => return Ok(Some(Frame::Stderr(&self.body))),
                None => {}
            }
        }
    }

    fn known(&self, kind: Stream) -> Option<Known> {
        match kind {
            Stream::Stdout => Some(Known::Stdout),
            Stream::Stderr => Some(Known::Stderr),
            Stream::Control => serde_json::from_slice(&self.body).ok().map(Known::Control),
            Stream::Stdin => None,
        }
    }

    fn head(&mut self) -> Result<Option<(Option<Stream>, usize)>, ProtocolError> {
        let mut head = [0; 8];
        let mut filled = 0;
        while filled < head.len() {
            match self.source.read(&mut head[filled..]) {
                Ok(0) if filled == 0 => return Ok(None),
                Ok(0) => return Err(ProtocolError::Closed),
                Ok(n) => filled += n,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::ConnectionReset && filled == 0 => return Ok(None),
                Err(error) => return Err(broken(error)),
            }
        }
        let [kind, _, _, _, length @ ..] = head;
        let length = u32::from_be_bytes(length);
        if length > MAX_FRAME {
            return Err(ProtocolError::FrameTooLarge { length, limit: MAX_FRAME });
        }
        Ok(Some((Stream::from_byte(kind), length as usize)))
    }
}

enum Known {
    Stdout,
    Stderr,
    Control(Control),
}

/// The direction to the agent.
#[derive(Debug)]
pub struct FrameWriter {
    stream: UnixStream,
    frame: Vec<u8>,
}

impl FrameWriter {
    /// Sends bytes for standard input; nothing for no bytes, since an empty frame would close it.
    ///
    /// # Errors
    /// [`ProtocolError::Closed`] when the agent no longer reads.
    pub fn stdin(&mut self, bytes: &[u8]) -> Result<(), ProtocolError> {
        bytes.chunks(64 * 1024).try_for_each(|piece| self.send(Stream::Stdin, piece))
    }

    /// Closes the container's standard input.
    ///
    /// # Errors
    /// As [`FrameWriter::stdin`].
    pub fn close_stdin(&mut self) -> Result<(), ProtocolError> {
        self.send(Stream::Stdin, &[])
    }

    /// Sends a message.
    ///
    /// # Errors
    /// As [`FrameWriter::stdin`].
    pub fn control(&mut self, control: &Control) -> Result<(), ProtocolError> {
        let body = serde_json::to_vec(control).map_err(ProtocolError::Json)?;
        self.send(Stream::Control, &body)
    }

    fn send(&mut self, kind: Stream, body: &[u8]) -> Result<(), ProtocolError> {
        self.frame.clear();
        self.frame.extend_from_slice(&[kind as u8, 0, 0, 0]);
        // Bodies are cut to 64 KiB before they come here, messages are smaller still.
        self.frame.extend_from_slice(&u32::try_from(body.len()).unwrap_or(u32::MAX).to_be_bytes());
        self.frame.extend_from_slice(body);
        self.stream.write_all(&self.frame).map_err(broken)
    }
}

fn broken(error: io::Error) -> ProtocolError {
    match error.kind() {
        io::ErrorKind::UnexpectedEof | io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset => {
            ProtocolError::Closed
        }
        _ => ProtocolError::Io(error),
    }
}
