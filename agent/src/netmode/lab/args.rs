//! The flags of `netmode lab`.

use clap::{Args, Subcommand};
use std::path::PathBuf;

/// Which lab.
#[derive(Debug, Args)]
pub(crate) struct Which {
    /// Number or name of a lab; the one started last where none is given
    #[arg(value_name = "LAB")]
    pub(crate) lab: Option<String>,
}

/// `netmode lab`; alone it lists the labs.
#[derive(Debug, Args)]
pub(crate) struct LabArgs {
    #[command(subcommand)]
    pub(crate) command: Option<LabCommand>,
}

/// What `netmode lab` can do.
#[derive(Debug, Subcommand)]
pub(crate) enum LabCommand {
    /// List the labs
    Ls,
    /// Build a lab's machine, print the beginning of its text, and open a shell in it; one that runs is kept
    Start {
        /// Do not open a shell
        #[arg(long)]
        no_shell: bool,
        /// Number or name of a lab
        #[arg(value_name = "LAB")]
        lab: String,
    },
    /// Open a shell in a lab, or run one command there
    Shell {
        /// Run this command of the shell instead
        #[arg(short, long, value_name = "COMMAND")]
        command: Option<String>,
        #[command(flatten)]
        which: Which,
    },
    /// Print the text of a lab, page by page on a terminal; what stands behind the tasks once they are done
    Text {
        /// All of it, the solution as well
        #[arg(long)]
        all: bool,
        #[command(flatten)]
        which: Which,
    },
    /// Draw how things are wired, as they are now
    Picture(Which),
    /// See whether the lab is done, and what is missing
    Check {
        /// Make every check, also those that wait for another one to pass
        #[arg(long)]
        all: bool,
        #[command(flatten)]
        which: Which,
    },
    /// Print one more hint
    Hint(Which),
    /// Begin a lab again; the shells of other terminals in it end, and so does the line of commands that asks for it
    Reset(Which),
    /// Put a fault into a lab that is done, for you to find
    Break {
        /// Which fault, the same number being the same one; without it one that has not been there yet
        #[arg(long, value_name = "NUMBER")]
        seed: Option<usize>,
        #[command(flatten)]
        which: Which,
    },
    /// Do what the lab asks for, or repair its fault, and show the commands
    Solve(Which),
    /// Print one line for each check of every lab that was started, as CSV; with -o json as JSON
    Report {
        /// Write report.csv and report.json into this directory instead
        #[arg(long, value_name = "DIR")]
        dir: Option<PathBuf>,
    },
    /// End a lab: its machine, and every shell in it
    Stop {
        /// Every lab that runs
        #[arg(long, conflicts_with = "lab")]
        all: bool,
        #[command(flatten)]
        which: Which,
    },
    /// For use in labs: a web server that answers who asks whom
    Serve {
        /// Name it answers by; the host name where none is given
        #[arg(long)]
        name: Option<String>,
        /// Address to listen on; every one where none is given
        #[arg(long, value_name = "ADDRESS")]
        ip: Option<std::net::IpAddr>,
        /// TCP port
        port: u16,
    },
    /// For use in labs: measure what ways to servers cost, requests in turns, drawn as bars
    Measure(MeasureArgs),
    /// First process of a lab
    #[command(hide = true)]
    Hold,
}

/// `netmode lab measure`.
#[derive(Debug, Args)]
pub(crate) struct MeasureArgs {
    /// Requests to each server
    #[arg(long, default_value_t = 300, value_name = "NUMBER")]
    pub(crate) count: usize,
    /// Write the bars as a picture, too
    #[arg(long, value_name = "FILE")]
    pub(crate) svg: Option<PathBuf>,
    /// Exit with status 1 if the slowest median is more than so many times the fastest
    #[arg(long, value_name = "FACTOR")]
    pub(crate) within: Option<u64>,
    /// Servers, as NAME=ADDRESS:PORT
    #[arg(required = true, value_name = "SERVER")]
    pub(crate) servers: Vec<String>,
}
