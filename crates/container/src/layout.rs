//! Where everything of a container lies. Directories are named by id only.
//!
//! Below the run directory (it dies with the machine, as the processes do): `c/ID` the bundle with `config.json`,
//! pid files, conmon's `attach` socket and `ctl` pipe; `exits/ID` what conmon writes at the end; `runtime` the OCI
//! runtime's own state. Below the state directory: `containers/ID` with the log, the exit status once more, and the
//! writable layer; `images`.

use crate::error::ContainerError;
use netmode_model::Id;
use serde::{Deserialize, Serialize};
use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// The two directories, absolute and without links.
#[derive(Debug, Clone)]
pub(crate) struct Layout {
    pub(crate) run: PathBuf,
    pub(crate) state: PathBuf,
}

/// A process that cannot be mistaken for another: numbers are used again, start times are not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Process {
    pub(crate) pid: i32,
    /// Field 22 of `/proc/PID/stat`, in clock ticks after boot.
    pub(crate) start: u64,
}

impl Process {
    /// The process of a number, if it is alive.
    pub(crate) fn of(pid: i32) -> Option<Self> {
        Self::look(pid).ok().flatten()
    }

    /// As [`Self::of`], told apart from a look that failed: without a descriptor to spare nothing can be seen.
    fn look(pid: i32) -> io::Result<Option<Self>> {
        let mut bytes = [0; 1024];
        let length = match File::open(format!("/proc/{pid}/stat")).and_then(|mut f| f.read(&mut bytes)) {
            Ok(length) => length,
            // It was there when the file was opened (ESRCH), or was not.
            Err(e) if e.kind() == io::ErrorKind::NotFound || e.raw_os_error() == Some(ESRCH) => return Ok(None),
            Err(e) => return Err(e),
        };
        Ok(Self::parse(pid, &String::from_utf8_lossy(&bytes[..length])))
    }

    fn parse(pid: i32, stat: &str) -> Option<Self> {
        // The name stands in parentheses and may hold anything, so count from the last one.
        let mut fields = stat.rsplit_once(')')?.1.split_ascii_whitespace();
        let is_dead = matches!(fields.next()?, "Z" | "X" | "x");
        let start = fields.nth(18)?.parse().ok()?;
        (!is_dead).then_some(Self { pid, start })
    }

    /// Whether it lives. One that cannot be looked at has not ended for that.
    pub(crate) fn is_alive(&self) -> bool {
        Self::look(self.pid).map_or(true, |seen| seen == Some(*self))
    }
}

/// What is known of a container besides its `config.json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Record {
    /// Version of the format.
    pub(crate) v: u32,
    /// It has a terminal.
    pub(crate) tty: bool,
    /// Its standard input is kept open.
    pub(crate) stdin: bool,
    /// Its first process, once created.
    pub(crate) init: Option<Process>,
    /// conmon, once created.
    pub(crate) monitor: Option<Process>,
    /// It was started.
    pub(crate) started: bool,
}

/// `No such process`, errno(3).
const ESRCH: i32 = nix::errno::Errno::ESRCH as i32;

/// Version of [`Record`].
pub(crate) const RECORD_VERSION: u32 = 1;

impl Layout {
    pub(crate) fn new(run: &Path, state: &Path) -> Result<Self, ContainerError> {
        let made = |path: &Path| {
            fs::DirBuilder::new()
                .recursive(true)
                .mode(0o755)
                .create(path)
                .and_then(|()| path.canonicalize())
                .map_err(ContainerError::file("create", path))
        };
        let layout = Self { run: made(run)?, state: made(state)? };
        for path in [&layout.run, &layout.state] {
            // conmon splits its log path at ":", overlayfs its options at "," and "\".
            let bad = path.to_str().is_none_or(|p| p.contains([':', ',', '\\', '\n', '"']));
            if bad {
                let why = "its path holds one of : , \\ or a quote";
                return Err(ContainerError::Directory { path: path.clone(), why });
            }
        }
        for dir in [layout.bundles(), layout.exits(), layout.runtime(), layout.containers(), layout.images()] {
            private_dir(&dir)?;
        }
        Ok(layout)
    }

    pub(crate) fn bundles(&self) -> PathBuf {
        self.run.join("c")
    }

    pub(crate) fn bundle(&self, id: Id) -> PathBuf {
        self.bundles().join(id.to_string())
    }

    pub(crate) fn exits(&self) -> PathBuf {
        self.run.join("exits")
    }

    pub(crate) fn runtime(&self) -> PathBuf {
        self.run.join("runtime")
    }

    pub(crate) fn containers(&self) -> PathBuf {
        self.state.join("containers")
    }

    pub(crate) fn container(&self, id: Id) -> PathBuf {
        self.containers().join(id.to_string())
    }

