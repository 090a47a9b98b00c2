//! The containers of this machine and what can be done with them.

use crate::error::ContainerError;
use crate::exits::Exits;
use crate::image::ImageStore;
use crate::layout::{Layout, Process, Record, write_mode};
use crate::runtime::{self, Runtime};
use crate::{Config, Exit, Prepared, State, rootfs};
use netmode_model::Id;
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Exit status that is reported where nobody saw the end.
const UNSEEN: i32 = 255;

/// The file that conmon leaves where memory ran out.
const OUT_OF_MEMORY: &str = "oom";

/// How long conmon may take to write its last words after its container is gone.
const LAST_WORDS: Duration = Duration::from_secs(2);

/// How often a container without a process is looked at by those who wait for its end.
const NOT_YET: Duration = Duration::from_millis(100);

/// All containers below one pair of directories. Cheap to clone; clones are the same.
#[derive(Debug, Clone)]
pub struct Containers(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    config: Config,
    layout: Layout,
    runtime: Runtime,
    images: ImageStore,
    exits: Exits,
}

impl Containers {
    /// Makes the directories where they are missing. No program is started or even looked for.
    ///
    /// # Errors
    /// A directory that cannot be made or whose path cannot be used.
    pub fn new(config: Config) -> Result<Self, ContainerError> {
        let layout = Layout::new(&config.run_dir, &config.state_dir)?;
        let (skopeo, umoci) = (config.skopeo.clone(), config.umoci.clone());
        let images = ImageStore::new(layout.images(), layout.registry(), skopeo, umoci)
            .map_err(ContainerError::file("use", layout.images()))?;
        let runtime = Runtime {
            runtime: config.runtime.clone(),
            conmon: config.conmon.clone(),
            limit: config.timeout,
            systemd: crate::bundle::Machine::here().systemd,
        };
        let exits = Exits::new(layout.exits());
        Ok(Self(Arc::new(Inner { config, layout, runtime, images, exits })))
    }

    /// The programs that are driven, and where each was found; a missing one says which package has it.
    pub fn programs(&self) -> Vec<(String, Result<PathBuf, ContainerError>)> {
        let config = self.config();
        let names = [&config.runtime, &config.conmon, &config.skopeo, &config.umoci];
        names.into_iter().map(|name| (name.clone(), crate::program::find(name).map_err(Into::into))).collect()
    }

    pub(crate) fn config(&self) -> &Config {
        &self.0.config
    }

    pub(crate) fn layout(&self) -> &Layout {
        &self.0.layout
    }

    pub(crate) fn runtime(&self) -> &Runtime {
        &self.0.runtime
    }

    pub(crate) fn image_store(&self) -> &ImageStore {
        &self.0.images
    }

    /// Starts conmon and lets the runtime make the container; its first process waits for [`Self::start`].
    /// Answers with that process's pid.
    ///
    /// # Errors
    /// What the runtime refused; a command that is missing or cannot be executed; a runtime that hangs.
    /// The caller then calls [`Self::remove`].
    pub fn create(&self, prepared: &Prepared) -> Result<i32, ContainerError> {
        let (id, layout) = (prepared.id, self.layout());
        let record = self.record(id)?;
        let (init, monitor) = self.runtime().create(layout, id, record.tty, record.stdin)?;
        layout.write_record(id, &Record { init: Some(init), monitor, ..record })?;
        Ok(init.pid)
    }

    /// Lets the command begin.
    ///
    /// # Errors
    /// As [`Self::create`].
    pub fn start(&self, id: Id) -> Result<(), ContainerError> {
        let record = self.record(id)?;
        let output = self.runtime().call(self.layout(), &["start", &id.to_string()])?;
        if !output.status.success() {
            return Err(runtime::classify("start", id, &output.text()));
        }
        self.layout().write_record(id, &Record { started: true, ..record })
    }

