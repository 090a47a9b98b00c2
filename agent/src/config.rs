//! The configuration: `netmode.toml` and the drop-ins beside it.
//!
//! A missing file means all defaults. Whatever cannot be understood is refused with file, line and key:
//! at start the agent ends, on SIGHUP the configuration before stays.

use ipnetwork::{Ipv4Network, Ipv6Network};
use netmode_engine::settings::{BridgeSettings, DynamicPorts};
use netmode_model::{IfName, PortRange};
use serde::Deserialize;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

/// Where the configuration is unless told otherwise.
pub const DEFAULT_PATH: &str = "/etc/netmode/netmode.toml";

/// The whole file.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Tells the things of several agents on one machine apart.
    pub instance: Option<String>,
    /// The default bridge.
    pub bridge: Bridge,
    /// Published ports.
    pub ports: Ports,
    /// The nf_tables tables and the guard.
    pub firewall: Firewall,
    /// awsvpc mode.
    pub vpc: Vpc,
    /// Names of containers.
    pub dns: Dns,
    /// Metrics.
    pub metrics: Metrics,
    /// How containers are run.
    pub container: Container,
    /// Who may ask for what.
    pub api: Api,
}

/// Section `[bridge]`.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Bridge {
    /// Name of the link; `nm0`.
    pub name: Option<IfName>,
    /// IPv4 prefixes to choose from.
    pub pools: Option<Vec<Ipv4Network>>,
    /// IPv6 prefix; without one IPv6 is off.
    pub ipv6: Option<Ipv6Network>,
    /// Bytes; the egress route's where none is given.
    pub mtu: Option<u32>,
}

/// Section `[ports]`.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Ports {
    /// Where dynamic host ports are taken from, `"32768-60999"`.
    pub range: Option<PortRange>,
    /// TCP ports that no task of a task definition gets where ECS' rules of hosts hold (`ECS_RESERVED_PORTS`).
    pub reserved: Vec<u16>,
    /// UDP ports of the kind (`ECS_RESERVED_PORTS_UDP`).
    pub reserved_udp: Vec<u16>,
}

/// Section `[firewall]`.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Firewall {
    /// Own the tables, so that a stranger's `nft flush ruleset` passes it by.
    pub owner: bool,
    /// Let containers send in their own name alone.
    pub source_guard: bool,
    /// Links that lead outside, between which, and the networks' own, established connections pass the rules by.
    pub flowtable: Vec<IfName>,
    /// Forward for strangers as well where the agent switched forwarding on.
    pub forward: bool,
    /// The one bit of the packet mark that the guard uses.
    pub mark: u32,
    /// Priority of the first of the guard's three routing rules.
    pub rule_pref: u32,
    /// Keep two rules in each firewall of others that would drop what is ours.
    pub beside: bool,
}

/// Section `[vpc]`.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Vpc {
    /// Refuse what ECS refuses where this agent could do better: a task without a network configuration, say.
    pub strict_ecs: bool,
    /// Let subnets be of IPv6 alone.
    pub ipv6_only: bool,
    /// Keep tasks from the metadata of the machine that the host is, 169.254.169.254 and fd00:ec2::254.
    pub block_imds: bool,
}

impl Default for Vpc {
    fn default() -> Self {
        Self { strict_ecs: false, ipv6_only: false, block_imds: true }
    }
}

/// Section `[dns]`.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Dns {
    /// Address and port where the host itself can ask for names; on its loopback, since who asks there sees all of them.
    pub host: Option<SocketAddr>,
    /// The domain that all names are in; `netmode.internal`.
    pub domain: Option<String>,
}

impl Dns {
    /// The domain, in lower case.
    pub fn domain(&self) -> String {
        self.domain.as_deref().unwrap_or("netmode.internal").trim_matches('.').to_ascii_lowercase()
    }
}

/// Section `[metrics]`.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Metrics {
    /// Address and port where metrics can be asked for; on the host's loopback, since who asks there is not known.
    pub listen: Option<SocketAddr>,
}

