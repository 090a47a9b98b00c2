//! What a learner asks for in a lab: checks, hints, the solution. All of it runs inside.

use crate::failure::Failure;
use crate::lab::catalog::{self, Lab};
use crate::lab::check::{self, Check, Verdict};
use crate::lab::progress::Progress;
use crate::lab::{faults, machine, picture, script};
use crate::output::{Output, print};
use netmode_model::Code;
use serde_json::json;

/// Makes the checks and says what to do next. `false` if one does not pass.
pub(crate) fn check(lab: &Lab, all: bool, output: Output) -> Result<bool, Failure> {
    let verdicts = check::all(&lab.card.checks, all);
    let mut progress = Progress::of(&lab.name);
    progress.mark(&verdicts);
    let done = verdicts.iter().all(|(_, verdict)| *verdict == Verdict::Passed);
    let repaired = if done { progress.repaired() } else { None };
    progress.write(&lab.name)?;
    if output.structured() {
        output.data(&verdicts.iter().map(object).collect::<Vec<_>>())?;
        return Ok(done);
    }
    let passed = verdicts.iter().filter(|(_, verdict)| *verdict == Verdict::Passed).count();
    let lines: String = verdicts.iter().map(line).collect();
    let end = match (done, repaired) {
        (true, None) => format!("All done. Now break it: netmode lab break\n{}", next_lab(lab)?),
        (true, Some(_)) => format!("The fault is gone. {}\n{}", next_fault(lab, &progress), next_lab(lab)?),
        _ => format!("{passed} of {} pass. Stuck? netmode lab hint\n", verdicts.len()),
    };
    print(&format!("{}\n{lines}\n{end}", picture::draw()?))?;
    Ok(done)
}

fn next_fault(lab: &Lab, progress: &Progress) -> String {
    match lab.card.faults.len().saturating_sub(progress.drawn.len()) {
        0 => "That was the last one that you had not seen; once more: netmode lab break".into(),
        left => format!("Another one ({left} left): netmode lab break"),
    }
}

/// Where to go on, as a line; nothing behind the last lab.
fn next_lab(lab: &Lab) -> Result<String, Failure> {
    let next = catalog::all()?.into_iter().find(|other| other.number > lab.number);
    Ok(next.map_or_else(String::new, |next| {
        format!("The next lab: exit, then {} start {} ({})\n", machine::by_root(), next.number, next.card.title)
    }))
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
        Verdict::Waits => {
            let other = check.after.as_deref().unwrap_or_default();
            format!("  wait  {}\n        waits for the check {other:?}\n", check.name)
        }
    }
}

/// The next rung of the ladder: the fault's while there is one.
pub(crate) fn hint(lab: &Lab) -> Result<(), Failure> {
    let mut progress = Progress::of(&lab.name);
    let ladder = faults::present(lab, &progress).map_or(&lab.card.hints, |fault| &fault.hints);
    let Some(hint) = ladder.get(progress.rung) else {
        let text = "that was the last hint; \"netmode lab solve\" shows how it is done";
        return Err(Failure::new(Code::NotFound, text));
    };
    print(&format!("Hint {} of {}: {hint}\n", progress.rung + 1, ladder.len()))?;
    progress.rung += 1;
    progress.hints += 1;
    progress.write(&lab.name)
}

/// Does what the lab asks for, or repairs its fault, and shows each command. Where it is done already, they are only shown.
pub(crate) fn solve(lab: &Lab) -> Result<(), Failure> {
    let mut progress = Progress::of(&lab.name);
    let fault = faults::present(lab, &progress);
    if fault.is_none() && check::all(&lab.card.checks, false).iter().all(|(_, v)| *v == Verdict::Passed) {
        return print(&format!(
            "The lab is done already. This is another way:\n\n{}",
            script::shown(lab, "solution.sh")?
        ));
    }
    let name = fault.map_or_else(|| "solution.sh".into(), |fault| format!("faults/{}.fix.sh", fault.name));
    let (repairs, was_done) = (fault.is_some(), progress.was_done(&lab.card.checks));
    progress.shown |= repairs;
    progress.solved += u32::from(!repairs && !was_done);
    progress.write(&lab.name)?;
    if script::aloud(lab, &name)? == 0 {
        return Ok(());
    }
    let text = "what you have made is in the way: netmode lab reset, then netmode lab solve";
    Err(Failure::new(Code::State, text))
}
