//! `netmode events`: what has happened, and what happens.

use crate::args::EventsArgs;
use crate::failure::Failure;
use crate::listing::{ListArgs, Listing, Shown};
use crate::output::Output;
use crate::tasks::moment;
use netmode_client::Client;
use netmode_model::{Code, EVENT_KINDS, Event, EventKind};

type Result<T> = std::result::Result<T, Failure>;

/// `netmode events`.
pub(crate) fn events(client: &Client, args: &EventsArgs, output: Output) -> Result<()> {
    let list = ListArgs { filter: args.filter.clone(), format: args.format.clone() };
    let listing = listing();
    listing.check(&list, output)?;
    let time = |flag, text: &Option<String>| text.as_deref().map(|text| moment(flag, text)).transpose();
    let (since, until) = (time("--since", &args.since)?, time("--until", &args.until)?);
    if !args.follow {
        return listing.print(client.events(since.as_deref(), until.as_deref())?, &list, output);
    }
    let mut stream = client.follow_events(since.as_deref())?;
    let mut lines = listing.lines(&list, output)?;
    while let Some(event) = stream.next()? {
        if !lines.print(event)? {
            return Ok(());
        }
    }
    let text = "the agent has ended the stream of events; \"netmode events -f\" follows the next one";
    Err(Failure::new(Code::Unavailable, text))
}

fn listing<'a>() -> Listing<'a, Event> {
    use Shown::{Always, Asked, Wide};
    Listing::new(|e: &Event| e.sequence.to_string())
        .column("Time", Always, |e| e.time.clone())
        .sized(24)
        .column("Kind", Always, |e| e.kind.to_string())
        .sized(10)
        .column("Action", Always, |e| e.action.to_string())
        .sized(12)
        .column("Name", Wide, |e| e.name.clone())
        .sized(20)
        .column("Actor", Always, |e| e.actor.to_string())
        .sized(8)
        .column("Message", Always, |e| e.message.clone())
        .sized(60)
        .column("Cause", Always, |e| e.cause.to_string())
        .column("ID", Asked, |e| e.id.clone())
        .column("Sequence", Asked, |e| e.sequence.to_string())
        .checked_key(&["kind", "type"], known_kind, |e, value| e.kind.as_str() == value)
        .key(&["action", "event"], |e, value| e.action == value)
        .key(&["name"], |e, value| e.name.contains(value))
        .key(&["id"], |e, value| e.id.starts_with(value))
        .key(&["actor"], |e, value| e.actor == value)
        .key(&["network"], |e, value| e.attributes.get("network").is_some_and(|n| n == value) || is_network(e, value))
}

fn is_network(event: &Event, name: &str) -> bool {
    matches!(event.kind, EventKind::Network | EventKind::Subnet) && event.name == name
}

fn known_kind(text: &str) -> std::result::Result<(), String> {
    let words = EVENT_KINDS.map(EventKind::as_str);
    if words.contains(&text) { Ok(()) } else { Err(format!("a kind is one of {}", words.join(", "))) }
}
