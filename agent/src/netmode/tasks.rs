//! Commands on tasks.

use crate::args::LogsArgs;
use crate::failure::Failure;
use crate::foreground::{OutputEnd, copy_output};
use crate::listing::{ListArgs, Listing, Shown};
use crate::output::{Output, print, print_lines};
use crate::text::plain;
use crate::{ports, values};
use jiff::Timestamp;
use netmode_agent::moment;
use netmode_client::{Client, ClientError, Pending};
use netmode_model::api::{KillRequest, NetworkBinding, PortView, StopRequest, TaskView, UpdateRequest};
use netmode_model::{Code, PortRange, Protocol};

type Result<T> = std::result::Result<T, Failure>;

fn bindings(task: &TaskView) -> impl Iterator<Item = &NetworkBinding> {
    task.containers.iter().flat_map(|container| &container.network_bindings)
}

/// `netmode ps`.
pub(crate) fn ps(client: &Client, all: bool, list: &ListArgs, output: Output) -> Result<()> {
    let listing = listing(Timestamp::now());
    listing.check(list, output)?;
    // Who asks for a state means it, whichever it is.
    listing.print(client.tasks(all || list.has(&STATE_KEYS))?, list, output)
}

/// Spellings of the filter by state.
const STATE_KEYS: [&str; 2] = ["state", "status"];

fn listing<'a>(now: Timestamp) -> Listing<'a, TaskView> {
    use Shown::{Always, Asked, Wide};
    let pid = |t: &TaskView| if t.pid == 0 { String::new() } else { t.pid.to_string() };
    let networks = |t: &TaskView| t.networks.iter().map(|n| n.name.clone()).collect::<Vec<_>>().join("\n");
    Listing::new(|t: &TaskView| t.id.short())
        .column("ID", Always, |t| t.id.short())
        .column("Name", Always, |t| t.name.to_string())
        .column("Mode", Always, |t| t.network_mode.to_string())
        .column("Image", Always, image)
        .column("Status", Always, status)
        .headed("STATE")
        .column("Age", Always, move |t| age(&t.created_at, now))
        .column("Address", Wide, addresses)
        .column("PID", Wide, pid)
        .column("Command", Wide, command)
        .column("Ports", Always, published)
        .column("State", Asked, |t| t.state.to_string())
        .column("Names", Asked, |t| t.name.to_string())
        .column("Networks", Asked, networks)
        .column("CreatedAt", Asked, |t| t.created_at.clone())
        .key(&["name"], |t, value| t.name.as_str().contains(value))
        .key(&["id"], |t, value| t.id.to_string().starts_with(value))
        .checked_key(&STATE_KEYS, known_state, |t, value| state(value).is_some_and(|s| t.state.to_string() == s))
        .key(&["mode"], |t, value| t.network_mode.to_string() == value)
        .key(&["network"], |t, value| t.networks.iter().any(|n| n.name == value) || t.network_mode.to_string() == value)
        .labels(|t| &t.labels)
}

/// A state as people write it; docker's words are taken, too.
fn state(text: &str) -> Option<&'static str> {
    match text.to_ascii_lowercase().as_str() {
        "pending" | "created" => Some("PENDING"),
        "running" => Some("RUNNING"),
        "stopping" => Some("STOPPING"),
        "stopped" | "exited" => Some("STOPPED"),
        _ => None,
    }
}

fn known_state(text: &str) -> std::result::Result<(), String> {
    state(text).map(drop).ok_or_else(|| "a state is one of pending, running, stopping, stopped".into())
}

pub(crate) fn image(task: &TaskView) -> String {
    task.containers.first().map(|c| c.image.clone()).unwrap_or_default()
}

pub(crate) fn command(task: &TaskView) -> String {
    task.containers.first().map(|c| plain(&c.command.join(" "))).unwrap_or_default()
}

pub(crate) fn status(task: &TaskView) -> String {
    let exit = task.containers.first().and_then(|c| c.exit_code);
    let again = if task.restarting { ", restarts" } else { "" };
    exit.map_or_else(|| task.state.to_string(), |code| format!("{} ({code})", task.state)) + again
}

fn addresses(task: &TaskView) -> String {
    let addresses = task.networks.iter().flat_map(|n| n.ipv4_addresses.iter().chain(&n.ipv6_addresses));
    addresses.map(|a| a.ip().to_string()).collect::<Vec<_>>().join("\n")
}

pub(crate) fn published(task: &TaskView) -> String {
    ports::lines(bindings(task)).iter().map(ports::Line::cell).collect::<Vec<_>>().join("\n")
}

