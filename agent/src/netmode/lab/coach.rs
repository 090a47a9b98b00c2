//! What a learner asks for in a lab: checks, hints, a fault, the solution. All of it runs inside.

use crate::failure::Failure;
use crate::lab::catalog::{Fault, Lab};
use crate::lab::check::{self, Check, Verdict};
use crate::lab::progress::Progress;
use crate::lab::{enter, picture};
use crate::output::{Output, print};
use netmode_model::Code;
use serde_json::json;
use std::process::Command;

/// Makes the checks and says what to do next. `false` if one does not pass.
pub(crate) fn check(lab: &Lab, all: bool, output: Output) -> Result<bool, Failure> {
    let verdicts = check::all(&lab.card.checks, all);
    let mut progress = Progress::of(&lab.name);
    progress.mark(&verdicts);
    let done = verdicts.iter().all(|(_, verdict)| *verdict == Verdict::Passed);
    let found = done && progress.fault.take().is_some();
    progress.write(&lab.name)?;
    if output.structured() {
        output.data(&verdicts.iter().map(object).collect::<Vec<_>>())?;
        return Ok(done);
    }
    let passed = verdicts.iter().filter(|(_, verdict)| *verdict == Verdict::Passed).count();
    let lines: String = verdicts.iter().map(line).collect();
    let end = match (done, found) {
        (true, false) => "All done. Now break it: netmode lab break\n".into(),
        (true, true) => "The fault is gone. Another one: netmode lab break\n".into(),
        _ => format!("{passed} of {} pass. Stuck? netmode lab hint\n", verdicts.len()),
    };
    print(&format!("{}\n{lines}\n{end}", picture::draw()?))?;
    Ok(done)
}

fn object((check, verdict): &(&Check, Verdict)) -> serde_json::Value {
    let (result, reason) = match verdict {
        Verdict::Passed => ("passed", None),
        Verdict::Failed(why) => ("failed", Some(why)),
        Verdict::Waits => ("waits", None),
    };
    json!({ "check": check.name, "result": result, "reason": reason })
}

fn line((check, verdict): &(&Check, Verdict)) -> String {
    match verdict {
        Verdict::Passed => format!("  ok    {}\n", check.name),
        Verdict::Failed(why) => format!("  FAIL  {}\n        {why}\n        {}\n", check.name, check.fail),
        Verdict::Waits => format!("  wait  {}\n", check.name),
    }
}

/// The next rung of the ladder: the fault's while there is one.
pub(crate) fn hint(lab: &Lab) -> Result<(), Failure> {
    let mut progress = Progress::of(&lab.name);
    let ladder = fault(lab, &progress).map_or(&lab.card.hints, |fault| &fault.hints);
    let Some(hint) = ladder.get(progress.rung) else {
        let text = "that was the last hint; \"netmode lab solve\" shows how it is done";
        return Err(Failure::new(Code::NotFound, text));
    };
    print(&format!("Hint {} of {}: {hint}\n", progress.rung + 1, ladder.len()))?;
    progress.rung += 1;
    progress.hints += 1;
    progress.write(&lab.name)
}

fn fault<'a>(lab: &'a Lab, progress: &Progress) -> Option<&'a Fault> {
    lab.card.faults.iter().find(|fault| progress.fault.as_deref() == Some(&fault.name))
}

/// Puts the fault of this number in; the lab must be done.
pub(crate) fn break_it(lab: &Lab, seed: Option<usize>) -> Result<(), Failure> {
    let mut progress = Progress::of(&lab.name);
    if progress.fault.is_some() {
        let text = "there is a fault already: find it, or \"netmode lab solve\", or \"netmode lab reset\"";
        return Err(Failure::new(Code::WrongState, text));
    }
    let verdicts = check::all(&lab.card.checks, false);
    if let Some((check, _)) = verdicts.iter().find(|(_, verdict)| *verdict != Verdict::Passed) {
        let text = format!(
            "a lab must be done before it is broken, and {:?} does not pass yet; finish it, or \"netmode lab solve\"",
            check.name
        );
        return Err(Failure::new(Code::WrongState, text));
    }
    let seed = seed.unwrap_or_else(chance);
    let count = lab.card.faults.len().max(1);
    let Some(fault) = lab.card.faults.get(seed % count) else {
        return Err(Failure::new(Code::NotFound, format!("{} has no faults", lab.name)));
    };
    // Its words would give it away.
    enter::run_quietly(&mut script(lab, &format!("faults/{}.sh", fault.name), "-eu")?).map_err(|failure| {
        let text = format!("the fault could not be put in: {failure}; \"netmode lab reset\" begins again");
        Failure::new(Code::State, text)
    })?;
    progress.fault = Some(fault.name.clone());
    progress.rung = 0;
    progress.write(&lab.name)?;
    print(&format!(
        "Something has changed (seed {seed}). {}\nFind it and repair it; netmode lab check tells.\n",
        fault.tells
    ))
}

/// Any number.
fn chance() -> usize {
    getrandom::u32().map_or(0, |number| number as usize)
}

/// Does what the lab asks for, or repairs its fault, and shows each command.
pub(crate) fn solve(lab: &Lab) -> Result<(), Failure> {
    let mut progress = Progress::of(&lab.name);
    let name = fault(lab, &progress).map_or_else(|| "solution.sh".into(), |f| format!("faults/{}.fix.sh", f.name));
    progress.solved += 1;
    progress.write(&lab.name)?;
    match enter::run(&mut script(lab, &name, "-eux")?)? {
        0 => Ok(()),
        status => {
            let text = format!("{name} ended with status {status}; it expects a fresh lab: netmode lab reset");
            Err(Failure::new(Code::State, text))
        }
    }
}

/// A script of the lab.
fn script(lab: &Lab, name: &str, flags: &str) -> Result<Command, Failure> {
    let path = lab.directory.join(name);
    if !path.exists() {
        return Err(Failure::new(Code::NotFound, format!("{} is missing", path.display())));
    }
    let mut command = enter::command("sh");
    command.arg(flags).arg(&path).env("PS4", "$ ").env("LAB", &lab.directory).current_dir("/run/home");
    Ok(command)
}
