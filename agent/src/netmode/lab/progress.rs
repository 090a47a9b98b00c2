//! What somebody has done in a lab so far: a file beside the machine, so that it outlives a reset.

use crate::failure::Failure;
use crate::lab::check::{Check, Verdict};
use crate::lab::machine;
use netmode_model::Code;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

/// `progress.json` of a lab.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Progress {
    /// The fault that `break` put in, until the checks pass again or the lab is reset.
    pub(crate) fault: Option<String>,
    /// Whether `solve` has shown how it is repaired.
    pub(crate) shown: bool,
    /// The faults of this round, the last one at the end.
    pub(crate) drawn: Vec<String>,
    /// The faults that somebody has found without `solve`.
    pub(crate) found: BTreeSet<String>,
    /// Rung of the ladder of hints.
    pub(crate) rung: usize,
    /// Hints taken in all.
    pub(crate) hints: u32,
    /// How often `solve` did what the lab asks for before all checks had passed.
    pub(crate) solved: u32,
    /// By the name of the check.
    pub(crate) checks: BTreeMap<String, Mark>,
}

/// What became of one check.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Mark {
    /// At the last look.
    pub(crate) passes: bool,
    /// How often it was looked at.
    pub(crate) tries: u32,
    /// When it passed first.
    pub(crate) passed_at: Option<jiff::Timestamp>,
    /// At the last look: what was otherwise.
    pub(crate) reason: Option<String>,
}

impl Progress {
    /// Whether anything is known of a lab.
    pub(crate) fn is_known(lab: &str) -> bool {
        path(lab).exists()
    }

    /// Of a lab; empty where nothing is known.
    pub(crate) fn of(lab: &str) -> Self {
        let text = std::fs::read(path(lab)).unwrap_or_default();
        serde_json::from_slice(&text).unwrap_or_default()
    }

    pub(crate) fn write(&self, lab: &str) -> Result<(), Failure> {
        let failed = |error: std::io::Error| {
            Failure::new(Code::State, format!("cannot write {}: {error}; try it with sudo", path(lab).display()))
        };
        let new = path(lab).with_extension("new");
        let text = serde_json::to_vec_pretty(self).map_err(|e| failed(e.into()))?;
        std::fs::write(&new, text).and_then(|()| std::fs::rename(&new, path(lab))).map_err(failed)
    }

    /// The machine is as at the beginning; what was achieved stays.
    pub(crate) fn begin_again(&mut self) {
        self.fault = None;
        self.rung = 0;
    }

    /// Whether these checks have all passed at some time.
    pub(crate) fn was_done(&self, checks: &[Check]) -> bool {
        checks.iter().all(|check| self.checks.get(&check.name).is_some_and(|mark| mark.passed_at.is_some()))
    }

    /// What becomes of the fault when all checks pass; its name, if there was one.
    pub(crate) fn repaired(&mut self) -> Option<String> {
        let name = self.fault.take()?;
        self.rung = 0;
        if !self.shown {
            self.found.insert(name.clone());
        }
        Some(name)
    }

    /// Notes what checks have said.
    pub(crate) fn mark(&mut self, verdicts: &[(&Check, Verdict)]) {
        for (check, verdict) in verdicts {
            let mark = self.checks.entry(check.name.clone()).or_default();
            mark.passes = *verdict == Verdict::Passed;
            mark.tries += u32::from(*verdict != Verdict::Waits);
            mark.reason = match verdict {
                Verdict::Failed(why) => Some(why.clone()),
                _ => None,
            };
            if mark.passes && mark.passed_at.is_none() {
                mark.passed_at = Some(jiff::Timestamp::now());
            }
        }
    }
}

fn path(lab: &str) -> PathBuf {
    machine::directory(lab).join("progress.json")
}
