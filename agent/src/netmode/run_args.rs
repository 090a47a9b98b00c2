//! The flags of `netmode run`, in docker's spelling.
//!
//! Values stay text here: `request` turns them into types, so that a bad one gives a sentence and
//! exit status 125 instead of the parser's 2.

use clap::Args;
use std::path::PathBuf;

/// `netmode run`.
#[derive(Debug, Args, Default)]
#[command(
    override_usage = "netmode run [OPTIONS] IMAGE [COMMAND...]\n       netmode run [OPTIONS] --rootfs DIR COMMAND..."
)]
pub(crate) struct RunArgs {
    /// Print the equivalent commands and change nothing
    #[arg(long)]
    pub(crate) plan: bool,
    /// Run in the background and print the id
    #[arg(short, long)]
    pub(crate) detach: bool,
    /// Name of the task
    #[arg(long)]
    pub(crate) name: Option<String>,
    /// Remove the task when it ends
    #[arg(long)]
    pub(crate) rm: bool,
    /// Keep standard input open
    #[arg(short, long)]
    pub(crate) interactive: bool,
    /// Give the command a terminal
    #[arg(short, long)]
    pub(crate) tty: bool,
    #[command(flatten)]
    pub(crate) net: NetArgs,
    #[command(flatten)]
    pub(crate) process: ProcessArgs,
    #[command(flatten)]
    pub(crate) limits: LimitArgs,
    /// The image (not with --rootfs), then the command and its arguments
    // One list, so that everything behind the image belongs to the command, flags included.
    #[arg(required_unless_present = "rootfs", num_args = 1.., trailing_var_arg = true, value_names = ["IMAGE", "COMMAND"])]
    pub(crate) words: Vec<String>,
}

/// Flags of the network.
#[derive(Debug, Args, Default)]
#[command(next_help_heading = "Network")]
pub(crate) struct NetArgs {
    /// bridge, host, none, awsvpc, default, container:TASK, ns:PATH, or a network; several networks: give it again
    #[arg(long, visible_aliases = ["network", "net"], value_name = "MODE", default_value = "default")]
    pub(crate) mode: Vec<String>,
    #[command(flatten)]
    pub(crate) of_link: LinkArgs,
    /// Publish every exposed port on a chosen port
    #[arg(short = 'P', long)]
    pub(crate) publish_all: bool,
    /// Expose a port: PORT[-PORT][/PROTOCOL]
    #[arg(long, value_name = "PORT")]
    pub(crate) expose: Vec<String>,
    /// Host mode: put a free reserved port into this environment variable
    #[arg(long, value_name = "NAME")]
    pub(crate) port_env: Option<String>,
    /// The container's host name
    #[arg(long, value_name = "NAME")]
    pub(crate) hostname: Option<String>,
    /// A name server
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) dns: Vec<String>,
    /// A search domain
    #[arg(long, value_name = "DOMAIN")]
    pub(crate) dns_search: Vec<String>,
    /// An option of resolv.conf
    #[arg(long, visible_alias = "dns-opt", value_name = "OPTION")]
    pub(crate) dns_option: Vec<String>,
    /// A line in /etc/hosts: NAME:ADDRESS, or NAME:host-gateway
    #[arg(long, value_name = "NAME:ADDRESS")]
    pub(crate) add_host: Vec<String>,
    /// A line in /etc/hosts for another task: TASK[:ALIAS]
    #[arg(long, value_name = "TASK[:ALIAS]")]
    pub(crate) link: Vec<String>,
    /// Another name on networks that have names
    #[arg(long, visible_alias = "net-alias", value_name = "NAME")]
    pub(crate) network_alias: Vec<String>,
}

/// What is said of a link into a namespace, whoever has that.
#[derive(Debug, Args, Default)]
pub(crate) struct LinkArgs {
    /// Publish a port: [[IP:][HOST]:]CONTAINER[/PROTOCOL]; ranges as 8000-8099:80-179; no host port: one is chosen
    #[arg(short, long, value_name = "PORT")]
    pub(crate) publish: Vec<String>,
    /// A wanted IPv4 address
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) ip: Option<String>,
    /// A wanted IPv6 address
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) ip6: Option<String>,
    /// A wanted hardware address
    #[arg(long, value_name = "MAC")]
    pub(crate) mac_address: Option<String>,
    /// Set a kernel variable of the namespace: net.*, and of a container's IPC
    #[arg(long, value_name = "KEY=VALUE")]
    pub(crate) sysctl: Vec<String>,
    #[command(flatten)]
    pub(crate) eni: EniArgs,
    /// How fast the interfaces are: in=RATE,out=RATE, or one of both; a rate as tc(8) writes it, 10mbit
    #[arg(long, value_name = "in=RATE,out=RATE")]
    pub(crate) net_rate: Option<String>,
}

