//! Starting and ending a sandbox, its files, and its consoles.

use crate::patience;
use crate::wire::{Answer, Ask};
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::time::{Duration, Instant};

/// Where consoles listen, inside.
const CONSOLES: &str = "/run/lab";

/// A machine of its own, alive as long as this value.
pub struct Sandbox {
    enter: Child,
    /// Closing it ends the sandbox.
    life: Option<ChildStdin>,
    /// Its first process, as this machine counts.
    pid: u32,
}

impl Sandbox {
    /// Starts one whose main program is the host's console.
    ///
    /// # Panics
    /// If the programs are not built, or `enter` fails (it says why on standard error).
    pub fn start() -> Self {
        let programs = programs();
        let missing = ["netmode", "netmoded", "probe"].into_iter().find(|name| !programs.join(name).exists());
        assert!(
            missing.is_none(),
            "{}/{} is missing; run `make build` first",
            programs.display(),
            missing.unwrap_or("")
        );
        // The instrument lies in the root itself: containers on `--rootfs /` see no mounts of the host.
        let setup = format!(
            "mkdir -p {CONSOLES} && cp /opt/netmode/bin/probe /usr/local/bin/probe && exec probe console {CONSOLES}/host"
        );
        let mut enter = Command::new(repository().join("tests/sandbox/enter"))
            .args(["--name", "host1", "--pidfile", "-", "--", "sh", "-c", &setup])
            .env("NETMODE_BIN", &programs)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("tests/sandbox/enter can be started");
        let life = enter.stdin.take();
        let mut line = String::new();
        let stdout = enter.stdout.take().expect("standard output is a pipe");
        BufReader::new(stdout).read_line(&mut line).expect("a pipe can be read");
        let pid = line.trim().parse().expect("enter prints the pid of the sandbox, or says above why there is none");
        Self { enter, life, pid }
    }

    /// The first process, as this machine counts.
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// A file inside, as seen from outside. Symbolic links with absolute targets would lead astray.
    pub fn path(&self, inside: &str) -> PathBuf {
        PathBuf::from(format!("/proc/{}/root{inside}", self.pid))
    }

    /// The text of a file inside; empty if it is not there.
    pub fn read(&self, inside: &str) -> String {
        std::fs::read(self.path(inside)).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default()
    }

    /// Writes a file inside, and the directories above it.
    pub fn write(&self, inside: &str, text: &str) {
        let path = self.path(inside);
        let parent = path.parent().unwrap_or(Path::new("/"));
        std::fs::create_dir_all(parent).unwrap_or_else(|e| panic!("{}: {e}", parent.display()));
        std::fs::write(&path, text).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    }

    /// Puts a question to a console.
    ///
    /// # Panics
    /// If there is no such console within some seconds, or the question makes no sense to it.
    pub fn ask(&self, console: &str, ask: &Ask) -> Answer {
        let path = self.path(&format!("{CONSOLES}/{console}"));
        let until = Instant::now() + Duration::from_secs_f64(patience());
        let mut stream = loop {
            match UnixStream::connect(&path) {
                Ok(stream) => break stream,
                Err(e) => assert!(Instant::now() < until, "console {console}: {e}"),
            }
            std::thread::sleep(Duration::from_millis(1));
        };
        let mut answer = String::new();
        // Every question bounds itself; this is for a console that died.
        let talk = stream
            .set_read_timeout(Some(Duration::from_secs_f64(30.0 * patience())))
            .and_then(|()| stream.write_all(&serde_json::to_vec(ask)?))
            .and_then(|()| stream.shutdown(std::net::Shutdown::Write))
            .and_then(|()| stream.read_to_string(&mut answer));
        talk.unwrap_or_else(|e| panic!("console {console}, {ask:?}: {e}"));
        match serde_json::from_str(&answer) {
            Ok(Answer::Wrong(why)) => panic!("console {console}, {ask:?}: {why}"),
            Ok(answer) => answer,
            Err(e) => panic!("console {console}, {ask:?}: {e} in {answer:?}"),
        }
    }

    /// Starts a console in another namespace of the sandbox; [`Sandbox::ask`] waits for it.
    pub fn open_console(&self, netns: &str) {
        let words = [&format!("--net=/run/netns/{netns}"), "sh", "-c"].map(String::from);
        // A console ends when its standard input does; this one shall end with the sandbox only.
        let body = format!("tail -f /dev/null | exec probe console {CONSOLES}/{netns}");
        let argv = ["nsenter".to_owned()].into_iter().chain(words).chain([body]).collect();
        self.ask("host", &Ask::Spawn { argv, env: vec![], log: format!("{CONSOLES}/{netns}.log") });
    }

    /// Kills the sandbox's first process: a machine whose plug is pulled.
    pub fn pull_the_plug(&mut self) {
        let _ = Command::new("kill").args(["-KILL", &self.pid.to_string()]).status();
        self.end();
    }

    fn end(&mut self) {
        self.life = None;
        let until = Instant::now() + Duration::from_secs(10);
        while matches!(self.enter.try_wait(), Ok(None)) {
            if Instant::now() > until {
                let _ = self.enter.kill();
            }
            std::thread::sleep(Duration::from_millis(2));
        }
    }
}

impl Drop for Sandbox {
    fn drop(&mut self) {
        self.end();
    }
}

/// The top of the repository.
pub fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap_or(Path::new("/")).into()
}

/// The directory of the programs under test: `$NETMODE_BIN`, else where `make build` puts them.
pub fn programs() -> PathBuf {
    let triple = format!("{}-unknown-linux-gnu", std::env::consts::ARCH);
    let target = || std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| repository().join("target"), PathBuf::from);
    std::env::var_os("NETMODE_BIN").map_or_else(|| target().join(triple).join("release"), PathBuf::from)
}