/// `45s`, `12m`, `3h`, `9d` since a time of RFC 3339.
pub(crate) fn age(since: &str, now: Timestamp) -> String {
    let Ok(since) = since.parse::<Timestamp>() else { return "?".into() };
    match (now.as_second() - since.as_second()).max(0) {
        s @ 0..120 => format!("{s}s"),
        s @ 120..7200 => format!("{}m", s / 60),
        s @ 7200..172_800 => format!("{}h", s / 3600),
        s => format!("{}d", s / 86_400),
    }
}

/// `netmode inspect`: an array, whatever the number.
pub(crate) fn inspect(client: &Client, names: &[String], output: Output) -> Result<()> {
    let tasks = names.iter().map(|name| client.task(some(name)?).map_err(Failure::from)).collect::<Result<Vec<_>>>()?;
    if output.quiet {
        return print_lines(tasks.iter().map(|task| task.id.to_string()));
    }
    output.data(&tasks)
}

/// A task's name as typed; an empty one (a shell variable that is not set) would name the list of all.
pub(crate) fn some(name: &str) -> Result<&str> {
    if name.is_empty() { Err(Failure::invalid("the name of a task cannot be empty")) } else { Ok(name) }
}

/// Does the same for each task. All are tried; each failure is told; the last one is returned.
fn each(names: &[String], json: bool, act: impl Fn(&str) -> Result<String>) -> Result<()> {
    let mut failed: Option<Failure> = None;
    for name in names {
        match some(name).and_then(&act) {
            Ok(line) => print(&(plain(&line) + "\n"))?,
            Err(failure) => {
                if let Some(before) = failed.replace(failure) {
                    before.print(json);
                }
            }
        }
    }
    failed.map_or(Ok(()), Err)
}

fn named(name: &str, result: std::result::Result<(), ClientError>) -> Result<String> {
    Ok(result.map(|()| name.to_string())?)
}

/// `netmode stop`.
pub(crate) fn stop(client: &Client, names: &[String], timeout: Option<u32>, output: Output) -> Result<()> {
    each(names, output.json(), |name| named(name, client.stop(name, StopRequest { timeout })))
}

/// `netmode kill`.
pub(crate) fn kill(client: &Client, names: &[String], signal: &str, output: Output) -> Result<()> {
    let Some(signal) = values::signal(signal) else {
        let because = "there is no such signal; write TERM, SIGTERM or 15";
        return Err(Failure::invalid(values::refused("--signal", signal, because)));
    };
    let request = KillRequest { signal };
    each(names, output.json(), |name| named(name, client.kill(name, &request)))
}

/// `netmode wait`: prints the exit codes.
pub(crate) fn wait(client: &Client, names: &[String], output: Output) -> Result<()> {
    each(names, output.json(), |name| {
        Ok(client.wait(name).and_then(Pending::answer).map(|exited| exited.exit_code.to_string())?)
    })
}

/// `netmode rm`.
pub(crate) fn remove(client: &Client, names: &[String], force: bool, output: Output) -> Result<()> {
    each(names, output.json(), |name| named(name, client.remove(name, force)))
}

/// `netmode start`.
pub(crate) fn start(client: &Client, names: &[String], output: Output) -> Result<()> {
    each(names, output.json(), |name| named(name, client.start(name)))
}

/// `netmode update`.
pub(crate) fn update(client: &Client, names: &[String], what: &UpdateRequest, output: Output) -> Result<()> {
    each(names, output.json(), |name| named(name, client.update(name, what)))
}

/// `netmode logs`.
pub(crate) fn logs(client: &Client, args: &LogsArgs) -> Result<()> {
    let tail = lines(&args.tail)?;
    let since = args.since.as_deref().map(|text| moment("--since", text)).transpose()?;
    let of = |task: &str| client.logs(task, args.follow, tail, since.as_deref());
    let container = match of(some(&args.task)?) {
        // Of a task of a task definition one container.
        Err(error) if args.container.is_some() || error.code() == Code::NotFound => {
            crate::ecs::container(client, &args.task, args.container.as_deref())?.ok_or(Failure::from(error))?
        }
        Err(error) => return Err(error.into()),
        Ok(session) if args.container.is_none() => return told(session),
        Ok(_) => crate::ecs::container(client, &args.task, args.container.as_deref())?.unwrap_or_default(),
    };
    told(of(&container)?)
}

/// `--tail`: `None` for all lines.
pub(crate) fn lines(tail: &str) -> Result<Option<u64>> {
    if tail == "all" {
        return Ok(None);
    }
    let wrong = |_| Failure::invalid(values::refused("--tail", tail, "write a number of lines, or \"all\""));
    tail.parse().map(Some).map_err(wrong)
}