    /// Sends a signal to the first process.
    ///
    /// # Errors
    /// [`ContainerError::NotRunning`] for a container that has ended or was not created.
    pub fn kill(&self, id: Id, number: i32) -> Result<(), ContainerError> {
        let record = self.record(id)?;
        let init = record.init.ok_or(ContainerError::NotRunning(id))?;
        let Some(named) = Signal::from_named_raw(number) else {
            return self.kill_unnamed(id, number);
        };
        // The descriptor names the process for good; only then is it certain which one it names.
        let fd = open_pidfd(init).ok_or(ContainerError::NotRunning(id))?;
        match pidfd_send_signal(&fd, named) {
            Err(rustix::io::Errno::SRCH) => Err(ContainerError::NotRunning(id)),
            other => other.map_err(|e| ContainerError::File {
                doing: "signal",
                path: format!("/proc/{}", init.pid).into(),
                source: e.into(),
            }),
        }
    }

    /// Realtime signals have no name in the library; the runtime takes numbers.
    fn kill_unnamed(&self, id: Id, number: i32) -> Result<(), ContainerError> {
        let output = self.runtime().call(self.layout(), &["kill", &id.to_string(), &number.to_string()])?;
        if output.status.success() { Ok(()) } else { Err(runtime::classify("signal", id, &output.text())) }
    }

    /// Pid of the first process, while there is one.
    pub fn pid(&self, id: Id) -> Option<i32> {
        match self.state(id) {
            Ok(State::Created(pid) | State::Running(pid)) => Some(pid),
            _ => None,
        }
    }

    /// Where the container is in its life, from files and `/proc` alone.
    ///
    /// # Errors
    /// [`ContainerError::NotFound`], or a record that cannot be read.
    pub fn state(&self, id: Id) -> Result<State, ContainerError> {
        Ok(self.look(id)?.0)
    }

    /// The state, and the record that it was read from where there is one.
    fn look(&self, id: Id) -> Result<(State, Option<Record>), ContainerError> {
        let layout = self.layout();
        if let Some(code) = layout.exit_code(id) {
            return Ok((State::Ended(Exit { code, lost: false }), None));
        }
        let Some(record) = layout.read_record(id)? else {
            // The bundle died with the machine, the state did not.
            let there = layout.container(id).is_dir();
            return if there { Ok((State::Ended(lost()), None)) } else { Err(ContainerError::NotFound(id)) };
        };
        let Some(init) = record.init else { return Ok((State::Prepared, Some(record))) };
        // conmon still writes what the container left in its pipes: not over yet.
        let state = if init.is_alive() || record.monitor.is_some_and(|m| m.is_alive()) {
            if record.started { State::Running(init.pid) } else { State::Created(init.pid) }
        } else {
            // Once more: it may have been written since.
            State::Ended(layout.exit_code(id).map_or_else(lost, |code| Exit { code, lost: false }))
        };
        Ok((state, Some(record)))
    }

    /// How the container ended; `None` while it has not.
    ///
    /// # Errors
    /// As [`Self::state`].
    pub fn exit_status(&self, id: Id) -> Result<Option<Exit>, ContainerError> {
        Ok(match self.state(id)? {
            State::Ended(exit) => Some(exit),
            _ => None,
        })
    }

    /// Waits for the end. Any number may wait, before or after it, in this agent or the next.
    ///
    /// # Errors
    /// [`ContainerError::NotFound`], also when the container is removed meanwhile.
    pub async fn wait(&self, id: Id) -> Result<Exit, ContainerError> {
        loop {
            let noticed = self.0.exits.notice(id);
            let record = match self.look(id) {
                Ok((State::Ended(exit), _)) => return Ok(exit),
                Ok((_, Some(record))) => record,
                Ok((_, None)) | Err(ContainerError::NotFound(_)) => {
                    // Nothing will ever happen to it, and nobody else would take this waiter away.
                    self.0.exits.forget(id);
                    return Err(ContainerError::NotFound(id));
                }
                Err(error) => return Err(error),
            };
            // While conmon lives its file is what counts; if it was killed, the container itself.
            let processes = [record.monitor, record.init];
            let watched = processes.into_iter().flatten().find_map(open_pidfd);
            tokio::select! {
                () = noticed => {}
                () = ended(watched, record.init.is_some()) => {}
            }
        }
    }

