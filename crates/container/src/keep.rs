//! The process that holds two descriptors open while no agent lives, where no service manager does that.

use crate::layout::{Process, write_private};
use crate::program;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use rustix::process::{Pid, PidfdFlags, PidfdGetfdFlags, Signal, pidfd_getfd, pidfd_open, pidfd_send_signal};
use serde::{Deserialize, Serialize};
use std::ffi::OsString;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// Version of the record.
const VERSION: u32 = 1;

/// Pause before one that somebody killed is started again.
const AGAIN: Duration = Duration::from_secs(1);

/// Where it is found by the next agent.
#[derive(Debug, Serialize, Deserialize)]
struct Record {
    v: u32,
    process: Process,
}

/// How it is started, and what it holds as its standard input and output.
#[derive(Debug)]
struct Start {
    program: PathBuf,
    record: PathBuf,
    ends: [OwnedFd; 2],
}

/// A process that does nothing but hold two descriptors. It outlives its maker.
#[derive(Debug)]
pub struct KeepProcess {
    start: Start,
    now: Mutex<Process>,
    ended: AtomicBool,
}

/// The two descriptors that a process of an agent before this one holds. One that cannot be asked for them is ended:
/// what it holds would stay out of everybody's reach.
pub fn find_kept(record: &Path) -> Option<[OwnedFd; 2]> {
    let process = standing(record)?;
    let handle = handle(process)?;
    let get = |fd| pidfd_getfd(&handle, fd, PidfdGetfdFlags::empty());
    match (get(0), get(1)) {
        (Ok(first), Ok(second)) => Some([first, second]),
        (Err(error), _) | (_, Err(error)) => {
            tracing::warn!(pid = process.pid, %error, "what the agent before this one left cannot be reached");
            let _ = pidfd_send_signal(&handle, Signal::KILL);
            None
        }
    }
}

/// The process of a record. Where somebody has removed that, it is known by its command line: what it holds would be lost
/// to everybody, the table among it.
fn standing(record: &Path) -> Option<Process> {
    let recorded = std::fs::read(record).ok().and_then(|text| serde_json::from_slice::<Record>(&text).ok());
    if let Some(recorded) = recorded.filter(|r| r.v == VERSION && r.process.is_alive()) {
        return Some(recorded.process);
    }
    let pids = std::fs::read_dir("/proc").ok()?.flatten().filter_map(|e| e.file_name().to_str()?.parse::<i32>().ok());
    let ours = argument(record);
    // A command line can be anybody's; root's in our own mount, user and network namespaces is no container's.
    let same = |pid: i32, kind: &str| {
        let of = |who: &str| std::fs::read_link(format!("/proc/{who}/ns/{kind}")).ok();
        of(&pid.to_string()).is_some_and(|theirs| Some(theirs) == of("self"))
    };
    let is_ours = |pid: &i32| {
        let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        line.split(|b| *b == 0).nth(1) == Some(ours.as_bytes())
            && std::fs::metadata(format!("/proc/{pid}")).is_ok_and(|m| m.uid() == 0)
            && ["mnt", "user", "net"].iter().all(|kind| same(*pid, kind))
    };
    pids.into_iter().find(is_ours).and_then(Process::of)
}

/// The one argument of the process; it names the record, and so the agent that it belongs to.
fn argument(record: &Path) -> OsString {
    let mut argument = OsString::from("--keep=");
    argument.push(record);
    argument
}

/// Ends the process of an agent before this one; somebody else holds what it held.
pub fn end_kept(record: &Path) {
    if let Some(handle) = standing(record).and_then(handle) {
        let _ = pidfd_send_signal(&handle, Signal::KILL);
    }
    let _ = std::fs::remove_file(record);
}

fn handle(process: Process) -> Option<OwnedFd> {
    let handle = pidfd_open(Pid::from_raw(process.pid)?, PidfdFlags::empty()).ok()?;
    process.is_alive().then_some(handle)
}

impl KeepProcess {
    /// Has a process hold the descriptors: the one that does so already, or a new one, `PROGRAM --keep=RECORD`. Should
    /// somebody end it while the agent lives, another is started.
    ///
    /// # Errors
    /// The program cannot be started, or the record cannot be written.
    pub fn start(program: &Path, record: &Path, ends: [OwnedFd; 2], found: bool) -> io::Result<Arc<Self>> {
        let start = Start { program: program.into(), record: record.into(), ends };
        let (process, child) = match standing(record).filter(|_| found) {
            Some(process) => {
                start.note(process)?;
                (process, None)
            }
            None => start.spawn()?,
        };
        let this = Arc::new(Self { start, now: Mutex::new(process), ended: AtomicBool::new(false) });
        let watched = this.clone();
        let watch = move || watched.watch(child);
        std::thread::Builder::new().name("keep".into()).stack_size(64 << 10).spawn(watch)?;
        Ok(this)
    }

    /// Its number.
    pub fn pid(&self) -> i32 {
        self.process().pid
    }

    fn process(&self) -> Process {
        *self.now.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Ends it; what it holds is let go with the last who holds it.
    pub fn end(&self) {
        self.ended.store(true, Ordering::Relaxed);
        let _ = std::fs::remove_file(&self.start.record);
        if let Some(handle) = handle(self.process()) {
            let _ = pidfd_send_signal(&handle, Signal::KILL);
        }
    }

    fn watch(&self, mut child: Option<Child>) {
        loop {
            if let Some(handle) = handle(self.process()) {
                // Readable when the process is dead.
                let _ = poll(&mut [PollFd::new(handle.as_fd(), PollFlags::POLLIN)], PollTimeout::NONE);
            }
            if let Some(mut child) = child.take() {
                let _ = child.wait();
            }
            if self.ended.load(Ordering::Relaxed) {
                return;
            }
            std::thread::sleep(AGAIN);
            match self.start.spawn() {
                Ok((process, new)) => {
                    tracing::warn!(
                        pid = process.pid,
                        "the process that keeps sockets for a successor was started anew"
                    );
                    *self.now.lock().unwrap_or_else(PoisonError::into_inner) = process;
                    child = new;
                }
                Err(error) => tracing::warn!(%error, "nobody keeps the sockets for a successor"),
            }
        }
    }
}

impl Start {
    fn spawn(&self) -> io::Result<(Process, Option<Child>)> {
        let [first, second] = &self.ends;
        let (first, second) = (first.try_clone()?, second.try_clone()?);
        let mut command = program::command(&self.program);
        command.arg(argument(&self.record)).stdin(Stdio::from(first)).stdout(Stdio::from(second)).stderr(Stdio::null());
        let mut child = program::start(&mut command)?;
        let pid = i32::try_from(child.id()).map_err(io::Error::other)?;
        let process = Process::of(pid).ok_or_else(|| io::Error::other("it ended at once"))?;
        if let Err(error) = self.note(process) {
            let _ = child.kill();
            return Err(error);
        }
        Ok((process, Some(child)))
    }

    fn note(&self, process: Process) -> io::Result<()> {
        let text = serde_json::to_vec(&Record { v: VERSION, process }).map_err(io::Error::other)?;
        write_private(&self.record, &text).map_err(|e| io::Error::other(e.to_string()))
    }
}
