//! `run` in the foreground, `exec` and `logs`: streams, signals, terminals, exit codes.

use crate::fake::*;
use nix::pty::openpty;
use nix::sys::signal::{Signal, kill};
use nix::sys::termios::{LocalFlags, tcgetattr};
use nix::unistd::Pid;
use serde_json::json;
use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::process::{Child, Stdio};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

const ID: &str = "0123456789abcdef0123456789abcdef";

/// A container's life as the scripted agent sees it.
#[derive(Default)]
struct Life {
    started: Mutex<bool>,
    exit: Mutex<Option<i32>>,
    changed: Condvar,
}

impl Life {
    fn start(&self) {
        *self.started.lock().unwrap() = true;
        self.changed.notify_all();
    }

    fn until_started(&self) {
        let guard = self.started.lock().unwrap();
        drop(self.changed.wait_while(guard, |started| !*started).unwrap());
    }

    fn end(&self, code: i32) {
        *self.exit.lock().unwrap() = Some(code);
        self.changed.notify_all();
    }

    fn until_ended(&self) -> i32 {
        let guard = self.exit.lock().unwrap();
        self.changed.wait_while(guard, |exit| exit.is_none()).unwrap().unwrap()
    }
}

/// An agent whose one container does what `container` does with its stream.
fn agent(container: impl Fn(&mut UnixStream, &Life) + Send + Sync + 'static) -> Fake {
    let life = Arc::new(Life::default());
    Fake::new(move |asked, stream| match asked.line.as_str() {
        "POST /v1/tasks?start=false" => {
            reply(stream, 201, &json!({"id": ID, "name": "job", "warnings": []}).to_string())
        }
        line if line.ends_with("/start") => {
            life.start();
            reply(stream, 204, "");
        }
        line if line.ends_with("/wait") => reply(stream, 200, &json!({"exitCode": life.until_ended()}).to_string()),
        line if line.ends_with("/kill") => {
            reply(stream, 204, "");
            if asked.body["signal"] == "TERM" {
                life.end(143);
            }
        }
        line if line.ends_with("/attach") => {
            upgrade(stream);
            life.until_started();
            container(stream, &life);
        }
        line => error(stream, 404, "not-found", line),
    })
}

fn finish(child: Child) -> Done {
    Done::of(child.wait_with_output().unwrap())
}

fn piped(agent: &Fake, words: &[&str]) -> Child {
    agent.command(words).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
}

#[test]
fn a_foreground_run_has_the_containers_streams_and_its_exit_code() {
    let agent = agent(|stream, life| {
        let mut heard = String::new();
        while let Some((0, body)) = receive(stream) {
            if body.is_empty() {
                break;
            }
            heard += &body;
        }
        send(stream, 1, heard.to_uppercase().as_bytes());
        send(stream, 2, b"to err\n");
        life.end(7);
    });
    let mut child = piped(&agent, &["run", "-i", "--rootfs", "/", "cat"]);
    child.stdin.take().unwrap().write_all(b"hello\nno line end").unwrap();
    assert_eq!(finish(child), Done { status: 7, out: "HELLO\nNO LINE END".into(), err: "to err\n".into() });
    let lines = agent.lines();
    assert_eq!(lines[0], "POST /v1/tasks?start=false");
    assert_eq!(lines[1], format!("GET /v1/tasks/{ID}/attach"));
    let mut rest = lines[2..].to_vec();
    rest.sort();
    assert_eq!(rest, [format!("GET /v1/tasks/{ID}/wait"), format!("POST /v1/tasks/{ID}/start")]);
    assert_eq!(agent.asked()[0].body["container"]["stdin"], true);
}

