//! What tasks write, line by line with the name of the service before it.

use super::project::Project;
use super::{down, told};
use crate::failure::{self, Failure};
use crate::output::Output;
use crate::terminal::Signals;
use jiff::Timestamp;
use netmode_client::{Client, Frame, Session};
use netmode_model::Code;
use netmode_model::api::{Control, KillRequest, StopRequest, TaskState, TaskView};
use nix::sys::signal::Signal;
use std::io::{self, Write};
use std::sync::mpsc::{Sender, channel};
use std::thread;
use std::time::Duration;

type Result<T> = std::result::Result<T, Failure>;

/// How long a task that is about to be started again is waited for between two looks.
const PAUSE: Duration = Duration::from_millis(200);

/// Longest line that is waited for, in bytes.
const LONGEST: usize = 64 << 10;

/// Lines of one stream, with a prefix.
#[derive(Debug, Default)]
pub(crate) struct Prefixed {
    prefix: String,
    /// The beginning of a line whose end has not come.
    open: Vec<u8>,
}

impl Prefixed {
    /// Lines that begin with this.
    pub(crate) fn new(prefix: &str) -> Self {
        Self { prefix: prefix.into(), open: Vec::new() }
    }

    /// The prefixes of tasks, all of the same width, as docker writes them: `web-1  | `.
    pub(crate) fn names(tasks: &[TaskView]) -> Vec<String> {
        let name = |task: &TaskView| {
            let number = task.labels.get(super::request::label::NUMBER).map(String::as_str).unwrap_or("1");
            format!("{}-{number}", super::tasks::service(task))
        };
        let names: Vec<String> = tasks.iter().map(name).collect();
        let width = names.iter().map(String::len).max().unwrap_or(0);
        names.iter().map(|name| format!("{name:width$}  | ")).collect()
    }

    /// The lines that these bytes complete.
    pub(crate) fn push(&mut self, bytes: &[u8]) -> Vec<u8> {
        // Only what is new is searched, and a line that never ends is cut.
        let end = bytes.iter().rposition(|b| *b == b'\n').map(|at| self.open.len() + at + 1);
        self.open.extend_from_slice(bytes);
        let Some(end) = end else {
            return if self.open.len() < LONGEST { Vec::new() } else { self.finish() };
        };
        let rest = self.open.split_off(end);
        let whole = std::mem::replace(&mut self.open, rest);
        whole.split_inclusive(|b| *b == b'\n').flat_map(|line| [self.prefix.as_bytes(), line].concat()).collect()
    }

    /// What is left without an end of line.
    pub(crate) fn finish(&mut self) -> Vec<u8> {
        if self.open.is_empty() { Vec::new() } else { self.push(b"\n") }
    }
}

/// Copies a task's output, each line with the prefix, until it ends; false if nobody reads ours any more.
///
/// # Errors
/// Output that cannot be read.
pub(crate) fn follow(session: Session, prefix: &str) -> Result<bool> {
    let lost = |error: io::Error| Failure::new(Code::Limit, format!("cannot read the logs: {error}"));
    let (mut reader, _writer) = session.split().map_err(lost)?;
    let (mut out, mut err) = (Prefixed::new(prefix), Prefixed::new(prefix));
    loop {
        let is_written = match reader.next()? {
            Some(Frame::Stdout(bytes)) => write(&mut io::stdout().lock(), &out.push(bytes)),
            Some(Frame::Stderr(bytes)) => write(&mut io::stderr().lock(), &err.push(bytes)),
            Some(Frame::Control(Control::Error(error))) => return Err(error.into()),
            Some(Frame::Control(_)) => true,
            None => break,
        };
        if !is_written {
            return Ok(false);
        }
    }
    let is_read = write(&mut io::stdout().lock(), &out.finish());
    Ok(write(&mut io::stderr().lock(), &err.finish()) && is_read)
}

/// Whether somebody still reads.
fn write(to: &mut impl Write, lines: &[u8]) -> bool {
    to.write_all(lines).and_then(|()| to.flush()).is_ok()
}

/// What the loop is told.
enum Event {
    Signal(Signal),
    /// A task has ended for good, or its output was lost.
    Ended(Result<()>),
    /// What a signal asked for is done.
    Stopped(Result<()>),
}

/// Signals that stop the tasks.
const ENDING: [Signal; 4] = [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP, Signal::SIGQUIT];