/// Section `[container]`.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Container {
    /// The OCI runtime.
    pub runtime: String,
    /// The monitor.
    pub conmon: String,
    /// Copies images.
    pub skopeo: String,
    /// Unpacks images.
    pub umoci: String,
    /// The seccomp profile, in Docker's format.
    pub seccomp: PathBuf,
}

/// Section `[api]`.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Api {
    /// Group that may open the socket. Full access is as good as root.
    pub group: String,
    /// What callers other than root may do; the first that fits counts, and without rows everything is allowed.
    pub access: Vec<Access>,
}

/// A row of the access table.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Access {
    /// The caller's user id.
    pub uid: Option<u32>,
    /// One of the caller's group ids.
    pub gid: Option<u32>,
    /// What is allowed.
    pub allow: Allow,
    /// Whether tasks may open the host: `--rootfs`, `-v`, `--cap-add`, `--privileged`, seccomp profiles, `ns:PATH`,
    /// `pidMode` and `ipcMode` of the host.
    #[serde(default)]
    pub open_host: bool,
}

/// What a caller may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Allow {
    /// Everything.
    All,
    /// Look.
    Read,
    /// Attach and detach namespaces that the caller hands over as a descriptor, and look.
    Attach,
    /// Nothing.
    Nothing,
}

impl Default for Ports {
    /// SSH's port, docker's and the ECS agent's (ECS API reference, `PortMapping.hostPort`).
    fn default() -> Self {
        Self { range: None, reserved: vec![22, 2375, 2376, 51678, 51679], reserved_udp: Vec::new() }
    }
}

impl Default for Firewall {
    fn default() -> Self {
        Self {
            owner: true,
            source_guard: true,
            flowtable: Vec::new(),
            forward: false,
            mark: 0x2000_0000,
            rule_pref: 90,
            beside: true,
        }
    }
}

impl Default for Container {
    fn default() -> Self {
        let netmode_container::Config { runtime, conmon, skopeo, umoci, seccomp_profile: seccomp, .. } =
            netmode_container::Config::default();
        Self { runtime, conmon, skopeo, umoci, seccomp }
    }
}

impl Default for Api {
    fn default() -> Self {
        Self { group: "netmode".into(), access: Vec::new() }
    }
}

/// Why the configuration cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// A file cannot be read.
    #[error("cannot read the configuration {}: {source}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A file cannot be understood.
    #[error("{}:{line}: {message}", path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// Line, from 1.
        line: usize,
        /// What is wrong, with the key.
        message: String,
    },
    /// A value cannot be.
    #[error("{}: {key}: {why}", path.display())]
    Value {
        /// The file that was named last.
        path: PathBuf,
        /// The key.
        key: &'static str,
        /// Why, and what would do.
        why: &'static str,
    },
}

impl Config {
    /// Reads `path` and the files `*.toml` of the directory `netmode.d` beside it, in the order of their names;
    /// a later one's value counts.
    ///
    /// # Errors
    /// The first file that cannot be read or understood.
    pub fn load(path: &Path) -> Result<Self, ConfigError> {
        let mut merged = toml::Table::new();
        for file in files(path)? {
            let text = match std::fs::read_to_string(&file) {
                Err(e) if e.kind() == io::ErrorKind::NotFound => continue,
                other => other.map_err(|source| ConfigError::Unreadable { path: file.clone(), source })?,
            };
            // Each file is checked alone, so that the line of an error is its own.
            let malformed = |e: toml::de::Error| ConfigError::Malformed {
                path: file.clone(),
                line: 1 + e.span().map_or(0, |s| text[..s.start].matches('\n').count()),
                message: format!("{}{}", e.span().map(|s| key_at(&text, s.start)).unwrap_or_default(), e.message()),
            };
            toml::from_str::<Self>(&text).map_err(malformed)?;
            merge(&mut merged, toml::from_str(&text).map_err(malformed)?);
        }
        let config: Self = merged.try_into().map_err(|e: toml::de::Error| ConfigError::Malformed {
            path: path.into(),
            line: 1,
            message: e.message().to_owned(),
        })?;
        config.check(path)?;
        Ok(config)
    }

