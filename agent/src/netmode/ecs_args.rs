//! The command line of ECS tasks, services and the container instance.

use crate::run_args::EniArgs;
use clap::{Args, Subcommand};
use std::path::PathBuf;

/// `netmode task`.
#[derive(Debug, Subcommand)]
pub(crate) enum TaskCommand {
    /// Run tasks of an ECS task definition, and print their ids
    Run(Box<TaskRunArgs>),
    /// List tasks
    Ls {
        /// Stopped ones, too
        #[arg(short, long)]
        all: bool,
    },
    /// Show tasks in the shape of `aws ecs describe-tasks`
    Show {
        /// Ids, beginnings of ids, or ARNs
        #[arg(required = true, value_name = "TASK")]
        tasks: Vec<String>,
    },
    /// End tasks: those whose containers wait for others first, the network last
    Stop {
        /// Why, for stoppedReason
        #[arg(long)]
        reason: Option<String>,
        /// Ids, beginnings of ids, or ARNs
        #[arg(required = true, value_name = "TASK")]
        tasks: Vec<String>,
    },
    /// Forget tasks that have ended, with their containers and logs
    Rm {
        /// Ids, beginnings of ids, or ARNs
        #[arg(required = true, value_name = "TASK")]
        tasks: Vec<String>,
    },
}

/// What tasks are made of.
#[derive(Debug, Args)]
pub(crate) struct TaskRunArgs {
    /// The task definition: JSON as `aws ecs register-task-definition --cli-input-json` takes it, "-" for standard input
    #[arg(short, long, value_name = "FILE")]
    pub(crate) file: PathBuf,
    #[command(flatten)]
    pub(crate) eni: EniArgs,
    /// awsvpc: refused, since only ECS has public addresses to give
    #[arg(long)]
    pub(crate) assign_public_ip: bool,
    /// How many
    #[arg(long, value_name = "N")]
    pub(crate) count: Option<u32>,
    /// A field that may be left out
    #[arg(long, value_name = "FIELD", value_delimiter = ',')]
    pub(crate) ignore: Vec<String>,
    /// The value of a secret: NAME=VALUE, NAME the variable's or what valueFrom says
    #[arg(long, value_name = "NAME=VALUE")]
    pub(crate) secret: Vec<String>,
    /// Values of secrets, NAME=VALUE on a line each
    #[arg(long, value_name = "FILE")]
    pub(crate) secrets_file: Option<PathBuf>,
}

/// `netmode service`.
#[derive(Debug, Subcommand)]
pub(crate) enum ServiceCommand {
    /// Keep so many tasks running
    Create {
        /// How many
        #[arg(long, value_name = "N")]
        desired_count: Option<u32>,
        /// What they are
        #[command(flatten)]
        task: Box<TaskRunArgs>,
        /// Its name
        name: String,
    },
    /// Give a service another number of tasks
    Update {
        /// How many
        #[arg(long, value_name = "N")]
        desired_count: u32,
        /// Its name
        name: String,
    },
    /// List services
    Ls,
    /// Show services with their events
    Show {
        /// Names
        #[arg(required = true, value_name = "SERVICE")]
        services: Vec<String>,
    },
    /// End services with their tasks
    #[command(visible_alias = "delete")]
    Rm {
        /// Names
        #[arg(required = true, value_name = "SERVICE")]
        services: Vec<String>,
    },
}

/// `netmode instance`.
#[derive(Debug, Subcommand)]
pub(crate) enum InstanceCommand {
    /// Show attachments and addresses as AWS would count them
    Show,
    /// Give this host the ENI limits of an EC2 instance type, or "none"
    SetProfile {
        /// With ENI trunking
        #[arg(long)]
        trunking: bool,
        /// Such as c5.large, or none
        #[arg(value_name = "TYPE")]
        instance_type: String,
        /// The subnet that the instance itself takes its one or two addresses from; the default one where none is given
        #[arg(long)]
        subnet: Option<String>,
    },
}
