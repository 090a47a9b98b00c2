//! The command line.

use crate::advise::AdviseArgs;
use crate::cni::CniCommand;
use crate::compose::ComposeArgs;
use crate::ecs_args::{InstanceCommand, ServiceCommand, TaskCommand};
use crate::flowlogs::FlowLogCommand;
use crate::lab::args::LabArgs;
use crate::listing::ListArgs;
use crate::run_args::{LinkArgs, RunArgs};
use crate::system_args::{ConfigCommand, DebugCommand, SystemCommand};
use crate::vpc_args::{EniCommand, PrefixListCommand, SgCommand, SubnetCommand};
use clap::{Args, Parser, Subcommand, ValueEnum};
use clap_complete::Shell;
use std::ffi::OsString;
use std::path::PathBuf;

const EXIT_CODES: &str = "\
Exit status:
  run, exec  the command's own; 125 netmode failed or a value is bad,
             126 the command cannot be executed, 127 it does not exist
  doctor     0 all well, 1 warnings, 2 failures
  others     0 done, 1 failed or a value is bad
  all        2 unknown command or flag, missing argument";

/// The network modes of Amazon ECS on any Linux machine.
#[derive(Debug, Parser)]
#[command(name = "netmode", version, after_help = EXIT_CODES, disable_help_subcommand = true)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) global: Global,
    #[command(subcommand)]
    pub(crate) command: Command,
}

impl Cli {
    /// The words of a command line as the parser takes them: `-o KEY=VALUE` of `network create` is docker's spelling of
    /// an option, and no form of output has a `=`.
    pub(crate) fn words(words: impl IntoIterator<Item = OsString>) -> Vec<OsString> {
        let words: Vec<OsString> = words.into_iter().collect();
        let is_create = words.windows(2).any(|pair| pair[0] == "network" && pair[1] == "create");
        let is_option = |word: Option<&OsString>| word.and_then(|w| w.to_str()).is_some_and(|w| w.contains('='));
        let spell = |n: usize| match words[n].to_str() {
            Some("-o") if is_option(words.get(n + 1)) => "--opt".into(),
            Some(word) if word.starts_with("-o") && word.contains('=') && !word.starts_with("-o=") => {
                format!("--opt={}", &word[2..]).into()
            }
            _ => words[n].clone(),
        };
        if is_create { (0..words.len()).map(spell).collect() } else { words }
    }
}

/// Flags that every command has.
#[derive(Debug, Args)]
#[command(next_help_heading = "Global options")]
pub(crate) struct Global {
    /// The agent's socket
    #[arg(long, global = true, env = "NETMODE_SOCKET", value_name = "PATH", default_value = netmode_client::DEFAULT_SOCKET)]
    pub(crate) socket: PathBuf,
    /// How data is printed; wide is a table with more columns
    #[arg(short, long, global = true, value_name = "FORMAT")]
    pub(crate) output: Option<Format>,
    /// Ids only
    #[arg(short, long, global = true)]
    pub(crate) quiet: bool,
}