    /// Replaces `/etc/hosts` of a container that was given one, in place: it is seen at once.
    ///
    /// # Errors
    /// [`ContainerError::NotFound`], or a file that cannot be written.
    pub fn set_hosts(&self, id: Id, content: &str) -> Result<(), ContainerError> {
        self.set_file(id, "hosts", content)
    }

    /// The same of `/etc/resolv.conf`.
    ///
    /// # Errors
    /// As [`Containers::set_hosts`].
    pub fn set_resolv_conf(&self, id: Id, content: &str) -> Result<(), ContainerError> {
        self.set_file(id, "resolv.conf", content)
    }

    fn set_file(&self, id: Id, name: &str, content: &str) -> Result<(), ContainerError> {
        let path = self.layout().bundle(id).join(name);
        if !path.exists() {
            return Err(ContainerError::NotFound(id));
        }
        write_mode(&path, content.as_bytes(), 0o644)
    }

    /// Ids of which anything is on this machine, for recovery at start-up.
    ///
    /// # Errors
    /// A directory that cannot be listed.
    pub fn list(&self) -> Result<Vec<Id>, ContainerError> {
        self.layout().ids()
    }

    pub(crate) fn record(&self, id: Id) -> Result<Record, ContainerError> {
        self.layout().read_record(id)?.ok_or(ContainerError::NotFound(id))
    }

    /// Ends the container if it runs and removes all of it. Goes on past failures; what is gone already counts as
    /// removed, so it can be called again.
    ///
    /// # Errors
    /// [`ContainerError::Remove`] with everything that failed.
    pub fn remove(&self, id: Id) -> Result<(), ContainerError> {
        let mut errors = self.end_all(id);
        errors.extend(self.remove_files(id));
        if errors.is_empty() { Ok(()) } else { Err(ContainerError::Remove { id, errors }) }
    }

    /// Whether the kernel ended a process of the container since it had used up its memory, or its pod had: conmon
    /// leaves a file then.
    pub fn ran_out_of_memory(&self, id: Id) -> bool {
        self.layout().container(id).join(OUT_OF_MEMORY).exists()
    }

    /// Ends what a container whose first process has ended leaves running: where it has the processes of its pod or of
    /// the host around it, the kernel does not.
    pub fn end_rest(&self, id: Id) {
        if self.layout().runtime().join(id.to_string()).exists() {
            // Nothing to end is no failure, and what cannot be ended goes with the container.
            let _ = self.runtime().call(self.layout(), &["kill", "--all", &id.to_string(), "KILL"]);
        }
    }

    /// Ends the container if it runs and takes away what dies with the machine, mounts first; its log and its files
    /// stay, as after a reboot. Goes on past failures.
    ///
    /// # Errors
    /// [`ContainerError::Remove`] with everything that failed.
    pub fn put_away(&self, id: Id) -> Result<(), ContainerError> {
        let mut errors = self.end_all(id);
        errors.extend(self.remove_bundle(id));
        if errors.is_empty() { Ok(()) } else { Err(ContainerError::Remove { id, errors }) }
    }

    /// Ends every process of a container and makes the runtime forget it.
    fn end_all(&self, id: Id) -> Vec<ContainerError> {
        let layout = self.layout();
        let mut errors = Vec::new();
        let record = layout.read_record(id).unwrap_or_else(|e| {
            errors.push(e);
            None
        });
        let known = layout.runtime().join(id.to_string());
        if known.exists() {
            errors.extend(self.delete(id).err());
        } else if layout.bundle(id).exists() {
            // The runtime was making it when it was ended.
            runtime::kill_monitor(&layout.bundle(id));
            remove_cgroups(id);
        }
        let survivor = record.and_then(|r| end_processes(id, &r));
        runtime::kill_monitor(&layout.bundle(id));
        if survivor.is_none() && known.exists() {
            // The runtime could not; nothing runs any more, so what it keeps means nothing.
            let _ = fs::remove_dir_all(&known);
            remove_cgroups(id);
        }
        errors.extend(survivor);
        errors
    }

