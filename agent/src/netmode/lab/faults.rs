//! `break`: which fault comes next, and how it is put in.

use crate::failure::Failure;
use crate::lab::catalog::{Fault, Lab};
use crate::lab::check::{self, Verdict};
use crate::lab::progress::Progress;
use crate::lab::script;
use crate::output::print;
use netmode_model::Code;

/// The fault that is in a lab.
pub(crate) fn present<'a>(lab: &'a Lab, progress: &Progress) -> Option<&'a Fault> {
    lab.card.faults.iter().find(|fault| progress.fault.as_deref() == Some(&fault.name))
}

/// Puts a fault in, that of this number or the next one; the lab must be done.
pub(crate) fn break_it(lab: &Lab, seed: Option<usize>) -> Result<(), Failure> {
    let mut progress = Progress::of(&lab.name);
    allowed(lab, &progress)?;
    let faults = &lab.card.faults;
    let none = || Failure::new(Code::NotFound, format!("lab {} has no faults", lab.number));
    let chosen = match seed {
        Some(seed) => (!faults.is_empty()).then(|| seed % faults.len()),
        None => next(&names(lab), &mut progress.drawn, chance()),
    };
    let chosen = chosen.ok_or_else(none)?;
    let fault = &faults[chosen];
    progress.drawn.retain(|name| *name != fault.name);
    progress.drawn.push(fault.name.clone());
    put_in(lab, fault, &mut progress)?;
    print(&format!(
        "Something has changed; you have now had {} of {} faults (--seed {chosen} is this one again). {}\n\
         Find it and repair it; netmode lab check tells.\n",
        progress.drawn.len(),
        faults.len(),
        fault.tells
    ))
}

fn names(lab: &Lab) -> Vec<&str> {
    lab.card.faults.iter().map(|fault| fault.name.as_str()).collect()
}

fn allowed(lab: &Lab, progress: &Progress) -> Result<(), Failure> {
    if progress.fault.is_some() {
        let text = "there is a fault already: find it and let \"netmode lab check\" see that it is gone, or \"netmode lab solve\"";
        return Err(Failure::new(Code::WrongState, text));
    }
    let verdicts = check::all(&lab.card.checks, false);
    let Some((check, _)) = verdicts.iter().find(|(_, verdict)| *verdict != Verdict::Passed) else { return Ok(()) };
    let text = format!(
        "a lab must be done before it is broken, and {:?} does not pass yet; finish it, or \"netmode lab reset\" and then \
         \"netmode lab solve\"",
        check.name
    );
    Err(Failure::new(Code::WrongState, text))
}

/// Noted before anything is done, so that `solve` knows of it whatever happens. What a failed step leaves is taken back, and
/// so is a fault that no check sees: it was made for another way to build the same.
fn put_in(lab: &Lab, fault: &Fault, progress: &mut Progress) -> Result<(), Failure> {
    progress.fault = Some(fault.name.clone());
    progress.shown = false;
    progress.rung = 0;
    progress.write(&lab.name)?;
    // Its words would give it away.
    let why = match script::quietly(lab, &format!("faults/{}.sh", fault.name)) {
        Ok(()) if check::one_fails(&lab.card.checks) => return Ok(()),
        Ok(()) => "it changes nothing in what you have built".to_owned(),
        Err(failure) => failure.to_string(),
    };
    let is_mended = script::quietly(lab, &format!("faults/{}.fix.sh", fault.name)).is_ok();
    let next = if is_mended || !check::one_fails(&lab.card.checks) {
        progress.fault = None;
        progress.write(&lab.name)?;
        "what it did is taken back; another one: netmode lab break"
    } else {
        "\"netmode lab reset\" begins again"
    };
    Err(Failure::new(Code::State, format!("the fault could not be put in: {why}; {next}")))
}

/// Index of the next fault: by chance one that this round has not had; the last one never begins the next round while
/// there are others.
fn next(faults: &[&str], drawn: &mut Vec<String>, chance: usize) -> Option<usize> {
    let left = |drawn: &[String]| -> Vec<usize> {
        (0..faults.len()).filter(|n| !drawn.iter().any(|name| name == faults[*n])).collect()
    };
    let mut choice = left(drawn);
    if choice.is_empty() {
        let last: Vec<String> = drawn.pop().into_iter().collect();
        drawn.clear();
        choice = left(&last);
    }
    if choice.is_empty() {
        choice = left(&[]);
    }
    (!choice.is_empty()).then(|| choice[chance % choice.len()])
}

/// Any number.
fn chance() -> usize {
    getrandom::u32().map_or(0, |number| number as usize)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fault_comes_back_when_all_have_been_there() {
        let faults = ["a", "b", "c"];
        let mut drawn = Vec::new();
        let mut all = Vec::new();
        for chance in 0..30 {
            let n = next(&faults, &mut drawn, chance * 7).unwrap();
            drawn.push(faults[n].to_owned());
            all.push(n);
            assert!(drawn.len() == chance % 3 + 1, "{drawn:?}");
        }
        assert!(all.windows(2).all(|pair| pair[0] != pair[1]), "{all:?}");
        assert!(all.chunks(3).all(|round| (0..3).all(|n| round.contains(&n))), "{all:?}");
        assert_eq!(next(&["a"], &mut vec!["a".into()], 5), Some(0), "where there is one alone, it comes again");
        assert_eq!(next(&[], &mut vec![], 5), None);
    }
}
