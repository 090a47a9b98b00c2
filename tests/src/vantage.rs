//! Asking from a namespace.

use crate::cli::Output;
use crate::patience;
use crate::sandbox::Sandbox;
use crate::wire::{Answer, Ask, Failure, Proto, Seen, Tally};
use std::net::SocketAddr;

/// How long silence is listened to, milliseconds: two SYNs fit in (the second follows after 1 s).
pub const SILENCE_MS: u64 = 1200;

/// Whom to ask, and how.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Target {
    /// The protocol.
    pub proto: Proto,
    /// The address and port.
    pub to: SocketAddr,
}

fn target(proto: Proto, to: impl AsRef<str>) -> Target {
    let text = to.as_ref();
    let to = text.parse().unwrap_or_else(|_| panic!("{text:?} is no ADDRESS:PORT"));
    Target { proto, to }
}

/// A TCP server at `192.0.2.1:80` or `[::1]:80`.
pub fn tcp(to: impl AsRef<str>) -> Target {
    target(Proto::Tcp, to)
}

/// A UDP server.
pub fn udp(to: impl AsRef<str>) -> Target {
    target(Proto::Udp, to)
}

/// An SCTP server.
pub fn sctp(to: impl AsRef<str>) -> Target {
    target(Proto::Sctp, to)
}

/// A place to ask from.
pub struct At<'a> {
    sandbox: &'a Sandbox,
    way: Way,
}

enum Way {
    /// A console that stays.
    Console(String),
    /// A namespace, entered for each question.
    Entering(String),
}

/// A connection or socket that is kept open.
pub struct Kept<'a> {
    sandbox: &'a Sandbox,
    console: String,
    handle: u32,
}

impl<'a> At<'a> {
    pub(crate) fn console(sandbox: &'a Sandbox, name: &str) -> Self {
        Self { sandbox, way: Way::Console(name.into()) }
    }

    pub(crate) fn entering(sandbox: &'a Sandbox, netns: &str) -> Self {
        Self { sandbox, way: Way::Entering(netns.into()) }
    }

    fn ask(&self, ask: &Ask) -> Answer {
        match &self.way {
            Way::Console(console) => self.sandbox.ask(console, ask),
            Way::Entering(netns) => {
                let question = serde_json::to_string(ask).unwrap_or_default();
                let out = self.enter(netns, &["probe", "once", &question], "", &[]).success();
                serde_json::from_str(&out.stdout).unwrap_or_else(|e| panic!("{e} in {:?}", out.stdout))
            }
        }
    }

    fn enter(&self, netns: &str, argv: &[&str], stdin: &str, env: &[(&str, &str)]) -> Output {
        let net = format!("--net={netns}");
        let argv = [&["nsenter", &net], argv].concat();
        At::console(self.sandbox, "host").run_with(&argv, stdin, env)
    }

    /// Asks a server who asks.
    pub fn who(&self, target: Target) -> Result<Seen, Failure> {
        self.who_from(target, None)
    }

    /// Asks from a chosen address and port (port 0: any).
    pub fn who_from(&self, target: Target, from: Option<&str>) -> Result<Seen, Failure> {
        let from = from.map(|f| f.parse().unwrap_or_else(|_| panic!("{f:?} is no ADDRESS:PORT")));
        self.who_within(target, from, SILENCE_MS)
    }

    /// Asks and waits longer where an answer is expected: for a machine that is busy with other things.
    pub fn who_patiently(&self, target: Target) -> Result<Seen, Failure> {
        self.who_within(target, None, 5 * SILENCE_MS)
    }

    fn who_within(&self, target: Target, from: Option<SocketAddr>, wait_ms: u64) -> Result<Seen, Failure> {
        match self.ask(&Ask::Who { proto: target.proto, to: target.to, from, wait_ms }) {
            Answer::Seen(seen) => Ok(seen),
            Answer::Failed(failure) => Err(failure),
            other => panic!("{other:?}"),
        }
    }

    /// The address that the server saw.
    pub fn seen_as(&self, target: Target) -> Result<String, Failure> {
        self.who(target).map(|seen| seen.peer.to_string())
    }

    /// Tries to bind, plainly or with every trick a stranger has, and lets go.
    pub fn bind(&self, target: Target, tricks: bool) -> Result<(), Failure> {
        match self.ask(&Ask::Bind { proto: target.proto, at: target.to, tricks, keep: false }) {
            Answer::Done => Ok(()),
            Answer::Failed(failure) => Err(failure),
            other => panic!("{other:?}"),
        }
    }

    /// Binds and keeps it (TCP listens).
    pub fn occupy(&self, target: Target) -> Kept<'a> {
        let answer = self.ask(&Ask::Bind { proto: target.proto, at: target.to, tricks: false, keep: true });
        self.kept(answer)
    }

    /// Opens a connection and keeps it.
    pub fn open(&self, target: Target) -> Kept<'a> {
        let answer = self.ask(&Ask::Open { to: target.to });
        self.kept(answer)
    }

    fn kept(&self, answer: Answer) -> Kept<'a> {
        match (&self.way, answer) {
            (Way::Console(console), Answer::Handle(handle)) => {
                Kept { sandbox: self.sandbox, console: console.clone(), handle }
            }
            (_, other) => panic!("{other:?}"),
        }
    }

    /// Starts a server here, which lives as long as the lab.
    pub fn serve(&self, tag: &str, ports: &[&str]) {
        let ports = ports.iter().map(|s| (*s).to_owned()).collect();
        let answer = self.ask(&Ask::Serve { ports, tag: tag.into() });
        assert_eq!(answer, Answer::Done);
    }

    /// Asks again and again, every 5 ms.
    pub fn hammer(&self, target: Target, for_ms: u64) -> Tally {
        match self.ask(&Ask::Hammer { proto: target.proto, to: target.to, for_ms, every_ms: 5 }) {
            Answer::Tally(tally) => tally,
            other => panic!("{other:?}"),
        }
    }

    /// Runs a program here to its end, at most 60 s ([`patience`] permitting).
    pub fn run(&self, argv: &[&str]) -> Output {
        self.run_with(argv, "", &[])
    }

    /// Runs a program with something on its standard input and in its environment.
    pub fn run_with(&self, argv: &[&str], stdin: &str, env: &[(&str, &str)]) -> Output {
        if let Way::Entering(netns) = &self.way {
            return self.enter(netns, argv, stdin, env);
        }
        let ask = Ask::Run {
            argv: argv.iter().map(|s| (*s).to_owned()).collect(),
            stdin: stdin.into(),
            env: env.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect(),
            wait_ms: (15_000.0 * patience()) as u64,
        };
        match self.ask(&ask) {
            Answer::Ran(ran) => Output::of(argv, ran),
            other => panic!("{other:?}"),
        }
    }

    /// Runs a shell script here that must succeed, and gives its standard output.
    pub fn sh(&self, script: &str) -> String {
        self.run(&["sh", "-c", script]).success().stdout
    }
}

impl Kept<'_> {
    /// Sends a line and reads its echo.
    pub fn say(&self, text: &str) -> Result<(), Failure> {
        match self.sandbox.ask(&self.console, &Ask::Say { handle: self.handle, text: text.into() }) {
            Answer::Done => Ok(()),
            Answer::Failed(failure) => Err(failure),
            other => panic!("{other:?}"),
        }
    }
}

impl Drop for Kept<'_> {
    fn drop(&mut self) {
        // A console that is gone has nothing open.
        if !std::thread::panicking() {
            self.sandbox.ask(&self.console, &Ask::Forget { handle: self.handle });
        }
    }
}