/// Prints what the tasks write from `begun` on, until all have ended, or a signal comes: then they are stopped.
///
/// # Errors
/// Output that cannot be read, or a task that cannot be stopped.
pub(crate) fn until_the_end(
    client: &Client,
    project: &Project,
    tasks: &[TaskView],
    begun: Timestamp,
    output: Output,
) -> Result<u8> {
    let (sender, events) = channel();
    let signals = Signals::block()?;
    let told_signals = sender.clone();
    spawn(move || while signals.next().is_some_and(|signal| told_signals.send(Event::Signal(signal)).is_ok()) {})?;
    for (task, prefix) in tasks.iter().zip(Prefixed::names(tasks)) {
        watch(client.clone(), task.id.to_string(), prefix, begun, sender.clone())?;
    }
    let mut asked: Option<Signal> = None;
    let mut running = tasks.len();
    while running > 0 {
        match events.recv() {
            Ok(Event::Signal(signal)) if !ENDING.contains(&signal) => {}
            Ok(Event::Signal(signal)) => match asked.replace(signal) {
                None => stop(client, project, tasks, sender.clone(), output)?,
                Some(_) => kill(client, tasks),
            },
            Ok(Event::Stopped(result)) => {
                result?;
                break;
            }
            Ok(Event::Ended(result)) => {
                running -= 1;
                if let Err(failure) = result {
                    failure::warn(&failure.message);
                }
            }
            // Cannot be: we hold a sender.
            Err(_) => break,
        }
    }
    // As a shell shows a program that a signal ended; the numbers of these are below 16.
    Ok(asked.map_or(0, |signal| 128 + signal as u8))
}

/// Follows a task in a thread of its own, across the times that it is started again.
fn watch(client: Client, id: String, prefix: String, begun: Timestamp, told: Sender<Event>) -> Result<()> {
    spawn(move || {
        let mut since = begun;
        let result = loop {
            let read = client.logs(&id, true, None, Some(&since.to_string())).map_err(Failure::from);
            match read.and_then(|session| follow(session, &prefix)) {
                Ok(true) => {}
                Ok(false) => break Ok(()),
                Err(failure) => break Err(failure),
            }
            since = Timestamp::now();
            match client.task(&id) {
                Ok(task) if task.restarting || task.state == TaskState::Running => thread::sleep(PAUSE),
                _ => break Ok(()),
            }
        };
        // Nobody listens when the loop has ended before.
        let _ = told.send(Event::Ended(result));
    })
}

/// Stops the tasks, those that others depend on last, in a thread of its own: a second signal is heard meanwhile.
fn stop(client: &Client, project: &Project, tasks: &[TaskView], sender: Sender<Event>, output: Output) -> Result<()> {
    let name = &project.name;
    told(output, &format!("stopping {name}; once more kills it; \"netmode compose -p {name} down\" removes it"));
    let (client, tasks) = (client.clone(), down::backwards(tasks.to_vec()));
    spawn(move || {
        let result =
            tasks.iter().try_for_each(|task| match client.stop(&task.id.to_string(), StopRequest::default()) {
                Err(error) if matches!(error.code(), Code::NotFound | Code::WrongState) => Ok(()),
                stopped => Ok(stopped?),
            });
        // Nobody listens when the loop has ended before.
        let _ = sender.send(Event::Stopped(result));
    })
}

/// Kills the tasks that still run; whoever waits for their end is told by it.
fn kill(client: &Client, tasks: &[TaskView]) {
    for task in tasks {
        // One that has ended meanwhile is what was wanted.
        let _ = client.kill(&task.id.to_string(), &KillRequest { signal: "KILL".into() });
    }
}

fn spawn(work: impl FnOnce() + Send + 'static) -> Result<()> {
    let failed = |error: io::Error| Failure::new(Code::Limit, format!("cannot start a thread: {error}"));
    thread::Builder::new().spawn(work).map(|_| ()).map_err(failed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_have_their_prefix_however_they_come() {
        let mut lines = Prefixed::new("web-1  | ");
        assert_eq!(lines.push(b"one\ntw"), b"web-1  | one\n");
        assert_eq!(lines.push(b"o"), b"");
        assert_eq!(lines.push(b"\n\nthree"), b"web-1  | two\nweb-1  | \n");
        assert_eq!(lines.finish(), b"web-1  | three\n");
        assert_eq!(lines.finish(), b"");
    }
}
