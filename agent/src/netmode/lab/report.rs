//! For an instructor: one line for each check of every lab that was started.

use crate::failure::Failure;
use crate::lab::catalog::{self, Lab};
use crate::lab::progress::{Mark, Progress};
use crate::output::{Output, print};
use netmode_model::Code;
use serde::Serialize;
use std::path::Path;

/// One line.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Line {
    learner: String,
    lab: String,
    check: String,
    /// `passed`, `failed`, or `open` where nobody has looked.
    result: &'static str,
    /// Times that it was looked at.
    tries: u32,
    passed_at: Option<String>,
    reason: Option<String>,
    /// Of the whole lab.
    hints: u32,
    /// Of the whole lab: whether `solve` did it.
    solved: bool,
    /// Of the whole lab: faults that were found without `solve`.
    faults_found: usize,
    /// Of the whole lab.
    faults: usize,
}

const HEADINGS: &str = "learner,lab,check,result,tries,passedAt,reason,hints,solved,faultsFound,faults";

/// Prints it, or writes both forms into a directory.
pub(crate) fn report(dir: Option<&Path>, output: Output) -> Result<(), Failure> {
    let lines: Vec<Line> = catalog::all()?.iter().flat_map(lines).collect();
    let csv = lines.iter().fold(format!("{HEADINGS}\n"), |text, line| text + &line.csv() + "\n");
    let Some(dir) = dir else {
        return if output.structured() { output.data(&lines) } else { print(&csv) };
    };
    let failed = |path: &Path, error: std::io::Error| {
        Failure::new(Code::State, format!("cannot write {}: {error}", path.display()))
    };
    std::fs::create_dir_all(dir).map_err(|error| failed(dir, error))?;
    let write = |name: &str, text: &str| {
        let path = dir.join(name);
        std::fs::write(&path, text).map_err(|error| failed(&path, error))
    };
    write("report.csv", &csv)?;
    let json = serde_json::to_string_pretty(&lines).unwrap_or_default();
    write("report.json", &(json + "\n"))
}

fn lines(lab: &Lab) -> Vec<Line> {
    if !Progress::is_known(&lab.name) {
        return vec![];
    }
    let progress = Progress::of(&lab.name);
    let learner = ["SUDO_USER", "USER", "LOGNAME"].iter().find_map(|name| std::env::var(name).ok()).unwrap_or_default();
    let line = |name: &String| {
        let mark = progress.checks.get(name).cloned().unwrap_or_default();
        Line {
            learner: learner.clone(),
            lab: lab.name.clone(),
            check: name.clone(),
            result: result(&mark),
            tries: mark.tries,
            passed_at: mark.passed_at.map(|at| at.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()),
            // What is otherwise since then is a fault's doing.
            reason: mark.reason.filter(|_| mark.passed_at.is_none()),
            hints: progress.hints,
            solved: progress.solved > 0,
            faults_found: progress.found.len(),
            faults: lab.card.faults.len(),
        }
    };
    lab.card.checks.iter().map(|check| line(&check.name)).collect()
}

fn result(mark: &Mark) -> &'static str {
    match mark {
        Mark { passed_at: Some(_), .. } => "passed",
        Mark { tries: 0, .. } => "open",
        _ => "failed",
    }
}

impl Line {
    fn csv(&self) -> String {
        let (tries, hints) = (self.tries.to_string(), self.hints.to_string());
        let (found, faults) = (self.faults_found.to_string(), self.faults.to_string());
        let fields: [&str; 11] = [
            &self.learner,
            &self.lab,
            &self.check,
            self.result,
            &tries,
            self.passed_at.as_deref().unwrap_or(""),
            self.reason.as_deref().unwrap_or(""),
            &hints,
            if self.solved { "yes" } else { "no" },
            &found,
            &faults,
        ];
        fields.map(quoted).join(",")
    }
}

/// A field as RFC 4180 has it.
fn quoted(field: &str) -> String {
    if field.contains([',', '"', '\n', '\r']) { format!("\"{}\"", field.replace('"', "\"\"")) } else { field.into() }
}

#[cfg(test)]
mod tests {
    #[test]
    fn fields_with_commas_and_quotes_stay_one_field() {
        assert_eq!(super::quoted("plain"), "plain");
        assert_eq!(super::quoted("a, \"b\""), "\"a, \"\"b\"\"\"");
    }
}