/// The time that a flag gives, as the API takes it.
pub(crate) fn moment(flag: &str, text: &str) -> Result<String> {
    let wrong = || values::refused(flag, text, moment::FORMS);
    let time = moment::since(text, Timestamp::now()).ok_or_else(|| Failure::invalid(wrong()))?;
    Ok(time.to_string())
}

fn told(session: netmode_client::Session) -> Result<()> {
    let (reader, _writer) =
        session.split().map_err(|error| Failure::new(Code::Limit, format!("cannot read the logs: {error}")))?;
    match copy_output(reader) {
        OutputEnd::Failed(failure) => Err(failure),
        OutputEnd::Closed | OutputEnd::Exit(_) | OutputEnd::ReaderGone => Ok(()),
    }
}

/// `netmode port TASK [PORT[/PROTOCOL]]`.
pub(crate) fn port(client: &Client, name: &str, wanted: Option<&str>, output: Output) -> Result<()> {
    let wanted = wanted.map(|text| container_port(text).map(|port| (text, port))).transpose()?;
    let task = client.task(some(name)?)?;
    let lines = ports::lines(bindings(&task));
    let Some((text, (port, protocol))) = wanted else {
        if output.structured() {
            return output.data(&bindings(&task).collect::<Vec<_>>());
        }
        return print_lines(lines.iter().map(|line| plain(&line.arrow())));
    };
    let hosts: Vec<String> = lines.iter().filter_map(|line| line.host_of(port, protocol)).collect();
    if hosts.is_empty() {
        let message = format!("{name} publishes no port {text}; \"netmode port {name}\" shows what it publishes");
        return Err(Failure::new(Code::NotFound, message));
    }
    if output.structured() { output.data(&hosts) } else { print_lines(hosts.iter().map(|host| plain(host))) }
}

fn container_port(text: &str) -> Result<(u16, Protocol)> {
    let (port, protocol) = text.split_once('/').unwrap_or((text, "tcp"));
    let protocol = match protocol {
        "tcp" => Some(Protocol::Tcp),
        "udp" => Some(Protocol::Udp),
        "sctp" => Some(Protocol::Sctp),
        _ => None,
    };
    let port = port.parse::<u16>().ok().filter(|port| *port != 0);
    port.zip(protocol).ok_or_else(|| {
        let message = format!("{text:?} is not a container port: write PORT or PORT/PROTOCOL, such as 53/udp");
        Failure::new(Code::InvalidPort, message)
    })
}

/// `netmode port ls`.
pub(crate) fn all_ports(client: &Client, list: &ListArgs, output: Output) -> Result<()> {
    let now = Timestamp::now();
    let listing = Listing::new(|p: &PortView| p.owner_id.short())
        .column("Host", Shown::Always, |p| sides(p).0)
        .column("Container", Shown::Always, |p| sides(p).1)
        .column("Owner", Shown::Always, |p| p.owner.clone())
        .column("ID", Shown::Always, |p| p.owner_id.short())
        .column("Since", Shown::Always, |p| p.since.clone())
        .column("Age", Shown::Always, move |p| age(&p.since, now))
        .column("Socket", Shown::Always, |p| if p.held { "held" } else { "recorded" }.into())
        .column("Protocol", Shown::Asked, |p| p.binding.protocol.to_string())
        .key(&["name", "owner"], |p, value| p.owner.contains(value))
        .key(&["id"], |p, value| p.owner_id.to_string().starts_with(value))
        .key(&["protocol"], |p, value| p.binding.protocol.to_string() == value)
        .key(&["port"], |p, value| value.parse().is_ok_and(|port| has_host_port(p, port)));
    listing.check(list, output)?;
    listing.print(client.ports()?, list, output)
}

fn has_host_port(view: &PortView, port: u16) -> bool {
    let range = view.binding.host_port_range.as_ref().and_then(|text| text.parse::<PortRange>().ok());
    view.binding.host_port == Some(port) || range.is_some_and(|range| range.contains(port))
}

/// The host's side and the container's.
fn sides(view: &PortView) -> (String, String) {
    let text = ports::lines([&view.binding]).first().map(ports::Line::cell).unwrap_or_default();
    let (host, container) = text.split_once("->").unwrap_or((&text, ""));
    (host.into(), container.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_age_is_told_in_its_largest_unit() {
        let now: Timestamp = "2026-01-10T12:00:00Z".parse().unwrap();
        for (since, text) in [
            ("2026-01-10T11:59:15Z", "45s"),
            ("2026-01-10T11:48:00.5Z", "12m"),
            ("2026-01-10T09:00:00Z", "3h"),
            ("2026-01-01T12:00:00Z", "9d"),
            ("2026-01-10T12:00:05Z", "0s"),
            ("yesterday", "?"),
        ] {
            assert_eq!(age(since, now), text);
        }
    }
}
