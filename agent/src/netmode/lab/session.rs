//! A learner's time in a lab: its machine is begun, entered, begun again and ended.

use crate::failure::{FAILED, Failure};
use crate::lab::catalog::{self, Lab};
use crate::lab::progress::Progress;
use crate::lab::{enter, machine, page};
use crate::output::print;
use crate::terminal;
use netmode_model::Code;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::io::{IsTerminal, stdin, stdout};
use std::time::{Duration, Instant};

/// In a lab's shell: the process outside that opened it.
const OPENER: &str = "NETMODE_LAB_SHELL";
/// The exit status of what SIGKILL has ended, as the machine's end does.
const KILLED: u8 = 137;
/// How long the first process may be seen after those that it took along. Who leaves with that status of his own waits as
/// long for nothing.
const PATIENCE: Duration = Duration::from_secs(3);

/// Builds the machine, prints the beginning of the text, and opens a shell. A lab that runs is opened as it is.
pub(crate) fn start(lab: &Lab, wants_shell: bool) -> Result<u8, Failure> {
    let wants_shell = wants_shell && stdin().is_terminal() && stdout().is_terminal();
    if machine::here().is_none() && machine::holder(&lab.name).is_some() {
        machine::make_current(&lab.name)?;
        let (number, command) = (lab.number, machine::by_root());
        let here = if wants_shell { ", here it is" } else { "" };
        print(&format!("lab {number} runs already{here}; to begin again: {command} reset {number}\n"))?;
    } else {
        again(lab)?;
        print(&format!("{}\n", page::beginning(&lab.text()?)))?;
        enter::run(&mut machine::entering(lab, &[&enter::this().to_string_lossy(), "lab", "picture"])?)?;
        let leave = if wants_shell { " Leave: exit." } else { "" };
        print(&format!("\nRead on: netmode lab text. Look: netmode lab check. Stuck: netmode lab hint.{leave}\n"))?;
    }
    if wants_shell { shell(lab, None) } else { Ok(0) }
}

/// A shell in the lab, or one command of it. A reset that is asked for in there ends the shell with everything else:
/// another one is opened.
pub(crate) fn shell(lab: &Lab, command: Option<&str>) -> Result<u8, Failure> {
    // The machine's own rc files would have another prompt.
    let shell: &[&str] = if catalog::find_program("bash").is_some() { &["bash", "--norc"] } else { &["sh"] };
    let words: Vec<&str> = shell.iter().copied().chain(command.iter().flat_map(|command| ["-c", command])).collect();
    if machine::here().is_some() {
        return match command {
            Some(_) => Err(enter::become_it(enter::command(words[0]).args(&words[1..]))),
            None => Err(nested(lab)),
        };
    }
    loop {
        let (before, settings) = (machine::holder(&lab.name), terminal::settings());
        let mut entering = machine::entering(lab, &words)?;
        entering.env(OPENER, std::process::id().to_string()).env("PS1", format!("[lab {}] root@host1# ", lab.number));
        let status = enter::run(&mut entering)?;
        let is_gone = status == KILLED && ends(&lab.name, before);
        if is_gone && let Some(settings) = settings {
            terminal::restore(&settings);
        }
        if machine::is_asked_again(&lab.name, std::process::id()) {
            again(lab)?;
            print("\nThe lab begins again. (What stands behind \"reset\" on a line is not run.)\n")?;
            if command.is_some() {
                return Ok(0);
            }
            continue;
        }
        if is_gone {
            print(&gone(lab))?;
        } else if command.is_none() {
            print(&left(lab)?)?;
        }
        return Ok(status);
    }
}

/// Inside there is a shell already.
fn nested(lab: &Lab) -> Failure {
    let text = format!(
        "this is a shell in lab {0} already; another one is opened in a second terminal: {1} shell {0}",
        lab.number,
        machine::by_root()
    );
    Failure::new(Code::WrongState, text)
}

/// Whether the machine that had this first process has ended.
fn ends(name: &str, before: Option<Pid>) -> bool {
    let until = Instant::now() + PATIENCE;
    while machine::holder(name) == before && Instant::now() < until {
        std::thread::sleep(Duration::from_millis(2));
    }
    machine::holder(name) != before
}

fn gone(lab: &Lab) -> String {
    let host = nix::unistd::gethostname().unwrap_or_default().to_string_lossy().into_owned();
    format!(
        "\nLab {} was begun again, or ended, from another terminal; this shell has ended with it.\n\
         You are on the real machine again ({host}).\n",
        lab.number
    )
}

fn left(lab: &Lab) -> Result<String, Failure> {
    let (number, command) = (lab.number, machine::by_root());
    let others: Vec<String> =
        running()?.iter().map(|lab| lab.number).filter(|n| *n != number).map(|n| n.to_string()).collect();
    let others = match others.as_slice() {
        [] => String::new(),
        all => format!("Running, too: {}. End all: {command} stop --all.\n", all.join(", ")),
    };
    Ok(format!("Lab {number} goes on. Back: {command} shell {number}. End it: {command} stop {number}.\n{others}"))
}

/// Outside the machine is built anew at once; inside, by the `shell` that we are in, once it has ended.
pub(crate) fn reset(lab: &Lab) -> Result<u8, Failure> {
    if machine::here().is_none() {
        again(lab)?;
        print(&format!("lab {} begins again\n", lab.number))?;
        return Ok(0);
    }
    let failed = |error: &dyn std::fmt::Display| Failure::new(Code::State, format!("cannot reset: {error}"));
    let opener = std::env::var(OPENER).map_err(|_| {
        let outside = format!("{} reset {}", machine::by_root(), lab.number);
        failed(&format!("nobody who opened this shell is there to build the machine anew; outside: {outside}"))
    })?;
    machine::ask_again(&lab.name, &opener).map_err(|e| failed(&e))?;
    kill(Pid::from_raw(1), Signal::SIGTERM).map_err(|e| failed(&e))?;
    // It takes us along.
    std::thread::sleep(Duration::from_secs(5));
    Ok(FAILED)
}

fn again(lab: &Lab) -> Result<(), Failure> {
    machine::start(lab)?;
    let mut progress = Progress::of(&lab.name);
    progress.begin_again();
    progress.write(&lab.name)
}

/// Ends one lab.
pub(crate) fn stop(lab: &Lab) -> Result<(), Failure> {
    outside()?;
    let ran = machine::holder(&lab.name).is_some();
    machine::stop(&lab.name)?;
    print(&format!("lab {} {}\n", lab.number, if ran { "ended" } else { "does not run" }))
}

/// Ends every lab that runs.
pub(crate) fn stop_all() -> Result<(), Failure> {
    outside()?;
    match running()?.as_slice() {
        [] => print("no lab runs\n"),
        all => all.iter().try_for_each(stop),
    }
}

fn outside() -> Result<(), Failure> {
    let text = "this is a shell in a lab; type exit first, then netmode lab stop";
    if machine::here().is_some() { Err(Failure::new(Code::WrongState, text)) } else { Ok(()) }
}

fn running() -> Result<Vec<Lab>, Failure> {
    Ok(catalog::all()?.into_iter().filter(|lab| machine::holder(&lab.name).is_some()).collect())
}
