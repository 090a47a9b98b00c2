//! Programs run for a test: bounded in time, their output collected, and what they leave open noticed.

use netmode_tests::wire::Ran;
use std::io::{Read, Write};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

/// What a process may leave open behind itself, and for how long, before it counts.
const GRACE: Duration = Duration::from_secs(2);

fn command(argv: &[String], env: &[(String, String)]) -> Result<Command, String> {
    let (program, args) = argv.split_first().ok_or("no program")?;
    let mut command = Command::new(program);
    command.args(args).envs(env.iter().map(|(k, v)| (k, v)));
    // A group of its own, to be killed as a whole.
    command.process_group(0);
    Ok(command)
}

/// Exit status as a shell gives it.
pub(crate) fn shell_status(status: ExitStatus) -> i32 {
    status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or(0))
}

/// Runs a program to its end.
pub(crate) fn run(argv: &[String], stdin: String, env: &[(String, String)], wait: Duration) -> Result<Ran, String> {
    let mut command = command(argv, env)?;
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().map_err(|e| format!("{}: {e}", argv[0]))?;
    if let Some(mut pipe) = child.stdin.take() {
        std::thread::spawn(move || pipe.write_all(stdin.as_bytes()));
    }
    let (stdout, stderr) = (collect(child.stdout.take()), collect(child.stderr.take()));
    let ended = wait_for(&mut child, wait);
    if ended.is_none() {
        kill_group(&child);
    }
    let status = child.wait().map_err(|e| e.to_string())?;
    let by = Instant::now() + GRACE;
    let (stdout, out_open) = take(&stdout, by);
    let (stderr, err_open) = take(&stderr, by);
    let left_open = out_open || err_open;
    Ok(Ran { status: shell_status(status), stdout, stderr, timed_out: ended.is_none(), left_open })
}

fn kill_group(child: &Child) {
    // The standard library has no killpg.
    let _ = Command::new("kill").args(["-KILL", "--", &format!("-{}", child.id())]).status();
}

/// Reads a pipe to its end, in pieces, so that what came is there even if the end does not come.
fn collect(pipe: Option<impl Read + Send + 'static>) -> Receiver<Vec<u8>> {
    let (send, receive) = channel();
    std::thread::spawn(move || {
        let (Some(mut pipe), mut buffer) = (pipe, [0; 65536]) else { return };
        while let Ok(n) = pipe.read(&mut buffer) {
            if n == 0 || send.send(buffer[..n].to_vec()).is_err() {
                return;
            }
        }
    });
    receive
}

/// What was read until the end or the given time, and whether the pipe is open even then.
fn take(pieces: &Receiver<Vec<u8>>, by: Instant) -> (String, bool) {
    let mut all = Vec::new();
    let open = loop {
        match pieces.recv_timeout(by.saturating_duration_since(Instant::now())) {
            Ok(piece) => all.extend(piece),
            Err(std::sync::mpsc::RecvTimeoutError::Timeout) => break true,
            Err(std::sync::mpsc::RecvTimeoutError::Disconnected) => break false,
        }
    };
    (String::from_utf8_lossy(&all).into_owned(), open)
}

/// Starts a program in the background.
pub(crate) fn spawn(argv: &[String], env: &[(String, String)], log: &str) -> Result<Child, String> {
    let log = std::fs::File::options().create(true).append(true).open(log).map_err(|e| format!("{log}: {e}"))?;
    let copy = log.try_clone().map_err(|e| e.to_string())?;
    let mut command = command(argv, env)?;
    command.stdin(Stdio::null()).stdout(log).stderr(copy);
    command.spawn().map_err(|e| format!("{}: {e}", argv[0]))
}

/// Waits for its end, for so long.
pub(crate) fn wait_for(child: &mut Child, wait: Duration) -> Option<ExitStatus> {
    let until = Instant::now() + wait;
    let mut pause = Duration::from_micros(500);
    loop {
        if let Ok(Some(status)) = child.try_wait() {
            return Some(status);
        }
        if Instant::now() >= until {
            return None;
        }
        std::thread::sleep(pause);
        pause = (pause * 2).min(Duration::from_millis(5));
    }
}