/// How data is printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    // No doc comments here: clap would blow every help text up to its long form.
    Table,
    Wide,
    Json,
    Yaml,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run a command in a new container
    #[command(after_help = EXIT_CODES)]
    Run(Box<RunArgs>),
    /// List tasks
    #[command(visible_alias = "ls")]
    Ps {
        /// Stopped ones, too
        #[arg(short, long)]
        all: bool,
        #[command(flatten)]
        list: ListArgs,
    },
    /// Show everything about tasks, as a JSON array
    Inspect {
        /// Names, ids or beginnings of ids
        #[arg(required = true, value_name = "TASK")]
        tasks: Vec<String>,
    },
    /// Show what tasks use: processor, memory, network; renewed every second on a terminal
    Stats(StatsArgs),
    /// Print what a task has written
    Logs(LogsArgs),
    /// Run a command in a running container
    #[command(after_help = EXIT_CODES)]
    Exec(ExecArgs),
    /// Print the published ports of a task; `port ls` lists those of every task
    #[command(override_usage = "netmode port [OPTIONS] TASK [PORT[/PROTOCOL]]\n       netmode port [OPTIONS] ls")]
    Port {
        /// A task, or "ls" for all (a task named "ls" is found by its id)
        #[arg(value_name = "TASK")]
        target: String,
        /// Only this port of the container, as PORT[/PROTOCOL]
        #[arg(value_name = "PORT")]
        port: Option<String>,
        #[command(flatten)]
        list: ListArgs,
    },
    /// End tasks: SIGTERM, and SIGKILL when the time is up
    Stop {
        /// Seconds before SIGKILL; 10 where none is given
        #[arg(short = 't', long = "timeout", visible_alias = "time", value_name = "SECONDS")]
        timeout: Option<u32>,
        /// Names, ids or beginnings of ids
        #[arg(required = true, value_name = "TASK")]
        tasks: Vec<String>,
    },
    /// Send a signal to tasks
    Kill {
        /// Name or number of the signal
        #[arg(short, long, default_value = "KILL")]
        signal: String,
        /// Names, ids or beginnings of ids
        #[arg(required = true, value_name = "TASK")]
        tasks: Vec<String>,
    },
    /// Wait for tasks to end and print their exit codes
    Wait {
        /// Names, ids or beginnings of ids
        #[arg(required = true, value_name = "TASK")]
        tasks: Vec<String>,
    },
    /// Remove tasks that have ended
    Rm {
        /// End running ones first
        #[arg(short, long)]
        force: bool,
        /// Names, ids or beginnings of ids
        #[arg(required = true, value_name = "TASK")]
        tasks: Vec<String>,
    },
    /// Start tasks that have ended
    Start {
        /// Names, ids or beginnings of ids
        #[arg(required = true, value_name = "TASK")]
        tasks: Vec<String>,
    },
    /// Change tasks, also while they run
    Update {
        /// How fast their interfaces are from now on: in=RATE,out=RATE, or none
        #[arg(long, value_name = "in=RATE,out=RATE")]
        net_rate: Option<String>,
        /// Names, ids or beginnings of ids
        #[arg(required = true, value_name = "TASK")]
        tasks: Vec<String>,
    },
    /// Make, list, show and remove networks, join and leave them
    #[command(subcommand)]
    Network(NetworkCommand),
    /// Make, list, show and remove subnets, for tasks with an interface of their own (awsvpc)
    #[command(subcommand)]
    Subnet(SubnetCommand),
    /// List and show the interfaces of awsvpc tasks
    #[command(subcommand)]
    Eni(EniCommand),
    /// Records of who sent what to whom
    #[command(subcommand)]
    FlowLog(FlowLogCommand),
    /// Make, list, show, change and remove security groups
    #[command(subcommand)]
    Sg(SgCommand),
    /// Make, list and remove prefix lists, for rules of security groups
    #[command(subcommand)]
    PrefixList(PrefixListCommand),
    /// Run, list, show and end tasks of ECS task definitions
    #[command(subcommand)]
    Task(TaskCommand),
    /// Keep numbers of tasks running
    #[command(subcommand)]
    Service(ServiceCommand),
    /// This host as a container instance: how many interfaces it may have
    #[command(subcommand)]
    Instance(InstanceCommand),
    /// Start the services of a compose file on networks of their own
    Compose(ComposeArgs),
    /// Print what has happened, with cause and actor
    Events(EventsArgs),
    /// Ask a registry whether it accepts you, and remember user and password for it
    Login(LoginArgs),
    /// Forget user and password of a registry
    Logout {
        /// HOST[:PORT]; Docker's own where none is given
        registry: Option<String>,
    },
    /// Fetch an image from its registry
    Pull {
        /// [REGISTRY/]NAME[:TAG] or NAME@DIGEST, read as docker reads it
        image: String,
    },
    /// List images
    Images(ListArgs),
    /// Remove images that no task uses
    Rmi {
        /// One that is not there is no failure
        #[arg(short, long)]
        force: bool,
        /// Names, ids or beginnings of ids
        #[arg(required = true, value_name = "IMAGE")]
        images: Vec<String>,
    },
    /// Fetch, list and remove images
    #[command(subcommand)]
    Image(ImageCommand),
    /// Give a network to a namespace that someone else made
    Attach(AttachArgs),
    /// Take back what `attach` gave
    Detach {
        /// Who attached it
        #[arg(long)]
        owner: String,
        /// Name of the link inside of the namespace
        #[arg(long, default_value = "eth0")]
        interface: String,
    },
    /// Recommend a network mode: name what the task needs; without a flag, print what each mode serves
    Advise(AdviseArgs),
    /// Look for what is wrong on this machine; changes nothing
    Doctor(ListArgs),
    /// The agent itself: its state, its log, taking everything back
    #[command(subcommand)]
    System(SystemCommand),
    /// Gather what somebody needs who looks for a fault
    #[command(subcommand)]
    Debug(DebugCommand),
    /// Give container runtimes netmode's CNI plugins, or take them away again
    #[command(subcommand)]
    Cni(CniCommand),
    /// The agent's configuration
    #[command(subcommand)]
    Config(ConfigCommand),
    /// Learn the network modes by doing: machines to try them on, with tasks, hints and checks
    Lab(LabArgs),
    /// Show the versions of this program and of the agent
    Version,
    /// Print a completion script
    Completion {
        /// The shell
        shell: Shell,
    },
    /// Write the man pages of this program into a directory
    #[command(hide = true)]
    Man {
        /// The directory
        directory: PathBuf,
    },
}

