//! The process that holds two descriptors open while no agent lives, where no service manager does that.

use crate::layout::{Process, write_private};
use crate::program;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use rustix::process::{Pid, PidfdFlags, PidfdGetfdFlags, Signal, pidfd_getfd, pidfd_open, pidfd_send_signal};
use serde::{Deserialize, Serialize};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
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
    argument: &'static str,
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
    let text = std::fs::read(record).ok()?;
    let Record { process, .. } = serde_json::from_slice::<Record>(&text).ok().filter(|r| r.v == VERSION)?;
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

fn handle(process: Process) -> Option<OwnedFd> {
    let handle = pidfd_open(Pid::from_raw(process.pid)?, PidfdFlags::empty()).ok()?;
    process.is_alive().then_some(handle)
}

impl KeepProcess {
    /// Has a process hold the descriptors: the one that does so already, or a new one, `PROGRAM ARGUMENT`. Should
    /// somebody end it while the agent lives, another is started.
    ///
    /// # Errors
    /// The program cannot be started, or the record cannot be written.
    pub fn start(
        program: &Path,
        argument: &'static str,
        record: &Path,
        ends: [OwnedFd; 2],
        standing: bool,
    ) -> io::Result<Arc<Self>> {
        let start = Start { program: program.into(), argument, record: record.into(), ends };
        let (process, child) = match start.standing().filter(|_| standing) {
            Some(process) => (process, None),
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
    /// The process of the record, if it lives.
    fn standing(&self) -> Option<Process> {
        let record = serde_json::from_slice::<Record>(&std::fs::read(&self.record).ok()?).ok()?;
        Some(record.process).filter(Process::is_alive)
    }

    fn spawn(&self) -> io::Result<(Process, Option<Child>)> {
        let [first, second] = &self.ends;
        let (first, second) = (first.try_clone()?, second.try_clone()?);
        let mut command = program::command(&self.program);
        command.arg(self.argument).stdin(Stdio::from(first)).stdout(Stdio::from(second)).stderr(Stdio::null());
        let mut child = program::start(&mut command)?;
        let pid = i32::try_from(child.id()).map_err(io::Error::other)?;
        let process = Process::of(pid).ok_or_else(|| io::Error::other("it ended at once"))?;
        let text = serde_json::to_vec(&Record { v: VERSION, process }).map_err(io::Error::other)?;
        if let Err(error) = write_private(&self.record, &text) {
            let _ = child.kill();
            return Err(io::Error::other(error.to_string()));
        }
        Ok((process, Some(child)))
    }
}
