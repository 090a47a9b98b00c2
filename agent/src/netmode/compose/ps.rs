//! `netmode compose ps`.

use super::args::PsArgs;
use super::tasks;
use crate::failure::Failure;
use crate::listing::{ListArgs, Listing, Shown};
use crate::output::Output;
use crate::tasks::{age, command, image, published, status};
use jiff::Timestamp;
use netmode_client::Client;
use netmode_model::api::{TaskState, TaskView};

/// Lists the project's tasks.
///
/// # Errors
/// The agent cannot be asked, or a service that has no task.
pub(crate) fn ps(client: &Client, project: &str, args: &PsArgs, output: Output) -> Result<(), Failure> {
    let now = Timestamp::now();
    let listing = Listing::new(|t: &TaskView| t.id.short())
        .column("Name", Shown::Always, |t| t.name.to_string())
        .column("Service", Shown::Always, |t| tasks::service(t).to_owned())
        .column("Image", Shown::Always, image)
        .column("Command", Shown::Wide, command)
        .column("State", Shown::Always, status)
        .column("Age", Shown::Always, move |t| age(&t.created_at, now))
        .column("Ports", Shown::Always, published);
    let mut tasks = tasks::of(client, project)?;
    tasks::narrow(&mut tasks, project, &args.services)?;
    tasks.retain(|task| args.all || task.state != TaskState::Stopped || task.restarting);
    listing.print(tasks, &ListArgs::default(), output)
}
