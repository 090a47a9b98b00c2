//! Reading back what a container wrote.
//!
//! conmon writes one line per line: `2026-01-02T03:04:05.678+00:00 stdout F text`, with `P` instead of `F` where the
//! line goes on (the Kubernetes CRI log format).

use crate::Chunk;
use crate::containers::Containers;
use crate::error::ContainerError;
use jiff::Timestamp;
use netmode_model::Id;
use netmode_model::api::Stream;
use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify};
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::time::Duration;
use tokio::io::unix::AsyncFd;

/// Bytes read at once.
const BLOCK: usize = 64 << 10;

/// Longest time without a look at the file, should an event be missed.
const LOOK_AGAIN: Duration = Duration::from_millis(500);

/// How often the file is looked at where no watch can be had.
const POLL: Duration = Duration::from_millis(50);

/// What of a log is wanted; everything, unless it says otherwise.
#[derive(Debug, Clone, Copy, Default)]
pub struct Extent {
    /// Also what comes, until the container ends.
    pub follow: bool,
    /// Only so many of the last lines.
    pub tail: Option<usize>,
    /// Only what was written then or later.
    pub since: Option<Timestamp>,
}

/// What a container has written, in order, and what it writes from now on if it is followed.
#[derive(Debug)]
pub struct Logs {
    containers: Containers,
    id: Id,
    path: PathBuf,
    file: File,
    follow: bool,
    /// What was written before this is passed over, up to the first line that was not.
    since: Option<Timestamp>,
    buffer: Vec<u8>,
    /// Start of what is not given out yet.
    at: usize,
    watch: Option<AsyncFd<OwnedFd>>,
}

impl Containers {
    /// The output of a container.
    ///
    /// # Errors
    /// [`ContainerError::NotFound`], or a log that cannot be read.
    pub fn logs(&self, id: Id, extent: Extent) -> Result<Logs, ContainerError> {
        let path = self.layout().log(id);
        if !self.layout().container(id).is_dir() {
            return Err(ContainerError::NotFound(id));
        }
        // conmon makes it when the container is created; one that is not has written nothing.
        let open = std::fs::OpenOptions::new().read(true).append(true).create(true).open(&path);
        let mut file = open.map_err(ContainerError::file("open", &path))?;
        if let Some(lines) = extent.tail {
            let start = start_of_tail(&mut file, lines);
            start.and_then(|at| file.seek(SeekFrom::Start(at))).map_err(ContainerError::file("read", &path))?;
        }
        let containers = self.clone();
        let Extent { follow, since, .. } = extent;
        Ok(Logs { containers, id, path, file, follow, since, buffer: Vec::new(), at: 0, watch: None })
    }
}

impl Logs {
    /// The next piece; `None` at the end, which for one that is followed is the end of the container.
    ///
    /// # Errors
    /// A log that cannot be read any more.
    pub async fn next(&mut self) -> Result<Option<Chunk>, ContainerError> {
        loop {
            if let Some(chunk) = self.buffered() {
                return Ok(Some(chunk));
            }
            // Asked before reading: what is written until the end is read after the answer.
            let is_over = !self.follow || !matches!(self.containers.exit_status(self.id), Ok(None));
            if self.follow && !is_over {
                self.arm();
            }
            if self.fill().map_err(ContainerError::file("read", &self.path))? {
                continue;
            }
            if is_over {
                return Ok(None);
            }
            self.changed().await;
        }
    }

    /// The same as a stream.
    pub fn into_stream(self) -> impl futures::Stream<Item = Result<Chunk, ContainerError>> {
        futures::stream::try_unfold(self, |mut logs| async move { Ok(logs.next().await?.map(|chunk| (chunk, logs))) })
    }

    /// Watches the log before it is read, so that nothing is missed in between.
    fn arm(&mut self) {
        if self.watch.is_some() {
            return;
        }
        let made = || -> io::Result<AsyncFd<OwnedFd>> {
            let inotify = Inotify::init(InitFlags::IN_CLOEXEC | InitFlags::IN_NONBLOCK)?;
            inotify.add_watch(&self.path, AddWatchFlags::IN_MODIFY | AddWatchFlags::IN_CLOSE_WRITE)?;
            crate::readable::register(OwnedFd::from(inotify))
        };
        self.watch = made().ok();
    }

    async fn changed(&mut self) {
        let Some(watch) = &self.watch else { return tokio::time::sleep(POLL).await };
        tokio::select! {
            ready = watch.readable() => if let Ok(mut ready) = ready {
                // Drained until it would block, else the next event would not wake anybody.
                let mut events = [0; 4096];
                while ready.try_io(|w| Ok(nix::unistd::read(w.get_ref(), &mut events)?)).is_ok_and(|r| r.is_ok()) {}
            },
            // conmon closes the log without a word before it writes the exit file.
            () = tokio::time::sleep(LOOK_AGAIN) => {}
            _ = self.containers.wait(self.id) => {}
        }
    }

    /// Reads a block; false at the end of the file.
    fn fill(&mut self) -> io::Result<bool> {
        self.buffer.drain(..self.at);
        self.at = 0;
        let old = self.buffer.len();
        self.buffer.resize(old + BLOCK, 0);
        let read = loop {
            match self.file.read(&mut self.buffer[old..]) {
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                other => break other,
            }
        };
        self.buffer.truncate(old + *read.as_ref().unwrap_or(&0));
        Ok(read? > 0)
    }

