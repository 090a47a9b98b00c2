//! `run` in the foreground and `exec`: the container's streams are the caller's.
//!
//! A thread for each thing that blocks (keys, output, signals, the end), one channel, one loop.

use crate::failure::{Failure, say, warn};
use crate::terminal::{self, RawMode, Signals};
use netmode_client::{Client, ClientError, Frame, FrameReader, FrameWriter, Pending, ProtocolError, Session};
use netmode_model::Code;
use netmode_model::api::{Control, Created, ExecRequest, Exited, KillRequest, RunRequest, TaskState};
use nix::sys::signal::Signal;
use std::io::{self, Read, Write};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError, TryLockError};
use std::thread;
use std::time::{Duration, Instant};

type Result<T> = std::result::Result<T, Failure>;

/// What the loop is told.
enum Event {
    Signal(Signal),
    Output(OutputEnd),
    Ended(std::result::Result<Exited, ClientError>),
}

/// How the output came to its end.
#[derive(Debug)]
pub(crate) enum OutputEnd {
    /// The agent closed the stream.
    Closed,
    /// The agent told the exit code.
    Exit(i32),
    /// Nobody reads our standard output any more.
    ReaderGone,
    /// The stream broke, or the agent refused.
    Failed(Failure),
}

/// Exit status of a program that wrote to a pipe nobody reads (128 + SIGPIPE), as a shell shows it.
const PIPE: u8 = 141;

/// How long an agent that restarts is waited for.
const PATIENCE: Duration = Duration::from_secs(10);

/// After so many requests to end, the caller leaves and the task stays (as docker).
const INSISTENCE: u32 = 3;

/// Runs a task with the caller's streams and returns its container's exit code. `create` makes it without starting it.
pub(crate) fn run(client: &Client, request: &RunRequest, create: impl FnOnce() -> Result<Created>) -> Result<u8> {
    let (stdin, tty) = (request.container.stdin, request.container.tty);
    terminal::check(stdin, tty)?;
    // Ctrl-C while an image is fetched or unpacked ends this program: signals are taken over only now.
    let created = create()?;
    created.warnings.iter().for_each(|warning| warn(warning));
    let id = created.id.to_string();
    // A task that never ran is of no use to anybody.
    let discard = |failure: Failure| {
        let _ = client.remove(&id, true);
        failure
    };
    let signals = Signals::block().map_err(discard)?;
    let size = match terminal::size().filter(|_| tty) {
        Some(Control::Resize { rows, cols }) => Some((rows, cols)),
        _ => None,
    };
    let session = client.attach(&id, size).map_err(|e| discard(e.into()))?;
    // Asked before the start, so that even `true` cannot end unseen.
    let pending = client.wait(&id).map_err(|e| discard(e.into()))?;
    let mut attached = Attached::begin(session, signals, stdin, tty).map_err(discard)?;
    attached.watch(pending).map_err(discard)?;
    match client.start(&id) {
        // An agent that died on the way may have started it.
        Err(error) if error.is_connection_lost() => was_started(client, &id, error)?,
        started => started.map_err(|e| discard(e.into()))?,
    }
    // What was told before the start may have found no terminal yet.
    attached.resize_due = tty;
    attached.until_the_task_ends(client, &id, created.name.as_str())
}

/// Runs a command in a running container and returns its exit code.
pub(crate) fn exec(client: &Client, task: &str, request: &ExecRequest) -> Result<u8> {
    terminal::check(request.stdin, request.tty)?;
    let session = client.exec(task, request)?;
    let signals = Signals::block()?;
    Attached::begin(session, signals, request.stdin, request.tty)?.until_the_command_ends()
}

/// The caller's streams, joined to a session.
struct Attached {
    events: Receiver<Event>,
    sender: Sender<Event>,
    writer: Arc<Mutex<FrameWriter>>,
    /// A size that could not be told while keys were on their way.
    resize_due: bool,
    tty: bool,
    /// Dropped last: nothing is printed in raw mode after the loop.
    _raw: Option<RawMode>,
}

