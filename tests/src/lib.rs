//! netmode from outside.
//!
//! A [`Lab`] is one private machine: a sandbox (`tests/sandbox/enter`: own process, mount and network namespaces
//! over a throw-away Debian root) in which `netmoded` runs with its default paths. The sandbox's network namespace
//! is "the host"; around it lie the namespaces of [`lab`]'s picture. A test asks from a vantage point and asserts
//! what came of it:
//!
//! ```no_run
//! use netmode_tests::{Lab, tcp};
//!
//! let lab = Lab::start();
//! lab.serve("web", &["-p", "8080:80"], &["tcp/80"]);
//! let seen = lab.at("client").who(tcp("192.0.2.1:8080")).expect("published");
//! assert_eq!(seen.peer.to_string(), "192.0.2.9", "the client's own address is kept");
//! ```
//!
//! | file | what |
//! |---|---|
//! | [`sandbox`] | starting and ending a sandbox, its files, its console |
//! | [`lab`] | the picture, the options, the agent |
//! | [`vantage`] | asking from a namespace: connect, bind, serve, hammer |
//! | [`awsvpc`] | the subnets and groups that tests of ENIs begin with |
//! | [`cli`] | `netmode …` and what it answered |
//! | [`ecs`] | task definitions: made, run, asked |
//! | [`machine`] | everything that a refused request must leave as it was |
//! | [`frames`] | frames as an attacker builds them, and who sees them |
//! | [`registry`] | a registry with TLS and a password |
//! | [`skip`] | tests that this machine cannot run |
//! | `bin/probe` | the instrument inside |
//!
//! Nothing here knows the code of the product. All waits are bounded, and everything dies with the sandbox's
//! first process, which dies with the test.
#![forbid(unsafe_code)]

pub mod awsvpc;
pub mod cli;
pub mod cni;
pub mod ecs;
pub mod frames;
pub mod lab;
pub mod machine;
pub mod registry;
pub mod sandbox;
pub mod skip;
pub mod vantage;
pub mod wire;

pub use cli::Output;
pub use lab::{Lab, Options};
pub use registry::Registry;
pub use vantage::{At, Target, sctp, tcp, udp};
pub use wire::{Failure, Seen};

use std::time::{Duration, Instant};

/// How much longer than on an idle machine things may take: tests run beside each other, and beside builds. A machine
/// that is emulated says how much slower it is (`NETMODE_PATIENCE`).
pub fn patience() -> f64 {
    let slower = std::env::var("NETMODE_PATIENCE").ok().and_then(|p| p.parse().ok());
    4.0 * slower.filter(|p| *p >= 1.0).unwrap_or(1.0)
}

/// Asks until the answer is yes, which on an idle machine it is within `seconds`; what is asked for is named if it never
/// is.
pub fn eventually(what: &str, seconds: f64, mut yes: impl FnMut() -> bool) {
    let patient = seconds * patience();
    let until = Instant::now() + Duration::from_secs_f64(patient);
    let mut pause = Duration::from_millis(2);
    while !yes() {
        assert!(Instant::now() < until, "not within {patient} s: {what}");
        std::thread::sleep(pause);
        pause = (pause * 2).min(Duration::from_millis(50));
    }
}

/// Does all of it at the same time (waiting for silence is most of it) and gives the answers in the order of the questions.
pub fn all_at_once<Q: Sync, A: Send>(questions: &[Q], ask: impl Fn(&Q) -> A + Sync) -> Vec<A> {
    std::thread::scope(|scope| {
        let running: Vec<_> = questions.iter().map(|q| scope.spawn(|| ask(q))).collect();
        let join = |thread: std::thread::ScopedJoinHandle<'_, A>| match thread.join() {
            Ok(answer) => answer,
            Err(panic) => std::panic::resume_unwind(panic),
        };
        running.into_iter().map(join).collect()
    })
}
