//! Where records go. A place that cannot be written costs its records, which are counted, and nothing else.

use netmode_engine::flowlog::FlowLog;
use nix::libc::O_NOFOLLOW;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

/// Where files go that are named without a path.
const DIRECTORY: &str = "/var/log/netmode";

/// The journal's socket (systemd-journald.service(8), "Journal Native Protocol").
const JOURNAL: &str = "/run/systemd/journal/socket";

enum Target {
    File { path: PathBuf, max_size: u64, keep: u32 },
    Journal { id: String },
    Stdout,
}

/// Where the records of a log go.
pub(super) struct Sink {
    target: Target,
    written: AtomicU64,
    lost: AtomicU64,
    error: Mutex<Option<String>>,
    /// One at a time: a file is put aside between two.
    writing: Mutex<()>,
}

impl Sink {
    /// The place that a record names.
    ///
    /// # Errors
    /// It is none.
    pub(super) fn of(record: &FlowLog) -> Result<Self, String> {
        let target = match record.destination.as_str() {
            "stdout" => Target::Stdout,
            "journald" => Target::Journal { id: record.id.clone() },
            other => {
                let path = other.strip_prefix("file:").and_then(path);
                let bad = || {
                    format!(
                        "{:?} is no place for a flow log: write file:NAME, file:/PATH, journald or stdout",
                        shown(other)
                    )
                };
                Target::File { path: path.ok_or_else(bad)?, max_size: record.max_size, keep: record.keep }
            }
        };
        let (written, lost) = (AtomicU64::default(), AtomicU64::default());
        Ok(Self { target, written, lost, error: Mutex::default(), writing: Mutex::default() })
    }

    /// Sees whether the place can be written.
    ///
    /// # Errors
    /// Why not.
    pub(super) fn try_out(&self) -> io::Result<()> {
        match &self.target {
            Target::File { path, .. } => open(path).map(drop),
            Target::Journal { .. } => UnixDatagram::unbound()?.connect(JOURNAL),
            Target::Stdout => Ok(()),
        }
    }

    /// Writes records. What cannot be written is lost, and counted.
    pub(super) fn write(&self, lines: &[String]) {
        let _alone = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        let done = match &self.target {
            Target::File { path, max_size, keep } => to_file(path, *max_size, *keep, lines),
            Target::Journal { id } => to_journal(id, lines),
            Target::Stdout => to_stdout(lines),
        };
        let count = lines.len() as u64;
        let now = done.err().map(|e| e.to_string());
        let counter = if now.is_some() { &self.lost } else { &self.written };
        counter.fetch_add(count, Ordering::Relaxed);
        let mut error = self.error.lock().unwrap_or_else(PoisonError::into_inner);
        if *error != now {
            match &now {
                Some(why) => {
                    tracing::error!(place = self.place(), why, "flow log records are lost until it can be written")
                }
                None => tracing::info!(place = self.place(), lost = self.lost(), "flow log records are written again"),
            }
            *error = now;
        }
    }

    fn place(&self) -> String {
        match &self.target {
            Target::File { path, .. } => path.display().to_string(),
            Target::Journal { .. } => "journald".into(),
            Target::Stdout => "stdout".into(),
        }
    }

    /// How many records were written.
    pub(super) fn written(&self) -> u64 {
        self.written.load(Ordering::Relaxed)
    }

    /// How many could not be.
    pub(super) fn lost(&self) -> u64 {
        self.lost.load(Ordering::Relaxed)
    }

    /// Why the last one could not.
    pub(super) fn error(&self) -> Option<String> {
        self.error.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

fn shown(text: &str) -> String {
    text.chars().take(80).collect()
}

/// A name below the directory of logs, or a whole path without steps back.
fn path(text: &str) -> Option<PathBuf> {
    let plain = |name: &str| {
        !name.is_empty()
            && !name.starts_with('.')
            && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b))
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
    OpenOptions::new().append(true).create(true).mode(0o640).custom_flags(O_NOFOLLOW).open(path)
}

fn to_file(path: &Path, max_size: u64, keep: u32, lines: &[String]) -> io::Result<()> {
    let text = lines.concat();
    let mut file = open(path)?;
    let size = file.metadata()?.len();
    if size > 0 && size + text.len() as u64 > max_size {
        put_aside(path, keep)?;
        file = open(path)?;
    }
    file.write_all(text.as_bytes())
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

fn to_journal(id: &str, lines: &[String]) -> io::Result<()> {
    let socket = UnixDatagram::unbound()?;
    for line in lines {
        // A line has no line feed but its last.
        let entry = format!("SYSLOG_IDENTIFIER=netmode-flow-log\nPRIORITY=6\nFLOW_LOG_ID={id}\nMESSAGE={line}");
        socket.send_to(entry.as_bytes(), JOURNAL)?;
    }
    Ok(())
}

fn to_stdout(lines: &[String]) -> io::Result<()> {
    let mut out = io::stdout().lock();
    out.write_all(lines.concat().as_bytes())?;
    out.flush()
}
