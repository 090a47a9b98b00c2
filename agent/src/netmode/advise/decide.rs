//! From needs to a mode: pure, by the table alone.

use super::needs::{CHOICES, Choice, Fit, NEEDS, Need};
use netmode_model::Mode;
use serde::Serialize;

/// A recommended mode.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Advice {
    pub(crate) mode: Mode,
    /// What speaks for it, one reason for each need.
    pub(crate) reasons: Vec<Reason>,
    /// Why it is none of the other modes.
    pub(crate) others: Vec<Other>,
    /// How a task in it is started.
    pub(crate) command: String,
}

/// What the table says of a mode and a need.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Reason {
    /// The need's flag; none where the modes serve the needs equally well.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) need: Option<&'static str>,
    pub(crate) why: &'static str,
}

/// A mode that was not chosen.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Other {
    pub(crate) mode: Mode,
    pub(crate) reasons: Vec<Reason>,
}

/// Needs that no mode serves at once.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub(crate) struct Contradiction(String);

/// The mode that serves every need, and of several the one that serves them best.
///
/// # Errors
/// Needs that no mode serves at once; as few of them as make the contradiction are named.
pub(crate) fn decide(needs: &[&'static Need]) -> Result<Advice, Contradiction> {
    let fitting = (0..CHOICES.len()).filter(|n| serves(*n, needs));
    // Of equals the last one found: the first of the table is asked last.
    let chosen = fitting.rev().max_by_key(|n| score(*n, needs)).ok_or_else(|| contradiction(needs))?;
    let reason = |need: &&'static Need| Reason { need: Some(need.flag), why: need.cells[chosen].1 };
    let others = CHOICES.iter().enumerate().filter(|(n, _)| *n != chosen);
    Ok(Advice {
        mode: CHOICES[chosen].mode,
        reasons: needs.iter().map(reason).collect(),
        others: others.map(|(n, choice)| other(n, choice, chosen, needs)).collect(),
        command: command(&CHOICES[chosen], needs),
    })
}

/// How a task with these needs is started.
fn command(choice: &Choice, needs: &[&Need]) -> String {
    let changes = choice.changes.iter().filter(|(flag, ..)| needs.iter().any(|need| need.flag == *flag));
    changes.fold(choice.command.to_owned(), |command, (_, from, to)| command.replace(from, to))
}

/// The needs of these flags, in the order of the table.
pub(crate) fn needs(is_wanted: impl Fn(&str) -> bool) -> Vec<&'static Need> {
    NEEDS.iter().filter(|need| is_wanted(need.flag)).collect()
}

fn serves(choice: usize, needs: &[&Need]) -> bool {
    needs.iter().all(|need| need.cells[choice].0 != Fit::No)
}

fn score(choice: usize, needs: &[&Need]) -> u32 {
    needs.iter().map(|need| need.cells[choice].0.weight()).sum()
}

