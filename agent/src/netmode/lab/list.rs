//! `netmode lab ls`.

use crate::failure::Failure;
use crate::lab::catalog::{self, Lab};
use crate::lab::machine;
use crate::lab::progress::Progress;
use crate::output::{Output, print, print_lines};

/// The labs, how far each one is, and where to begin.
pub(crate) fn list(output: Output) -> Result<(), Failure> {
    let labs = catalog::all()?;
    if output.quiet {
        return print_lines(labs.iter().map(|lab| lab.name.clone()));
    }
    let data: Vec<_> = labs.iter().map(object).collect();
    output.listing(&data, &["LAB", "TITLE", "MINUTES", "PASSED", "STATE"], || labs.iter().map(row).collect())?;
    let next = labs.iter().find(|lab| passed(lab) < lab.card.checks.len()).or(labs.first());
    match next {
        Some(next) if !output.structured() => {
            let about = catalog::directory()?.join("README.md");
            print(&format!(
                "\nBegin: {} start {}. About the labs: {}\n",
                machine::by_root(),
                next.number,
                about.display()
            ))
        }
        _ => Ok(()),
    }
}

fn passed(lab: &Lab) -> usize {
    let progress = Progress::of(&lab.name);
    let has_passed = |name: &String| progress.checks.get(name).is_some_and(|mark| mark.passed_at.is_some());
    lab.card.checks.iter().filter(|check| has_passed(&check.name)).count()
}

fn state(lab: &Lab) -> String {
    if machine::here().as_ref() == Some(&lab.name) {
        "here".into()
    } else if machine::runs(&lab.name) {
        "running".into()
    } else {
        lab.missing().map_or_else(String::new, |_| format!("needs {}", lab.card.needs.join(", ")))
    }
}

fn object(lab: &Lab) -> serde_json::Value {
    serde_json::json!({ "number": lab.number, "name": lab.name, "title": lab.card.title, "minutes": lab.card.minutes,
        "needs": lab.card.needs, "missing": lab.missing(), "faults": lab.card.faults.len(),
        "checks": lab.card.checks.len(), "passed": passed(lab), "running": machine::runs(&lab.name) })
}

fn row(lab: &Lab) -> Vec<String> {
    let solved = if Progress::of(&lab.name).solved > 0 { " (solved)" } else { "" };
    let done = format!("{}/{}{solved}", passed(lab), lab.card.checks.len());
    vec![lab.number.to_string(), lab.card.title.clone(), lab.card.minutes.to_string(), done, state(lab)]
}
