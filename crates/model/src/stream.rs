//! Frames on an upgraded connection: attach, exec, logs.

use serde::{Deserialize, Serialize};

/// A frame's kind on an upgraded connection (attach, exec, logs).
///
/// A frame is 8 bytes of head (kind, three zero bytes, length of the body in network order) and the body:
/// Docker's multiplexed stream, with [`Stream::Control`] added.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Stream {
    /// Bytes for standard input; an empty body closes it.
    Stdin = 0,
    /// Bytes of standard output.
    Stdout = 1,
    /// Bytes of standard error.
    Stderr = 2,
    /// A [`Control`] as JSON.
    Control = 3,
}

impl Stream {
    /// The stream of a frame's first byte.
    pub const fn from_byte(b: u8) -> Option<Self> {
        match b {
            0 => Some(Self::Stdin),
            1 => Some(Self::Stdout),
            2 => Some(Self::Stderr),
            3 => Some(Self::Control),
            _ => None,
        }
    }
}

/// Name of the protocol in the `Upgrade` header.
pub const STREAM_PROTOCOL: &str = "netmode-stream";

/// A message beside the bytes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Control {
    /// Client to agent: size of the terminal.
    Resize {
        /// Rows.
        rows: u16,
        /// Columns.
        cols: u16,
    },
    /// Agent to client: the command ended.
    Exit {
        /// Exit status.
        code: i32,
    },
    /// Agent to client: how far the fetching of an image has come.
    Progress(crate::image::PullProgress),
    /// Agent to client: the image is here.
    Pulled(crate::image::Pulled),
    /// Agent to client: it could not be done.
    Error(crate::error::ApiError),
}