/// What speaks against a mode: what it cannot do, else what it does less well, else that another one comes first.
fn other(n: usize, choice: &Choice, chosen: usize, needs: &[&'static Need]) -> Other {
    let because = |is_against: &dyn Fn(&Need) -> bool| -> Vec<Reason> {
        let against = needs.iter().filter(|need| is_against(need));
        against.map(|need| Reason { need: Some(need.flag), why: need.cells[n].1 }).collect()
    };
    let cannot = because(&|need| need.cells[n].0 == Fit::No);
    let worse = because(&|need| need.cells[n].0 < need.cells[chosen].0);
    let equal = vec![Reason { need: None, why: choice.second }];
    let reasons = [cannot, worse, equal].into_iter().find(|reasons| !reasons.is_empty()).unwrap_or_default();
    Other { mode: choice.mode, reasons }
}

/// Two needs that exclude each other, else as few as do.
fn contradiction(needs: &[&'static Need]) -> Contradiction {
    let impossible = |needs: &[&Need]| !(0..CHOICES.len()).any(|n| serves(n, needs));
    let pairs = needs.iter().enumerate().flat_map(|(n, a)| needs[n + 1..].iter().map(move |b| vec![*a, *b]));
    let fewest = pairs.into_iter().find(|pair| impossible(pair)).unwrap_or_else(|| {
        let mut left = needs.to_vec();
        for need in needs {
            let without: Vec<_> = left.iter().copied().filter(|n| n.flag != need.flag).collect();
            if impossible(&without) {
                left = without;
            }
        }
        left
    });
    let flags: Vec<String> = fewest.iter().map(|need| format!("--{}", need.flag)).collect();
    let modes: Vec<String> = fewest.iter().map(|need| format!("--{} takes mode {}", need.flag, modes(need))).collect();
    Contradiction(format!(
        "{} exclude each other: {}; leave one of them out, or run two tasks",
        listed(&flags, "and"),
        modes.join(", ")
    ))
}

/// The modes that serve a need.
fn modes(need: &Need) -> String {
    let serving = CHOICES.iter().zip(&need.cells).filter(|(_, (fit, _))| *fit != Fit::No);
    listed(&serving.map(|(choice, _)| choice.mode.to_string()).collect::<Vec<_>>(), "or")
}

fn listed(words: &[String], join: &str) -> String {
    match words.split_last() {
        Some((last, rest)) if !rest.is_empty() => format!("{} {join} {last}", rest.join(", ")),
        _ => words.concat(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn advice(flags: &[&str]) -> Result<Advice, String> {
        for flag in flags {
            assert!(NEEDS.iter().any(|need| need.flag == *flag), "{flag}");
        }
        decide(&needs(|flag| flags.contains(&flag))).map_err(|e| e.to_string())
    }

    fn mode(flags: &[&str]) -> String {
        advice(flags).unwrap().mode.to_string()
    }

    #[test]
    fn every_need_alone_has_its_mode() {
        let expected = [
            ("own-address", "awsvpc"),
            ("same-port-on-every-copy", "awsvpc"),
            ("rules-per-task", "awsvpc"),
            ("flow-logs", "awsvpc"),
            ("ip-targets", "awsvpc"),
            ("names", "awsvpc"),
            ("localhost-between-containers", "awsvpc"),
            ("fargate", "awsvpc"),
            ("host-port", "bridge"),
            ("different-ports", "bridge"),
            ("dynamic-ports", "bridge"),
            ("many-ports", "host"),
            ("top-speed", "host"),
            ("host-interfaces", "host"),
            ("apart-from-host", "awsvpc"),
            ("many-tasks", "bridge"),
            ("outbound", "awsvpc"),
            ("no-network", "none"),
        ];
        assert_eq!(expected.map(|(flag, _)| flag), NEEDS.each_ref().map(|need| need.flag), "a row for each need");
        for (flag, wanted) in expected {
            assert_eq!(mode(&[flag]), wanted, "{flag}");
        }
    }

    #[test]
    fn needs_together_narrow_the_choice() {
        for (flags, wanted) in [
            (&["own-address", "top-speed"][..], "awsvpc"),
            (&["names", "host-port"], "bridge"),
            (&["names", "different-ports", "many-tasks"], "bridge"),
            (&["host-port", "top-speed"], "host"),
            (&["many-ports", "apart-from-host"], "awsvpc"),
            (&["many-tasks", "own-address"], "awsvpc"),
            (&["localhost-between-containers", "host-port"], "host"),
            (&["no-network", "apart-from-host", "many-tasks"], "none"),
            (&["dynamic-ports", "outbound", "apart-from-host"], "bridge"),
            (&["rules-per-task", "flow-logs", "fargate", "names", "outbound"], "awsvpc"),
        ] {
            assert_eq!(mode(flags), wanted, "{flags:?}");
        }
    }

    #[test]
    fn the_command_is_one_for_the_needs() {
        let command = |flags: &[&str]| advice(flags).unwrap().command;
        assert_eq!(command(&["host-port"]), "netmode run -d -p 8080:80 IMAGE");
        assert_eq!(command(&["dynamic-ports", "names"]), "netmode run -d --network NAME -p 80 IMAGE");
        assert_eq!(command(&["names"]), "netmode run -d --mode awsvpc IMAGE");
    }

    #[test]
    fn every_other_mode_is_told_why_not() {
        for need in &NEEDS {
            let advice = decide(&[need]).unwrap();
            assert_eq!(advice.reasons.len(), 1);
            assert_eq!(advice.others.len(), 3);
            assert!(advice.others.iter().all(|o| o.mode != advice.mode && !o.reasons.is_empty()), "{advice:?}");
        }
        let equal = advice(&["outbound"]).unwrap();
        assert!(equal.others[0].reasons[0].why.starts_with("it would do as well"), "{equal:?}");
        let worse = advice(&["names"]).unwrap();
        assert_eq!(worse.others[0].reasons[0].need, Some("names"), "bridge can, but less well");
    }

    #[test]
    fn a_contradiction_names_as_few_needs_as_make_it() {
        assert_eq!(
            advice(&["outbound", "own-address", "no-network"]).unwrap_err(),
            "--own-address and --no-network exclude each other: --own-address takes mode awsvpc, --no-network takes mode none; \
             leave one of them out, or run two tasks"
        );
        let three = advice(&["localhost-between-containers", "apart-from-host", "host-port"]).unwrap_err();
        assert!(
            three.starts_with(
                "--localhost-between-containers, --host-port and --apart-from-host exclude each other: \
             --localhost-between-containers takes mode awsvpc or host"
            ),
            "{three}"
        );
    }
}