    /// All complete lines of one stream that are at hand.
    fn buffered(&mut self) -> Option<Chunk> {
        let mut chunk: Option<Chunk> = None;
        while let Some(end) = self.buffer[self.at..].iter().position(|b| *b == b'\n') {
            let line = &self.buffer[self.at..self.at + end];
            if let Some((stream, is_whole, text)) = parse(line).filter(|_| !is_before(line, &mut self.since)) {
                match &mut chunk {
                    Some(c) if c.stream != stream => break,
                    _ => {}
                }
                let bytes = &mut chunk.get_or_insert_with(|| Chunk { stream, bytes: Vec::new() }).bytes;
                bytes.extend_from_slice(text);
                if is_whole {
                    bytes.push(b'\n');
                }
            }
            self.at += end + 1;
        }
        chunk
    }
}

/// Whether a line is older than what is wanted. The first that is not ends the question: lines stand in order.
fn is_before(line: &[u8], since: &mut Option<Timestamp>) -> bool {
    let Some(wanted) = *since else { return false };
    let time = line.split(|b| *b == b' ').next().and_then(|t| std::str::from_utf8(t).ok()?.parse::<Timestamp>().ok());
    let older = time.is_some_and(|t| t < wanted);
    if !older {
        *since = None;
    }
    older
}

/// Stream, whether the line ends here, and the text. A line that cannot be understood is passed over.
fn parse(line: &[u8]) -> Option<(Stream, bool, &[u8])> {
    let mut fields = line.splitn(4, |b| *b == b' ');
    fields.next()?;
    let stream = match fields.next()? {
        b"stdout" => Stream::Stdout,
        b"stderr" => Stream::Stderr,
        _ => return None,
    };
    let is_whole = match fields.next()? {
        b"F" => true,
        b"P" => false,
        _ => return None,
    };
    Some((stream, is_whole, fields.next().unwrap_or_default()))
}

/// Where the last `lines` lines begin, found from the end. Pieces of a line count as one.
fn start_of_tail(file: &mut File, lines: usize) -> io::Result<u64> {
    let end = file.seek(SeekFrom::End(0))?;
    let (mut seen, mut line_end) = (0, end);
    // Bytes of the line that is being put together, from its start on.
    let mut carried: Vec<u8> = Vec::new();
    let mut at = end;
    while at > 0 {
        let size = at.min(BLOCK as u64);
        at -= size;
        let mut block = vec![0; usize::try_from(size).unwrap_or(BLOCK)];
        file.seek(SeekFrom::Start(at))?;
        file.read_exact(&mut block)?;
        block.append(&mut carried);
        let mut rest = block.len();
        // Every newline but the one at the very end separates two lines.
        while let Some(newline) = block[..rest].iter().rposition(|b| *b == b'\n') {
            let start = at + newline as u64 + 1;
            if start < line_end {
                let is_whole = parse(&block[newline + 1..rest]).is_none_or(|(_, is_whole, _)| is_whole);
                if is_whole && seen == lines {
                    return Ok(line_end);
                }
                seen += usize::from(is_whole);
                line_end = start;
            }
            rest = newline;
        }
        block.truncate(rest);
        carried = block;
    }
    let is_whole = parse(&carried).is_none_or(|(_, is_whole, _)| is_whole);
    Ok(if is_whole && seen == lines { line_end } else { 0 })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tail(log: &str, lines: usize) -> String {
        static NEXT: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);
        let n = NEXT.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("nm-logs-{}-{n}", std::process::id()));
        std::fs::write(&path, log).unwrap();
        let at = start_of_tail(&mut File::open(&path).unwrap(), lines).unwrap();
        std::fs::remove_file(path).unwrap();
        log[usize::try_from(at).unwrap()..].to_owned()
    }

    #[test]
    fn lines_are_taken_apart() {
        assert_eq!(parse(b"2026-01-01T00:00:00.1+00:00 stdout F a b"), Some((Stream::Stdout, true, &b"a b"[..])));
        assert_eq!(parse(b"t stderr P "), Some((Stream::Stderr, false, &b""[..])));
        assert_eq!(parse(b"nonsense"), None);
    }

    #[test]
    fn what_is_older_is_passed_over_up_to_the_first_that_is_not() {
        let mut since = Some("2026-01-01T12:00:00Z".parse().unwrap());
        assert!(is_before(b"2026-01-01T12:59:59.9+01:00 stdout F a", &mut since));
        assert!(!is_before(b"2026-01-01T13:00:00.0+01:00 stdout F b", &mut since));
        assert!(!is_before(b"2026-01-01T12:59:59.9+01:00 stdout F the clock was set back", &mut since));
    }

    #[test]
    fn the_tail_counts_whole_lines() {
        let log = "t stdout F one\nt stdout P tw\nt stdout F o\nt stderr F three\n";
        assert_eq!(tail(log, 1), "t stderr F three\n");
        assert_eq!(tail(log, 2), "t stdout P tw\nt stdout F o\nt stderr F three\n");
        assert_eq!(tail(log, 3), log);
        assert_eq!(tail(log, 9), log);
        assert_eq!(tail(log, 0), "");
        assert_eq!(tail("", 3), "");
        let long: String = (0..20_000).map(|n| format!("t stdout F line {n}\n")).collect();
        assert_eq!(tail(&long, 2), "t stdout F line 19998\nt stdout F line 19999\n");
        assert_eq!(tail(&long, 15_000).lines().count(), 15_000);
    }
}
