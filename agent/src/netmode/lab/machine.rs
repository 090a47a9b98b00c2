//! The machine of a lab: built by `sandbox.sh`, held by its first process, entered by `enter.sh`.

use crate::failure::Failure;
use crate::lab::catalog::{self, Lab, find_program};
use crate::lab::enter;
use netmode_model::Code;
use nix::errno::Errno;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// Where labs that run, and what is known of them, are kept; the same directory inside and outside.
pub(crate) const RUN: &str = "/run/netmode-lab";
/// Inside a lab: its name.
const HERE: &str = "/run/this-lab";

/// What every lab needs, beside netmode itself.
const NEEDS: &[&str] = &[
    "ip", "nft", "unshare", "nsenter", "setsid", "mount", "curl", "ping", "ss", "sysctl", "netmoded", "runc", "conmon",
];
/// How long a machine may take to be built, and to end.
const PATIENCE: Duration = Duration::from_secs(120);

/// The directory of a lab.
pub(crate) fn directory(name: &str) -> PathBuf {
    Path::new(RUN).join(name)
}

/// The name of the lab that we are in.
pub(crate) fn here() -> Option<String> {
    std::fs::read_to_string(HERE).ok().map(|name| name.trim().to_owned())
}

/// The lab that was started last.
pub(crate) fn current() -> Option<String> {
    std::fs::read_to_string(Path::new(RUN).join("current")).ok().map(|name| name.trim().to_owned())
}

/// Makes a lab the one that is meant where none is named.
pub(crate) fn make_current(name: &str) -> Result<(), Failure> {
    let path = Path::new(RUN).join("current");
    std::fs::write(&path, format!("{name}\n")).map_err(|error| {
        Failure::new(Code::State, format!("cannot write {}: {error}; try it with sudo", path.display()))
    })
}

/// How the command is typed outside, where it needs root.
pub(crate) fn by_root() -> &'static str {
    let is_by_sudo = std::env::var_os("SUDO_USER").is_some() || !nix::unistd::Uid::effective().is_root();
    if is_by_sudo { "sudo netmode lab" } else { "netmode lab" }
}

/// Notes inside a lab that this process outside is to build it anew.
pub(crate) fn ask_again(name: &str, opener: &str) -> std::io::Result<()> {
    std::fs::write(directory(name).join("reset"), opener)
}

/// Whether that was asked of this process.
pub(crate) fn is_asked_again(name: &str, process: u32) -> bool {
    std::fs::read_to_string(directory(name).join("reset")).is_ok_and(|opener| opener == process.to_string())
}

/// Whether a lab runs, seen from anywhere: in a lab pids outside cannot be seen, the note of them can.
pub(crate) fn runs(name: &str) -> bool {
    if here().is_some() { directory(name).join("holder").exists() } else { holder(name).is_some() }
}

/// The first process of a lab, if it runs. The pid is as the machine outside counts.
pub(crate) fn holder(name: &str) -> Option<Pid> {
    let text = std::fs::read_to_string(directory(name).join("holder")).ok()?;
    let (pid, start) = text.trim().split_once(' ')?;
    let pid = pid.parse().ok()?;
    // A pid alone may be somebody else's by now.
    (start_time(pid).as_deref() == Some(start)).then(|| Pid::from_raw(pid))
}

/// Field 22 of /proc/PID/stat; the second one is a name that may have spaces.
fn start_time(pid: i32) -> Option<String> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    stat.rsplit_once(')')?.1.split_whitespace().nth(19).map(String::from)
}

/// Builds the machine of a lab anew. What came of its checks stays.
pub(crate) fn start(lab: &Lab) -> Result<(), Failure> {
    allowed(lab)?;
    stop(&lab.name)?;
    let run = directory(&lab.name);
    let failed =
        |error: std::io::Error| Failure::new(Code::State, format!("cannot write to {}: {error}", run.display()));
    std::fs::create_dir_all(&run).map_err(failed)?;
    make_current(&lab.name)?;
    let _ = std::fs::remove_file(run.join("reset"));
    let log = std::fs::File::create(run.join("log")).map_err(failed)?;
    let also = log.try_clone().map_err(failed)?;
    let script = catalog::directory()?.join("sandbox.sh");
    let mut command = enter::command("setsid");
    command.arg("sh").arg(&script).arg(&lab.directory).arg(&run).arg(enter::this());
    let mut child = command.stdin(Stdio::null()).stdout(log).stderr(also).spawn().map_err(failed)?;
    let until = Instant::now() + PATIENCE;
    while holder(&lab.name).is_none() {
        let ended = !matches!(child.try_wait(), Ok(None));
        if ended || Instant::now() > until {
            let _ = child.kill();
            return Err(unbuilt(lab, &run));
        }
        std::thread::sleep(Duration::from_millis(2));
    }
    Ok(())
}

