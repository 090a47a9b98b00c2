//! Who a container is: host name, `/etc/hosts`, `/etc/resolv.conf`, links.

use crate::registry::Registry;
use crate::task::{Joined, TaskRecord};
use netmode_engine::hosts::{HostLine, Resolver, etc_hosts, resolv_conf, resolv_conf_of};
use netmode_engine::{Endpoint, Engine, modes, seat};
use netmode_model::{ApiError, Code};
use std::net::IpAddr;
use std::path::Path;

/// The files of a container; `None` leaves the host's (host mode) or the image's.
#[derive(Debug, Default)]
pub struct Files {
    /// `/etc/hosts`.
    pub hosts: Option<String>,
    /// `/etc/resolv.conf`.
    pub resolv_conf: Option<String>,
}

fn invalid(code: Code, text: String) -> ApiError {
    ApiError::new(code, text)
}

/// Makes the files of a task that has its endpoint.
///
/// # Errors
/// An `--add-host` or `--link` that cannot be.
pub fn files(
    record: &TaskRecord,
    endpoints: &[Endpoint],
    registry: &Registry,
    engine: &Engine,
) -> Result<Files, ApiError> {
    // Whoever uses another task's namespace is called what that one is, and asks whom it asks.
    if let Some(target) = shared_with(record, registry) {
        return files(&target, &target.endpoints(engine), registry, engine);
    }
    let net = &record.request.net;
    let needs = modes::needs(record.mode());
    let has_v6 = endpoints.iter().any(Endpoint::has_v6) || !needs.netns;
    let links_here = || endpoints.iter().filter_map(|e| e.link.as_ref());
    let gateway = links_here().find_map(|l| l.gateways.first().copied());
    let extra = net.add_hosts.iter().map(|h| add_host(h, gateway)).collect::<Result<Vec<_>, _>>()?;
    let links = net.links.iter().map(|l| linked(l, record, registry, engine)).collect::<Result<Vec<_>, _>>()?.concat();
    let own = |names: &str| {
        links_here()
            .flat_map(|l| &l.addrs)
            .map(|a| HostLine { ip: a.ip(), names: vec![names.to_owned()] })
            .collect::<Vec<_>>()
    };
    let own = record.hostname(endpoints).map(|h| own(&h)).unwrap_or_default();
    // Who has no host name of his own gets a copy of the host's file, unless names were added: then it is made anew
    // without the host's (moby).
    let hosts = match (needs.netns, extra.is_empty()) {
        (false, true) => std::fs::read_to_string("/etc/hosts").ok(),
        _ => Some(etc_hosts(has_v6, &extra, &links, &own)),
    };
    let wanted =
        Resolver { servers: net.dns.clone(), search: net.dns_search.clone(), options: net.dns_options.clone() };
    let of_host = host_resolv_conf();
    let asked = wanted != Resolver::default();
    let own = seat::seat(endpoints, false).and_then(|seat| seat.resolver);
    let resolv = match own {
        Some(own) => resolv_conf_of(&own, &wanted, &of_host),
        None if needs.link || asked => resolv_conf(&wanted, &of_host, has_v6),
        None => of_host,
    };
    Ok(Files { hosts, resolv_conf: Some(resolv) })
}

fn shared_with(record: &TaskRecord, registry: &Registry) -> Option<TaskRecord> {
    match record.netns {
        Joined::Task(id) => Some(registry.get(id)?.now()),
        _ => None,
    }
}

/// Checks `--add-host` and `--link` before anything is made.
///
/// # Errors
/// The first that cannot be.
pub fn check(record: &TaskRecord, registry: &Registry, engine: &Engine) -> Result<(), ApiError> {
    let net = &record.request.net;
    let gateway = engine.bridges().first().and_then(|n| n.gateway4()).map(|g| g.ip());
    net.add_hosts.iter().try_for_each(|h| add_host(h, gateway).map(drop))?;
    net.links.iter().try_for_each(|l| linked(l, record, registry, engine).map(drop))
}

/// `NAME:IP`; the IP may be IPv6, or `host-gateway`.
fn add_host(text: &str, gateway: Option<IpAddr>) -> Result<HostLine, ApiError> {
    let bad = |why: &str| {
        invalid(
            Code::Invalid,
            format!("--add-host {text:?} {why}: write NAME:IP, such as db:192.0.2.7 or host:host-gateway"),
        )
    };
    let (name, ip) = text.split_once(':').ok_or_else(|| bad("has no address"))?;
    let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_');
    if name.is_empty() || name.len() > 253 || !name.bytes().all(plain) {
        return Err(bad("has no usable host name"));
    }
    let ip = match ip.trim_start_matches('[').trim_end_matches(']') {
        "host-gateway" => gateway.ok_or_else(|| bad("names a gateway that this mode does not have"))?,
        ip => ip.parse().map_err(|_| bad("has no usable address"))?,
    };
    Ok(HostLine { ip, names: vec![name.into()] })
}

/// `TASK[:ALIAS]` as lines of `/etc/hosts`, one for each address: alias, host name, name.
fn linked(text: &str, record: &TaskRecord, registry: &Registry, engine: &Engine) -> Result<Vec<HostLine>, ApiError> {
    let bad = |why: String| invalid(Code::BadLink, why);
    let (target, alias) = match text.split(':').collect::<Vec<_>>()[..] {
        [target] => (target, target),
        [target, alias] => (target, alias),
        _ => return Err(bad(format!("Invalid link format {text:?}: write TASK or TASK:ALIAS"))),
    };
    if record.name.as_str() == target || record.id.to_string().starts_with(target) && target.len() >= 12 {
        return Err(bad(format!("cannot link {target} to itself; name another task")));
    }
    let task = registry.find(target).map_err(|_| {
        bad(format!("Link target not available: {target}; \"netmode ps\" lists the tasks that can be linked to"))
    })?;
    let other = task.now();
    let endpoint = other.endpoint.and_then(|id| engine.endpoint(id));
    let link = endpoint.as_ref().and_then(|e| e.link.as_ref());
    let (Some(link), false) = (link, other.stopped()) else {
        return Err(bad(format!(
            "Cannot link to a non running container: {target} is {} in {} mode; start it in bridge mode first",
            other.state,
            other.mode()
        )));
    };
    if alias.parse::<netmode_model::Name>().is_err() {
        return Err(bad(format!(
            "the alias {alias:?} of the link to {target} is not a name; use letters, digits and \"-\""
        )));
    }
    let mut names = vec![alias.to_owned()];
    names.extend(other.hostname(&[]));
    if other.name.as_str() != alias {
        names.push(other.name.to_string());
    }
    Ok(link.addrs.iter().map(|a| HostLine { ip: a.ip(), names: names.clone() }).collect())
}

/// The host's file; where it names nothing but systemd-resolved's stub, the file with the real servers.
fn host_resolv_conf() -> String {
    let read = |path: &str| std::fs::read_to_string(Path::new(path)).unwrap_or_default();
    let text = read("/etc/resolv.conf");
    let mut servers = text.lines().filter_map(|l| l.trim().strip_prefix("nameserver")).map(str::trim).peekable();
    let stub = servers.peek().is_some() && servers.all(|s| s == "127.0.0.53");
    let real = if stub { read("/run/systemd/resolve/resolv.conf") } else { String::new() };
    if real.is_empty() { text } else { real }
}
