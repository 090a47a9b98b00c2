//! `netmode lab`: machines to learn on.
//!
//! A lab is data (`vagrant/labs/NN-name`): a text, checks, scripts. Its machine is made of namespaces (`sandbox.sh`)
//! in which an agent of its own runs. What a learner asks for is done inside; asked for outside, this program runs
//! itself again there.

pub(crate) mod args;
mod catalog;
mod check;
mod coach;
mod drawing;
mod enter;
mod expect;
mod hold;
mod machine;
mod measure;
mod picture;
mod progress;
mod report;
mod serve;

use crate::failure::{FAILED, Failure};
use crate::output::{Output, print};
use args::{LabCommand, Which};
use catalog::Lab;
use netmode_model::Code;
use progress::Progress;
use std::io::{IsTerminal, stdin, stdout};

/// Carries the command out and gives the exit status.
pub(crate) fn lab(command: &LabCommand, output: Output) -> Result<u8, Failure> {
    match command {
        LabCommand::Ls => list(output)?,
        LabCommand::Start { no_shell, lab } => return start(&catalog::find(lab)?, !no_shell),
        LabCommand::Text(which) => print(&chosen(which)?.text()?)?,
        LabCommand::Report { dir } => report::report(dir.as_deref(), output)?,
        LabCommand::Stop(which) => machine::stop(&outside(which, "stop")?.name)?,
        LabCommand::Reset(which) => return reset(&chosen(which)?),
        LabCommand::Serve { name, ip, port } => serve::serve(name.as_deref(), *ip, *port)?,
        LabCommand::Measure(args) => return measure::measure(args, output),
        LabCommand::Hold => hold::hold()?,
        LabCommand::Shell { command, which } => return shell(&chosen(which)?, command.as_deref()),
        LabCommand::Check { which, .. }
        | LabCommand::Hint(which)
        | LabCommand::Break { which, .. }
        | LabCommand::Solve(which)
        | LabCommand::Picture(which) => {
            let lab = chosen(which)?;
            if machine::here().is_none() {
                return there(&lab);
            }
            return inside(command, &lab, output);
        }
    }
    Ok(0)
}

/// What is done in the lab itself.
fn inside(command: &LabCommand, lab: &Lab, output: Output) -> Result<u8, Failure> {
    match command {
        LabCommand::Check { all, .. } => return Ok(if coach::check(lab, *all, output)? { 0 } else { FAILED }),
        LabCommand::Hint(_) => coach::hint(lab)?,
        LabCommand::Break { seed, .. } => coach::break_it(lab, *seed)?,
        LabCommand::Solve(_) => coach::solve(lab)?,
        _ => print(&picture::draw()?)?,
    }
    Ok(0)
}

/// This very command line again, in the lab.
fn there(lab: &Lab) -> Result<u8, Failure> {
    let this = enter::this().to_string_lossy().into_owned();
    let words: Vec<String> = std::iter::once(this).chain(std::env::args().skip(1)).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    enter::run(&mut machine::entering(&lab.name, &words)?)
}

/// The lab that is meant: inside it can only be that one.
fn chosen(which: &Which) -> Result<Lab, Failure> {
    let here = machine::here();
    let lab = match which.lab.clone().or_else(|| here.clone()).or_else(machine::current) {
        Some(name) => catalog::find(&name)?,
        None => {
            let text = "no lab runs; \"netmode lab ls\" lists them, \"netmode lab start 1\" begins";
            return Err(Failure::new(Code::WrongState, text));
        }
    };
    match here {
        Some(here) if here != lab.name => {
            let text = format!("this is a shell inside of {here}; type exit first");
            Err(Failure::new(Code::WrongState, text))
        }
        _ => Ok(lab),
    }
}

fn outside(which: &Which, verb: &str) -> Result<Lab, Failure> {
    if machine::here().is_some() {
        let text = format!("this is a shell inside of the lab; type exit first, then netmode lab {verb}");
        return Err(Failure::new(Code::WrongState, text));
    }
    chosen(which)
}