impl Attached {
    fn begin(session: Session, signals: Signals, stdin: bool, tty: bool) -> Result<Self> {
        let failed = |error: io::Error| Failure::new(Code::Limit, format!("cannot attach to the container: {error}"));
        let (reader, writer) = session.split().map_err(failed)?;
        let writer = Arc::new(Mutex::new(writer));
        let raw = (stdin && tty).then(RawMode::enter).transpose()?;
        let (sender, events) = channel();
        let told = sender.clone();
        spawn("output", move || {
            let mut end = TellEnd { sender: told, end: None };
            end.end = Some(copy_output(reader));
        })?;
        let told = sender.clone();
        spawn(
            "signals",
            move || while signals.next().is_some_and(|signal| told.send(Event::Signal(signal)).is_ok()) {},
        )?;
        if stdin {
            let writer = Arc::clone(&writer);
            spawn("input", move || copy_input(&writer))?;
        }
        Ok(Self { events, sender, writer, resize_due: tty, tty, _raw: raw })
    }

    /// Waits for the container's end in a thread of its own.
    fn watch(&self, pending: Pending<Exited>) -> Result<()> {
        let told = self.sender.clone();
        // Nobody listens when the loop has ended before.
        spawn("wait", move || drop(told.send(Event::Ended(pending.answer()))))
    }

    /// The next event; a size that is due is told first.
    fn next(&mut self) -> Result<Event> {
        loop {
            if self.resize_due {
                self.resize();
            }
            let patience = if self.resize_due { Duration::from_millis(100) } else { Duration::from_secs(3600) };
            match self.events.recv_timeout(patience) {
                Ok(Event::Signal(Signal::SIGWINCH)) => self.resize_due = self.tty,
                Ok(event) => return Ok(event),
                Err(RecvTimeoutError::Timeout) => {}
                // Cannot be: we hold a sender.
                Err(RecvTimeoutError::Disconnected) => return Err(Failure::new(Code::State, "the session was lost")),
            }
        }
    }

    /// Tells the size, unless keys are on their way that the container does not take yet.
    fn resize(&mut self) {
        let mut writer = match self.writer.try_lock() {
            Ok(writer) => writer,
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
            Err(TryLockError::WouldBlock) => return,
        };
        self.resize_due = false;
        if let Some(size) = terminal::size() {
            // A session that has ended is seen by the output's end.
            let _ = writer.control(&size);
        }
    }

    fn until_the_task_ends(mut self, client: &Client, id: &str, name: &str) -> Result<u8> {
        let (mut output, mut ended, mut asked) = (None, None, 0);
        loop {
            match self.next()? {
                Event::Output(OutputEnd::Exit(code)) => return Ok(status(code)),
                Event::Output(OutputEnd::ReaderGone) => return Ok(PIPE),
                Event::Output(end) => output = Some(end),
                Event::Ended(result) => ended = Some(result),
                Event::Signal(signal) => {
                    asked += u32::from(matches!(signal, Signal::SIGINT | Signal::SIGTERM));
                    if asked >= INSISTENCE {
                        say(&format!("netmode: {name} goes on; end it with \"netmode stop {name}\""));
                        return Ok(status(128 + signal as i32));
                    }
                    let gone = !forward(client, id, signal);
                    if let (true, Some(Ok(exited))) = (gone, &ended) {
                        return Ok(status(exited.exit_code));
                    }
                }
            }
            match (&output, &ended) {
                (Some(end), Some(Ok(exited))) => {
                    if let OutputEnd::Failed(failure) = end {
                        warn(&format!("output was lost: {}; \"netmode logs {name}\" has it", failure.message));
                    }
                    return Ok(status(exited.exit_code));
                }
                (Some(_), Some(Err(error))) if error.is_connection_lost() => return reconnect(client, id, name),
                (Some(OutputEnd::Failed(failure)), Some(Err(_))) => return Err(failure.clone()),
                (Some(_), Some(Err(error))) => return Err(Failure::new(error.code(), error.to_string())),
                _ => {}
            }
        }
    }

    fn until_the_command_ends(mut self) -> Result<u8> {
        match self.next()? {
            Event::Output(OutputEnd::Exit(code)) => Ok(status(code)),
            Event::Output(OutputEnd::ReaderGone) => Ok(PIPE),
            Event::Output(OutputEnd::Failed(failure)) => Err(failure),
            Event::Output(OutputEnd::Closed) => Err(ProtocolError::Closed.into()),
            // The API has no signals for such a command: ours ends us, and the agent sees the connection close.
            Event::Signal(signal) => Ok(status(128 + signal as i32)),
            Event::Ended(_) => Err(Failure::new(Code::State, "the session was lost")),
        }
    }
}

