//! From flags to requests. Pure but for the env-files and for looking whether an image is a file.

use crate::args::{AttachArgs, ExecArgs, NetworkCreateArgs};
use crate::caller::Caller;
use crate::failure::Failure;
use crate::run_args::{LimitArgs, LinkArgs, NetArgs, RunArgs};
use crate::values::{self, refused};
use crate::vpc_args::{RulesArgs, SubnetCreateArgs};
use ipnetwork::IpNetwork;
use netmode_model::api::{
    AttachRequest, ContainerSpec, ExecRequest, NetOptions, NetnsRef, NetworkRef, RunRequest, UpdateRequest,
};
use netmode_model::group::{Direction, GroupRequest, PrefixList, RulesRequest, Traffic};
use netmode_model::image::PullPolicy;
use netmode_model::mode::UnknownMode;
use netmode_model::vpc::SubnetRequest;
use netmode_model::{Code, ConnectRequest, IfName, Name, NetworkRequest, RequestedMode};
use std::collections::BTreeMap;
use std::path::Path;
use std::str::FromStr;

type Result<T> = std::result::Result<T, Failure>;

/// A value parsed by the model; the flag and the model's sentence on refusal.
fn parsed<T: FromStr<Err: std::fmt::Display>>(code: Code, flag: &str, text: &str) -> Result<T> {
    text.parse().map_err(|error| Failure::new(code, format!("{flag}: {error}")))
}

fn option<T: FromStr<Err: std::fmt::Display>>(code: Code, flag: &str, text: &Option<String>) -> Result<Option<T>> {
    text.as_deref().map(|text| parsed(code, flag, text)).transpose()
}

/// An address; std's own words ("invalid IPv4 address syntax") do not name the value.
fn address<T: FromStr>(flag: &str, kind: &str, text: &str) -> Result<T> {
    text.parse().map_err(|_| Failure::invalid(format!("{flag}: {text:?} is not an {kind} address")))
}

fn checked<T>(flag: &str, text: &str, value: Option<T>, because: &str) -> Result<T> {
    value.ok_or_else(|| Failure::invalid(refused(flag, text, because)))
}

fn pairs(flag: &str, given: &[String]) -> Result<BTreeMap<String, String>> {
    given.iter().map(|text| checked(flag, text, values::key_value(text), "write KEY=VALUE")).collect()
}

/// The request of `netmode run`.
pub(crate) fn run(args: &RunArgs, caller: &Caller) -> Result<RunRequest> {
    let (mode, networks) = args.net.mode.split_first().map_or(("default", &[][..]), |(m, more)| (m, more));
    let network = NetworkRef::from_str(mode).map_err(|error| {
        let hint = "; a network's name, container:TASK and ns:PATH are taken, too";
        Failure::new(Code::UnknownMode, format!("{error}{hint}"))
    })?;
    let network = match network {
        NetworkRef::Netns(path) => NetworkRef::Netns(caller.absolute(&path)),
        other => other,
    };
    Ok(RunRequest {
        name: option::<Name>(Code::Invalid, "--name", &args.name)?,
        network,
        networks: networks.to_vec(),
        net: net(&args.net, &args.net.of_link)?,
        container: container(args, caller)?,
        auto_remove: args.rm,
    })
}

/// When the image of `netmode run` is fetched; as docker, where this host has none.
pub(crate) fn pull(args: &RunArgs) -> Result<PullPolicy> {
    Ok(option(Code::Invalid, "--pull", &args.process.pull)?.unwrap_or(PullPolicy::Missing))
}

