//! A service of the file.

use super::keys;
use super::network::{DEFAULT, filled};
use super::node::{Node, set};
use super::{dotenv, words};
use crate::caller::Caller;
use crate::failure::Failure;
use crate::values;
use netmode_model::api::{ContainerSpec, NetOptions};
use netmode_model::{Code, Name};
use std::collections::BTreeMap;
use std::fmt::Display;
use std::net::Ipv4Addr;
use std::str::FromStr;

type Result<T> = std::result::Result<T, Failure>;

/// A service, read and checked.
#[derive(Debug, Clone, PartialEq, Default)]
pub(crate) struct Service {
    pub(crate) name: String,
    /// What runs, but for its environment.
    pub(crate) container: ContainerSpec,
    pub(crate) container_name: Option<Name>,
    /// Ports, host name and the like.
    pub(crate) net: NetOptions,
    pub(crate) depends_on: Vec<String>,
    pub(crate) networks: Vec<Joined>,
    /// Of `env_file`, then of `environment`, which overrides.
    env_files: BTreeMap<String, String>,
    environment: BTreeMap<String, String>,
}

/// A network that a service joins.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Joined {
    /// Its name in the file.
    pub(crate) key: String,
    pub(crate) aliases: Vec<String>,
    pub(crate) address: Option<Ipv4Addr>,
}