fn list(output: Output) -> Result<(), Failure> {
    let labs = catalog::all()?;
    let passed = |lab: &Lab| {
        let progress = Progress::of(&lab.name);
        lab.card.checks.iter().filter(|c| progress.checks.get(&c.name).is_some_and(|m| m.passed_at.is_some())).count()
    };
    let state = |lab: &Lab| match machine::holder(&lab.name) {
        _ if machine::here().as_ref() == Some(&lab.name) => "here".to_owned(),
        Some(_) => "running".to_owned(),
        None => lab.missing().map_or_else(String::new, |_| format!("needs {}", lab.card.needs.join(", "))),
    };
    let object = |lab: &Lab| {
        serde_json::json!({ "number": lab.number, "name": lab.name, "title": lab.card.title, "minutes": lab.card.minutes,
            "needs": lab.card.needs, "missing": lab.missing(), "faults": lab.card.faults.len(),
            "checks": lab.card.checks.len(), "passed": passed(lab), "running": machine::holder(&lab.name).is_some() })
    };
    let row = |lab: &Lab| {
        let done = format!("{}/{}", passed(lab), lab.card.checks.len());
        vec![lab.number.to_string(), lab.card.title.clone(), lab.card.minutes.to_string(), done, state(lab)]
    };
    if output.quiet {
        return crate::output::print_lines(labs.iter().map(|lab| lab.name.clone()));
    }
    let data: Vec<_> = labs.iter().map(object).collect();
    output.listing(&data, &["LAB", "TITLE", "MINUTES", "PASSED", "STATE"], || labs.iter().map(row).collect())
}

fn start(lab: &Lab, wants_shell: bool) -> Result<u8, Failure> {
    machine::start(lab)?;
    let mut progress = Progress::of(&lab.name);
    progress.begin_again();
    progress.write(&lab.name)?;
    let text = lab.text()?;
    // Up to the first task; the rest is a page to read beside the work.
    let beginning = text.split("\n## ").next().unwrap_or_default().trim_end();
    print(&format!("{beginning}\n\n"))?;
    enter::run(&mut machine::entering(&lab.name, &[&enter::this().to_string_lossy(), "lab", "picture"])?)?;
    print("\nRead on: netmode lab text | less. Look: netmode lab check. Stuck: netmode lab hint. Leave: exit.\n")?;
    if wants_shell && stdin().is_terminal() && stdout().is_terminal() { shell(lab, None) } else { Ok(0) }
}

/// A shell in the lab. A reset that is asked for in there ends the shell with everything else: another one is opened.
fn shell(lab: &Lab, command: Option<&str>) -> Result<u8, Failure> {
    let shell = if catalog::find_program("bash").is_some() { "bash" } else { "sh" };
    let mut words = vec![shell];
    words.extend(command.iter().flat_map(|command| ["-c", command]));
    if machine::here().is_some() {
        let mut again = enter::command(shell);
        return Err(enter::become_it(again.args(&words[1..])));
    }
    let asked = machine::directory(&lab.name).join("reset");
    loop {
        let status = enter::run(&mut machine::entering(&lab.name, &words)?)?;
        if asked.exists() {
            again(lab)?;
            print("\nThe lab begins again.\n")?;
            continue;
        }
        if command.is_none() {
            print(&format!(
                "The lab goes on. Back: netmode lab shell {0}. Its end: netmode lab stop {0}.\n",
                lab.number
            ))?;
        }
        return Ok(status);
    }
}

/// Outside the machine is built anew at once; inside, by the `shell` that we are in, once it has ended.
fn reset(lab: &Lab) -> Result<u8, Failure> {
    if machine::here().is_none() {
        again(lab)?;
        return Ok(0);
    }
    let failed = |error: &dyn std::fmt::Display| Failure::new(Code::State, format!("cannot reset: {error}"));
    std::fs::write(machine::directory(&lab.name).join("reset"), "").map_err(|e| failed(&e))?;
    let first = nix::unistd::Pid::from_raw(1);
    nix::sys::signal::kill(first, nix::sys::signal::Signal::SIGTERM).map_err(|e| failed(&e))?;
    // It takes us along.
    std::thread::sleep(std::time::Duration::from_secs(5));
    Ok(FAILED)
}

fn again(lab: &Lab) -> Result<(), Failure> {
    let _ = std::fs::remove_file(machine::directory(&lab.name).join("reset"));
    machine::start(lab)?;
    let mut progress = Progress::of(&lab.name);
    progress.begin_again();
    progress.write(&lab.name)
}
