//! A command line that cannot be understood, and the calls for help.

use crate::failure::{FAILED, Failure, USAGE};
use clap::error::ErrorKind;
use netmode_model::Code;

/// Prints help to standard output, or what is wrong in one line to standard error; returns the exit status.
pub(crate) fn tell(error: &clap::Error) -> u8 {
    if matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion) {
        // clap colours its help only where standard output is a terminal and NO_COLOR is not set.
        return match error.print() {
            // The reader of a pipe has gone: no failure, as in `output::print`.
            Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => FAILED,
            _ => 0,
        };
    }
    let failure = Failure::new(Code::BadRequest, sentence(&error.render().to_string()));
    failure.print(wants_json(std::env::args().skip(1)));
    USAGE
}

/// clap's report as one line: what is wrong, hints behind, and where to read on.
fn sentence(report: &str) -> String {
    let mut what = Vec::new();
    let mut help = "netmode --help".to_string();
    for line in report.lines().map(str::trim).filter(|line| !line.is_empty()) {
        if let Some(usage) = line.strip_prefix("Usage: ") {
            let words = usage.split_whitespace().take_while(|word| word.bytes().all(|b| b.is_ascii_lowercase()));
            help = format!("{} --help", words.collect::<Vec<_>>().join(" "));
            break;
        }
        if line.starts_with("For more information") {
            break;
        }
        // Nearly always wrong: what was typed is a flag misspelt.
        if line.starts_with("tip: to pass") {
            continue;
        }
        what.push(line.strip_prefix("error: ").unwrap_or(line));
    }
    format!("{}; see \"{help}\"", what.join(" ").trim_end_matches(['.', ':']))
}

/// Whether `-o json` stands anywhere before the words of a command: clap has given up before it told.
fn wants_json(args: impl Iterator<Item = String>) -> bool {
    let args: Vec<String> = args.take_while(|arg| arg != "--").collect();
    args.windows(2).any(|pair| matches!(pair[0].as_str(), "-o" | "--output") && pair[1] == "json")
        || args.iter().any(|arg| matches!(arg.as_str(), "-ojson" | "-o=json" | "--output=json"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::args::Cli;
    use clap::{CommandFactory, Parser};

    #[test]
    fn the_definition_of_the_command_line_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn wrong_usage_is_one_line() {
        let line = |words: &[&str]| {
            let error = Cli::try_parse_from(words).unwrap_err();
            sentence(&error.render().to_string())
        };
        assert_eq!(
            line(&["netmode", "run", "--bogus", "x"]),
            "unexpected argument '--bogus' found; see \"netmode run --help\""
        );
        assert_eq!(
            line(&["netmode", "stop"]),
            "the following required arguments were not provided: <TASK>; see \"netmode stop --help\""
        );
        assert!(line(&["netmode", "network", "lss"]).starts_with("unrecognized subcommand 'lss'"));
        assert!(!line(&["netmode", "ps", "-o", "xml"]).contains('\n'));
    }
}
