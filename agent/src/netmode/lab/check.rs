//! Checks: an ordinary program is run somewhere in the lab, and what it answers is compared. Nobody asks what was typed.

use crate::lab::enter;
use crate::lab::expect::{Answer, Expect, values_at, word};
use serde::Deserialize;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// How long a program may take where it does not bound itself.
const LONGEST: Duration = Duration::from_secs(10);
/// How often all checks are looked at for one that fails.
const LOOKS: usize = 3;

/// One check of a lab.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Check {
    /// What is true when it passes.
    pub(crate) name: String,
    /// Where: `host`, a namespace of `ip netns`, or `task:NAME`.
    #[serde(default = "host", rename = "in")]
    place: String,
    /// The program and its arguments.
    run: Vec<String>,
    #[serde(default)]
    expect: Expect,
    /// Seconds in which it may still come true, from the first check on.
    #[serde(default)]
    retry: f64,
    /// What to do next where it is not true.
    pub(crate) fail: String,
    /// The check that must pass before this one says anything.
    pub(crate) after: Option<String>,
    /// Values that the words of `run` use as `${name}`.
    #[serde(default, rename = "let")]
    values: Vec<Named>,
}

fn host() -> String {
    "host".into()
}

/// A value out of what a program prints as JSON.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Named {
    name: String,
    #[serde(default = "host", rename = "in")]
    place: String,
    run: Vec<String>,
    /// Pointer to the value; the first one counts.
    at: String,
}

/// What became of a check.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Verdict {
    Passed,
    /// What is otherwise than it should be.
    Failed(String),
    /// The check it waits for has not passed.
    Waits,
}

/// Makes every check, in order; with `all` those behind a barrier, too.
pub(crate) fn all(checks: &[Check], all: bool) -> Vec<(&Check, Verdict)> {
    let mut done: Vec<(&Check, Verdict)> = Vec::new();
    // What comes true by itself does so while others are looked at.
    let begun = Instant::now();
    for check in checks {
        let passed = |name: &String| done.iter().any(|(c, v)| c.name == *name && *v == Verdict::Passed);
        let waits = !all && check.after.as_ref().is_some_and(|name| !passed(name));
        done.push((check, if waits { Verdict::Waits } else { check.verdict(begun) }));
    }
    done
}

/// Whether any check fails, now or within the next looks.
pub(crate) fn one_fails(checks: &[Check]) -> bool {
    (0..LOOKS).any(|_| checks.iter().any(|check| check.once().is_err()))
}

impl Check {
    fn verdict(&self, begun: Instant) -> Verdict {
        let patience = |part: f64| Duration::from_secs_f64(self.retry * part);
        let mut look = self.once();
        // Where looks take long there is a second one all the same.
        let until = (begun + patience(1.0)).max(Instant::now() + patience(0.25));
        while let Err(why) = look {
            if Instant::now() >= until {
                return Verdict::Failed(why);
            }
            std::thread::sleep(Duration::from_millis(100));
            look = self.once();
        }
        Verdict::Passed
    }

    fn once(&self) -> Result<(), String> {
        let mut values = BTreeMap::new();
        for named in &self.values {
            let answer = answer(&named.place, &named.run, &values)?;
            if answer.status != 0 {
                return Err(answer.complaint());
            }
            let json = serde_json::from_str(&answer.stdout).unwrap_or_default();
            let found = values_at(&json, &named.at);
            let value = found.first().ok_or_else(|| {
                format!("{} shows no {}", named.run.join(" ").trim_end_matches(" -o json"), named.name)
            })?;
            values.insert(named.name.clone(), word(value));
        }
        self.expect.differs(&answer(&self.place, &self.run, &values)?).map_or(Ok(()), Err)
    }
}

/// Runs the words, in which `${name}` is the value of that name.
fn answer(place: &str, words: &[String], values: &BTreeMap<String, String>) -> Result<Answer, String> {
    let fill = |word: &String| {
        values.iter().fold(word.clone(), |text, (name, value)| text.replace(&format!("${{{name}}}"), value))
    };
    let words: Vec<String> = words.iter().map(fill).collect();
    enter::answer(place, &words, LONGEST)
}
