//! Files, the journal, and the agent's standard output.

use netmode_engine::flowlog::FlowLog;
use nix::libc::{O_NOFOLLOW, O_NONBLOCK};
use std::fmt;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Where files go that are named without a path.
const DIRECTORY: &str = "/var/log/netmode";

/// The journal's socket (systemd-journald.service(8), "Journal Native Protocol").
const JOURNAL: &str = "/run/systemd/journal/socket";

/// How long the journal may take to make room.
const PATIENCE: Duration = Duration::from_secs(1);

/// Where records are written.
pub(super) enum Place {
    /// A file, that is put aside when it is too long.
    File { path: PathBuf, max_size: u64, keep: u32 },
    /// The journal, with the flow log's id.
    Journal { id: String },
    /// The agent's standard output.
    Stdout,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File { path, .. } => write!(f, "{}", path.display()),
            Self::Journal { .. } => f.write_str("journald"),
            Self::Stdout => f.write_str("stdout"),
        }
    }
}

impl Place {
    /// The place that a record names.
    ///
    /// # Errors
    /// It is none.
    pub(super) fn of(record: &FlowLog) -> Result<Self, String> {
        Ok(match record.destination.as_str() {
            "stdout" => Self::Stdout,
            "journald" => Self::Journal { id: record.id.clone() },
            other => {
                let shown: String = other.chars().take(80).collect();
                let bad =
                    || format!("{shown:?} is no place for a flow log: write file:NAME, file:/PATH, journald or stdout");
                let path = other.strip_prefix("file:").and_then(path).ok_or_else(bad)?;
                Self::File { path, max_size: record.max_size, keep: record.keep }
            }
        })
    }

    /// Sees whether it can be written.
    ///
    /// # Errors
    /// Why not.
    pub(super) fn try_out(&self) -> io::Result<()> {
        match self {
            Self::File { path, .. } => open(path).map(drop),
            Self::Journal { .. } => UnixDatagram::unbound()?.connect(JOURNAL),
            Self::Stdout => Ok(()),
        }
    }

    /// Whether both write, or put aside, the same file.
    pub(super) fn shares_files(&self, other: &Self) -> bool {
        let aside = |one: &Path, other: &Path| {
            let (one, other) = (one.to_string_lossy(), other.to_string_lossy());
            other.strip_prefix(&*one).is_some_and(|rest| {
                rest.is_empty() || rest.strip_prefix('.').is_some_and(|n| n.bytes().all(|b| b.is_ascii_digit()))
            })
        };
        match (self, other) {
            (Self::File { path: one, .. }, Self::File { path: other, .. }) => aside(one, other) || aside(other, one),
            _ => false,
        }
    }

    /// Writes a text of so many lines; tells how many it took.
    pub(super) fn write(&self, text: &str, count: usize) -> (usize, io::Result<()>) {
        let whole = |done: io::Result<()>| (if done.is_ok() { count } else { 0 }, done);
        match self {
            Self::File { path, max_size, keep } => whole(to_file(path, *max_size, *keep, text)),
            Self::Journal { id } => to_journal(id, text),
            Self::Stdout => whole(to_stdout(text)),
        }
    }
}

/// A name below the directory of logs, or a whole path without steps back.
fn path(text: &str) -> Option<PathBuf> {
    let plain = |name: &str| {
        let known = |b: u8| b.is_ascii_alphanumeric() || b"-_.".contains(&b);
        !name.is_empty() && !name.starts_with('.') && name.bytes().all(known)
    };
    match text.strip_prefix('/') {
        Some(rest) => (rest.len() < 4000 && rest.split('/').all(plain)).then(|| PathBuf::from(text)),
        None => (text.len() < 200 && plain(text)).then(|| Path::new(DIRECTORY).join(text)),
    }
}

/// Opened anew for each batch: whoever moves the file away (logrotate(8)) gets a new one.
fn open(path: &Path) -> io::Result<File> {
    if let Some(parent) = path.parent().filter(|parent| *parent == Path::new(DIRECTORY)) {
        fs::DirBuilder::new().recursive(true).mode(0o750).create(parent)?;
    }
    // A FIFO would wait for a reader.
    let flags = O_NOFOLLOW | O_NONBLOCK;
    let file = OpenOptions::new().append(true).create(true).mode(0o640).custom_flags(flags).open(path)?;
    match file.metadata()?.is_file() {
        true => Ok(file),
        false => Err(io::Error::other("it is no regular file")),
    }
}

fn to_file(path: &Path, max_size: u64, keep: u32, text: &str) -> io::Result<()> {
    let mut file = open(path)?;
    let mut size = file.metadata()?.len();
    if size > 0 && size + text.len() as u64 > max_size {
        put_aside(path, keep)?;
        file = open(path)?;
        size = 0;
    }
    file.write_all(text.as_bytes()).inspect_err(|_| {
        // No half of a line, which the next one would be taken for a part of.
        let _ = file.set_len(size);
    })
}

/// `x` becomes `x.1`, `x.1` becomes `x.2` and so on; the last one goes.
fn put_aside(path: &Path, keep: u32) -> io::Result<()> {
    let numbered = |n: u32| {
        let mut name = path.as_os_str().to_owned();
        name.push(format!(".{n}"));
        PathBuf::from(name)
    };
    if keep == 0 {
        return fs::remove_file(path);
    }
    for n in (1..keep).rev() {
        match fs::rename(numbered(n), numbered(n + 1)) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
            _ => {}
        }
    }
    fs::rename(path, numbered(1))
}

fn to_journal(id: &str, text: &str) -> (usize, io::Result<()>) {
    let ready = || -> io::Result<UnixDatagram> {
        let socket = UnixDatagram::unbound()?;
        socket.set_write_timeout(Some(PATIENCE))?;
        socket.connect(JOURNAL)?;
        Ok(socket)
    };
    let socket = match ready() {
        Ok(socket) => socket,
        Err(error) => return (0, Err(error)),
    };
    let mut written = 0;
    for line in text.split_inclusive('\n') {
        let entry = format!("SYSLOG_IDENTIFIER=netmode-flow-log\nPRIORITY=6\nFLOW_LOG_ID={id}\nMESSAGE={line}");
        if let Err(error) = socket.send(entry.as_bytes()) {
            return (written, Err(error));
        }
        written += 1;
    }
    (written, Ok(()))
}

fn to_stdout(text: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes())?;
    out.flush()
}
