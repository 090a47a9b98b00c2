//! `netmode compose`: a compose file's services as tasks on networks of their own.
//!
//! All of it is here, on the caller's side: the agent makes networks and tasks as it does for `netmode network create`
//! and `netmode run`, and knows a project by the labels alone.

mod args;
mod dotenv;
mod down;
mod follow;
mod keys;
mod logs;
mod network;
mod networks;
mod node;
mod order;
mod project;
mod ps;
mod request;
mod service;
mod source;
mod substitute;
mod tasks;
mod up;
mod words;

pub(crate) use args::ComposeArgs;

use crate::caller::Caller;
use crate::failure::{self, Failure};
use crate::output::Output;
use args::ComposeCommand;
use netmode_client::Client;

/// `netmode compose …`; gives the exit status.
///
/// # Errors
/// A file that cannot be served, or what the agent refused.
pub(crate) fn compose(client: &Client, args: &ComposeArgs, output: Output) -> Result<u8, Failure> {
    let caller = Caller::this();
    match &args.command {
        ComposeCommand::Up(up_args) => {
            let which = args.project.or(&up_args.project.file, &up_args.project.project_name);
            let mut project = source::project(&which, &caller)?;
            project.notes.iter().for_each(|note| failure::warn(note));
            project.narrow(&up_args.services)?;
            return up::up(client, &project, up_args, output);
        }
        ComposeCommand::Down(down_args) => {
            let which = args.project.or(&down_args.project.file, &down_args.project.project_name);
            down::down(client, &source::name(&which, &caller)?, down_args.timeout, output)
        }
        ComposeCommand::Ps(ps_args) => {
            let which = args.project.or(&ps_args.project.file, &ps_args.project.project_name);
            ps::ps(client, &source::name(&which, &caller)?, ps_args, output)
        }
        ComposeCommand::Logs(logs_args) => {
            let which = args.project.or(&logs_args.project.file, &logs_args.project.project_name);
            logs::logs(client, &source::name(&which, &caller)?, logs_args)
        }
    }?;
    Ok(0)
}

/// A step that was taken, for people: with `-o json` standard error is left to failures, as objects.
fn told(output: Output, line: &str) {
    if !output.quiet && !output.json() {
        failure::say(&format!("netmode: {}", crate::text::plain(line)));
    }
}