fn unbuilt(lab: &Lab, run: &Path) -> Failure {
    let log = std::fs::read_to_string(run.join("log")).unwrap_or_default();
    let last: Vec<_> = log.lines().rev().filter(|line| !line.starts_with('+')).take(3).collect();
    let last: Vec<_> = last.into_iter().rev().collect();
    let text = format!(
        "the machine of lab {} could not be built: {} (the whole log is {}/log)",
        lab.number,
        last.join("; "),
        run.display()
    );
    Failure::new(Code::State, text)
}

/// Whether a lab can be run here at all: one sentence for each lack.
fn allowed(lab: &Lab) -> Result<(), Failure> {
    if here().is_some() {
        let text = "this is a shell in a lab; type exit first, then start another one";
        return Err(Failure::new(Code::WrongState, text));
    }
    if !nix::unistd::Uid::effective().is_root() {
        let text = format!("a lab is a machine of namespaces, which needs root: sudo netmode lab start {}", lab.number);
        return Err(Failure::new(Code::Forbidden, text));
    }
    if find_program("netmode").is_none() {
        let text = "labs run netmode in containers as well, so it must be installed: apt-get install ./dist/netmode_*.deb, or make install";
        return Err(Failure::new(Code::MissingProgram, text));
    }
    let missing: Vec<_> = NEEDS.iter().filter(|name| find_program(name).is_none()).copied().collect();
    if !missing.is_empty() {
        let text = format!("labs need {}, which is not installed here", missing.join(", "));
        return Err(Failure::new(Code::MissingProgram, text));
    }
    lab.missing().map_or(Ok(()), |text| Err(Failure::new(Code::MissingProgram, text)))
}

/// Ends the machine: its first process, with it all others, and what is left of its control groups.
pub(crate) fn stop(name: &str) -> Result<(), Failure> {
    if let Some(pid) = holder(name) {
        let failed =
            |error: Errno| Failure::new(Code::Forbidden, format!("cannot end {name}: {error}; try it with sudo"));
        kill(pid, Signal::SIGKILL).map_err(failed)?;
        let until = Instant::now() + PATIENCE;
        while holder(name).is_some() {
            if Instant::now() > until {
                let text = format!(
                    "the machine of lab {name} does not end: its first process, {pid}, was killed and is still there; \
                     /proc/{pid}/stack tells what it waits for, then try again"
                );
                return Err(Failure::new(Code::State, text));
            }
            std::thread::sleep(Duration::from_millis(1));
        }
    }
    let _ = std::fs::remove_file(directory(name).join("holder"));
    let list = std::fs::read_to_string(directory(name).join("cgroups")).unwrap_or_default();
    for cgroup in list.lines() {
        // What was killed may be on its way out.
        let gone = |_: &u32| remove_cgroup(Path::new(cgroup)).is_ok() || !pause();
        let _ = (0..1000).find(gone);
    }
    Ok(())
}

fn pause() -> bool {
    std::thread::sleep(Duration::from_millis(5));
    true
}

/// Directories alone can be removed there, from the innermost outward.
fn remove_cgroup(path: &Path) -> std::io::Result<()> {
    let entries = match std::fs::read_dir(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        entries => entries?,
    };
    for entry in entries.flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            remove_cgroup(&entry.path())?;
        }
    }
    std::fs::remove_dir(path)
}

/// A command that runs these words in the lab.
pub(crate) fn entering(lab: &Lab, words: &[&str]) -> Result<Command, Failure> {
    let not_running = || {
        let text = format!("lab {0} does not run; begin with \"{1} start {0}\"", lab.number, by_root());
        Failure::new(Code::WrongState, text)
    };
    let pid = holder(&lab.name).ok_or_else(not_running)?;
    if !nix::unistd::Uid::effective().is_root() {
        let text = "only root may enter a lab: put sudo before the command";
        return Err(Failure::new(Code::Forbidden, text));
    }
    let mut command = enter::command("sh");
    command.arg(catalog::directory()?.join("enter.sh")).arg(pid.to_string()).args(words);
    Ok(command)
}
