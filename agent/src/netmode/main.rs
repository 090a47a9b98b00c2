//! `netmode`: the command line of the agent.
#![forbid(unsafe_code)]
// What is written at an argument is its help text; brackets mean there what they mean in a manual.
#![allow(rustdoc::broken_intra_doc_links)]
#![cfg_attr(test, allow(clippy::unwrap_used))]

mod advise;
mod args;
mod bundle;
mod caller;
mod cni;
mod compose;
mod credentials;
mod doctor;
mod ecs;
mod ecs_args;
mod events;
mod failure;
mod flowlogs;
mod foreground;
mod groups;
mod images;
mod lab;
mod listing;
mod login;
mod network;
mod output;
mod ports;
mod request;
mod run_args;
mod stats;
mod system;
mod system_args;
mod table;
mod tasks;
mod template;
mod terminal;
mod text;
mod usage;
mod values;
mod version;
mod vpc;
mod vpc_args;

use args::{Cli, Command, Format};
use caller::Caller;
use clap::{CommandFactory, Parser};
use failure::Failure;
use netmode_client::Client;
use output::{Output, print};
use run_args::RunArgs;
use std::process::ExitCode;
use system_args::{ConfigCommand, DebugCommand};
use text::plain_lines;

fn main() -> ExitCode {
    let cli = match Cli::try_parse_from(Cli::words(std::env::args_os())) {
        Ok(cli) => cli,
        Err(error) => return usage::tell(&error).into(),
    };
    let runs_a_command = matches!(cli.command, Command::Run(_) | Command::Exec(_));
    match dispatch(&cli) {
        Ok(status) => status.into(),
        Err(failure) => {
            failure.print(Output::of(&cli.global, Format::Table).json());
            failure.status(runs_a_command).into()
        }
    }
}

/// Flags of listings at the other form of `port`.
const PORT_LISTS: &str = "--filter and --format are for \"netmode port ls\"; leave them out, or list every port";

/// Carries the command out and returns the exit status.
fn dispatch(cli: &Cli) -> Result<u8, Failure> {
    let client = Client::new(cli.global.socket.clone());
    let listed = Output::of(&cli.global, Format::Table);
    let shown = Output::of(&cli.global, Format::Json);
    match &cli.command {
        Command::Run(args) => return run(&client, args, listed),
        Command::Exec(args) => {
            let (task, request) = request::exec(args, &Caller::this())?;
            return foreground::exec(&client, tasks::some(&task)?, &request);
        }
        Command::Compose(args) => return compose::compose(&client, args, listed),
        Command::Doctor(list) => return doctor::doctor(&client, list, listed),
        Command::System(command) => system::system(&client, command, listed),
        Command::Debug(DebugCommand::Bundle(args)) => bundle::bundle(&client, args),
        Command::Config(ConfigCommand::Check { config }) => system::check(config.as_deref()),
        Command::Lab(args) => return lab::lab(args.command.as_ref(), listed),
        Command::Cni(command) => cni::cni(command, listed),
        Command::Ps { all, list } => tasks::ps(&client, *all, list, listed),
        Command::Inspect { tasks } => tasks::inspect(&client, tasks, shown),
        Command::Stats(args) => stats::stats(&client, args, listed),
        Command::Logs(args) => tasks::logs(&client, args),
        Command::Port { target, port: None, list } if target == "ls" => tasks::all_ports(&client, list, listed),
        Command::Port { list, .. } if !list.is_empty() => Err(Failure::invalid(PORT_LISTS)),
        Command::Port { target, port, .. } => tasks::port(&client, target, port.as_deref(), listed),
        Command::Stop { timeout, tasks } => tasks::stop(&client, tasks, *timeout, listed),
        Command::Kill { signal, tasks } => tasks::kill(&client, tasks, signal, listed),
        Command::Wait { tasks } => tasks::wait(&client, tasks, listed),
        Command::Rm { force, tasks } => tasks::remove(&client, tasks, *force, listed),
        Command::Start { tasks } => tasks::start(&client, tasks, listed),
        Command::Update { net_rate, tasks } => tasks::update(&client, tasks, &request::update(net_rate)?, listed),
        Command::Network(command @ args::NetworkCommand::Ls(_)) => network::network(&client, command, listed),
        Command::Network(command) => network::network(&client, command, shown),
        Command::Subnet(command) => vpc::subnet(&client, command, &cli.global),
        Command::Eni(command) => vpc::eni(&client, command, &cli.global),
        Command::FlowLog(command) => flowlogs::flow_log(&client, command, &cli.global),
        Command::Sg(command) => groups::sg(&client, command, &cli.global),
        Command::PrefixList(command) => groups::prefix_list(&client, command, &cli.global),
        Command::Task(command) => ecs::task(&client, command, &cli.global),
        Command::Service(command) => ecs::service(&client, command, &cli.global),
        Command::Instance(command) => ecs::instance(&client, command, &cli.global),
        Command::Events(args) => events::events(&client, args, listed),
        Command::Login(args) => login::login(&client, args, listed),
        Command::Logout { registry } => login::logout(registry.as_deref().unwrap_or_default()),
        Command::Pull { image } => images::pull(&client, image, listed),
        Command::Images(args) => images::list(&client, args, listed),
        Command::Rmi { force, images } => images::remove(&client, images, *force, listed),
        Command::Image(command) => images::image(&client, command, listed),
        Command::Attach(args) => network::attach(&client, args, listed),
        Command::Detach { owner, interface } => network::detach(&client, owner, interface),
        Command::Advise(args) => advise::advise(args, listed),
        Command::Version => version::version(&client, listed),
        Command::Completion { shell } => completion(*shell),
        Command::Man { directory } => man(directory),
    }?;
    Ok(0)
}

/// `netmode run`: the plan, in the background, or in the foreground.
fn run(client: &Client, args: &RunArgs, output: Output) -> Result<u8, Failure> {
    let request = request::run(args, &Caller::this())?;
    if args.plan {
        let planned = client.plan(&request)?;
        if output.structured() {
            output.data(&planned)?;
        } else {
            output::print_lines(planned.commands.iter().map(|command| plain_lines(command.trim_end())))?;
        }
        return Ok(0);
    }
    let policy = request::pull(args)?;
    let create = |start| images::create(client, &request, policy, start, output.quiet);
    if !args.detach {
        return foreground::run(client, &request, || create(false));
    }
    let created = create(true)?;
    created.warnings.iter().for_each(|warning| failure::warn(warning));
    if output.structured() {
        output.data(&created)?
    } else {
        print(&format!("{}\n", created.id))?
    }
    Ok(0)
}

fn completion(shell: clap_complete::Shell) -> Result<(), Failure> {
    // By way of memory: clap_complete panics where the reader of a pipe has gone.
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "netmode", &mut script);
    print(&String::from_utf8_lossy(&script))
}

/// Man pages, one for each command, for packages.
fn man(directory: &std::path::Path) -> Result<(), Failure> {
    clap_mangen::generate_to(Cli::command(), directory).map_err(|error| {
        let text = format!("cannot write man pages to {}: {error}; make the directory first", directory.display());
        Failure::new(netmode_model::Code::State, text)
    })
}