/// `netmode stats`.
#[derive(Debug, Args)]
pub(crate) struct StatsArgs {
    /// Stopped ones, too
    #[arg(short, long)]
    pub(crate) all: bool,
    /// Print once, also on a terminal
    #[arg(long)]
    pub(crate) no_stream: bool,
    /// Names, ids or beginnings of ids; every task that runs where none is given
    #[arg(value_name = "TASK")]
    pub(crate) tasks: Vec<String>,
    #[command(flatten)]
    pub(crate) list: ListArgs,
}

/// `netmode logs`.
#[derive(Debug, Args)]
pub(crate) struct LogsArgs {
    /// Go on as the task writes
    #[arg(short, long)]
    pub(crate) follow: bool,
    /// Of a task of a task definition: this container
    #[arg(short, long, value_name = "NAME")]
    pub(crate) container: Option<String>,
    /// Only so many lines from the end, or "all"
    #[arg(short = 'n', long, value_name = "LINES", default_value = "all")]
    pub(crate) tail: String,
    /// Only what was written since a time (2026-01-31T12:00:00Z) or for so long (10m, 1h30m)
    #[arg(long, value_name = "TIME")]
    pub(crate) since: Option<String>,
    /// Name, id or beginning of an id
    #[arg(value_name = "TASK")]
    pub(crate) task: String,
}

/// `netmode exec`.
#[derive(Debug, Args)]
pub(crate) struct ExecArgs {
    /// Keep standard input open
    #[arg(short, long)]
    pub(crate) interactive: bool,
    /// Give the command a terminal
    #[arg(short, long)]
    pub(crate) tty: bool,
    /// Set an environment variable: KEY=VALUE, or KEY to pass this shell's
    #[arg(short, long, value_name = "KEY=VALUE")]
    pub(crate) env: Vec<String>,
    /// Read environment variables from a file
    #[arg(long, value_name = "FILE")]
    pub(crate) env_file: Vec<PathBuf>,
    /// Working directory inside of the container
    #[arg(short, long, value_name = "DIR")]
    pub(crate) workdir: Option<String>,
    /// USER[:GROUP], names or numbers
    #[arg(short, long)]
    pub(crate) user: Option<String>,
    /// The task, then the command and its arguments
    // One list, so that everything behind the task's name belongs to the command, flags included.
    #[arg(required = true, num_args = 2.., trailing_var_arg = true, value_names = ["TASK", "COMMAND"])]
    pub(crate) words: Vec<String>,
}

/// `netmode events`.
#[derive(Debug, Args)]
pub(crate) struct EventsArgs {
    /// Go on as things happen
    // As with logs; --filter has no short form here.
    #[arg(short, long)]
    pub(crate) follow: bool,
    /// Only what happened since a time (2026-01-31T12:00:00Z) or for so long (10m, 1h30m)
    #[arg(long, value_name = "TIME")]
    pub(crate) since: Option<String>,
    /// Only what happened before a time
    #[arg(long, value_name = "TIME", conflicts_with = "follow")]
    pub(crate) until: Option<String>,
    /// Only events that fit, as KEY=VALUE; an unknown key is answered with those that there are
    #[arg(long, value_name = "KEY=VALUE")]
    pub(crate) filter: Vec<String>,
    /// Print each event by a template: json, '{{.Kind}}\t{{.Message}}', '{{json .}}'
    #[arg(long, value_name = "TEMPLATE")]
    pub(crate) format: Option<String>,
}

/// `netmode login`.
#[derive(Debug, Args)]
pub(crate) struct LoginArgs {
    /// Name of the user
    #[arg(short, long)]
    pub(crate) username: Option<String>,
    /// The password; everybody on this machine can see it while this runs
    #[arg(short, long, conflicts_with = "password_stdin")]
    pub(crate) password: Option<String>,
    /// Read the password from standard input
    #[arg(long)]
    pub(crate) password_stdin: bool,
    /// HOST[:PORT]; Docker's own where none is given
    pub(crate) registry: Option<String>,
}

