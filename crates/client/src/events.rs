//! What has happened, and what happens.

use crate::body::Source;
use crate::call::{Pending, Request};
use crate::error::{ClientError, ProtocolError};
use crate::routes::Client;
use netmode_model::Event;

/// Longest event taken, in bytes.
const MAX_EVENT: usize = 1 << 20;

impl Client {
    /// What has happened, the oldest first; times as RFC 3339 writes them in UTC.
    ///
    /// # Errors
    /// As [`Client::version`].
    pub fn events(&self, since: Option<&str>, until: Option<&str>) -> Result<Vec<Event>, ClientError> {
        let given = [since.map(|time| format!("since={time}")), until.map(|time| format!("until={time}"))];
        let query = given.into_iter().flatten().collect::<Vec<_>>().join("&");
        self.get(format!("/v1/events?{query}"))
    }

    /// The same, and what happens from now on.
    ///
    /// # Errors
    /// As [`Client::version`].
    pub fn follow_events(&self, since: Option<&str>) -> Result<EventStream, ClientError> {
        let since = since.map(|time| format!("&since={time}")).unwrap_or_default();
        let request = Request::new("GET", format!("/v1/events?follow=true{since}"));
        Pending::<()>::send(&self.way(None), &request)?.events()
    }
}

/// Events as they happen.
pub struct EventStream {
    source: Source,
    /// What has come of the next event.
    text: Vec<u8>,
}

impl EventStream {
    pub(crate) fn new(source: Source) -> Self {
        Self { source, text: Vec::new() }
    }

    /// Waits for the next event; `None` when the agent has ended the stream.
    ///
    /// # Errors
    /// [`ClientError::Protocol`] if the connection breaks.
    // Not an Iterator: after an error nothing comes.
    #[allow(clippy::should_implement_trait)]
    pub fn next(&mut self) -> Result<Option<Event>, ClientError> {
        loop {
            // An empty line ends an event, or a comment that keeps the connection.
            while let Some(end) = self.text.windows(2).position(|pair| pair == b"\n\n") {
                let block: Vec<u8> = self.text.drain(..end + 2).collect();
                if let Some(data) = data(&block) {
                    return Ok(Some(serde_json::from_slice(&data).map_err(ProtocolError::Json)?));
                }
            }
            if self.text.len() > MAX_EVENT {
                return Err(ProtocolError::BodyTooLarge { limit: MAX_EVENT }.into());
            }
            if !self.source.chunk(&mut self.text)? {
                return Ok(None);
            }
        }
    }
}

/// The data of an event: that of several lines is joined by line feeds.
fn data(block: &[u8]) -> Option<Vec<u8>> {
    let of = |line: &'_ [u8]| line.strip_prefix(b"data:").map(|d| d.strip_prefix(b" ").unwrap_or(d).to_vec());
    let lines: Vec<Vec<u8>> = block.split(|byte| *byte == b'\n').filter_map(of).collect();
    (!lines.is_empty()).then(|| lines.join(&b'\n'))
}

#[cfg(test)]
mod tests {
    use super::data;

    #[test]
    fn the_data_of_an_event_is_found_among_its_lines() {
        assert_eq!(data(b"event: task\nid: 7\ndata: {}\n\n").unwrap(), b"{}");
        assert_eq!(data(b"data:a\ndata: b\n\n").unwrap(), b"a\nb");
        assert_eq!(data(b":\n\n"), None, "a comment");
    }
}