type Read = fn(&mut Service, &Node<'_>, &Caller) -> Result<()>;

/// The keys of a service.
static KEYS: [(&str, Read); 24] = [
    ("image", |service, node, caller| set(&mut service.container.image, Some(caller.image(&node.filled()?)))),
    ("command", |service, node, _| set(&mut service.container.command, command(node)?)),
    ("entrypoint", |service, node, _| set(&mut service.container.entrypoint, Some(command(node)?))),
    ("environment", environment),
    ("env_file", env_file),
    ("ports", ports),
    ("volumes", volumes),
    ("depends_on", depends_on),
    ("networks", networks),
    ("container_name", |service, node, _| set(&mut service.container_name, Some(parsed(node)?))),
    ("hostname", |service, node, _| set(&mut service.net.hostname, Some(node.filled()?))),
    ("restart", restart),
    ("working_dir", working_dir),
    ("user", |service, node, _| set(&mut service.container.user, Some(node.filled()?))),
    ("labels", |service, node, _| set(&mut service.container.labels, filled(node.pairs()?))),
    ("cap_add", |service, node, _| set(&mut service.container.cap_add, node.texts()?)),
    ("cap_drop", |service, node, _| set(&mut service.container.cap_drop, node.texts()?)),
    ("read_only", |service, node, _| set(&mut service.container.read_only, node.truth()?)),
    ("init", |service, node, _| set(&mut service.container.init, node.truth()?)),
    ("tmpfs", |service, node, _| set(&mut service.container.tmpfs, one_or_more(node)?)),
    ("sysctls", |service, node, _| set(&mut service.net.sysctls, filled(node.pairs()?))),
    ("dns_search", |service, node, _| set(&mut service.net.dns_search, one_or_more(node)?)),
    ("extra_hosts", extra_hosts),
    // netmode's own, as --rootfs of run: a directory instead of an image.
    ("x-netmode-rootfs", |service, node, caller| {
        set(&mut service.container.rootfs, Some(caller.absolute(&node.filled()?)))
    }),
];

impl Service {
    /// Reads a service; paths are the project directory's, which is the caller's here.
    ///
    /// # Errors
    /// The first key that is not served or has a bad value.
    pub(crate) fn read(name: &str, node: &Node<'_>, caller: &Caller, notes: &mut Vec<String>) -> Result<Self> {
        let mut service = Self { name: name.into(), ..Self::default() };
        for (key, entry) in node.given()? {
            match KEYS.iter().find(|(known, _)| *known == key) {
                Some((_, read)) => read(&mut service, &entry, caller)?,
                None => keys::other(&format!("service {name}"), &key, &entry, notes)?,
            }
        }
        if service.networks.is_empty() {
            service.networks.push(Joined { key: DEFAULT.into(), ..Joined::default() });
        }
        let mut variables = std::mem::take(&mut service.env_files);
        variables.append(&mut service.environment);
        service.container.env = variables.into_iter().map(|(key, value)| format!("{key}={value}")).collect();
        let spec = &service.container;
        match (&spec.image, &spec.rootfs) {
            (None, Some(_)) if spec.command.is_empty() && spec.entrypoint.is_none() => {
                Err(node.bad("x-netmode-rootfs is no image that says what runs; add \"command: …\""))
            }
            (None, None) => Err(node.bad("it has no image; add \"image: NAME\"")),
            (Some(_), Some(_)) => Err(node.bad("image and x-netmode-rootfs exclude each other; take one out")),
            _ => Ok(service),
        }
    }
}

fn parsed<T: FromStr<Err: Display>>(node: &Node<'_>) -> Result<T> {
    node.text()?.parse().map_err(|error| node.bad(error))
}

/// A list is taken as it is, a text is cut into words.
fn command(node: &Node<'_>) -> Result<Vec<String>> {
    if !node.is_scalar() {
        return node.texts();
    }
    words::split(&node.text()?).map_err(|why| node.bad(format!("it cannot be cut into words: {why}")))
}

/// A text, or a list of them.
fn one_or_more(node: &Node<'_>) -> Result<Vec<String>> {
    if node.is_scalar() { Ok(vec![node.filled()?]) } else { node.texts() }
}

/// `NAME:ADDRESS` items, also with `=`, or `NAME: ADDRESS` lines.
fn extra_hosts(service: &mut Service, node: &Node<'_>, _: &Caller) -> Result<()> {
    let given = match node.is_map() {
        true => filled(node.pairs()?).into_iter().map(|(name, address)| format!("{name}={address}")).collect(),
        false => node.texts()?,
    };
    for text in given {
        let bad = || node.bad(format!("{text:?} is no line for /etc/hosts; write NAME:ADDRESS or NAME:host-gateway"));
        service.net.add_hosts.push(values::add_host(&text).ok_or_else(bad)?);
    }
    Ok(())
}

fn environment(service: &mut Service, node: &Node<'_>, caller: &Caller) -> Result<()> {
    for (key, value) in node.pairs()? {
        if key.is_empty() || key.contains(char::is_whitespace) {
            return Err(node.bad(format!("{key:?} is no name of a variable; write KEY=VALUE")));
        }
        // Docker: a name alone passes the caller's, and is left out where he has none.
        if let Some(value) = value.or_else(|| caller.variables.get(&key).cloned()) {
            service.environment.insert(key, value);
        }
    }
    Ok(())
}

fn env_file(service: &mut Service, node: &Node<'_>, caller: &Caller) -> Result<()> {
    let files = if node.is_scalar() { vec![node.clone()] } else { node.items()? };
    for file in files {
        let (path, required) = if file.is_map() { long_env_file(&file)? } else { (file.filled()?, true) };
        let text = match std::fs::read_to_string(caller.absolute(&path)) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound && !required => continue,
            Err(error) => {
                let text = error.to_string();
                let words = text.split(" (os error").next().unwrap_or_default();
                return Err(file.bad(format!("cannot read {path}: {words}")));
            }
            Ok(text) => text,
        };
        let pairs = dotenv::parse(&text, &caller.variables).map_err(|why| file.bad(format!("{path}, {why}")))?;
        service.env_files.extend(pairs);
    }
    Ok(())
}

/// `{path: FILE, required: false}`.
fn long_env_file(node: &Node<'_>) -> Result<(String, bool)> {
    let (mut path, mut required) = (None, true);
    for (key, entry) in node.given()? {
        match key.as_str() {
            "path" => path = Some(entry.filled()?),
            "required" => required = entry.truth()?,
            _ => return Err(entry.unsupported("this key", "write path and required")),
        }
    }
    Ok((path.ok_or_else(|| node.bad("it has no path; add \"path: FILE\""))?, required))
}

fn ports(service: &mut Service, node: &Node<'_>, _: &Caller) -> Result<()> {
    for port in node.items()? {
        if port.is_map() {
            return Err(port.unsupported("the long form", "write \"8080:80\" or \"127.0.0.1:5353:53/udp\""));
        }
        let text = port.text()?;
        let spec = text.parse().map_err(|error| {
            Failure::new(Code::InvalidPort, port.bad(format!("cannot publish {text:?}: {error}")).message)
        });
        service.net.ports.push(spec?);
    }
    Ok(())
}