#[test]
fn output_that_is_read_slowly_comes_whole() {
    let agent = agent(|stream, life| {
        life.end(0);
        for _ in 0..64 {
            send(stream, 1, &[b'x'; 65_536]);
        }
    });
    let mut child = piped(&agent, &["run", "x"]);
    std::thread::sleep(Duration::from_millis(300));
    let mut out = Vec::new();
    child.stdout.take().unwrap().read_to_end(&mut out).unwrap();
    assert_eq!(out.len(), 64 * 65_536);
    assert_eq!(child.wait().unwrap().code(), Some(0));
}

#[test]
fn a_start_that_fails_gives_126_or_127_and_leaves_nothing() {
    for (code, status) in [("command-not-executable", 126), ("command-not-found", 127), ("runtime", 125)] {
        let agent = Fake::new(move |asked, stream| match asked.line.as_str() {
            "POST /v1/tasks?start=false" => reply(stream, 201, &json!({"id": ID, "name": "job"}).to_string()),
            line if line.ends_with("/start") => error(stream, 400, code, "cannot run nope"),
            line if line.contains("/attach") => {
                upgrade(stream);
                while receive(stream).is_some() {}
            }
            line if line.ends_with("/wait") => while receive(stream).is_some() {},
            _ => reply(stream, 204, ""),
        });
        agent.run(&["run", "--rm", "x", "nope"]).fails(status, "cannot run nope");
        let removals = || agent.lines().iter().filter(|l| **l == format!("DELETE /v1/tasks/{ID}?force=true")).count();
        assert_eq!(removals(), 1);
        agent.run(&["run", "x", "nope"]).fails(status, "cannot run nope");
        assert_eq!(removals(), 2);
    }
}

#[test]
fn signals_are_passed_on_and_the_code_is_the_containers() {
    let agent = agent(|stream, life| {
        send(stream, 1, b"ready\n");
        life.until_ended();
    });
    let mut child = piped(&agent, &["run", "x"]);
    let mut ready = [0; 6];
    child.stdout.as_mut().unwrap().read_exact(&mut ready).unwrap();
    let pid = Pid::from_raw(i32::try_from(child.id()).unwrap());
    for signal in [Signal::SIGUSR1, Signal::SIGHUP, Signal::SIGINT, Signal::SIGTERM] {
        kill(pid, signal).unwrap();
        wait_for(|| agent.asked().iter().any(|a| a.body["signal"] == signal.as_str().trim_start_matches("SIG")));
    }
    assert_eq!(finish(child).status, 143);
}

#[test]
fn a_container_that_ignores_signals_can_be_left() {
    let agent = agent(|stream, _| {
        send(stream, 1, b"ready\n");
        while receive(stream).is_some() {}
    });
    let mut child = piped(&agent, &["run", "x"]);
    let mut ready = [0; 6];
    child.stdout.as_mut().unwrap().read_exact(&mut ready).unwrap();
    let pid = Pid::from_raw(i32::try_from(child.id()).unwrap());
    for sent in 1..=3 {
        kill(pid, Signal::SIGINT).unwrap();
        // The third one is not passed on.
        wait_for(|| sent == 3 || agent.lines().iter().filter(|l| l.ends_with("/kill")).count() == sent);
    }
    let done = finish(child);
    assert_eq!((done.status, done.err.as_str()), (130, "netmode: job goes on; end it with \"netmode stop job\"\n"));
}