/// `netmode image`.
#[derive(Debug, Subcommand)]
pub(crate) enum ImageCommand {
    /// List images
    #[command(visible_alias = "list")]
    Ls(ListArgs),
    /// Fetch an image from its registry
    Pull {
        /// [REGISTRY/]NAME[:TAG] or NAME@DIGEST, read as docker reads it
        image: String,
    },
    /// Remove images that no task uses
    #[command(visible_alias = "remove")]
    Rm {
        /// One that is not there is no failure
        #[arg(short, long)]
        force: bool,
        /// Names, ids or beginnings of ids
        #[arg(required = true, value_name = "IMAGE")]
        images: Vec<String>,
    },
    /// Remove images that have no name and that no task uses
    Prune {
        /// Also those that have a name
        #[arg(short, long)]
        all: bool,
        /// Taken for docker's sake: nothing is asked
        #[arg(short, long)]
        force: bool,
    },
}

/// `netmode network`.
#[derive(Debug, Subcommand)]
pub(crate) enum NetworkCommand {
    /// List networks
    Ls(ListArgs),
    /// Show networks in the shape of `docker network inspect`
    Inspect {
        /// Names
        #[arg(required = true, value_name = "NETWORK")]
        networks: Vec<String>,
    },
    /// Make a network and print its id
    Create(NetworkCreateArgs),
    /// Remove networks that nobody uses
    Rm {
        /// Names or ids
        #[arg(required = true, value_name = "NETWORK")]
        networks: Vec<String>,
    },
    /// Remove every network that nobody uses
    Prune {
        /// Do not ask
        #[arg(short, long)]
        force: bool,
    },
    /// Give a running task an interface on a network
    Connect {
        /// A wanted IPv4 address
        #[arg(long, value_name = "ADDRESS")]
        ip: Option<String>,
        /// A wanted IPv6 address
        #[arg(long, value_name = "ADDRESS")]
        ip6: Option<String>,
        /// A wanted hardware address
        #[arg(long, value_name = "MAC")]
        mac_address: Option<String>,
        /// The network
        network: String,
        /// The task
        task: String,
    },
    /// Take a running task's interface on a network away
    Disconnect {
        /// Taken for docker's sake; nothing is held back without it
        #[arg(short, long)]
        force: bool,
        /// The network
        network: String,
        /// The task
        task: String,
    },
}

/// `netmode network create`.
#[derive(Debug, Args)]
pub(crate) struct NetworkCreateArgs {
    /// The kind of network: bridge
    #[arg(short, long, default_value = "bridge")]
    pub(crate) driver: String,
    /// A prefix, one for IPv4 and one for IPv6; a free one is chosen where none is given
    #[arg(long, value_name = "PREFIX")]
    pub(crate) subnet: Vec<String>,
    /// The bridge's own address; the first of the prefix where none is given
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) gateway: Vec<String>,
    /// Where addresses are taken from, a part of a prefix
    #[arg(long, value_name = "PREFIX")]
    pub(crate) ip_range: Vec<String>,
    /// IPv6 as well
    #[arg(long)]
    pub(crate) ipv6: bool,
    /// No way out and no published ports
    #[arg(long)]
    pub(crate) internal: bool,
    /// An option: mtu=BYTES, icc=true|false, masquerade=true|false
    // Docker's -o, which here is the form of output: see `Cli::words`.
    #[arg(long = "opt", value_name = "KEY=VALUE")]
    pub(crate) opt: Vec<String>,
    /// A label
    #[arg(long, value_name = "KEY=VALUE")]
    pub(crate) label: Vec<String>,
    /// Its name
    pub(crate) name: String,
}

/// `netmode attach`.
#[derive(Debug, Args)]
pub(crate) struct AttachArgs {
    /// The namespace: /run/netns/NAME, /proc/PID/ns/net
    #[arg(long, value_name = "PATH")]
    pub(crate) netns: PathBuf,
    /// awsvpc, bridge, host, none, default, or the name of a network
    #[arg(long, visible_aliases = ["network", "net"], default_value = "default")]
    pub(crate) mode: String,
    /// Who asks, for `detach`; the last part of the path where none is given
    #[arg(long, value_name = "NAME")]
    pub(crate) owner: Option<String>,
    /// Name of the link inside of the namespace
    #[arg(long, value_name = "LINK", default_value = "eth0")]
    pub(crate) interface: String,
    #[command(flatten)]
    pub(crate) of_link: LinkArgs,
}
