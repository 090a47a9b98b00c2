//! Commands on tasks.

use crate::args::LogsArgs;
use crate::failure::Failure;
use crate::foreground::{OutputEnd, copy_output};
use crate::output::{Output, print, print_lines};
use crate::text::plain;
use crate::{ports, values};
use jiff::Timestamp;
use netmode_client::{Client, ClientError, Pending};
use netmode_model::api::{KillRequest, NetworkBinding, StopRequest, TaskView};
use netmode_model::{Code, Protocol};

type Result<T> = std::result::Result<T, Failure>;

fn bindings(task: &TaskView) -> impl Iterator<Item = &NetworkBinding> {
    task.containers.iter().flat_map(|container| &container.network_bindings)
}

/// `netmode ps`.
pub(crate) fn ps(client: &Client, all: bool, output: Output) -> Result<()> {
    let tasks = client.tasks(all)?;
    if output.quiet {
        return print_lines(tasks.iter().map(|task| task.id.short()));
    }
    let now = Timestamp::now();
    let wide = output.wide();
    let mut headings = vec!["ID", "NAME", "MODE", "IMAGE", "STATE", "AGE"];
    if wide {
        headings.extend(["ADDRESS", "PID", "COMMAND"]);
    }
    headings.push("PORTS");
    output.listing(&tasks, &headings, || tasks.iter().map(|task| row(task, now, wide)).collect())
}

fn row(task: &TaskView, now: Timestamp, wide: bool) -> Vec<String> {
    let container = task.containers.first();
    let exit = container.and_then(|c| c.exit_code).map(|code| format!(" ({code})")).unwrap_or_default();
    let image = container.map(|c| c.image.clone()).unwrap_or_default();
    let again = if task.restarting { ", restarts" } else { "" };
    let mut row = vec![
        task.id.short(),
        task.name.to_string(),
        task.network_mode.to_string(),
        image,
        format!("{}{exit}{again}", task.state),
        age(&task.created_at, now),
    ];
    if wide {
        let addresses = task.networks.iter().flat_map(|n| n.ipv4_addresses.iter().chain(&n.ipv6_addresses));
        row.push(addresses.map(|a| a.ip().to_string()).collect::<Vec<_>>().join("\n"));
        row.push(if task.pid == 0 { String::new() } else { task.pid.to_string() });
        row.push(container.map(|c| plain(&c.command.join(" "))).unwrap_or_default());
    }
    let ports: Vec<String> = ports::lines(bindings(task)).iter().map(ports::Line::cell).collect();
    row.push(ports.join(if wide { "\n" } else { ", " }));
    row
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

/// `netmode logs`.
pub(crate) fn logs(client: &Client, args: &LogsArgs) -> Result<()> {
    let tail =
        match args.tail.as_str() {
            "all" => None,
            number => Some(number.parse().map_err(|_| {
                Failure::invalid(values::refused("--tail", number, "write a number of lines, or \"all\""))
            })?),
        };
    let session = client.logs(some(&args.task)?, args.follow, tail)?;
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
pub(crate) fn all_ports(client: &Client, output: Output) -> Result<()> {
    let all = client.ports()?;
    if output.quiet {
        let mut ids: Vec<String> = all.iter().map(|port| port.owner_id.short()).collect();
        ids.dedup();
        return print_lines(ids);
    }
    let now = Timestamp::now();
    let row = |port: &netmode_model::api::PortView| {
        let lines = ports::lines([&port.binding]);
        let text = lines.first().map(ports::Line::cell).unwrap_or_default();
        let (host, container) = text.split_once("->").unwrap_or((&text, ""));
        let held = if port.held { "held" } else { "recorded" };
        let age = age(&port.since, now);
        vec![
            host.into(),
            container.into(),
            port.owner.clone(),
            port.owner_id.short(),
            port.since.clone(),
            age,
            held.into(),
        ]
    };
    output.listing(&all, &["HOST", "CONTAINER", "OWNER", "ID", "SINCE", "AGE", "SOCKET"], || {
        all.iter().map(row).collect()
    })
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