fn wait_for(mut met: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !met() {
        assert!(begun.elapsed() < Duration::from_secs(10), "nothing happened");
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn a_reader_that_goes_ends_a_foreground_run_quietly() {
    let agent = agent(|stream, _| while stream.write_all(&[1, 0, 0, 0, 0, 0, 0, 2, b'y', b'\n']).is_ok() {});
    let mut child = piped(&agent, &["run", "x"]);
    drop(child.stdout.take());
    let done = finish(child);
    assert_eq!((done.status, done.err.as_str()), (141, ""));
}

#[test]
fn an_agent_that_restarts_is_asked_again() {
    for answers_the_start in [true, false] {
        restarts(answers_the_start);
    }
}

fn running() -> serde_json::Value {
    json!({"id": ID, "name": "job", "networkMode": "none", "requestedMode": "none", "state": "RUNNING", "pid": 1,
        "containers": [], "networks": [], "createdAt": "2020-01-01T00:00:00Z", "labels": {}})
}

fn restarts(answers_the_start: bool) {
    let broken = Mutex::new(false);
    let agent = Fake::new(move |asked, stream| match asked.line.as_str() {
        "POST /v1/tasks?start=false" => reply(stream, 201, &json!({"id": ID, "name": "job"}).to_string()),
        line if line.ends_with("/start") && !answers_the_start => {}
        line if line == format!("GET /v1/tasks/{ID}") => reply(stream, 200, &running().to_string()),
        line if line.ends_with("/start") => reply(stream, 204, ""),
        // Both connections break; the second wait is answered.
        line if line.ends_with("/attach") => upgrade(stream),
        line if line.ends_with("/wait") => {
            if std::mem::replace(&mut *broken.lock().unwrap(), true) {
                reply(stream, 200, r#"{"exitCode":5}"#);
            }
        }
        line => error(stream, 404, "not-found", line),
    });
    let done = agent.run(&["run", "x"]);
    assert_eq!(done.status, 5, "{done:?}");
    assert!(done.err.contains("the connection to the agent was lost; \"netmode logs job\""), "{done:?}");
}

/// A terminal: our side of it, and the container's.
struct Terminal {
    keys: File,
    slave: OwnedFd,
}

impl Terminal {
    fn new() -> Self {
        let pty =
            openpty(Some(&nix::pty::Winsize { ws_row: 30, ws_col: 100, ws_xpixel: 0, ws_ypixel: 0 }), None).unwrap();
        Self { keys: pty.master.into(), slave: pty.slave }
    }

    fn spawn(&self, agent: &Fake, words: &[&str]) -> Child {
        let side = || Stdio::from(self.slave.try_clone().unwrap());
        agent.command(words).stdin(side()).stdout(side()).stderr(Stdio::piped()).spawn().unwrap()
    }

    /// Whether keys are edited and echoed in lines, as a shell leaves it.
    fn is_cooked(&self) -> bool {
        let flags = tcgetattr(&self.slave).unwrap().local_flags;
        flags.contains(LocalFlags::ICANON | LocalFlags::ECHO | LocalFlags::ISIG)
    }
}

/// An agent for `-it` that tells what comes in and ends as told.
fn interactive(end: impl Fn(&mut UnixStream) + Send + Sync + 'static) -> (Fake, Receiver<(u8, String)>) {
    let (told, frames): (Sender<_>, _) = channel();
    let told = Mutex::new(told);
    let agent = Fake::new(move |asked, stream| {
        assert!(asked.line.ends_with("/exec") && asked.body["tty"] == true, "{asked:?}");
        upgrade(stream);
        while let Some(frame) = receive(stream) {
            let last = frame.1 == "q";
            told.lock().unwrap().send(frame).unwrap();
            if last {
                return end(stream);
            }
        }
    });
    (agent, frames)
}

#[test]
fn a_terminal_is_raw_while_the_command_has_it_and_restored_afterwards() {
    let (agent, frames) = interactive(|stream| send(stream, 3, br#"{"exit":{"code":9}}"#));
    let mut terminal = Terminal::new();
    let child = terminal.spawn(&agent, &["exec", "-it", "web", "sh"]);
    let next = || frames.recv_timeout(Duration::from_secs(10)).unwrap();
    assert_eq!(next(), (3, r#"{"resize":{"rows":30,"cols":100}}"#.into()));
    assert!(!terminal.is_cooked());
    // Ctrl-C is a key like any other.
    terminal.keys.write_all(b"\x03").unwrap();
    assert_eq!(next(), (0, "\x03".into()));
    kill(Pid::from_raw(i32::try_from(child.id()).unwrap()), Signal::SIGWINCH).unwrap();
    assert_eq!(next().0, 3);
    terminal.keys.write_all(b"q").unwrap();
    let done = finish(child);
    assert_eq!((done.status, done.err.as_str()), (9, ""));
    assert!(terminal.is_cooked());
}

#[test]
fn a_terminal_is_restored_when_things_go_wrong() {
    // The agent dies; the agent refuses late; a signal ends us.
    let dies = interactive(|_| {});
    let refuses =
        interactive(|stream| send(stream, 3, br#"{"error":{"code":"command-not-found","message":"no sh in there"}}"#));
    for ((agent, frames), status, sentence) in [(dies, 125, "closed the connection"), (refuses, 127, "no sh in there")]
    {
        let mut terminal = Terminal::new();
        let child = terminal.spawn(&agent, &["exec", "-it", "web", "sh"]);
        frames.recv_timeout(Duration::from_secs(10)).unwrap();
        terminal.keys.write_all(b"q").unwrap();
        let done = finish(child);
        assert_eq!(done.status, status, "{done:?}");
        assert!(done.err.contains(sentence), "{done:?}");
        assert!(terminal.is_cooked());
    }
    let (agent, frames) = interactive(|_| {});
    let terminal = Terminal::new();
    let child = terminal.spawn(&agent, &["exec", "-it", "web", "sh"]);
    frames.recv_timeout(Duration::from_secs(10)).unwrap();
    kill(Pid::from_raw(i32::try_from(child.id()).unwrap()), Signal::SIGTERM).unwrap();
    assert_eq!(finish(child).status, 143);
    assert!(terminal.is_cooked());
}

#[test]
fn a_terminal_is_restored_when_the_start_fails() {
    let agent = Fake::new(|asked, stream| match asked.line.as_str() {
        "POST /v1/tasks?start=false" => reply(stream, 201, &json!({"id": ID, "name": "job"}).to_string()),
        line if line.contains("/attach?rows=") => {
            upgrade(stream);
            while receive(stream).is_some() {}
        }
        line if line.ends_with("/start") => error(stream, 400, "command-not-found", "no such command"),
        line if line.ends_with("/wait") => while receive(stream).is_some() {},
        _ => reply(stream, 204, ""),
    });
    let terminal = Terminal::new();
    let done = finish(terminal.spawn(&agent, &["run", "-it", "x", "nope"]));
    assert_eq!((done.status, done.err.as_str()), (127, "netmode: no such command\n"));
    assert!(terminal.is_cooked());
}

#[test]
fn a_terminal_is_asked_for_only_where_there_is_one() {
    let agent = Fake::says(500, "{}");
    agent.run(&["run", "-it", "x"]).fails(125, "needs a terminal on standard input");
    agent.run(&["exec", "-it", "web", "sh"]).fails(125, "needs a terminal on standard input");
    assert_eq!(agent.lines(), Vec::<String>::new());
}

#[test]
fn exec_gives_the_commands_code_and_logs_end_with_the_stream() {
    let agent = Fake::new(|_, stream| {
        upgrade(stream);
        send(stream, 1, b"out\n");
        send(stream, 2, b"err\n");
        send(stream, 3, br#"{"exit":{"code":3}}"#);
    });
    assert_eq!(agent.run(&["exec", "web", "ls", "-l"]), Done { status: 3, out: "out\n".into(), err: "err\n".into() });
    assert_eq!(agent.asked()[0].body["command"], json!(["ls", "-l"]));
    assert_eq!(agent.run(&["logs", "-f", "--tail", "5", "web"]).status, 0);
    assert_eq!(agent.lines()[1], "GET /v1/tasks/web/logs?follow=true&tail=5");
    Fake::new(|_, stream| error(stream, 409, "wrong-state", "web is not running"))
        .run(&["exec", "web", "x"])
        .fails(125, "web is not running");
}
