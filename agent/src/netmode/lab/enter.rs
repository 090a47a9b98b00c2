//! The one module of the command line that starts programs: a lab's machine, and what checks run in it.

use crate::failure::Failure;
use crate::lab::catalog::find_program;
use crate::lab::expect::Answer;
use crate::output::print;
use netmode_model::Code;
use std::io::{self, Read, Write};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

/// Where a lab's shell finds programs; also what containers have.
pub(crate) const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// How often a program that may take long is looked after.
const PAUSE: Duration = Duration::from_millis(2);

/// A program with the environment that everything in a lab has, so that the caller's has no say.
pub(crate) fn command(program: &str) -> Command {
    let mut command = Command::new(program);
    command.env_clear().env("PATH", PATH).env("HOME", "/run/home").env("USER", "root");
    for name in ["TERM", "LANG", "NETMODE_LABS", "SUDO_USER"] {
        if let Some(value) = std::env::var_os(name) {
            command.env(name, value);
        }
    }
    command
}

/// This program for use in a lab: the one that is installed, which containers have, too.
pub(crate) fn this() -> PathBuf {
    find_program("netmode").or_else(|| std::env::current_exe().ok()).unwrap_or_else(|| "netmode".into())
}

/// Shows a text page by page, by the caller's own program for that; prints it where there is none.
pub(crate) fn page(text: &str) -> Result<(), Failure> {
    let own = std::env::var("PAGER").unwrap_or_default();
    let pagers = [own.as_str(), "less -R", "more"].map(|words| words.split_whitespace().collect::<Vec<_>>());
    let found = pagers.iter().find(|words| words.first().is_some_and(|program| find_program(program).is_some()));
    let Some((program, arguments)) = found.and_then(|words| words.split_first()) else { return print(text) };
    let mut pager = command(program);
    let mut child =
        pager.args(arguments).stdin(Stdio::piped()).spawn().map_err(|error| cannot_start(&pager, &error))?;
    // Whoever has seen enough closes it.
    let _ = child.stdin.take().map(|mut pipe| pipe.write_all(text.as_bytes()));
    let _ = child.wait();
    Ok(())
}

/// Runs a command to its end with our own input and output, and gives its status as a shell does.
pub(crate) fn run(command: &mut Command) -> Result<u8, Failure> {
    let status = command.status().map_err(|error| cannot_start(command, &error))?;
    Ok(shell_status(status))
}

/// Runs a command to its end without a word; what it said is told if it fails.
pub(crate) fn run_quietly(command: &mut Command) -> Result<(), Failure> {
    let out = command.output().map_err(|error| cannot_start(command, &error))?;
    if out.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&out.stderr).trim().to_owned();
    Err(Failure::new(Code::State, format!("{said} (status {})", shell_status(out.status))))
}

/// Becomes the command.
pub(crate) fn become_it(command: &mut Command) -> Failure {
    let error = command.exec();
    cannot_start(command, &error)
}

fn cannot_start(command: &Command, error: &io::Error) -> Failure {
    let program = command.get_program().to_string_lossy();
    Failure::new(Code::MissingProgram, format!("cannot start {program}: {error}"))
}

fn shell_status(status: ExitStatus) -> u8 {
    let number = status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or(0));
    u8::try_from(number).unwrap_or(1)
}

/// What a program answers somewhere in the lab that we are in; `Err` says why it could not be asked.
pub(crate) fn answer(place: &str, words: &[String], limit: Duration) -> Result<Answer, String> {
    let Some((program, arguments)) = words.split_first() else { return Err("a check without a program".into()) };
    let mut command = match namespace(place)? {
        None => command(program),
        Some(path) => {
            let mut entering = command("nsenter");
            entering.arg(format!("--net={path}")).arg("--").arg(program);
            entering
        }
    };
    command.env("LC_ALL", "C.UTF-8").args(arguments);
    let child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
    let child = child.map_err(|error| format!("cannot start {program}: {error}"))?;
    wait(child, limit).ok_or_else(|| format!("{program} did not answer within {} s", limit.as_secs()))
}

/// The path of a place's network namespace.
fn namespace(place: &str) -> Result<Option<String>, String> {
    if place == "host" {
        return Ok(None);
    }
    let Some(task) = place.strip_prefix("task:") else {
        let path = format!("/run/netns/{place}");
        let missing = || format!("there is no network namespace {place}");
        return if Path::new(&path).exists() { Ok(Some(path)) } else { Err(missing()) };
    };
    let words = [this().to_string_lossy().as_ref(), "inspect", task, "-o", "json"].map(String::from);
    let tasks = answer("host", &words, Duration::from_secs(10))?;
    if tasks.status != 0 {
        return Err(format!("there is no task {task}"));
    }
    let tasks: serde_json::Value = serde_json::from_str(&tasks.stdout).unwrap_or_default();
    let mode = tasks[0]["networkMode"].as_str().unwrap_or_default();
    let none = || format!("{task} has no network namespace of its own: it runs in mode {mode}");
    Ok(Some(tasks[0]["netns"].as_str().ok_or_else(none)?.into()))
}

/// Waits for a child, and kills it when its time is up.
fn wait(mut child: Child, limit: Duration) -> Option<Answer> {
    let until = Instant::now() + limit;
    // Read beside: a child whose pipe is full never ends.
    let stdout = child.stdout.take().map(read_all);
    let stderr = child.stderr.take().map(read_all);
    let status = loop {
        match child.try_wait() {
            Ok(Some(status)) => break Some(status),
            Ok(None) if Instant::now() < until => std::thread::sleep(PAUSE),
            _ => break None,
        }
    };
    if status.is_none() {
        let _ = child.kill();
        let _ = child.wait();
    }
    let text = |thread: Option<std::thread::JoinHandle<String>>| thread.and_then(|t| t.join().ok()).unwrap_or_default();
    status.map(|status| Answer { status: shell_status(status).into(), stdout: text(stdout), stderr: text(stderr) })
}

fn read_all(mut pipe: impl Read + Send + 'static) -> std::thread::JoinHandle<String> {
    std::thread::spawn(move || {
        let mut bytes = Vec::new();
        let _ = pipe.read_to_end(&mut bytes);
        String::from_utf8_lossy(&bytes).into_owned()
    })
}
