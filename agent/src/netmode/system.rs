//! `netmode system` and `netmode config`.

use crate::failure::{Failure, say};
use crate::output::{Output, print, print_lines};
use crate::system_args::{ResetArgs, SystemCommand};
use crate::text::{plain, plain_lines};
use netmode_agent::config::{Config, DEFAULT_PATH};
use netmode_client::Client;
use netmode_model::Code;
use netmode_model::system::{LogFilterRequest, ResetReply, ResetRequest};
use std::io::{self, BufRead, IsTerminal, Write};
use std::path::Path;

type Result<T> = std::result::Result<T, Failure>;

/// `netmode system info|log-level|reset`.
pub(crate) fn system(client: &Client, command: &SystemCommand, output: Output) -> Result<()> {
    match command {
        SystemCommand::Info => info(client, output),
        SystemCommand::LogLevel { filter } => {
            client.set_log_filter(&LogFilterRequest { filter: filter.clone() })?;
            print(&format!("{}\n", plain(filter)))
        }
        SystemCommand::Reset(args) => reset(client, args, output),
    }
}

fn info(client: &Client, output: Output) -> Result<()> {
    let info = client.system()?;
    if output.structured() {
        return output.data(&info);
    }
    let rows = [
        ("version", format!("{} (API {})", info.version, info.api)),
        ("process", info.pid.to_string()),
        ("started", info.started_at),
        ("host namespace", info.netns.to_string()),
        ("instance", info.instance),
        ("configuration", info.config),
        ("run directory", info.run_dir),
        ("state directory", info.state_dir),
        ("log level", info.log_filter),
        ("tasks", info.tasks.to_string()),
        ("attachments", info.endpoints.to_string()),
        ("networks", info.networks.to_string()),
    ];
    print_lines(rows.into_iter().map(|(name, value)| format!("{name:17}{}", plain(&value))))
}

/// Prints the plan, asks, and does it. Everything for people is on standard error, the plan on standard output.
fn reset(client: &Client, args: &ResetArgs, output: Output) -> Result<()> {
    let request = ResetRequest { keep_records: args.keep_records };
    let plan = client.reset_plan(request)?;
    if args.plan && output.structured() {
        return output.data(&plan);
    }
    if !output.quiet {
        print_lines(plan.commands.iter().map(|command| plain_lines(command.trim_end())))?;
    }
    if args.plan {
        return Ok(());
    }
    if !args.yes {
        agreed()?;
    }
    let ResetReply { failures: left, notes } = client.reset(request)?;
    for note in &notes {
        say(&format!("netmode: {}", plain(note)));
    }
    for failure in &left {
        say(&format!("netmode: still there: {}", plain(failure)));
    }
    match left.len() {
        0 => Ok(()),
        n => {
            let text = format!(
                "{n} things could not be removed; mend what is said above, start the agent with \"systemctl start \
                 netmode\" and reset again"
            );
            Err(Failure::new(Code::Kernel, text))
        }
    }
}

/// Asks on a terminal; without one nobody can agree.
fn agreed() -> Result<()> {
    let refused = |why: &str| Err(Failure::new(Code::Forbidden, format!("nothing was changed: {why}")));
    if !io::stdin().is_terminal() {
        return refused("a reset ends every task; repeat the command with --yes");
    }
    let mut err = io::stderr().lock();
    // One who does not see the question does not answer it.
    let _ = err.write_all(b"This ends every task and removes the above. Continue? [y/N] ").and_then(|()| err.flush());
    let mut answer = String::new();
    let read = io::stdin().lock().read_line(&mut answer);
    match (read, answer.trim().to_ascii_lowercase().as_str()) {
        (Ok(_), "y" | "yes") => Ok(()),
        _ => refused("the answer was not \"y\""),
    }
}

/// `netmode config check`.
pub(crate) fn check(config: Option<&Path>) -> Result<()> {
    let path = config.unwrap_or(Path::new(DEFAULT_PATH));
    if config.is_some() && !path.exists() {
        let text = format!("{} does not exist; name the file that the agent reads", path.display());
        return Err(Failure::new(Code::NoSuchPath, text));
    }
    Config::load(path).map_err(|error| Failure::invalid(error.to_string()))?;
    let what = if path.exists() { "can be used" } else { "does not exist: all defaults" };
    print(&format!("{} {what}\n", plain(&path.display().to_string())))
}