    fn check(&self, path: &Path) -> Result<(), ConfigError> {
        let value = |key, why| Err(ConfigError::Value { path: path.into(), key, why });
        if self.firewall.mark.count_ones() != 1 {
            return value("firewall.mark", "must have exactly one bit set, such as 0x20000000");
        }
        if self.bridge.pools.as_ref().is_some_and(|p| p.is_empty() || p.iter().any(|n| n.prefix() > 29)) {
            return value("bridge.pools", "must hold at least one prefix, each /29 or larger");
        }
        if self.bridge.ipv6.is_some_and(|n| n.prefix() > 64) {
            return value("bridge.ipv6", "must be a /64 or larger");
        }
        if self.dns.host.is_some_and(|at| !at.ip().is_loopback() || at.port() == 0) {
            return value("dns.host", "must be an address of the host's loopback with a port, such as 127.0.0.1:5354");
        }
        if self.metrics.listen.is_some_and(|at| !at.ip().is_loopback() || at.port() == 0) {
            let why = "must be an address of the host's loopback with a port, such as 127.0.0.1:9464";
            return value("metrics.listen", why);
        }
        let domain = self.dns.domain();
        let plain = |label: &str| !label.is_empty() && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
        if domain.len() > 200 || !domain.split('.').all(plain) {
            return value("dns.domain", "must be a domain: letters, digits, \"-\" and \".\"");
        }
        match self.bridge.mtu {
            Some(mtu) if mtu < if self.bridge.ipv6.is_some() { 1280 } else { 68 } => {
                value("bridge.mtu", "must be at least 68, and 1280 with IPv6")
            }
            _ => Ok(()),
        }
    }

    /// The default bridge, as the engine needs it.
    pub fn bridge(&self) -> BridgeSettings {
        let default = BridgeSettings::default();
        BridgeSettings {
            name: self.bridge.name.clone().unwrap_or(default.name),
            pools: self.bridge.pools.clone().unwrap_or(default.pools),
            ipv6: self.bridge.ipv6,
            mtu: self.bridge.mtu,
        }
    }

    /// Dynamic ports: the configured range as it is, or the kernel's without those it keeps back.
    pub fn dynamic(&self, kernel: PortRange, reserved: Vec<PortRange>) -> DynamicPorts {
        match self.ports.range {
            Some(range) => DynamicPorts { range, skip: Vec::new() },
            None => DynamicPorts { range: kernel, skip: reserved },
        }
    }

    /// What a caller may do. Root may do everything; without a table so may everybody who can open the socket;
    /// with one, whom no row fits may do nothing.
    pub fn allows(&self, uid: u32, groups: &[u32]) -> Allow {
        match (uid, &self.api.access[..]) {
            (0, _) | (_, []) => Allow::All,
            _ => self.row(uid, groups).map_or(Allow::Nothing, |a| a.allow),
        }
    }

    /// Whether a caller's tasks may open the host: root's, and those of whom a row of the table says so.
    pub fn may_open_host(&self, uid: u32, groups: &[u32]) -> bool {
        uid == 0 || self.row(uid, groups).is_some_and(|a| a.open_host)
    }

    fn row(&self, uid: u32, groups: &[u32]) -> Option<&Access> {
        let fits = |a: &&Access| a.uid.is_none_or(|u| u == uid) && a.gid.is_none_or(|g| groups.contains(&g));
        self.api.access.iter().find(fits)
    }
}

/// `section.key: ` of a place in a file, as far as it can be told.
fn key_at(text: &str, place: usize) -> String {
    let begin = text[..place].rfind('\n').map_or(0, |n| n + 1);
    let line = text[begin..].lines().next().unwrap_or_default();
    let section = text[..begin].lines().rev().find_map(|l| l.trim().strip_prefix('[')).unwrap_or_default();
    let section = section.trim_matches(['[', ']', ' ']);
    match line.split_once('=') {
        Some((key, _)) if section.is_empty() => format!("{}: ", key.trim()),
        Some((key, _)) => format!("{section}.{}: ", key.trim()),
        None => String::new(),
    }
}

