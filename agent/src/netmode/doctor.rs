//! `netmode doctor`: the agent's findings, or what can be seen without it.

use crate::failure::Failure;
use crate::listing::{ListArgs, Listing, Shown};
use crate::output::Output;
use netmode_agent::checks::{self, finding};
use netmode_agent::config::{Config, DEFAULT_PATH};
use netmode_agent::standing::Standing;
use netmode_agent::{firewalls, settings};
use netmode_client::{Client, ClientError};
use netmode_engine::store::{FileStore, Kind, Store};
use netmode_engine::{Endpoint, Network, beside, endpoint};
use netmode_kernel::hold::Inherited;
use netmode_kernel::{Kernel, KernelConfig, Scope};
use netmode_model::IfName;
use netmode_model::api::{Finding, Level};
use netmode_model::op::OpError;
use serde::de::DeserializeOwned;
use std::path::Path;

/// Where the agent keeps what dies with the machine, and what outlives a reboot, unless told otherwise.
const DIRECTORIES: (&str, &str) = ("/run/netmode", "/var/lib/netmode");

/// Prints the findings; the exit status is that of the worst that is shown.
pub(crate) fn doctor(client: &Client, list: &ListArgs, output: Output) -> Result<u8, Failure> {
    let listing = listing();
    listing.check(list, output)?;
    let findings = listing.filter(look(client)?, list)?;
    let worst = findings.iter().map(|finding| finding.level).max().unwrap_or(Level::Ok);
    listing.print(findings, list, output)?;
    Ok(match worst {
        Level::Ok => 0,
        Level::Warn => 1,
        Level::Fail => 2,
    })
}

/// The agent's findings; where it does not answer, those that can be made without it.
pub(crate) fn look(client: &Client) -> Result<Vec<Finding>, Failure> {
    match client.doctor() {
        Ok(findings) => Ok(findings),
        // It is when the agent is dead that one asks.
        Err(error @ (ClientError::Unreachable { .. } | ClientError::Protocol(_))) => Ok(alone(&error)),
        Err(error) => Err(error.into()),
    }
}

fn listing<'a>() -> Listing<'a, Finding> {
    let level = |f: &Finding| match f.level {
        Level::Ok => "ok",
        Level::Warn => "warn",
        Level::Fail => "fail",
    };
    let known = |value: &str| match value {
        "ok" | "warn" | "fail" => Ok(()),
        _ => Err("a level is one of ok, warn, fail".to_owned()),
    };
    Listing::new(|f: &Finding| f.object.clone())
        .column("Level", Shown::Always, move |f| level(f).into())
        .column("Object", Shown::Always, |f| f.object.clone())
        .column("Message", Shown::Always, |f| f.message.clone())
        .headed("FOUND")
        .column("Fix", Shown::Always, |f| f.fix.clone().unwrap_or_default())
        .checked_key(&["level", "status"], known, move |f, value| level(f) == value)
        .key(&["object", "name"], |f, value| f.object.contains(value))
}

/// Without the agent: why it does not answer, and what it needs to run.
fn alone(error: &ClientError) -> Vec<Finding> {
    let fix = match error {
        ClientError::Unreachable { source, .. } if source.kind() == std::io::ErrorKind::PermissionDenied => {
            "usermod -aG netmode USER"
        }
        ClientError::Unreachable { .. } => "systemctl start netmode",
        _ => "systemctl restart netmode",
    };
    let mut findings = vec![finding(Level::Fail, "agent", error.to_string(), Some(fix))];
    findings.extend(checks::kernel());
    let config = Config::load(Path::new(DEFAULT_PATH)).unwrap_or_default();
    let programs =
        [&config.container.runtime, &config.container.conmon, &config.container.skopeo, &config.container.umoci];
    let found = programs.map(|name| (name.clone(), netmode_container::find_program(name)));
    findings.extend(checks::programs(found.into(), 2));
    findings.push(checks::seccomp(&config.container.seccomp));
    findings.push(checks::configuration(Path::new(DEFAULT_PATH)));
    findings.push(checks::group(&config.api.group));
    let (run_dir, state_dir) = (Path::new(DIRECTORIES.0), Path::new(DIRECTORIES.1));
    findings.extend([run_dir, state_dir].into_iter().filter_map(checks::disk));
    findings.extend(checks::records(run_dir, state_dir));
    findings.push(checks::forwarding());
    // Only root may ask the kernel for the rest.
    if nix::unistd::Uid::effective().is_root() {
        findings.extend(with_kernel(&config).unwrap_or_else(|error| vec![finding(Level::Fail, "kernel", error, None)]));
    }
    findings
}

/// What the kernel knows without the agent: its features, by trial in a namespace that is thrown away, other firewalls,
/// and what of the records stands.
fn with_kernel(config: &Config) -> Result<Vec<Finding>, String> {
    let kernel = Kernel::open(KernelConfig::default(), &Inherited::default()).map_err(|e| e.to_string())?;
    let refused = |error: OpError| error.to_string();
    let mut findings: Vec<Finding> = kernel.features().map_err(refused)?.into_iter().map(checks::feature).collect();
    let settings = settings::of(config, &kernel).map_err(refused)?;
    let mut networks: Vec<Network> = recorded(Kind::Network);
    networks.extend(recorded::<Network>(Kind::Subnet));
    let endpoints: Vec<Endpoint> = recorded(Kind::Endpoint);
    let bridges: Vec<IfName> = networks.iter().filter(|n| n.has_host_link()).map(|n| n.bridge.clone()).collect();
    let foreign = kernel.foreign().map_err(refused)?;
    let beside = config.firewall.beside;
    findings.extend(firewalls::lines(&beside::compare(&foreign, &bridges, &settings, beside), beside));
    let pins: Vec<_> = endpoint::namespaces(&endpoints).into_iter().filter(|pin| kernel.adopt(pin).is_ok()).collect();
    let seen = kernel.observe(Scope { namespaces: &pins, table: true }).map_err(refused)?;
    let standing = Standing { settings: &settings, networks: &networks, endpoints: &endpoints };
    findings.extend(standing.examine(&seen, |key| kernel.variable(key).ok()));
    Ok(findings)
}

/// Records as they are; the lines on records tell of those that cannot be read.
fn recorded<T: DeserializeOwned>(kind: Kind) -> Vec<T> {
    let store = FileStore::at(Path::new(DIRECTORIES.0), Path::new(DIRECTORIES.1));
    let files = store.list_bytes(kind).unwrap_or_default();
    files.iter().filter_map(|(_, bytes)| serde_json::from_slice(bytes).ok()).collect()
}