/// Where a task's ENI is to be.
#[derive(Debug, Args, Default, Clone)]
pub(crate) struct EniArgs {
    /// awsvpc: a subnet, by name or id; several, or a list with commas, spread tasks by free addresses
    #[arg(long, value_name = "SUBNET", value_delimiter = ',')]
    pub(crate) subnet: Vec<String>,
    /// awsvpc: a security group, by name or id; up to five
    #[arg(long, value_name = "GROUP", value_delimiter = ',')]
    pub(crate) security_group: Vec<String>,
    /// awsvpc: let the task have capabilities that lead round its security groups
    #[arg(long)]
    pub(crate) sg_best_effort: bool,
    /// Refuse what ECS refuses: a task without a subnet, say
    #[arg(long)]
    pub(crate) strict_ecs: bool,
}

/// Flags of the process.
#[derive(Debug, Args, Default)]
#[command(next_help_heading = "Process")]
pub(crate) struct ProcessArgs {
    /// A directory instead of an image; "/" is the host's own, read-only under a temporary overlay
    #[arg(long, value_name = "DIR")]
    pub(crate) rootfs: Option<String>,
    /// Replace the image's entry point
    #[arg(long, value_name = "COMMAND")]
    pub(crate) entrypoint: Option<String>,
    /// Set an environment variable: KEY=VALUE, or KEY to pass this shell's
    #[arg(short, long, value_name = "KEY=VALUE")]
    pub(crate) env: Vec<String>,
    /// Read environment variables from a file
    #[arg(long, value_name = "FILE")]
    pub(crate) env_file: Vec<PathBuf>,
    /// Mount a directory or file: SOURCE:TARGET[:ro]
    #[arg(short, long, value_name = "SOURCE:TARGET")]
    pub(crate) volume: Vec<String>,
    /// Mount an empty directory in memory: TARGET[:OPTIONS]
    #[arg(long, value_name = "TARGET")]
    pub(crate) tmpfs: Vec<String>,
    /// Working directory
    #[arg(short, long, value_name = "DIR")]
    pub(crate) workdir: Option<String>,
    /// USER[:GROUP], names or numbers
    #[arg(short, long)]
    pub(crate) user: Option<String>,
    /// Add a capability, or ALL
    #[arg(long, value_name = "CAP")]
    pub(crate) cap_add: Vec<String>,
    /// Take a capability, or ALL
    #[arg(long, value_name = "CAP")]
    pub(crate) cap_drop: Vec<String>,
    /// All capabilities, all devices, no seccomp
    #[arg(long)]
    pub(crate) privileged: bool,
    /// no-new-privileges, seccomp=unconfined or seccomp=FILE
    #[arg(long, value_name = "OPTION")]
    pub(crate) security_opt: Vec<String>,
    /// Root file system read-only
    #[arg(long)]
    pub(crate) read_only: bool,
    /// A small init as first process
    #[arg(long)]
    pub(crate) init: bool,
    /// A label: KEY[=VALUE]
    #[arg(short, long, value_name = "KEY=VALUE")]
    pub(crate) label: Vec<String>,
    /// Start it again when it ends: no, always, unless-stopped or on-failure[:TIMES]
    #[arg(long, value_name = "POLICY")]
    pub(crate) restart: Option<String>,
    /// When the image is fetched: always, missing or never; missing where nothing is said
    #[arg(long, value_name = "WHEN")]
    pub(crate) pull: Option<String>,
}

/// Limits.
#[derive(Debug, Args, Default)]
#[command(next_help_heading = "Limits")]
pub(crate) struct LimitArgs {
    /// Most memory: a number with b, k, m or g
    #[arg(short, long, value_name = "SIZE")]
    pub(crate) memory: Option<String>,
    /// Memory that is kept for it where memory is scarce
    #[arg(long, value_name = "SIZE")]
    pub(crate) memory_reservation: Option<String>,
    /// CPUs; 1.5 is one and a half
    #[arg(long, value_name = "NUMBER")]
    pub(crate) cpus: Option<String>,
    /// Weight beside others where CPUs are scarce; 1024 where nothing is said
    #[arg(short, long, value_name = "NUMBER")]
    pub(crate) cpu_shares: Option<String>,
    /// Most processes; -1 for no limit
    #[arg(long, value_name = "NUMBER", allow_hyphen_values = true)]
    pub(crate) pids_limit: Option<String>,
    /// A limit of setrlimit(2): NAME=SOFT[:HARD]
    #[arg(long, value_name = "NAME=SOFT[:HARD]")]
    pub(crate) ulimit: Vec<String>,
}