fn net(args: &NetArgs, link: &LinkArgs) -> Result<NetOptions> {
    let mac = option(Code::Invalid, "--mac-address", &link.mac_address)?;
    for text in &args.expose {
        values::expose(text).map_err(|why| Failure::new(Code::InvalidPort, format!("--expose {text:?}: {why}")))?;
    }
    if let Some(name) = args.port_env.as_deref().filter(|name| !values::variable(name)) {
        return Err(Failure::invalid(refused("--port-env", name, "it is no name of an environment variable")));
    }
    let host =
        |text: &String| checked("--add-host", text, values::add_host(text), "write NAME:ADDRESS or NAME:host-gateway");
    Ok(NetOptions {
        ports: ports(&link.publish)?,
        publish_all: args.publish_all,
        expose: args.expose.clone(),
        port_env: args.port_env.clone(),
        ip: link.ip.as_deref().map(|ip| address("--ip", "IPv4", ip)).transpose()?,
        ip6: link.ip6.as_deref().map(|ip| address("--ip6", "IPv6", ip)).transpose()?,
        mac_address: mac,
        hostname: args.hostname.clone(),
        dns: args.dns.iter().map(|ip| address("--dns", "IP", ip)).collect::<Result<_>>()?,
        dns_search: args.dns_search.clone(),
        dns_options: args.dns_option.clone(),
        add_hosts: args.add_host.iter().map(host).collect::<Result<_>>()?,
        links: args.link.clone(),
        network_aliases: args.network_alias.clone(),
        sysctls: pairs("--sysctl", &link.sysctl)?,
        net_rate: option(Code::Invalid, "--net-rate", &link.net_rate)?.unwrap_or_default(),
        subnets: link.eni.subnet.clone(),
        security_groups: link.eni.security_group.clone(),
        sg_best_effort: link.eni.sg_best_effort,
        strict_ecs: link.eni.strict_ecs,
    })
}

fn ports(given: &[String]) -> Result<Vec<netmode_model::PortSpec>> {
    let port = |text: &String| {
        text.parse().map_err(|error| Failure::new(Code::InvalidPort, format!("cannot publish {text:?}: {error}")))
    };
    given.iter().map(port).collect()
}

fn container(args: &RunArgs, caller: &Caller) -> Result<ContainerSpec> {
    let process = &args.process;
    let (image, command) = match (&process.rootfs, args.words.split_first()) {
        (None, Some((image, command))) => (Some(caller.image(image)), command.to_vec()),
        _ => (None, args.words.clone()),
    };
    if image.as_deref() == Some("") {
        return Err(Failure::invalid(
            "the image has no name: give one such as nginx:1.25, a \"docker save\" tar, an OCI layout, or --rootfs DIR",
        ));
    }
    if let (Some(dir), true, None) = (&process.rootfs, command.is_empty(), &process.entrypoint) {
        return Err(Failure::invalid(format!(
            "--rootfs {dir} needs a command: write netmode run --rootfs {dir} COMMAND"
        )));
    }
    let LimitArgs { memory, memory_reservation, cpus, cpu_shares, pids_limit, ulimit } = &args.limits;
    for text in ulimit {
        checked("--ulimit", text, values::ulimit(text).then_some(()), "write NAME=SOFT[:HARD], SOFT not above HARD")?;
    }
    let limit = |flag, text: &Option<String>, parse: fn(&str) -> Option<i64>, because| {
        text.as_deref().map(|text| checked(flag, text, parse(text), because)).transpose()
    };
    Ok(ContainerSpec {
        image,
        rootfs: process.rootfs.as_deref().map(|dir| caller.absolute(dir)),
        command,
        // Docker: an empty one takes the image's away.
        entrypoint: process.entrypoint.as_ref().map(|e| if e.is_empty() { Vec::new() } else { vec![e.clone()] }),
        env: caller.environment(&process.env_file, &process.env)?,
        volumes: process.volume.iter().map(|text| volume(text, caller)).collect::<Result<_>>()?,
        tmpfs: process.tmpfs.iter().map(|text| tmpfs(text)).collect::<Result<_>>()?,
        workdir: workdir(&process.workdir)?,
        user: process.user.clone(),
        stdin: args.interactive,
        tty: args.tty,
        cap_add: process.cap_add.clone(),
        cap_drop: process.cap_drop.clone(),
        privileged: process.privileged,
        security_opt: process.security_opt.iter().map(|text| security(text, caller)).collect(),
        read_only: process.read_only,
        memory: limit("--memory", memory, values::size, "write a number with b, k, m or g, such as 512m")?,
        memory_reservation: limit(
            "--memory-reservation",
            memory_reservation,
            values::size,
            "write a number with b, k, m or g, such as 512m",
        )?,
        cpu_shares: cpu_shares
            .as_deref()
            .map(|n| checked("--cpu-shares", n, values::cpu_shares(n), "write a number from 2 to 262144"))
            .transpose()?,
        cpus: cpus
            .as_deref()
            .map(|n| checked("--cpus", n, values::cpus(n), "write a number above 0, such as 1.5"))
            .transpose()?,
        pids_limit: limit("--pids-limit", pids_limit, values::pids_limit, "write a number above 0, or -1")?,
        ulimits: ulimit.clone(),
        init: process.init,
        restart: option(Code::Invalid, "--restart", &process.restart)?,
        labels: process.label.iter().map(|text| label(text)).collect::<Result<_>>()?,
    })
}

