//! Talking to a container through conmon's attach socket.
//!
//! The socket is SOCK_SEQPACKET. What comes is one packet per read of conmon's: a byte for the stream (2 standard
//! output, 3 standard error) and the bytes. What is sent goes to standard input as it is; shutting down the sending
//! side closes standard input. The size of a terminal goes as `1 ROWS COLUMNS` into the pipe `ctl` beside the socket
//! (containers/conmon `src/conn_sock.c`, `src/ctrl.c`).

use crate::Chunk;
use crate::containers::Containers;
use crate::error::ContainerError;
use netmode_model::Id;
use netmode_model::api::Stream;
use nix::fcntl::{OFlag, open};
use nix::sys::socket::{
    AddressFamily, MsgFlags, Shutdown, SockFlag, SockType, UnixAddr, connect, recv, send, shutdown, socket,
};
use nix::sys::stat::Mode;
use std::io::{self, Write};
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tokio::io::Interest;
use tokio::net::UnixStream;

/// Longest packet that conmon sends: its buffer and the byte before it.
const PACKET: usize = 8192 + 1;

/// Longest packet that is sent; conmon takes up to 32 KiB and cuts what is longer.
const SENT: usize = 8192;

/// A conversation with a container or with a command in it.
#[derive(Debug)]
pub struct Session {
    /// What goes in.
    pub input: Input,
    /// What comes out.
    pub output: Output,
}

/// Standard input and the size of the terminal.
#[derive(Debug)]
pub struct Input {
    socket: Arc<UnixStream>,
    ctl: PathBuf,
    tty: bool,
    stdin: bool,
}

/// Standard output and standard error.
#[derive(Debug)]
pub struct Output {
    socket: Arc<UnixStream>,
    buffer: Box<[u8]>,
}

impl Containers {
    /// Joins the conversation of a container that was created. What it writes from now on is seen by every session
    /// and by the log; attach before [`Containers::start`] to miss nothing.
    ///
    /// A container that was made with standard input and without a terminal has its input closed when a session
    /// ends. Reading must go on: conmon, and with it the container's output, waits for a session that does not read.
    ///
    /// # Errors
    /// [`ContainerError::NotRunning`] where there is nobody to talk to.
    pub async fn attach(&self, id: Id) -> Result<Session, ContainerError> {
        let record = self.record(id)?;
        self.pid(id).ok_or(ContainerError::NotRunning(id))?;
        let dir = self.layout().bundle(id);
        Session::connect(&dir, record.tty, record.stdin).map_err(ContainerError::file("attach to", dir.join("attach")))
    }
}

impl Session {
    /// Connects to the socket `attach` in a directory. Must be called within the runtime of tokio.
    pub(crate) fn connect(dir: &Path, tty: bool, stdin: bool) -> io::Result<Self> {
        let fd = connect_in(dir)?;
        // Only its readiness is used: the stream's own read would take half a packet for an empty socket.
        let socket = Arc::new(UnixStream::from_std(fd.into())?);
        let input = Input { socket: Arc::clone(&socket), ctl: dir.join("ctl"), tty, stdin };
        Ok(Self { input, output: Output { socket, buffer: vec![0; PACKET].into() } })
    }
}

fn connect_in(dir: &Path) -> io::Result<OwnedFd> {
    // Through the directory's descriptor: a socket address has only 108 bytes.
    let dir = open(dir, OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC, Mode::empty())?;
    let path = format!("/proc/self/fd/{}/attach", dir.as_raw_fd());
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let fd = socket(AddressFamily::Unix, SockType::SeqPacket, flags, None)?;
    connect(fd.as_raw_fd(), &UnixAddr::new(path.as_str())?)?;
    Ok(fd)
}

impl Input {
    /// Writes to standard input; waits while the container does not read. Thrown away if it has no standard input.
    ///
    /// # Errors
    /// The container is gone.
    pub async fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        if !self.stdin {
            return Ok(());
        }
        for packet in bytes.chunks(SENT) {
            self.socket
                .async_io(Interest::WRITABLE, || {
                    send(self.socket.as_raw_fd(), packet, MsgFlags::MSG_NOSIGNAL | MsgFlags::MSG_DONTWAIT)
                        .map_err(Into::into)
                })
                .await?;
        }
        Ok(())
    }

    /// Closes standard input; on a terminal only what is typed there can do that.
    ///
    /// # Errors
    /// The container is gone.
    pub fn close(&mut self) -> io::Result<()> {
        if self.tty || !self.stdin {
            return Ok(());
        }
        self.stdin = false;
        Ok(shutdown(self.socket.as_raw_fd(), Shutdown::Write)?)
    }

    /// Tells the size of the terminal. Does nothing without one.
    ///
    /// # Errors
    /// conmon is gone.
    pub fn resize(&mut self, rows: u16, cols: u16) -> io::Result<()> {
        if !self.tty {
            return Ok(());
        }
        // Not blocking: opening a pipe without a reader would wait for one.
        let fd = open(&self.ctl, OFlag::O_WRONLY | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC, Mode::empty())?;
        std::fs::File::from(fd).write_all(format!("1 {rows} {cols}\n").as_bytes())
    }
}

impl Output {
    /// The next piece; `None` at the end of the container or command.
    ///
    /// # Errors
    /// The socket broke.
    pub async fn next(&mut self) -> io::Result<Option<Chunk>> {
        loop {
            let buffer = &mut self.buffer;
            let received = self
                .socket
                .async_io(Interest::READABLE, || {
                    recv(self.socket.as_raw_fd(), buffer, MsgFlags::MSG_DONTWAIT).map_err(io::Error::from)
                })
                .await;
            let length = match received {
                Err(e) if e.kind() == io::ErrorKind::ConnectionReset => 0,
                other => other?,
            };
            if length == 0 {
                return Ok(None);
            }
            let stream = match self.buffer[0] {
                2 => Stream::Stdout,
                3 => Stream::Stderr,
                _ => continue,
            };
            if length > 1 {
                return Ok(Some(Chunk { stream, bytes: self.buffer[1..length].to_vec() }));
            }
        }
    }
}