fn volumes(service: &mut Service, node: &Node<'_>, caller: &Caller) -> Result<()> {
    for volume in node.items()? {
        if volume.is_map() {
            return Err(
                volume.unsupported("the long form", "write \"./DIRECTORY:/TARGET\", with \":ro\" behind if wanted")
            );
        }
        service.container.volumes.push(mount(&volume, caller)?);
    }
    Ok(())
}

/// `SOURCE:TARGET[:OPTIONS]`, the source a path of the project's directory or of the home directory.
fn mount(node: &Node<'_>, caller: &Caller) -> Result<String> {
    let text = node.text()?;
    let Some((source, rest)) = text.split_once(':') else {
        let instead = format!("give it a directory: ./DIRECTORY:{text}");
        return Err(node.unsupported(format!("a volume without a source ({text:?})"), instead));
    };
    if !rest.starts_with('/') {
        return Err(node.bad(format!("{text:?}: the target must be an absolute path")));
    }
    let options = rest.split_once(':').map_or("rw", |(_, options)| options);
    if !matches!(options, "rw" | "ro") {
        return Err(node.unsupported(format!("the option {options:?} of {text:?}"), "write ro, or take it out"));
    }
    let home = || caller.variables.get("HOME").map(String::as_str).unwrap_or("/root");
    match source.strip_prefix('~').filter(|path| path.is_empty() || path.starts_with('/')) {
        Some(path) => Ok(format!("{}{path}:{rest}", home())),
        None if source.starts_with(['/', '.']) => Ok(format!("{}:{rest}", caller.absolute(source))),
        None => {
            let instead = format!("write the path of a directory: ./{source}:{rest}");
            Err(node.unsupported(format!("the named volume {source:?}"), instead))
        }
    }
}

fn depends_on(service: &mut Service, node: &Node<'_>, _: &Caller) -> Result<()> {
    if !node.is_map() {
        service.depends_on = node.texts()?;
        return Ok(());
    }
    for (name, dependency) in node.entries()? {
        for (key, entry) in if dependency.is_null() { vec![] } else { dependency.given()? } {
            let text = entry.text()?;
            match (key.as_str(), text.as_str()) {
                ("condition", "service_started") | ("required", "true") | ("restart", "false") => {}
                ("condition", _) => {
                    return Err(entry
                        .unsupported(format!("{text:?}"), "write service_started, or let the service wait by itself"));
                }
                _ => return Err(entry.unsupported(format!("{key}: {text}"), "take it out")),
            }
        }
        service.depends_on.push(name);
    }
    Ok(())
}

fn networks(service: &mut Service, node: &Node<'_>, _: &Caller) -> Result<()> {
    if !node.is_map() {
        let joined = |key: String| Joined { key, ..Joined::default() };
        service.networks = node.texts()?.into_iter().map(joined).collect();
        return Ok(());
    }
    for (key, network) in node.entries()? {
        let mut joined = Joined { key, ..Joined::default() };
        for (key, entry) in if network.is_null() { vec![] } else { network.given()? } {
            match key.as_str() {
                "aliases" => joined.aliases = entry.texts()?,
                // The request has an address for the first network alone.
                "ipv4_address" if service.networks.is_empty() => joined.address = Some(parsed(&entry)?),
                "ipv4_address" => {
                    return Err(entry.unsupported("an address on a further network", "write this network first"));
                }
                _ => return Err(entry.unsupported("this key", "take it out; aliases and ipv4_address are served")),
            }
        }
        service.networks.push(joined);
    }
    Ok(())
}

fn restart(service: &mut Service, node: &Node<'_>, _: &Caller) -> Result<()> {
    // YAML 1.1 took an unquoted no for false, and files that were made by such programs have it.
    let policy = match node.text()?.as_str() {
        "false" => "no".parse(),
        text => text.parse(),
    };
    service.container.restart = Some(policy.map_err(|error| node.bad(error))?);
    Ok(())
}

fn working_dir(service: &mut Service, node: &Node<'_>, _: &Caller) -> Result<()> {
    let text = node.filled()?;
    if !text.starts_with('/') {
        return Err(node.bad(format!("{text:?} must be an absolute path")));
    }
    service.container.workdir = Some(text);
    Ok(())
}
