//! The body of an answer.

use crate::error::ProtocolError;
use crate::head::Length;
use crate::wire::Wire;

/// Longest body taken, in bytes: a listing of 10,000 tasks is about 10 MB.
const MAX_BODY: usize = 64 * 1024 * 1024;

/// Longest line before a chunk: the size in hex and extensions nobody sends.
const MAX_CHUNK_LINE: usize = 256;

/// Reads the body; `buffered` was read with the head.
pub(crate) fn read(wire: Wire, buffered: Vec<u8>, length: &Length) -> Result<Vec<u8>, ProtocolError> {
    let mut source = Source::new(wire, buffered);
    match *length {
        Length::Known(n) => {
            let mut body = Vec::new();
            source.exact(n, &mut body)?;
            Ok(body)
        }
        Length::Chunked => chunked(&mut source),
        Length::UntilClosed => until_closed(&mut source),
    }
}

/// Bytes that were read already, then the connection.
pub(crate) struct Source {
    wire: Wire,
    buffered: Vec<u8>,
    at: usize,
}

impl Source {
    pub(crate) fn new(wire: Wire, buffered: Vec<u8>) -> Self {
        Self { wire, buffered, at: 0 }
    }

    /// The bytes at hand, at least one unless the connection ended.
    fn some(&mut self) -> Result<&[u8], ProtocolError> {
        if self.at == self.buffered.len() {
            self.buffered.resize(16 * 1024, 0);
            let n = self.wire.read(&mut self.buffered)?;
            self.buffered.truncate(n);
            self.at = 0;
        }
        Ok(&self.buffered[self.at..])
    }

    /// Appends exactly `n` bytes.
    fn exact(&mut self, mut n: usize, out: &mut Vec<u8>) -> Result<(), ProtocolError> {
        // Checked before anything is allocated: the number is the peer's.
        if n > MAX_BODY.saturating_sub(out.len()) {
            return Err(ProtocolError::BodyTooLarge { limit: MAX_BODY });
        }
        while n > 0 {
            let bytes = self.some()?;
            if bytes.is_empty() {
                return Err(ProtocolError::Closed);
            }
            let taken = bytes.len().min(n);
            out.extend_from_slice(&bytes[..taken]);
            self.at += taken;
            n -= taken;
        }
        Ok(())
    }

    /// A line without its end.
    fn line(&mut self) -> Result<Vec<u8>, ProtocolError> {
        let mut line = Vec::new();
        while !line.ends_with(b"\r\n") {
            if line.len() > MAX_CHUNK_LINE {
                return Err(ProtocolError::NotHttp("a chunk size that does not end"));
            }
            self.exact(1, &mut line)?;
        }
        line.truncate(line.len() - 2);
        Ok(line)
    }

    /// Appends the next chunk; false for the last one, which is empty.
    pub(crate) fn chunk(&mut self, out: &mut Vec<u8>) -> Result<bool, ProtocolError> {
        let bad = || ProtocolError::NotHttp("a chunk without a size");
        let line = self.line()?;
        let digits = line.split(|b| *b == b';').next().and_then(|d| std::str::from_utf8(d).ok()).ok_or_else(bad)?;
        let size = usize::from_str_radix(digits.trim(), 16).map_err(|_| bad())?;
        if size == 0 {
            return Ok(false);
        }
        self.exact(size, out)?;
        match self.line()?.is_empty() {
            true => Ok(true),
            false => Err(ProtocolError::NotHttp("a chunk longer than its size")),
        }
    }
}

/// RFC 9112 §7.1; trailers are read over.
fn chunked(source: &mut Source) -> Result<Vec<u8>, ProtocolError> {
    let mut body = Vec::new();
    while source.chunk(&mut body)? {}
    while !source.line()?.is_empty() {}
    Ok(body)
}

fn until_closed(source: &mut Source) -> Result<Vec<u8>, ProtocolError> {
    let mut body = Vec::new();
    loop {
        match source.some()?.len() {
            0 => return Ok(body),
            n => source.exact(n, &mut body)?,
        }
    }
}
