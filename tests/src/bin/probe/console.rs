//! Questions of a test, answered in the namespace that this process is in.

use crate::{client, command, server};
use netmode_tests::wire::{Answer, Ask, Failure, Ran};
use std::collections::HashMap;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::net::{UnixListener, UnixStream};
use std::process::Child;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// What is kept between two questions.
#[derive(Default)]
struct Kept {
    next: u32,
    sockets: HashMap<u32, socket2::Socket>,
    streams: HashMap<u32, TcpStream>,
    children: HashMap<u32, Child>,
}

type Shared = Arc<Mutex<Kept>>;

fn lock(kept: &Shared) -> MutexGuard<'_, Kept> {
    kept.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Answers until standard input ends: whoever holds the other end of that pipe decides how long the console lives.
pub(crate) fn listen(path: &str) -> Result<(), String> {
    // Whole and in place, or not there at all: the test looks for the name.
    let nascent = format!("{path}.new");
    let listener = UnixListener::bind(&nascent).map_err(|e| format!("{nascent}: {e}"))?;
    std::fs::rename(&nascent, path).map_err(|e| format!("{path}: {e}"))?;
    let kept = Shared::default();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let kept = Arc::clone(&kept);
            std::thread::spawn(move || converse(stream, &kept));
        }
    });
    let _ = std::io::copy(&mut std::io::stdin(), &mut std::io::sink());
    Ok(())
}

/// One question from the command line.
pub(crate) fn once(question: &str) -> Result<(), String> {
    let ask = serde_json::from_str(question).map_err(|e| e.to_string())?;
    let answer = answer(ask, &Shared::default());
    println!("{}", serde_json::to_string(&answer).map_err(|e| e.to_string())?);
    Ok(())
}

fn converse(mut stream: UnixStream, kept: &Shared) {
    let mut question = String::new();
    let answer = match stream.read_to_string(&mut question) {
        Ok(_) => serde_json::from_str(&question).map_or_else(|e| Answer::Wrong(e.to_string()), |ask| answer(ask, kept)),
        Err(e) => Answer::Wrong(e.to_string()),
    };
    if let Ok(text) = serde_json::to_vec(&answer) {
        let _ = stream.write_all(&text);
    }
}

fn answer(ask: Ask, kept: &Shared) -> Answer {
    let ms = Duration::from_millis;
    match ask {
        Ask::Who { proto, to, from, wait_ms } => {
            client::who(proto, to, from, ms(wait_ms)).map_or_else(Answer::Failed, Answer::Seen)
        }
        Ask::Bind { proto, at, tricks, keep } => match client::bind(proto, at, tricks) {
            Ok(socket) if keep => keep_as(kept, |kept, handle| drop(kept.sockets.insert(handle, socket))),
            other => done(other.map(drop)),
        },
        Ask::Serve { ports, tag } => {
            ports.iter().try_for_each(|port| server::start(port, &tag)).map_or_else(Answer::Wrong, |()| Answer::Done)
        }
        Ask::Open { to } => match client::open(to) {
            Ok(stream) => keep_as(kept, |kept, handle| drop(kept.streams.insert(handle, stream))),
            Err(failure) => Answer::Failed(failure),
        },
        Ask::Say { handle, text } => match lock(kept).streams.get(&handle).and_then(|s| s.try_clone().ok()) {
            Some(mut stream) => done(client::say(&mut stream, &text)),
            None => Answer::Wrong(format!("no connection {handle}")),
        },
        Ask::Forget { handle } => {
            let mut kept = lock(kept);
            kept.sockets.remove(&handle);
            kept.streams.remove(&handle);
            Answer::Done
        }
        Ask::Hammer { proto, to, for_ms, every_ms } => {
            Answer::Tally(client::hammer(proto, to, ms(for_ms), ms(every_ms)))
        }
        Ask::Run { argv, stdin, env, wait_ms } => {
            command::run(&argv, stdin, &env, ms(wait_ms)).map_or_else(Answer::Wrong, Answer::Ran)
        }
        Ask::Spawn { argv, env, log } => match command::spawn(&argv, &env, &log) {
            Ok(child) => {
                let pid = child.id();
                lock(kept).children.insert(pid, child);
                Answer::Pid(pid)
            }
            Err(e) => Answer::Wrong(e),
        },
        Ask::Reap { pid, wait_ms } => reap(kept, pid, ms(wait_ms)),
    }
}

fn done(result: Result<(), Failure>) -> Answer {
    result.map_or_else(Answer::Failed, |()| Answer::Done)
}

fn keep_as(kept: &Shared, insert: impl FnOnce(&mut Kept, u32)) -> Answer {
    let mut kept = lock(kept);
    kept.next += 1;
    let handle = kept.next;
    insert(&mut kept, handle);
    Answer::Handle(handle)
}

fn reap(kept: &Shared, pid: u32, wait: Duration) -> Answer {
    let Some(mut child) = lock(kept).children.remove(&pid) else { return Answer::Wrong(format!("no child {pid}")) };
    let ended = command::wait_for(&mut child, wait);
    let status = ended.map_or(-1, command::shell_status);
    if ended.is_none() {
        lock(kept).children.insert(pid, child);
    }
    let (stdout, stderr) = (String::new(), String::new());
    Answer::Ran(Ran { status, stdout, stderr, timed_out: ended.is_none(), left_open: false })
}