fn files(path: &Path) -> Result<Vec<PathBuf>, ConfigError> {
    let dir = path.with_file_name("netmode.d");
    let mut files = match std::fs::read_dir(&dir) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => Vec::new(),
        Err(source) => return Err(ConfigError::Unreadable { path: dir, source }),
        Ok(entries) => entries.filter_map(|e| Some(e.ok()?.path())).collect::<Vec<_>>(),
    };
    files.retain(|f| f.extension().is_some_and(|e| e == "toml"));
    files.sort();
    files.insert(0, path.into());
    Ok(files)
}

fn merge(into: &mut toml::Table, from: toml::Table) {
    for (key, value) in from {
        match (into.get_mut(&key), value) {
            (Some(toml::Value::Table(old)), toml::Value::Table(new)) => merge(old, new),
            (_, value) => {
                into.insert(key, value);
            }
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn load(name: &str, main: &str, drop_in: &str) -> Result<Config, String> {
        let dir = std::env::temp_dir().join(format!("netmode-config-{}-{name}", std::process::id()));
        std::fs::create_dir_all(dir.join("netmode.d")).unwrap();
        std::fs::write(dir.join("netmode.toml"), main).unwrap();
        std::fs::write(dir.join("netmode.d/10-x.toml"), drop_in).unwrap();
        let config = Config::load(&dir.join("netmode.toml"));
        std::fs::remove_dir_all(&dir).unwrap();
        config.map_err(|e| e.to_string().replace(&dir.display().to_string(), ""))
    }

    #[test]
    fn a_drop_in_counts_more_and_leaves_the_rest() {
        let config = load("merge", "[bridge]\nname = \"br7\"\nmtu = 1400\n", "[bridge]\nmtu = 9000\n").unwrap();
        assert_eq!((config.bridge.name.unwrap().as_str(), config.bridge.mtu), ("br7", Some(9000)));
        assert_eq!(Config::load(Path::new("/nonexistent/netmode.toml")).unwrap(), Config::default());
    }

    #[test]
    fn errors_name_file_line_and_key() {
        let error = load("key", "[bridge]\nname = \"br7\"\nbogus = 1\n", "").unwrap_err();
        assert!(error.starts_with("/netmode.toml:3: ") && error.contains("bogus"), "{error}");
        let error = load("value", "", "[bridge]\nname = \"much-too-long-a-name\"\n").unwrap_err();
        assert!(error.starts_with("/netmode.d/10-x.toml:2: ") && error.contains("link name"), "{error}");
        let error = load("prefix", "[bridge]\npools = [\"172.17.0.0/33\"]\n", "").unwrap_err();
        assert!(error.starts_with("/netmode.toml:2: bridge.pools: "), "{error}");
        for listen in ["192.0.2.1:9464", "0.0.0.0:9464", "[::]:9464", "127.0.0.1:0"] {
            let error = load("listen", &format!("[metrics]\nlisten = \"{listen}\"\n"), "").unwrap_err();
            assert!(error.contains("metrics.listen") && error.contains("127.0.0.1:9464"), "{error}");
        }
        assert!(load("loopback", "[metrics]\nlisten = \"[::1]:9464\"\n", "").is_ok());
        let error = load("mark", "[firewall]\nmark = 3\n", "").unwrap_err();
        assert!(error.contains("firewall.mark"), "{error}");
    }

    #[test]
    fn the_access_table_is_read_from_above_and_root_is_never_shut_out() {
        let text = "[[api.access]]\nuid = 1000\nallow = \"read\"\n[[api.access]]\nallow = \"nothing\"\n";
        let config = load("access", text, "").unwrap();
        assert_eq!(config.allows(1000, &[1000]), Allow::Read);
        assert_eq!(config.allows(1001, &[1000]), Allow::Nothing);
        assert_eq!(config.allows(0, &[0]), Allow::All);
        let only = load("only", "[[api.access]]\nuid = 1000\nallow = \"read\"\n", "").unwrap();
        assert_eq!(only.allows(1001, &[1000]), Allow::Nothing);
        assert_eq!(Config::default().allows(1001, &[1000]), Allow::All);
    }
}
