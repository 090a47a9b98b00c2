//! `netmode network`, `attach` and `detach`.

use crate::args::{AttachArgs, NetworkCommand};
use crate::failure::Failure;
use crate::listing::{ListArgs, Listing, Shown};
use crate::output::{Output, print};
use crate::ports;
use crate::request;
use crate::text::plain;
use netmode_client::Client;
use netmode_model::api::{AttachReply, NetworkView};
use netmode_model::{Code, DEFAULT_NETWORK, NetworkSummary};
use nix::libc;
use nix::sys::statfs::{NSFS_MAGIC, fstatfs};
use std::fs::{File, OpenOptions};
use std::io::IsTerminal;
use std::os::fd::AsFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

type Result<T> = std::result::Result<T, Failure>;

/// `netmode network …`.
pub(crate) fn network(client: &Client, command: &NetworkCommand, output: Output) -> Result<()> {
    match command {
        NetworkCommand::Ls(args) => list(client, args, output),
        NetworkCommand::Inspect { networks } => {
            let name = |name: &String| {
                if name.is_empty() {
                    return Err(Failure::invalid("the name of a network cannot be empty"));
                }
                client.network(name).map_err(Failure::from)
            };
            output.data(&networks.iter().map(name).collect::<Result<Vec<_>>>()?)
        }
        NetworkCommand::Create(args) => print(&format!("{}\n", client.create_network(&request::network(args)?)?.id)),
        NetworkCommand::Rm { networks } => each(networks, |name| Ok(client.remove_network(name)?)),
        NetworkCommand::Prune { force } => prune(client, *force),
        NetworkCommand::Connect { ip, ip6, mac_address, network, task } => {
            let joined = client.connect(network, &request::connect(task, ip, ip6, mac_address)?)?;
            if output.quiet {
                return Ok(());
            }
            output.listing(&joined, &["INTERFACE", "ADDRESS", "GATEWAY", "MAC", "NETWORK"], || vec![row(&joined)])
        }
        NetworkCommand::Disconnect { network, task, .. } => {
            Ok(client.disconnect(network, &request::connect(task, &None, &None, &None)?)?)
        }
    }
}

/// All that can be are removed; the first refusal is the answer.
pub(crate) fn each(names: &[String], act: impl Fn(&str) -> Result<()>) -> Result<()> {
    let mut first = Ok(());
    for name in names {
        match act(name) {
            Ok(()) => print(&format!("{}\n", plain(name)))?,
            Err(failure) => first = first.and(Err(failure)),
        }
    }
    first
}

fn prune(client: &Client, force: bool) -> Result<()> {
    if !force && std::io::stdin().is_terminal() {
        eprint!("Every network that nobody uses will be removed. Go on? [y/N] ");
        let mut answer = String::new();
        let read = std::io::stdin().read_line(&mut answer);
        if read.is_err() || !matches!(answer.trim(), "y" | "Y" | "yes") {
            return Ok(());
        }
    }
    client.prune_networks()?.iter().try_for_each(|network| print(&format!("{}\n", plain(&network.name))))
}

fn list(client: &Client, list: &ListArgs, output: Output) -> Result<()> {
    let listing = Listing::new(|n: &NetworkSummary| n.id.short())
        .column("ID", Shown::Always, |n| n.id.short())
        .column("Name", Shown::Always, |n| n.name.clone())
        .column("Bridge", Shown::Always, |n| n.bridge.to_string())
        .column("Subnets", Shown::Always, subnets)
        .column("MTU", Shown::Always, |n| n.mtu.to_string())
        .column("Note", Shown::Always, |n| n.pool_reason.clone().unwrap_or_default())
        .column("Internal", Shown::Wide, |n| n.internal.to_string())
        .column("IPv6", Shown::Asked, |n| n.v6.is_some().to_string())
        .column("Driver", Shown::Asked, |_| DRIVER.into())
        .column("Scope", Shown::Asked, |_| SCOPE.into())
        .column("CreatedAt", Shown::Wide, |n| n.created.clone())
        .headed("CREATED")
        .key(&["name"], |n, value| n.name.contains(value))
        .key(&["id"], |n, value| n.id.to_string().starts_with(value))
        .key(&["driver"], |_, value| value == DRIVER)
        .key(&["scope"], |_, value| value == SCOPE)
        .checked_key(&["type"], a_type, |n, value| (n.name == DEFAULT_NETWORK) == (value == "builtin"))
        .labels(|n| &n.labels);
    listing.check(list, output)?;
    listing.print(client.networks()?, list, output)
}

/// What makes networks, in docker's words: every one is a bridge of this host.
const DRIVER: &str = "bridge";
const SCOPE: &str = "local";

fn a_type(value: &str) -> std::result::Result<(), String> {
    match value {
        "custom" | "builtin" => Ok(()),
        _ => Err("write type=custom or type=builtin".into()),
    }
}

fn subnets(network: &NetworkSummary) -> String {
    let prefixes = network.v4.iter().map(ToString::to_string).chain(network.v6.iter().map(ToString::to_string));
    prefixes.collect::<Vec<_>>().join(", ")
}

/// `netmode attach`.
pub(crate) fn attach(client: &Client, args: &AttachArgs, output: Output) -> Result<()> {
    let request = request::attach(args)?;
    let netns = open(&args.netns)?;
    let reply = client.attach_netns(&request, netns.as_fd())?;
    if output.quiet {
        return print(&format!("{}\n", reply.id));
    }
    output.listing(&reply, &["INTERFACE", "ADDRESS", "GATEWAY", "MAC", "NETWORK", "PORTS"], || rows(&reply))
}

fn rows(reply: &AttachReply) -> Vec<Vec<String>> {
    let ports: Vec<String> = ports::lines(&reply.network_bindings).iter().map(ports::Line::cell).collect();
    let with_ports = |network: &NetworkView| [row(network), vec![ports.join("\n")]].concat();
    reply.networks.iter().map(with_ports).collect()
}

fn row(network: &NetworkView) -> Vec<String> {
    let addresses = network.ipv4_addresses.iter().chain(&network.ipv6_addresses);
    let addresses: Vec<String> = addresses.map(ToString::to_string).collect();
    let gateway = network.gateway.map(|ip| ip.to_string()).unwrap_or_default();
    let mac = network.mac_address.to_string();
    vec![network.interface.to_string(), addresses.join("\n"), gateway, mac, network.name.clone()]
}

/// Opens the namespace here and now: the path may mean something else, or nothing, to the agent.
fn open(path: &Path) -> Result<File> {
    let bad = |why: String| Failure::new(Code::BadNetns, format!("cannot attach {}: {why}", path.display()));
    // O_NONBLOCK: a fifo in the place of a namespace must not stop us. std adds O_CLOEXEC.
    let opened = OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK).open(path);
    let file = opened.map_err(|error| bad(error.to_string().split(" (os error").next().unwrap_or_default().into()))?;
    let kind = fstatfs(&file).map_err(|errno| bad(errno.desc().into()))?.filesystem_type();
    if kind != NSFS_MAGIC {
        return Err(bad("it is not a namespace; give /run/netns/NAME or /proc/PID/ns/net".into()));
    }
    Ok(file)
}

/// `netmode detach`.
pub(crate) fn detach(client: &Client, owner: &str, interface: &str) -> Result<()> {
    if owner.is_empty() {
        return Err(Failure::invalid("--owner cannot be empty: give the name that \"netmode attach\" had"));
    }
    Ok(client.detach(owner, interface)?)
}