/// Passes a signal on; false if there is nothing left to send it to.
fn forward(client: &Client, id: &str, signal: Signal) -> bool {
    let name = signal.as_str().trim_start_matches("SIG");
    match client.kill(id, &KillRequest { signal: name.into() }) {
        Err(ClientError::Api(error)) if matches!(error.code, Code::NotFound | Code::WrongState) => false,
        Err(error) => {
            warn(&format!("{name} was not passed on: {error}"));
            true
        }
        Ok(()) => true,
    }
}

/// The agent went away, the container did not: an agent that restarts is asked again.
fn reconnect(client: &Client, id: &str, name: &str) -> Result<u8> {
    let begun = Instant::now();
    warn(&format!("the connection to the agent was lost; \"netmode logs {name}\" has all output"));
    loop {
        match client.wait(id).and_then(Pending::answer) {
            Ok(exited) => return Ok(status(exited.exit_code)),
            Err(error) if error.is_connection_lost() && begun.elapsed() < PATIENCE => {
                thread::sleep(Duration::from_millis(200));
            }
            Err(error) => return Err(error.into()),
        }
    }
}

/// Finds out whether a start whose answer was lost took place; if not, the error is that of the start.
fn was_started(client: &Client, id: &str, error: ClientError) -> Result<()> {
    let begun = Instant::now();
    loop {
        match client.task(id) {
            Ok(task) if task.state == TaskState::Pending => return Err(error.into()),
            Ok(_) => return Ok(()),
            Err(again) if again.is_connection_lost() && begun.elapsed() < PATIENCE => {
                thread::sleep(Duration::from_millis(200));
            }
            Err(_) => return Err(error.into()),
        }
    }
}

/// Tells how the output ended, also when its thread panics: the loop must not wait for ever.
struct TellEnd {
    sender: Sender<Event>,
    end: Option<OutputEnd>,
}

impl Drop for TellEnd {
    fn drop(&mut self) {
        let lost = || OutputEnd::Failed(Failure::new(Code::State, "the output was lost"));
        // Nobody listens when the loop has ended before.
        let _ = self.sender.send(Event::Output(self.end.take().unwrap_or_else(lost)));
    }
}

/// Copies a session's output to ours until it ends.
pub(crate) fn copy_output(mut reader: FrameReader) -> OutputEnd {
    loop {
        let written = match reader.next() {
            Ok(Some(Frame::Stdout(bytes))) => write(&mut io::stdout().lock(), bytes),
            // Without standard error, standard output is still wanted.
            Ok(Some(Frame::Stderr(bytes))) => write(&mut io::stderr().lock(), bytes).or(Ok(())),
            Ok(Some(Frame::Control(Control::Exit { code }))) => return OutputEnd::Exit(code),
            Ok(Some(Frame::Control(Control::Error(error)))) => return OutputEnd::Failed(error.into()),
            Ok(Some(Frame::Control(Control::Resize { .. } | Control::Progress(_) | Control::Pulled(_)))) => Ok(()),
            Ok(None) => return OutputEnd::Closed,
            Err(error) => return OutputEnd::Failed(error.into()),
        };
        match written {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => return OutputEnd::ReaderGone,
            Err(error) => {
                let message = format!("cannot write to standard output: {error}");
                return OutputEnd::Failed(Failure::new(Code::State, message));
            }
        }
    }
}

fn write(to: &mut impl Write, bytes: &[u8]) -> io::Result<()> {
    // Flushed each time: a prompt has no line end.
    to.write_all(bytes).and_then(|()| to.flush())
}

/// Copies our standard input to the container's until either ends.
fn copy_input(writer: &Mutex<FrameWriter>) {
    let mut input = io::stdin().lock();
    let mut buffer = vec![0; 32 * 1024];
    loop {
        let read = input.read(&mut buffer);
        let mut writer = writer.lock().unwrap_or_else(PoisonError::into_inner);
        let sent = match read {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => Ok(()),
            // EIO: the terminal has gone.
            Ok(0) | Err(_) => {
                let _ = writer.close_stdin();
                return;
            }
            Ok(n) => writer.stdin(&buffer[..n]),
        };
        if sent.is_err() {
            return;
        }
    }
}

fn spawn(name: &str, work: impl FnOnce() + Send + 'static) -> Result<()> {
    let failed = |error: io::Error| Failure::new(Code::Limit, format!("cannot start a thread: {error}"));
    thread::Builder::new().name(name.into()).spawn(work).map(|_| ()).map_err(failed)
}

/// An exit code as the kernel passes it on (wait(2): eight bits).
fn status(code: i32) -> u8 {
    u8::try_from(code & 0xff).unwrap_or(u8::MAX)
}
