//! Arguments of the commands that are about the agent itself.

use clap::{Args, Subcommand};
use std::path::PathBuf;

/// `netmode system`.
#[derive(Debug, Subcommand)]
pub(crate) enum SystemCommand {
    /// Show the agent's state
    Info,
    /// Change what the agent logs, until it ends: off, error, warn, info, debug, trace, or TARGET=LEVEL,...
    LogLevel {
        /// A level, or levels by target: info,netmoded::life=debug
        #[arg(value_name = "LEVEL|FILTER")]
        filter: String,
    },
    /// End every task and take away all that is netmode's, and only that; then the agent ends
    Reset(ResetArgs),
}

/// `netmode system reset`.
#[derive(Debug, Args)]
pub(crate) struct ResetArgs {
    /// Do not ask
    #[arg(short, long)]
    pub(crate) yes: bool,
    /// Print the commands that would do the same, and change nothing
    #[arg(long, conflicts_with = "yes")]
    pub(crate) plan: bool,
    /// Leave records, images and the tasks' files: after the next start the tasks can be started again
    #[arg(long)]
    pub(crate) keep_records: bool,
}

/// `netmode debug`.
#[derive(Debug, Subcommand)]
pub(crate) enum DebugCommand {
    /// Write a tar of versions, findings, configuration, records and kernel state, without secrets
    Bundle(BundleArgs),
}

/// `netmode debug bundle`.
#[derive(Debug, Args)]
pub(crate) struct BundleArgs {
    /// The tar to write, "-" for standard output; netmode-debug-TIME.tar where none is given
    #[arg(value_name = "FILE")]
    pub(crate) file: Option<PathBuf>,
    /// Add the end of this log, such as what "journalctl -u netmode" printed into a file
    #[arg(long, value_name = "FILE")]
    pub(crate) log: Option<PathBuf>,
    /// The configuration file
    #[arg(long, value_name = "FILE", default_value = netmode_agent::config::DEFAULT_PATH)]
    pub(crate) config: PathBuf,
}

/// `netmode config`.
#[derive(Debug, Subcommand)]
pub(crate) enum ConfigCommand {
    /// Read the configuration as the agent does, and say what is wrong with it
    Check {
        /// The configuration file; drop-ins are read from netmode.d beside it
        #[arg(long, value_name = "FILE")]
        config: Option<PathBuf>,
    },
}
