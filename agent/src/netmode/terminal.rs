//! The caller's terminal: raw while a container has it, and as it was afterwards.

use crate::failure::Failure;
use netmode_model::Code;
use netmode_model::api::Control;
use nix::sys::signal::{SigSet, Signal};
use nix::sys::termios::{SetArg, Termios, cfmakeraw, tcgetattr, tcsetattr};
use nix::unistd::{getpgrp, tcsetpgrp};
use std::io::{self, IsTerminal};
use terminal_size::{Height, Width, terminal_size_of};

/// Raw mode; dropped, also by a panic that unwinds, the terminal is as before.
#[derive(Debug)]
pub(crate) struct RawMode {
    before: Termios,
}

impl RawMode {
    /// Every key goes to the container, Ctrl-C included.
    pub(crate) fn enter() -> Result<Self, Failure> {
        let failed = |errno| Failure::new(Code::State, format!("cannot set up the terminal: {errno}"));
        let before = tcgetattr(io::stdin()).map_err(failed)?;
        let mut raw = before.clone();
        cfmakeraw(&mut raw);
        // Drain: what was printed so far is printed in the old mode.
        tcsetattr(io::stdin(), SetArg::TCSADRAIN, &raw).map_err(failed)?;
        Ok(Self { before })
    }
}

impl Drop for RawMode {
    fn drop(&mut self) {
        // A terminal that has gone needs no mode.
        let _ = tcsetattr(io::stdin(), SetArg::TCSADRAIN, &self.before);
    }
}

/// The settings of the terminal on standard input, if it is one.
pub(crate) fn settings() -> Option<Termios> {
    tcgetattr(io::stdin()).ok()
}

/// Undoes what a shell that was killed has left: the terminal is ours again, its settings are those of before, and keys
/// that were meant for the shell are dropped.
pub(crate) fn restore(settings: &Termios) {
    // Whoever sets anything from the background is stopped (tty_ioctl(4)), unless the signal for that is blocked.
    let stops = SigSet::from_iter([Signal::SIGTTOU]);
    let is_blocked = stops.thread_block().is_ok();
    // A terminal that has gone needs no settings.
    let _ = tcsetpgrp(io::stdin(), getpgrp());
    let _ = tcsetattr(io::stdin(), SetArg::TCSAFLUSH, settings);
    if is_blocked {
        let _ = stops.thread_unblock();
    }
}

/// Refuses `-it` without a terminal: the container would wait for keys nobody can press.
pub(crate) fn check(stdin: bool, tty: bool) -> Result<(), Failure> {
    if stdin && tty && !io::stdin().is_terminal() {
        return Err(Failure::new(Code::Conflict, "-t with -i needs a terminal on standard input; leave -t out"));
    }
    Ok(())
}

/// The size of the terminal, as the message that tells it.
pub(crate) fn size() -> Option<Control> {
    let (Width(cols), Height(rows)) = terminal_size_of(io::stdout()).or_else(|| terminal_size_of(io::stdin()))?;
    Some(Control::Resize { rows, cols })
}

/// Signals that are passed on, and the one that tells of a new terminal size.
const SIGNALS: [Signal; 7] = [
    Signal::SIGINT,
    Signal::SIGTERM,
    Signal::SIGHUP,
    Signal::SIGQUIT,
    Signal::SIGUSR1,
    Signal::SIGUSR2,
    Signal::SIGWINCH,
];

/// Signals that wait until they are taken.
///
/// They are blocked, not handled, so no code runs in signal context; threads started later inherit that.
#[derive(Debug)]
pub(crate) struct Signals(SigSet);

impl Signals {
    /// Blocks them in this thread and those that it starts.
    pub(crate) fn block() -> Result<Self, Failure> {
        let set: SigSet = SIGNALS.into_iter().collect();
        set.thread_block().map_err(|errno| Failure::new(Code::State, format!("cannot block signals: {errno}")))?;
        Ok(Self(set))
    }

    /// Waits for the next one.
    pub(crate) fn next(&self) -> Option<Signal> {
        self.0.wait().ok()
    }
}
