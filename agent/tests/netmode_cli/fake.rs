//! An agent that follows a script, and the real program before it.

use std::io::{Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};

/// A request as it came.
#[derive(Debug, Clone)]
pub(crate) struct Asked {
    /// `POST /v1/tasks?start=true`.
    pub(crate) line: String,
    /// The body.
    pub(crate) body: serde_json::Value,
}

/// A scripted agent; its socket goes with it.
pub(crate) struct Fake {
    pub(crate) socket: PathBuf,
    asked: Arc<Mutex<Vec<Asked>>>,
}

fn fresh(kind: &str) -> PathBuf {
    static NUMBER: AtomicU32 = AtomicU32::new(0);
    std::env::temp_dir().join(format!(
        "netmode-cli-{}-{}.{kind}",
        std::process::id(),
        NUMBER.fetch_add(1, Ordering::Relaxed)
    ))
}

impl Fake {
    /// Answers each request by `answer`, each connection in a thread of its own.
    pub(crate) fn new(answer: impl Fn(&Asked, &mut UnixStream) + Send + Sync + 'static) -> Self {
        let socket = fresh("sock");
        let listener = UnixListener::bind(&socket).unwrap();
        let asked = Arc::new(Mutex::new(Vec::new()));
        let (log, answer) = (Arc::clone(&asked), Arc::new(answer));
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let (mut stream, log, answer) = (stream.unwrap(), Arc::clone(&log), Arc::clone(&answer));
                std::thread::spawn(move || {
                    let Some(request) = read_request(&mut stream) else { return };
                    log.lock().unwrap().push(request.clone());
                    answer(&request, &mut stream);
                });
            }
        });
        Self { socket, asked }
    }

    /// The same JSON for every request.
    pub(crate) fn says(status: u16, body: &str) -> Self {
        let body = body.to_string();
        Self::new(move |_, stream| reply(stream, status, &body))
    }

    /// A command line to this agent.
    pub(crate) fn command(&self, words: &[&str]) -> Command {
        netmode(&self.socket, words)
    }

    /// Runs it.
    pub(crate) fn run(&self, words: &[&str]) -> Done {
        Done::of(self.command(words).stdin(Stdio::null()).output().unwrap())
    }

    /// What was asked so far.
    pub(crate) fn asked(&self) -> Vec<Asked> {
        self.asked.lock().unwrap().clone()
    }

    pub(crate) fn lines(&self) -> Vec<String> {
        self.asked().into_iter().map(|asked| asked.line).collect()
    }
}

impl Drop for Fake {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.socket);
    }
}

/// A socket path where nobody listens.
pub(crate) fn nobody() -> PathBuf {
    fresh("nobody")
}

/// A command line.
pub(crate) fn netmode(socket: &Path, words: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_netmode"));
    command.args(words).env("NETMODE_SOCKET", socket);
    command
}

fn read_request(stream: &mut UnixStream) -> Option<Asked> {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") {
        stream.read_exact(&mut byte).ok()?;
        head.push(byte[0]);
    }
    let head = String::from_utf8(head).unwrap();
    let length = head.lines().find_map(|l| l.strip_prefix("Content-Length: ")).map_or(0, |n| n.parse().unwrap());
    let mut body = vec![0; length];
    stream.read_exact(&mut body).ok()?;
    let line = head.lines().next().unwrap().trim_end_matches(" HTTP/1.1").to_string();
    Some(Asked { line, body: serde_json::from_slice(&body).unwrap_or_default() })
}

/// A JSON answer; a client that has gone is no matter.
pub(crate) fn reply(stream: &mut UnixStream, status: u16, body: &str) {
    let head = format!("HTTP/1.1 {status} X\r\nContent-Length: {}\r\n\r\n", body.len());
    let _ = stream.write_all((head + body).as_bytes());
}

pub(crate) fn error(stream: &mut UnixStream, status: u16, code: &str, message: &str) {
    reply(stream, status, &serde_json::json!({"code": code, "message": message}).to_string());
}

pub(crate) fn upgrade(stream: &mut UnixStream) {
    stream.write_all(b"HTTP/1.1 101 X\r\nConnection: Upgrade\r\nUpgrade: netmode-stream\r\n\r\n").unwrap();
}

pub(crate) fn send(stream: &mut UnixStream, kind: u8, body: &[u8]) {
    let length = u32::try_from(body.len()).unwrap().to_be_bytes();
    let _ = stream.write_all(&[&[kind, 0, 0, 0], &length[..], body].concat());
}

/// A frame from the client; `None` when it has gone.
pub(crate) fn receive(stream: &mut UnixStream) -> Option<(u8, String)> {
    let mut head = [0; 8];
    stream.read_exact(&mut head).ok()?;
    let mut body = vec![0; u32::from_be_bytes([head[4], head[5], head[6], head[7]]) as usize];
    stream.read_exact(&mut body).ok()?;
    Some((head[0], String::from_utf8(body).unwrap()))
}

/// How a run ended.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Done {
    pub(crate) status: i32,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl Done {
    pub(crate) fn of(output: Output) -> Self {
        Self {
            status: output.status.code().unwrap_or(-1),
            out: String::from_utf8(output.stdout).unwrap(),
            err: String::from_utf8(output.stderr).unwrap(),
        }
    }

    /// Failed with this status and one line that holds this.
    pub(crate) fn fails(&self, status: i32, part: &str) {
        assert_eq!(self.status, status, "{self:?}");
        assert!(self.out.is_empty(), "{self:?}");
        assert!(self.err.starts_with("netmode: ") && self.err.lines().count() == 1, "{self:?}");
        assert!(self.err.contains(part), "{part}: {self:?}");
    }

    /// Succeeded with this output and nothing else.
    pub(crate) fn prints(&self, out: &str) {
        assert_eq!((self.status, self.out.as_str(), self.err.as_str()), (0, out, ""));
    }
}
