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
mod faults;
mod hold;
mod list;
mod machine;
mod measure;
mod page;
mod picture;
mod progress;
mod report;
mod script;
mod serve;
mod session;

use crate::failure::{FAILED, Failure};
use crate::output::{Output, print};
use args::{LabCommand, Which};
use catalog::Lab;
use netmode_model::Code;

/// Carries the command out and gives the exit status.
pub(crate) fn lab(command: Option<&LabCommand>, output: Output) -> Result<u8, Failure> {
    let Some(command) = command else { return list::list(output).map(|()| 0) };
    match command {
        LabCommand::Ls => list::list(output)?,
        LabCommand::Start { no_shell, lab } => return session::start(&catalog::find(lab)?, !no_shell),
        LabCommand::Text { all, which } => page::show(&named(which)?, *all)?,
        LabCommand::Report { dir } => report::report(dir.as_deref(), output)?,
        LabCommand::Stop { all: true, .. } => session::stop_all()?,
        LabCommand::Stop { which, .. } => session::stop(&chosen(which)?)?,
        LabCommand::Reset(which) => return session::reset(&begun(which)?),
        LabCommand::Serve { name, ip, port } => serve::serve(name.as_deref(), *ip, *port)?,
        LabCommand::Measure(args) => return measure::measure(args, output),
        LabCommand::Hold => hold::hold()?,
        LabCommand::Shell { command, which } => return session::shell(&chosen(which)?, command.as_deref()),
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
        LabCommand::Break { seed, .. } => faults::break_it(lab, *seed)?,
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
    enter::run(&mut machine::entering(lab, &words)?)
}

/// The lab that is named, else the one that we are in, else the one started last.
fn named(which: &Which) -> Result<Lab, Failure> {
    let Some(name) = which.lab.clone().or_else(machine::here).or_else(machine::current) else {
        let text = "no lab runs; \"netmode lab ls\" lists them, \"netmode lab start 1\" begins";
        return Err(Failure::new(Code::WrongState, text));
    };
    catalog::find(&name)
}

/// The same for what begins a lab again: one that is not named must run.
fn begun(which: &Which) -> Result<Lab, Failure> {
    let lab = chosen(which)?;
    if which.lab.is_none() && !machine::runs(&lab.name) {
        let text = format!("lab {} does not run; {} start {0} begins it", lab.number, machine::by_root());
        return Err(Failure::new(Code::WrongState, text));
    }
    Ok(lab)
}

/// The same for what is done to a lab: inside it can only be that one.
fn chosen(which: &Which) -> Result<Lab, Failure> {
    let lab = named(which)?;
    match machine::here() {
        Some(here) if here != lab.name => {
            let text = format!("this is a shell in the lab {here}; type exit first, or do it in a second terminal");
            Err(Failure::new(Code::WrongState, text))
        }
        _ => Ok(lab),
    }
}
