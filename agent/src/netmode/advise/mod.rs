//! `netmode advise`: from what a task needs to its network mode.

mod decide;
mod needs;

use crate::failure::Failure;
use crate::output::{Output, print};
use crate::table::table;
use clap::{Arg, ArgAction, ArgMatches, Args, Command, FromArgMatches};
use decide::{Advice, Reason, decide};
use needs::{CHOICES, NEEDS, Need};
use netmode_model::Code;
use serde::Serialize;
use serde_json::{Map, json};

/// `netmode advise`: a flag for each need of the table.
#[derive(Debug)]
pub(crate) struct AdviseArgs {
    needs: Vec<&'static Need>,
}

// Not derived: the flags are the rows of the table, so that a need stands in one place.
impl Args for AdviseArgs {
    fn augment_args(command: Command) -> Command {
        let flag = |need: &'static Need| Arg::new(need.flag).long(need.flag).help(need.what).action(ArgAction::SetTrue);
        NEEDS.iter().fold(command, |command, need| command.arg(flag(need)))
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl FromArgMatches for AdviseArgs {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        Ok(Self { needs: decide::needs(|flag| matches.get_flag(flag)) })
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

/// `netmode advise`.
///
/// # Errors
/// Needs that exclude each other.
pub(crate) fn advise(args: &AdviseArgs, output: Output) -> Result<(), Failure> {
    if args.needs.is_empty() {
        return whole_table(output);
    }
    let advice = decide(&args.needs).map_err(|error| Failure::new(Code::Conflict, error.to_string()))?;
    if output.structured() {
        return output.data(&advice);
    }
    if output.quiet { print(&format!("{}\n", advice.mode)) } else { print(&told(&advice)) }
}

/// The advice for people.
fn told(advice: &Advice) -> String {
    let need = |reason: &Reason| reason.need.map(|flag| format!("--{flag}")).unwrap_or_default();
    let line = |mode: String, reason: &Reason| vec![mode, need(reason), reason.why.into()];
    let mut rows: Vec<_> = advice.reasons.iter().map(|reason| line(advice.mode.to_string(), reason)).collect();
    for other in &advice.others {
        rows.extend(other.reasons.iter().map(|reason| line(format!("not {}", other.mode), reason)));
    }
    format!("{}: {}\n\n{}", advice.mode, advice.command, table(&["MODE", "NEED", "BECAUSE"], &rows))
}

/// A row of the table for programs.
#[derive(Serialize)]
struct Row {
    need: &'static str,
    what: &'static str,
    modes: Map<String, serde_json::Value>,
}

fn whole_table(output: Output) -> Result<(), Failure> {
    let cell = |(choice, (fit, why)): (&needs::Choice, &(needs::Fit, &str))| {
        (choice.mode.to_string(), json!({"fit": fit, "why": why}))
    };
    let row = |need: &Need| Row {
        need: need.flag,
        what: need.what,
        modes: CHOICES.iter().zip(&need.cells).map(cell).collect(),
    };
    let rows: Vec<Row> = NEEDS.iter().map(row).collect();
    output.listing(&rows, &["NEED", "AWSVPC", "BRIDGE", "HOST", "NONE", "MEANING"], || {
        let words = |need: &Need| need.cells.iter().map(|(fit, _)| fit.word().to_string()).collect::<Vec<_>>();
        let line = |need: &Need| [vec![format!("--{}", need.flag)], words(need), vec![need.what.into()]].concat();
        NEEDS.iter().map(line).collect()
    })
}