    /// Makes place for a container of the same id that ended before: its log and its files stay.
    ///
    /// Answers whether there was none.
    pub(crate) fn make_place(&self, id: Id) -> Result<bool, ContainerError> {
        match self.state(id) {
            Err(ContainerError::NotFound(_)) => return Ok(true),
            Ok(State::Created(_) | State::Running(_)) => return Err(ContainerError::Running(id)),
            Ok(State::Prepared | State::Ended(_)) => {}
            Err(e) => return Err(e),
        }
        let mut errors = self.end_all(id);
        errors.extend(self.remove_bundle(id));
        // What conmon has left of the one before.
        for name in ["exit", OUT_OF_MEMORY] {
            let kept = self.layout().container(id).join(name);
            errors.extend(gone(fs::remove_file(&kept)).map(ContainerError::file("remove", &kept)));
        }
        if errors.is_empty() { Ok(false) } else { Err(ContainerError::Remove { id, errors }) }
    }

    /// Takes away the control groups that those of containers were in, if nobody has one in them.
    pub fn put_cgroups_away(&self) {
        for group in cgroups() {
            inside(&group).chain([group]).for_each(|dir| _ = fs::remove_dir(dir));
        }
    }

    fn delete(&self, id: Id) -> Result<(), ContainerError> {
        let output = self.runtime().call(self.layout(), &["delete", "--force", &id.to_string()])?;
        if output.status.success() { Ok(()) } else { Err(runtime::classify("delete", id, &output.text())) }
    }

    /// Mounts and files.
    pub(crate) fn remove_files(&self, id: Id) -> Vec<ContainerError> {
        let mut errors = self.remove_bundle(id);
        if errors.is_empty() {
            let dir = self.layout().container(id);
            errors.extend(gone(fs::remove_dir_all(&dir)).map(ContainerError::file("remove", &dir)));
        }
        self.0.exits.forget(id);
        errors
    }

    /// What dies with the machine: mounts, bundle, exit file.
    pub(crate) fn remove_bundle(&self, id: Id) -> Vec<ContainerError> {
        let layout = self.layout();
        let bundle = layout.bundle(id);
        let mut errors = rootfs::unmount_below(&bundle);
        if !errors.is_empty() {
            // Never delete through a mount that is still there.
            return errors;
        }
        errors.extend(gone(fs::remove_dir_all(&bundle)).map(ContainerError::file("remove", &bundle)));
        let exit = layout.exits().join(id.to_string());
        errors.extend(gone(fs::remove_file(&exit)).map(ContainerError::file("remove", &exit)));
        errors
    }
}

/// The control group that those of containers are in, one per hierarchy of version 1 or the one of version 2.
pub(crate) fn cgroups() -> impl Iterator<Item = PathBuf> {
    let root = PathBuf::from("/sys/fs/cgroup");
    let hierarchies: Vec<_> = fs::read_dir(&root).into_iter().flatten().flatten().map(|e| e.path()).collect();
    std::iter::once(root).chain(hierarchies).map(|hierarchy| hierarchy.join("netmode"))
}

/// Control groups in another.
pub(crate) fn inside(group: &Path) -> impl Iterator<Item = PathBuf> + use<> {
    fs::read_dir(group).into_iter().flatten().flatten().map(|e| e.path())
}

/// Control groups of a container that the runtime left behind.
fn remove_cgroups(id: Id) {
    for group in cgroups() {
        // Of a pod, or of its own.
        inside(&group).chain([group]).for_each(|dir| _ = fs::remove_dir(dir.join(id.to_string())));
    }
}

fn lost() -> Exit {
    Exit { code: UNSEEN, lost: true }
}

/// The error, unless it says that there is nothing.
fn gone(result: io::Result<()>) -> Option<io::Error> {
    result.err().filter(|e| e.kind() != io::ErrorKind::NotFound)
}

