//! The tests' instrument inside a sandbox: a server that tells what it sees, a client that tells what came of it,
//! and a console through which a test, outside, has both at hand in a namespace. Static and quick to start.
//!
//! ```text
//! probe serve [--tag NAME] PORT...   PORT: tcp/80 | udp/[::1]:53 | tcp/8000-8009; prints "ready" when all listen
//! probe console SOCKET               answers questions (netmode_tests::wire::Ask) until standard input ends
//! probe once QUESTION                one question as JSON; prints the answer
//! ```
#![forbid(unsafe_code)]

mod client;
mod command;
mod console;
mod load;
mod server;

use std::process::ExitCode;

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = args.iter().map(String::as_str).collect();
    let done = match words[..] {
        ["serve", "--tag", tag, ref ports @ ..] => serve(ports, tag),
        ["serve", ref ports @ ..] => serve(ports, &server::hostname()),
        ["connect", to, count, rate] => load::connect(to, count, rate),
        ["console", socket] => console::listen(socket),
        ["once", question] => console::once(question),
        _ => {
            Err("usage: probe serve [--tag NAME] PORT... | connect ADDRESS COUNT RATE | console SOCKET | once QUESTION"
                .into())
        }
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("probe: {message}");
            ExitCode::FAILURE
        }
    }
}

/// Serves until killed.
fn serve(ports: &[&str], tag: &str) -> Result<(), String> {
    for port in ports {
        server::start(port, tag)?;
    }
    println!("ready");
    loop {
        std::thread::park();
    }
}
