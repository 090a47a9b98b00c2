//! `netmode compose logs`.

use super::args::ComposeLogsArgs;
use super::follow::{Prefixed, follow};
use super::tasks;
use crate::failure::Failure;
use crate::tasks::{lines, moment};
use netmode_client::Client;

/// Prints what the project's tasks have written: one behind the other, or, followed, as it comes.
///
/// # Errors
/// A service that has no task, a bad value, or logs that cannot be read.
pub(crate) fn logs(client: &Client, project: &str, args: &ComposeLogsArgs) -> Result<(), Failure> {
    let tail = lines(&args.tail)?;
    let since = args.since.as_deref().map(|text| moment("--since", text)).transpose()?;
    let mut tasks = tasks::of(client, project)?;
    tasks::narrow(&mut tasks, project, &args.services)?;
    let prefixes = if args.no_log_prefix { vec![String::new(); tasks.len()] } else { Prefixed::names(&tasks) };
    let read = |n: usize| {
        let session = client.logs(&tasks[n].id.to_string(), args.follow, tail, since.as_deref())?;
        follow(session, &prefixes[n]).map(drop)
    };
    if !args.follow {
        return (0..tasks.len()).try_for_each(read);
    }
    std::thread::scope(|scope| {
        let running: Vec<_> = (0..tasks.len()).map(|n| scope.spawn(move || read(n))).collect();
        running.into_iter().try_for_each(|thread| thread.join().unwrap_or(Ok(())))
    })
}