/// A descriptor of exactly this process; `None` when it is dead.
fn open_pidfd(process: Process) -> Option<OwnedFd> {
    let fd = pidfd_open(Pid::from_raw(process.pid)?, PidfdFlags::empty()).ok()?;
    process.is_alive().then_some(fd)
}

/// Completes when the process is dead, or soon where none is to be seen: there may be one yet.
async fn ended(process: Option<OwnedFd>, was_made: bool) {
    if !was_made {
        return tokio::time::sleep(NOT_YET).await;
    }
    if let Some(Ok(fd)) = process.map(crate::readable::register) {
        let _ = fd.readable().await;
    } else {
        // Dead already; its reader may need a moment to write the end down.
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// Waits for conmon, which writes a file at the end that would otherwise appear after the removal.
fn end_processes(id: Id, record: &Record) -> Option<ContainerError> {
    let mut survivor = None;
    for (process, grace) in [(record.init, Duration::ZERO), (record.monitor, LAST_WORDS)] {
        let Some((process, fd)) = process.and_then(|p| Some((p, open_pidfd(p)?))) else { continue };
        let wait = |limit| wait_for(&fd, limit);
        if wait(grace) {
            continue;
        }
        let _ = pidfd_send_signal(&fd, Signal::KILL);
        if !wait(LAST_WORDS) {
            survivor = Some(process.pid);
        }
    }
    let text = format!("process {} does not end", survivor?);
    Some(ContainerError::Runtime { doing: "end", id, text })
}

fn wait_for(fd: &OwnedFd, limit: Duration) -> bool {
    use std::os::fd::AsFd;
    matches!(crate::program::wait_readable(&[Some(fd.as_fd())], Instant::now() + limit), Ok(Some(_)))
}

/// The number of a signal: `TERM`, `SIGTERM`, `term`, `15`, `RTMIN+3`.
///
/// # Errors
/// [`ContainerError::NoSuchSignal`].
pub fn signal(text: &str) -> Result<i32, ContainerError> {
    let unknown = || ContainerError::NoSuchSignal(text.chars().take(32).collect());
    if let Ok(number) = text.parse::<i32>() {
        return if (1..=64).contains(&number) { Ok(number) } else { Err(unknown()) };
    }
    let upper = text.to_ascii_uppercase();
    let name = upper.strip_prefix("SIG").unwrap_or(&upper);
    if let Some(rest) = name.strip_prefix("RTMIN") {
        // glibc keeps the first two of the kernel's 32 for itself (signal(7)).
        let offset = if rest.is_empty() { Some(0) } else { rest.strip_prefix('+').and_then(|n| n.parse().ok()) };
        return offset.map(|n: i32| 34 + n).filter(|n| (34..=64).contains(n)).ok_or_else(unknown);
    }
    let known = nix::sys::signal::Signal::iterator().find(|s| s.as_str() == format!("SIG{name}"));
    known.map(|s| s as i32).ok_or_else(unknown)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn nobody_waits_for_what_is_not_there() {
        let dir = std::env::temp_dir().join(format!("nm-waiters-{}", std::process::id()));
        let config = Config { run_dir: dir.join("run"), state_dir: dir.join("state"), ..Config::default() };
        let containers = Containers::new(config).unwrap();
        for n in 0..3 {
            let missing = containers.wait(Id::from_bytes([n; 16])).await;
            assert!(matches!(missing, Err(ContainerError::NotFound(_))), "{missing:?}");
        }
        assert_eq!(containers.0.exits.waiting(), 0);
        fs::remove_dir_all(dir).unwrap();
    }

    #[test]
    fn signals_by_name_and_number() {
        for (text, number) in [("TERM", 15), ("SIGKILL", 9), ("int", 2), ("15", 15), ("RTMIN+3", 37), ("64", 64)] {
            assert_eq!(signal(text).unwrap(), number, "{text}");
        }
        for bad in ["", "0", "65", "-1", "NOPE", "RTMIN+40", "SIG"] {
            assert!(matches!(signal(bad), Err(ContainerError::NoSuchSignal(_))), "{bad}");
        }
    }
}
