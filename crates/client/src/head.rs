//! The head of an answer: as much of RFC 9112 as the agent speaks.

use crate::error::ProtocolError;
use crate::wire::Wire;

/// Longest head taken, in bytes.
const MAX_HEAD: usize = 16 * 1024;

/// How long the body is (RFC 9112 §6.3).
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Length {
    /// Content-Length.
    Known(usize),
    /// Transfer-Encoding: chunked.
    Chunked,
    /// Up to the end of the connection.
    UntilClosed,
}

/// A parsed head.
#[derive(Debug)]
pub(crate) struct Head {
    pub(crate) status: u16,
    pub(crate) length: Length,
}

/// Reads heads until one is final: informational ones are skipped, but 101 is final (RFC 9110 §15.2).
/// Also returned: what was read beyond it.
pub(crate) fn read(wire: &mut Wire) -> Result<(Head, Vec<u8>), ProtocolError> {
    let mut bytes = Vec::with_capacity(1024);
    loop {
        let end = read_one(wire, &mut bytes)?;
        let head = parse(&bytes[..end])?;
        bytes.drain(..end);
        if head.status == 101 || head.status >= 200 {
            return Ok((head, bytes));
        }
    }
}

/// Reads until the empty line; returns where the head ends.
fn read_one(wire: &mut Wire, bytes: &mut Vec<u8>) -> Result<usize, ProtocolError> {
    let mut looked_at = 0;
    loop {
        // The empty line may have come in pieces.
        let from = usize::saturating_sub(looked_at, 3);
        if let Some(at) = bytes[from..].windows(4).position(|w| w == b"\r\n\r\n") {
            return Ok(from + at + 4);
        }
        if bytes.len() >= MAX_HEAD {
            return Err(ProtocolError::HeadTooLarge { limit: MAX_HEAD });
        }
        looked_at = bytes.len();
        let mut piece = [0; 4096];
        match wire.read(&mut piece)? {
            0 => return Err(ProtocolError::Closed),
            n => bytes.extend_from_slice(&piece[..n]),
        }
    }
}

fn parse(bytes: &[u8]) -> Result<Head, ProtocolError> {
    let text = std::str::from_utf8(bytes).map_err(|_| ProtocolError::NotHttp("its head is not text"))?;
    let mut lines = text.split("\r\n");
    let status = lines.next().and_then(status).ok_or(ProtocolError::NotHttp("no HTTP/1.1 status line"))?;
    let mut length = Length::UntilClosed;
    for line in lines.take_while(|line| !line.is_empty()) {
        let (name, value) = line.split_once(':').ok_or(ProtocolError::NotHttp("a header line without a colon"))?;
        let value = value.trim();
        if name.eq_ignore_ascii_case("transfer-encoding") {
            if !value.eq_ignore_ascii_case("chunked") {
                return Err(ProtocolError::NotHttp("an unknown transfer encoding"));
            }
            length = Length::Chunked;
        } else if name.eq_ignore_ascii_case("content-length") && length != Length::Chunked {
            let number = value.parse().map_err(|_| ProtocolError::NotHttp("a content length that is no number"))?;
            length = Length::Known(number);
        }
    }
    // These never have a body (RFC 9112 §6.3).
    if status < 200 || status == 204 || status == 304 {
        length = Length::Known(0);
    }
    Ok(Head { status, length })
}

/// `HTTP/1.1 200 OK`.
fn status(line: &str) -> Option<u16> {
    let rest = line.strip_prefix("HTTP/1.")?.strip_prefix(['0', '1'])?.strip_prefix(' ')?;
    let digits = rest.get(..3).filter(|d| d.bytes().all(|b| b.is_ascii_digit()))?;
    matches!(rest.as_bytes().get(3), None | Some(b' ')).then(|| digits.parse().ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_length_of_a_body_follows_the_rfc() {
        let length = |text: &str| parse(text.as_bytes()).map(|head| head.length);
        assert_eq!(length("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n").unwrap(), Length::Known(5));
        assert_eq!(
            length("HTTP/1.1 200\r\ntransfer-encoding: Chunked\r\ncontent-length: 5\r\n\r\n").unwrap(),
            Length::Chunked
        );
        assert_eq!(length("HTTP/1.1 204 No Content\r\n\r\n").unwrap(), Length::Known(0));
        assert_eq!(length("HTTP/1.0 200 OK\r\n\r\n").unwrap(), Length::UntilClosed);
        for bad in [
            "SSH-2.0-x\r\n\r\n",
            "HTTP/1.1 2x0 OK\r\n\r\n",
            "HTTP/1.1 200 OK\r\nno colon\r\n\r\n",
            "HTTP/1.1 2000\r\n\r\n",
        ] {
            assert!(length(bad).is_err(), "{bad}");
        }
    }
}