/// `SOURCE:TARGET[:OPTIONS]`, the source made absolute where it is a path.
fn volume(text: &str, caller: &Caller) -> Result<String> {
    let refuse = |because: &str| Err(Failure::invalid(refused("--volume", text, because)));
    let Some((source, rest)) = text.split_once(':').filter(|(source, _)| !source.is_empty()) else {
        return refuse("write SOURCE:TARGET[:ro]");
    };
    let target = rest.split(':').next().unwrap_or_default();
    if !target.starts_with('/') {
        return refuse("the target must be an absolute path");
    }
    if !source.starts_with(['/', '.']) {
        return refuse("the source must be a path: begin it with \"/\" or \"./\"");
    }
    Ok(format!("{}:{rest}", caller.absolute(source)))
}

fn tmpfs(text: &str) -> Result<String> {
    checked("--tmpfs", text, text.starts_with('/').then(|| text.to_string()), "the target must be an absolute path")
}

fn workdir(given: &Option<String>) -> Result<Option<String>> {
    let check = |dir: &String| {
        checked("--workdir", dir, dir.starts_with('/').then(|| dir.clone()), "it must be an absolute path")
    };
    given.as_ref().map(check).transpose()
}

fn label(text: &str) -> Result<(String, String)> {
    let pair = values::key_value(text).or_else(|| (!text.contains('=')).then(|| (text.into(), String::new())));
    checked("--label", text, pair.filter(|(key, _)| !key.is_empty()), "write KEY=VALUE")
}

/// `seccomp=FILE` names the caller's file.
fn security(text: &str, caller: &Caller) -> String {
    match text.strip_prefix("seccomp=") {
        Some(file) if file != "unconfined" => format!("seccomp={}", caller.absolute(file)),
        _ => text.into(),
    }
}

/// The task and the request of `netmode exec`.
pub(crate) fn exec(args: &ExecArgs, caller: &Caller) -> Result<(String, ExecRequest)> {
    let Some((task, command)) = args.words.split_first().filter(|(_, command)| !command.is_empty()) else {
        return Err(Failure::new(Code::BadRequest, "exec needs a task and a command"));
    };
    let request = ExecRequest {
        command: command.to_vec(),
        env: caller.environment(&args.env_file, &args.env)?,
        workdir: workdir(&args.workdir)?,
        user: args.user.clone(),
        stdin: args.interactive,
        tty: args.tty,
    };
    Ok((task.clone(), request))
}

