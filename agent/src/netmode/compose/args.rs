//! The flags of `netmode compose`, in docker's spelling.

use clap::{Args, Subcommand};
use std::path::PathBuf;

/// `netmode compose`.
#[derive(Debug, Args)]
pub(crate) struct ComposeArgs {
    #[command(flatten)]
    pub(crate) project: ProjectArgs,
    #[command(subcommand)]
    pub(crate) command: ComposeCommand,
}

/// Which project; taken before and behind the command's name.
#[derive(Debug, Args, Default)]
pub(crate) struct ProjectArgs {
    /// The file; compose.yaml or docker-compose.yml of this directory where none is given
    #[arg(short, long, value_name = "FILE")]
    pub(crate) file: Option<PathBuf>,
    /// Name of the project; the file's, or its directory's where none is given
    #[arg(short, long, value_name = "NAME")]
    pub(crate) project_name: Option<String>,
}

/// As [`ProjectArgs`], but for `logs`, whose -f follows.
#[derive(Debug, Args, Default)]
pub(crate) struct LongProjectArgs {
    /// The file; compose.yaml or docker-compose.yml of this directory where none is given
    #[arg(long, value_name = "FILE")]
    pub(crate) file: Option<PathBuf>,
    /// Name of the project; the file's, or its directory's where none is given
    #[arg(short, long, value_name = "NAME")]
    pub(crate) project_name: Option<String>,
}

/// What is to be done with a project.
#[derive(Debug, Subcommand)]
pub(crate) enum ComposeCommand {
    /// Make the networks and start the services; what runs unchanged stays
    Up(UpArgs),
    /// End and remove the project's tasks and its networks
    Down(DownArgs),
    /// List the project's tasks
    Ps(PsArgs),
    /// Print what the services have written
    Logs(ComposeLogsArgs),
}

/// `netmode compose up`.
#[derive(Debug, Args)]
pub(crate) struct UpArgs {
    #[command(flatten)]
    pub(crate) project: ProjectArgs,
    /// Return when everything is started, instead of printing what the services write
    #[arg(short, long)]
    pub(crate) detach: bool,
    /// Replace unchanged tasks, too
    #[arg(long)]
    pub(crate) force_recreate: bool,
    /// Remove tasks of services that the file does not have any more
    #[arg(long)]
    pub(crate) remove_orphans: bool,
    /// Only these services, and what they depend on
    #[arg(value_name = "SERVICE")]
    pub(crate) services: Vec<String>,
}

/// `netmode compose down`.
#[derive(Debug, Args)]
pub(crate) struct DownArgs {
    #[command(flatten)]
    pub(crate) project: ProjectArgs,
    /// Seconds before SIGKILL; 10 where none is given
    #[arg(short, long, value_name = "SECONDS")]
    pub(crate) timeout: Option<u32>,
    /// Taken for docker's sake: every task of the project is removed
    #[arg(long)]
    pub(crate) remove_orphans: bool,
    /// Taken for docker's sake: there are no named volumes
    #[arg(short, long)]
    pub(crate) volumes: bool,
}

/// `netmode compose ps`.
#[derive(Debug, Args)]
pub(crate) struct PsArgs {
    #[command(flatten)]
    pub(crate) project: ProjectArgs,
    /// Stopped ones, too
    #[arg(short, long)]
    pub(crate) all: bool,
    /// Only these services
    #[arg(value_name = "SERVICE")]
    pub(crate) services: Vec<String>,
}

/// `netmode compose logs`.
#[derive(Debug, Args)]
pub(crate) struct ComposeLogsArgs {
    #[command(flatten)]
    pub(crate) project: LongProjectArgs,
    /// Go on as the services write
    #[arg(short, long)]
    pub(crate) follow: bool,
    /// Only so many lines of each from the end, or "all"
    #[arg(short = 'n', long, value_name = "LINES", default_value = "all")]
    pub(crate) tail: String,
    /// Only what was written since a time (2026-01-31T12:00:00Z) or for so long (10m, 1h30m)
    #[arg(long, value_name = "TIME")]
    pub(crate) since: Option<String>,
    /// Lines as they were written, without the name of the service
    #[arg(long)]
    pub(crate) no_log_prefix: bool,
    /// Only these services
    #[arg(value_name = "SERVICE")]
    pub(crate) services: Vec<String>,
}

impl ProjectArgs {
    /// What was given behind the command's name, else what was given before it.
    pub(crate) fn or(&self, file: &Option<PathBuf>, project_name: &Option<String>) -> Self {
        Self {
            file: file.clone().or_else(|| self.file.clone()),
            project_name: project_name.clone().or_else(|| self.project_name.clone()),
        }
    }
}