    pub(crate) fn log(&self, id: Id) -> PathBuf {
        self.container(id).join("log")
    }

    pub(crate) fn images(&self) -> PathBuf {
        self.state.join("images")
    }

    /// Where skopeo is told for one call who asks a registry: on tmpfs, for root's eyes only.
    pub(crate) fn registry(&self) -> PathBuf {
        self.run.join("registry")
    }

    fn record(&self, id: Id) -> PathBuf {
        self.bundle(id).join("record.json")
    }

    /// The record; `None` where there is no bundle.
    pub(crate) fn read_record(&self, id: Id) -> Result<Option<Record>, ContainerError> {
        let path = self.record(id);
        let text = match fs::read(&path) {
            Ok(text) => text,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(e) => return Err(ContainerError::file("read", &path)(e)),
        };
        let record: Record = serde_json::from_slice(&text)
            .map_err(|e| ContainerError::Record { path: path.clone(), text: e.to_string() })?;
        if record.v > RECORD_VERSION {
            let text = format!("it has version {} of a newer agent", record.v);
            return Err(ContainerError::Record { path, text });
        }
        Ok(Some(record))
    }

    /// Replaces the record as a whole. On tmpfs: nothing is synced, it describes what dies with the machine.
    pub(crate) fn write_record(&self, id: Id, record: &Record) -> Result<(), ContainerError> {
        let path = self.record(id);
        let temporary = path.with_extension("new");
        let text = serde_json::to_vec(record)
            .map_err(|e| ContainerError::Record { path: path.clone(), text: e.to_string() })?;
        write_private(&temporary, &text)?;
        fs::rename(&temporary, &path).map_err(ContainerError::file("write", &path))
    }

    /// What conmon wrote when the container ended: first where it is noticed, then where it is kept.
    pub(crate) fn exit_code(&self, id: Id) -> Option<i32> {
        let places = [self.exits().join(id.to_string()), self.container(id).join("exit")];
        places.iter().find_map(|p| fs::read_to_string(p).ok()?.trim().parse().ok())
    }

    /// Ids of which anything is there, sorted.
    pub(crate) fn ids(&self) -> Result<Vec<Id>, ContainerError> {
        let mut ids = Vec::new();
        for dir in [self.bundles(), self.containers()] {
            let entries = fs::read_dir(&dir).map_err(ContainerError::file("list", &dir))?;
            ids.extend(entries.flatten().filter_map(|e| e.file_name().to_str()?.parse::<Id>().ok()));
        }
        ids.sort_unstable();
        ids.dedup();
        Ok(ids)
    }
}

/// Makes a directory for root's eyes only; one that is there already is fine.
pub(crate) fn private_dir(path: &Path) -> Result<(), ContainerError> {
    let made = fs::DirBuilder::new().recursive(true).mode(0o700).create(path);
    made.map_err(ContainerError::file("create", path))
}

/// Writes a file for root's eyes only.
pub(crate) fn write_private(path: &Path, content: &[u8]) -> Result<(), ContainerError> {
    write_mode(path, content, 0o600)
}

/// Writes a file in place: one that is bind-mounted somewhere must stay the same inode.
pub(crate) fn write_mode(path: &Path, content: &[u8], mode: u32) -> Result<(), ContainerError> {
    use io::Write;
    let open = fs::OpenOptions::new().write(true).create(true).truncate(true).mode(mode).open(path);
    open.and_then(|mut f| f.write_all(content)).map_err(ContainerError::file("write", path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_known_by_number_and_start() {
        let me = Process::of(std::process::id() as i32).unwrap();
        assert!(me.is_alive() && me.start > 0);
        assert!(!Process { start: me.start + 1, ..me }.is_alive());
        assert_eq!(Process::of(i32::MAX), None);
    }

    #[test]
    fn records_survive_and_newer_ones_are_refused() {
        let dir = std::env::temp_dir().join(format!("nm-layout-{}", std::process::id()));
        let layout = Layout::new(&dir.join("run"), &dir.join("state")).unwrap();
        let id = Id::from_bytes([7; 16]);
        assert_eq!(layout.read_record(id).unwrap(), None);
        private_dir(&layout.bundle(id)).unwrap();
        let record = Record { v: 1, tty: true, stdin: false, init: None, monitor: None, started: false };
        layout.write_record(id, &record).unwrap();
        assert_eq!(layout.read_record(id).unwrap(), Some(record.clone()));
        layout.write_record(id, &Record { v: 2, ..record }).unwrap();
        assert!(layout.read_record(id).unwrap_err().to_string().contains("newer"));
        assert_eq!(layout.ids().unwrap(), [id]);
        assert!(matches!(Layout::new(&dir.join("a:b"), &dir), Err(ContainerError::Directory { .. })));
        fs::remove_dir_all(dir).unwrap();
    }
}