/// The request of `netmode attach`; the namespace goes as the first descriptor.
pub(crate) fn attach(args: &AttachArgs) -> Result<AttachRequest> {
    let interface: IfName = parsed(Code::Invalid, "--interface", &args.interface)?;
    let given = args.mode.parse().map_err(|e: UnknownMode| Failure::new(Code::UnknownMode, e.to_string()))?;
    let (mode, network) = match given {
        NetworkRef::Mode(mode) => (mode, None),
        NetworkRef::Named(name) => (RequestedMode::Bridge, Some(name)),
        NetworkRef::Container(_) | NetworkRef::Netns(_) => {
            let text = format!("{:?} is no network to attach a namespace to; see \"netmode network ls\"", args.mode);
            return Err(Failure::new(Code::Conflict, text));
        }
    };
    Ok(AttachRequest {
        owner: owner(args.owner.as_deref(), &args.netns)?,
        netns: NetnsRef::Fd(0),
        interface: Some(interface),
        mode,
        network,
        net: net(&NetArgs::default(), &args.of_link)?,
    })
}

/// The owner: as given, else the file name of the pin. Below /proc every file name is "net".
fn owner(given: Option<&str>, netns: &Path) -> Result<String> {
    if let Some(owner) = given {
        return checked("--owner", owner, (!owner.is_empty()).then(|| owner.into()), "it is empty");
    }
    let name = netns.file_name().and_then(|name| name.to_str()).filter(|_| !netns.starts_with("/proc"));
    name.map(str::to_string).ok_or_else(|| {
        Failure::invalid(format!(
            "{} does not say who asks: give --owner NAME, the name for \"netmode detach\"",
            netns.display()
        ))
    })
}

#[cfg(test)]
#[path = "request_tests.rs"]
mod tests;

/// The request of `netmode update`.
pub(crate) fn update(net_rate: &Option<String>) -> Result<UpdateRequest> {
    let request = UpdateRequest { net_rate: option(Code::Invalid, "--net-rate", net_rate)? };
    if request == UpdateRequest::default() {
        return Err(Failure::invalid("nothing is to change: give --net-rate in=10mbit,out=5mbit, or --net-rate none"));
    }
    Ok(request)
}

/// The request of `netmode network create`.
pub(crate) fn network(args: &NetworkCreateArgs) -> Result<NetworkRequest> {
    if args.driver != "bridge" {
        let text = format!("--driver {}: there is no such kind of network; leave it out or write bridge", args.driver);
        return Err(Failure::invalid(text));
    }
    let prefix = |flag: &'static str| {
        move |text: &String| {
            let shape = "is not a prefix such as 10.9.0.0/16 or fd00:9::/64";
            let whole = text.parse().ok().filter(|_| text.contains('/'));
            whole.ok_or_else(|| Failure::invalid(format!("{flag}: {text:?} {shape}")))
        }
    };
    Ok(NetworkRequest {
        name: Some(parsed::<Name>(Code::Invalid, "the name", &args.name)?),
        subnets: args.subnet.iter().map(prefix("--subnet")).collect::<Result<_>>()?,
        gateways: args.gateway.iter().map(|ip| address("--gateway", "IP", ip)).collect::<Result<_>>()?,
        ip_ranges: args.ip_range.iter().map(prefix("--ip-range")).collect::<Result<_>>()?,
        ipv6: args.ipv6,
        internal: args.internal,
        options: pairs("-o", &args.opt)?,
        labels: pairs("--label", &args.label)?,
    })
}

/// The request of `netmode network connect`.
pub(crate) fn connect(
    task: &str,
    ip: &Option<String>,
    ip6: &Option<String>,
    mac: &Option<String>,
) -> Result<ConnectRequest> {
    Ok(ConnectRequest {
        task: task.into(),
        ip: ip.as_deref().map(|ip| address("--ip", "IPv4", ip)).transpose()?,
        ip6: ip6.as_deref().map(|ip| address("--ip6", "IPv6", ip)).transpose()?,
        mac_address: option(Code::Invalid, "--mac-address", mac)?,
    })
}

/// A name that is not empty.
pub(crate) fn some<'a>(what: &str, name: &'a str) -> Result<&'a str> {
    match name {
        "" => Err(Failure::invalid(format!("the name of a {what} cannot be empty"))),
        name => Ok(name),
    }
}

