//! What a test asks a [`probe console`](crate) to do, and what it answers: one JSON object each way
//! over a unix socket, one question a connection.

use serde::{Deserialize, Serialize};
use std::net::{IpAddr, SocketAddr};

/// A transport protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Proto {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
    /// SCTP, one-to-one style.
    Sctp,
}

impl std::fmt::Display for Proto {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
            Self::Sctp => "sctp",
        })
    }
}

/// Something to do in the namespace of the console.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Ask {
    /// Ask a server who asks: `Answer::Seen`.
    Who {
        /// How.
        proto: Proto,
        /// Whom.
        to: SocketAddr,
        /// Bind this first (port 0: any).
        from: Option<SocketAddr>,
        /// Give up after so many milliseconds.
        wait_ms: u64,
    },
    /// Try to bind as any program would: `Answer::Done`, or `Answer::Handle` if it is kept.
    Bind {
        /// How.
        proto: Proto,
        /// Where.
        at: SocketAddr,
        /// Set SO_REUSEADDR and SO_REUSEPORT first, and take IPv6 alone: every trick a stranger has.
        tricks: bool,
        /// Keep the socket (TCP listens) until [`Ask::Forget`].
        keep: bool,
    },
    /// Serve in this console, as `probe serve` does: `Answer::Done`.
    Serve {
        /// `tcp/80`, `udp/127.0.0.1:53`, `tcp/8000-8009`.
        ports: Vec<String>,
        /// What the server calls itself.
        tag: String,
    },
    /// Open a connection and keep it: `Answer::Handle`.
    Open {
        /// Whom.
        to: SocketAddr,
    },
    /// Send a line on a kept connection and read its echo: `Answer::Done`.
    Say {
        /// Which connection.
        handle: u32,
        /// What, without a line feed.
        text: String,
    },
    /// Close what was kept: `Answer::Done`.
    Forget {
        /// What.
        handle: u32,
    },
    /// Ask a server again and again, for a while: `Answer::Tally`.
    Hammer {
        /// How.
        proto: Proto,
        /// Whom.
        to: SocketAddr,
        /// For so many milliseconds.
        for_ms: u64,
        /// Milliseconds between two questions.
        every_ms: u64,
    },
    /// Run a program to its end: `Answer::Ran`.
    Run {
        /// Program and arguments.
        argv: Vec<String>,
        /// For its standard input, which is then closed.
        stdin: String,
        /// Added to the environment.
        env: Vec<(String, String)>,
        /// Kill it after so many milliseconds.
        wait_ms: u64,
    },
    /// Start a program in the background, its output to a file: `Answer::Pid`.
    Spawn {
        /// Program and arguments.
        argv: Vec<String>,
        /// Added to the environment.
        env: Vec<(String, String)>,
        /// The file, appended to.
        log: String,
    },
    /// Wait for the end of what was spawned: `Answer::Ran`, with empty output.
    Reap {
        /// Which.
        pid: u32,
        /// Give up after so many milliseconds.
        wait_ms: u64,
    },
}

/// What came of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Answer {
    /// It is done.
    Done,
    /// A server told what it sees.
    Seen(Seen),
    /// The network said no.
    Failed(Failure),
    /// Something is kept under this number.
    Handle(u32),
    /// Something runs under this pid (of the sandbox).
    Pid(u32),
    /// How often a server answered.
    Tally(Tally),
    /// A program ended.
    Ran(Ran),
    /// The question made no sense, or the console has no such thing.
    Wrong(String),
}

/// A connection as the server saw it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Seen {
    /// Address of the one who asked.
    pub peer: IpAddr,
    /// His port.
    pub peer_port: u16,
    /// The server's own port.
    pub port: u16,
    /// What the server calls itself: its host name where it was not told.
    pub tag: String,
}

/// How a connection can fail, as the one who asks sees it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Failure {
    /// RST, or ICMP port unreachable: an answer, at once.
    Refused,
    /// Silence.
    Timeout,
    /// No route, or ICMP says so.
    Unreachable,
    /// It was open, and was cut.
    Cut,
    /// The address is taken or not ours (`bind`).
    Taken,
    /// Anything else, in the kernel's words.
    Other(String),
}

/// How a hammered server did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Tally {
    /// Answers.
    pub answered: u32,
    /// Questions without one.
    pub failed: u32,
    /// Longest time between two answers, milliseconds.
    pub longest_gap_ms: u64,
}

/// The end of a program.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Ran {
    /// Exit status; 128 + signal for one that was killed.
    pub status: i32,
    /// What it wrote.
    pub stdout: String,
    /// What it complained.
    pub stderr: String,
    /// It did not end in time and was killed.
    pub timed_out: bool,
    /// It ended, but something that it left behind still held its standard output or error open two seconds later.
    pub left_open: bool,
}