/// A prefix; a lone address is one of its whole length.
fn prefix(flag: &'static str, text: &str) -> Result<IpNetwork> {
    checked(flag, text, text.parse().ok(), "is not a prefix such as 10.0.2.0/24 or fd00:9::/64")
}

/// The request of `netmode subnet create`.
pub(crate) fn subnet(args: &SubnetCreateArgs) -> Result<SubnetRequest> {
    let whole = |flag, text: &Option<String>| {
        let length = |text: &String| text.contains('/').then_some(()).and_then(|()| text.parse().ok());
        let read =
            |text: &String| checked(flag, text, length(text), "is not a prefix such as 10.0.2.0/24 or fd00:9::/64");
        text.as_ref().map(read).transpose()
    };
    Ok(SubnetRequest {
        name: Some(parsed(Code::Invalid, "the name", &args.name)?),
        cidr: whole("--cidr", &args.cidr)?,
        ipv6_cidr: whole("--ipv6-cidr", &args.ipv6_cidr)?,
        parent: match args.parent.as_str() {
            "auto" => None,
            name => Some(parsed(Code::Invalid, "--parent", name)?),
        },
        backend: parsed(Code::Invalid, "--backend", &args.backend)?,
        gateways: args.gateway.iter().map(|ip| address("--gateway", "IP", ip)).collect::<Result<_>>()?,
        ip_range: whole("--ip-range", &args.ip_range)?,
        exclude: args.exclude.iter().map(|text| prefix("--exclude", text)).collect::<Result<_>>()?,
        nat: args.nat,
        egress_only: args.egress_only,
        vlans: args.vlan.clone(),
        dns_zone: args.dns_zone.clone(),
        availability_zone: args.availability_zone.clone(),
        dry_run: args.dry_run,
    })
}

/// The request of `netmode sg create`.
pub(crate) fn group(name: &str, description: &str) -> GroupRequest {
    GroupRequest { group_name: name.into(), description: description.into() }
}

/// The traffic of `--protocol` and `--port`; what does not fit is said in terms of these two.
fn traffic(protocol: &str, port: Option<&str>) -> Result<Traffic> {
    Traffic::of_flags(protocol, port).map_err(|_| {
        let port: String = port.unwrap_or_default().chars().take(64).collect();
        Failure::invalid(match protocol {
            "all" | "-1" => format!("--port needs --protocol tcp or udp: --protocol tcp --port {port}"),
            "tcp" | "6" | "udp" | "17" => format!("--port {port:?} is no port: write PORT or FIRST-LAST, as 80 or 8000-8080"),
            "icmp" | "1" | "icmpv6" | "58" => format!("--port {port:?} is no type of {protocol}: write TYPE[/CODE], as 8 or 3/4"),
            number if number.parse::<u8>().is_ok() => format!("--port: protocol {number} has no ports; leave --port out"),
            other => format!(
                "--protocol {:?} is no protocol: write tcp, udp, icmp, icmpv6, all or a number, and the port behind --port: \
                 --protocol tcp --port 80",
                other.chars().take(64).collect::<String>()
            ),
        })
    })
}

/// The request of `netmode sg authorize`, and of `revoke` but for what only that has.
pub(crate) fn rules(args: &RulesArgs) -> Result<RulesRequest> {
    Ok(RulesRequest {
        direction: if args.egress { Direction::Egress } else { Direction::Ingress },
        traffic: Some(traffic(&args.protocol, args.port.as_deref())?),
        cidrs: args.cidr.iter().map(|text| prefix("--cidr", text)).collect::<Result<_>>()?,
        groups: args.peers.clone(),
        prefix_lists: args.prefix_list.clone(),
        description: args.description.clone(),
        ..RulesRequest::default()
    })
}

/// The request of `netmode prefix-list set`.
pub(crate) fn prefix_list(name: &str, entries: &[String]) -> Result<PrefixList> {
    let entries = entries.iter().map(|text| prefix("--entry", text)).collect::<Result<_>>()?;
    Ok(PrefixList { prefix_list_name: name.into(), entries, ..PrefixList::default() })
}
