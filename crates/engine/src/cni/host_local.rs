//! The IPAM plugin `host-local`: addresses of this host's own ranges, one file each.
//!
//! The files are the reference's: `<dataDir>/<network>/<address>` holds the container's id and the link, so that people
//! and other programs find what they know, and a container that the reference plugin gave an address to is rid of it by
//! ours. What is new: a file is whole or not there, so that nothing is lost when the agent is killed; whose an address is
//! is known without reading all of them; and those of before a reboot are taken away.

use super::ranges::{self, Range, Set, candidates};
use super::{invalid, refused};
use crate::bridge::with_prefix;
use crate::engine::lock;
use netmode_model::cni::{Call, CniCode, CniError, CniResult, CniRoute, Config, Ip, Runtime};
use serde_json::{Map, Value};
use std::collections::{BTreeSet, HashMap};
use std::fs::{self, File};
use std::io;
use std::net::IpAddr;
use std::os::unix::fs::MetadataExt;
use std::path::{Component, Path, PathBuf};
use std::sync::Mutex;

/// Where the files are if the configuration does not say.
const DATA_DIR: &str = "/var/lib/cni/networks";

/// File that holds the id of the boot in which the directory was last used.
const BOOT: &str = ".boot_id";

/// Container and link.
type Owner = (String, String);

/// Whose the addresses of a network are.
#[derive(Debug, Default)]
struct Known {
    /// When the directory was last changed, by us: whoever else changes it has it read again.
    stamp: Option<(i64, i64)>,
    taken: HashMap<IpAddr, Owner>,
    owners: HashMap<Owner, Vec<IpAddr>>,
}

/// The addresses that were given out, by directory.
#[derive(Debug, Default)]
pub struct HostLocal {
    known: Mutex<HashMap<PathBuf, Known>>,
    /// Id of this boot.
    boot: String,
}

fn failed(dir: &Path, error: &io::Error) -> CniError {
    CniError::new(CniCode::Io, format!("host-local cannot use {}: {error}", dir.display()))
}

impl HostLocal {
    /// Of a machine that has booted under an id.
    pub fn new(boot: String) -> Self {
        Self { known: Mutex::default(), boot }
    }

    /// Gives a container its addresses: one of each set. `stale` tells that what it has already is nobody's any more.
    ///
    /// # Errors
    /// It has some already, a wanted one cannot be had, or none is free.
    pub fn add(&self, call: &Call, config: &Config, stale: bool) -> Result<CniResult, CniError> {
        let sets = ranges::read(config)?;
        let wanted = Runtime::read(call, config)?.ips.unwrap_or_default();
        let mut wanted: Vec<IpAddr> = wanted.iter().map(|ip| ip.address).collect();
        let ipam = config.keys().object("ipam")?;
        let routes = ipam.list("routes")?.iter().map(CniRoute::read).collect::<Result<_, _>>()?;
        let dns = ipam.text("resolvConf")?.map(resolver).transpose()?.unwrap_or_default();
        let owner = (call.container.clone(), call.ifname.clone());
        let ips = self.within(config, |dir, known| {
            if known.owners.contains_key(&owner) {
                if !stale {
                    let text = format!(
                        "duplicate allocation: {} of {} has {} already; call DEL first",
                        owner.1,
                        owner.0,
                        list(&known.owners[&owner])
                    );
                    return Err(refused(text));
                }
                known.release(dir, &owner)?;
            }
            let given = sets.iter().enumerate().map(|(n, set)| known.give(dir, n, set, &mut wanted, &owner));
            let ips = given.collect::<Result<Vec<_>, _>>();
            let ips = ips.and_then(|ips| if wanted.is_empty() { Ok(ips) } else { Err(outside(&wanted, &sets)) });
            if ips.is_err() {
                known.release(dir, &owner)?;
            }
            ips
        })?;
        Ok(CniResult { ips, routes, dns, ..CniResult::default() })
    }

    /// Takes a container's addresses back; none is done already.
    ///
    /// # Errors
    /// The directory cannot be used.
    pub fn del(&self, call: &Call, config: &Config) -> Result<(), CniError> {
        let owner = (call.container.clone(), call.ifname.clone());
        if !directory(config)?.is_dir() {
            return Ok(());
        }
        self.within(config, |dir, known| known.release(dir, &owner))
    }

    /// Whether a container has its addresses.
    ///
    /// # Errors
    /// It has none.
    pub fn check(&self, call: &Call, config: &Config) -> Result<(), CniError> {
        let owner = (call.container.clone(), call.ifname.clone());
        self.within(config, |_, known| match known.owners.contains_key(&owner) {
            true => Ok(()),
            false => Err(refused(format!("no address is reserved for {} of {}; attach it anew", owner.1, owner.0))),
        })
    }

    /// Takes back what is not valid.
    ///
    /// # Errors
    /// The directory cannot be used.
    pub fn collect(&self, config: &Config, valid: &BTreeSet<Owner>) -> Result<(), CniError> {
        if !directory(config)?.is_dir() {
            return Ok(());
        }
        self.within(config, |dir, known| {
            let stale: Vec<Owner> = known.owners.keys().filter(|owner| !valid.contains(owner)).cloned().collect();
            stale.iter().try_for_each(|owner| known.release(dir, owner))
        })
    }

    /// Whether each set has an address left.
    ///
    /// # Errors
    /// One has none.
    pub fn status(&self, config: &Config) -> Result<(), CniError> {
        let sets = ranges::read(config)?;
        self.within(config, |_, known| match sets.iter().find(|set| known.is_full(set)) {
            None => Ok(()),
            Some(set) => Err(CniError { code: CniCode::NotAvailable, ..exhausted(set) }),
        })
    }

    /// Works on a network's directory, alone.
    fn within<T>(
        &self,
        config: &Config,
        work: impl FnOnce(&Path, &mut Known) -> Result<T, CniError>,
    ) -> Result<T, CniError> {
        let dir = directory(config)?;
        let io = |error: io::Error| failed(&dir, &error);
        fs::create_dir_all(&dir).map_err(io)?;
        // The reference's lock: let go with the descriptor, whatever becomes of us.
        let lock_file = File::options().create(true).append(true).open(dir.join("lock")).map_err(io)?;
        lock_file.lock().map_err(io)?;
        let mut all = lock(&self.known);
        let known = all.entry(dir.clone()).or_default();
        if known.stamp != Some(stamp(&dir).map_err(io)?) {
            *known = Known::read(&dir, &self.boot).map_err(io)?;
        }
        let done = work(&dir, known);
        known.stamp = stamp(&dir).ok();
        done
    }
}

/// The directory of a network.
fn directory(config: &Config) -> Result<PathBuf, CniError> {
    let ipam = config.keys().object("ipam")?;
    let base = Path::new(ipam.text("dataDir")?.unwrap_or(DATA_DIR));
    let plain = base.components().all(|part| matches!(part, Component::RootDir | Component::Normal(_)));
    if !base.is_absolute() || !plain {
        return Err(invalid(format!("dataDir {:?}: an absolute path without \"..\" is expected", base)));
    }
    Ok(base.join(&config.name))
}

fn stamp(dir: &Path) -> io::Result<(i64, i64)> {
    let meta = fs::metadata(dir)?;
    Ok((meta.mtime(), meta.mtime_nsec()))
}

fn list(ips: &[IpAddr]) -> String {
    ips.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

fn exhausted(set: &Set) -> CniError {
    let subnets: Vec<String> = set.iter().map(|range| range.subnet.to_string()).collect();
    refused(format!("no address is free in {}; remove containers, or widen the range", subnets.join(", ")))
}

fn outside(wanted: &[IpAddr], sets: &[Set]) -> CniError {
    let subnets: Vec<String> = sets.iter().flatten().map(|range| range.subnet.to_string()).collect();
    invalid(format!(
        "the wanted address {} is not in {}, or its family was asked for twice",
        list(wanted),
        subnets.join(", ")
    ))
}

/// Name servers and search domains of a resolver's configuration (resolv.conf(5)).
fn resolver(path: &str) -> Result<Map<String, Value>, CniError> {
    let text = fs::read_to_string(path);
    let text = text.map_err(|e| invalid(format!("resolvConf {path:?} cannot be read: {e}")))?;
    let mut dns = Map::new();
    let mut push = |key: &str, word: &str| {
        if let Value::Array(list) = dns.entry(key).or_insert_with(|| Value::Array(Vec::new())) {
            list.push(word.into());
        }
    };
    for line in text.lines() {
        let mut words = line.split_whitespace();
        match words.next() {
            Some("nameserver") => words.take(1).for_each(|word| push("nameservers", word)),
            Some("search") => words.for_each(|word| push("search", word)),
            Some("options") => words.for_each(|word| push("options", word)),
            Some("domain") => words.take(1).for_each(|word| push("domain", word)),
            _ => {}
        }
    }
    // One domain, not a list.
    if let Some(domain) = dns.get("domain").and_then(|list| list.get(0)).cloned() {
        dns.insert("domain".into(), domain);
    }
    Ok(dns)
}

impl Known {
    /// Reads a directory. What an earlier boot has left there is nobody's: no namespace outlives one.
    fn read(dir: &Path, boot: &str) -> io::Result<Self> {
        let marked = fs::read_to_string(dir.join(BOOT)).ok();
        let mut known = Self::default();
        for entry in fs::read_dir(dir)? {
            let entry = entry?;
            let Some(ip) = entry.file_name().to_str().and_then(|name| name.parse::<IpAddr>().ok()) else { continue };
            if marked.as_deref().is_some_and(|marked| marked != boot) {
                fs::remove_file(entry.path())?;
                continue;
            }
            known.take(ip, whose(&entry.path())?);
        }
        if marked.as_deref() != Some(boot) {
            fs::write(dir.join(BOOT), boot)?;
        }
        Ok(known)
    }

    fn take(&mut self, ip: IpAddr, owner: Owner) {
        self.taken.insert(ip, owner.clone());
        self.owners.entry(owner).or_default().push(ip);
    }

    /// Gives an address of a set: the wanted one if there is one in it, else the next that is free.
    fn give(
        &mut self,
        dir: &Path,
        number: usize,
        set: &Set,
        wanted: &mut Vec<IpAddr>,
        owner: &Owner,
    ) -> Result<Ip, CniError> {
        let at = wanted.iter().position(|ip| set.iter().any(|range| range.subnet.contains(*ip)));
        let mut given = match at.map(|at| wanted.remove(at)) {
            Some(ip) => self.wanted(ip, set)?,
            None => self.next(dir, number, set)?,
        };
        // Somebody else's program may have given it at this very moment.
        while !self.reserve(dir, given.0, owner).map_err(|e| failed(dir, &e))? {
            given = if at.is_some() { self.wanted(given.0, set)? } else { self.next(dir, number, set)? };
        }
        let (ip, range) = given;
        Ok(Ip { interface: None, address: with_prefix(ip, range.subnet), gateway: Some(range.gateway) })
    }

    /// The next address of a set that is free.
    fn next<'s>(&self, dir: &Path, number: usize, set: &'s Set) -> Result<(IpAddr, &'s Range), CniError> {
        let last = dir.join(format!("last_reserved_ip.{number}"));
        let before = fs::read_to_string(&last).ok().and_then(|text| text.trim().parse().ok());
        let free = candidates(set, before).find(|(ip, _)| !self.taken.contains_key(ip));
        let (ip, range) = free.ok_or_else(|| exhausted(set))?;
        fs::write(&last, ip.to_string()).map_err(|e| failed(dir, &e))?;
        Ok((ip, range))
    }

    /// Writes an address's file, whole or not at all. False if it is there: then it is known from now on.
    fn reserve(&mut self, dir: &Path, ip: IpAddr, owner: &Owner) -> io::Result<bool> {
        let (fresh, path) = (dir.join(format!(".{ip}.new")), dir.join(ip.to_string()));
        fs::write(&fresh, format!("{}\r\n{}", owner.0, owner.1))?;
        let linked = fs::hard_link(&fresh, &path);
        let _ = fs::remove_file(&fresh);
        match linked {
            Ok(()) => self.take(ip, owner.clone()),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => self.take(ip, whose(&path)?),
            Err(error) => return Err(error),
        }
        Ok(self.taken.get(&ip) == Some(owner))
    }

    fn wanted<'s>(&self, ip: IpAddr, set: &'s Set) -> Result<(IpAddr, &'s Range), CniError> {
        if set.iter().any(|range| range.gateway == ip) {
            return Err(invalid(format!("the wanted address {ip} is the gateway's; choose another one")));
        }
        let range = set.iter().find(|range| range.has(ip));
        let range = range.ok_or_else(|| outside(&[ip], std::slice::from_ref(set)))?;
        match self.taken.get(&ip) {
            None => Ok((ip, range)),
            Some((container, link)) => {
                Err(refused(format!("the wanted address {ip} is taken by {link} of {container}; choose another one")))
            }
        }
    }

    /// Takes back what an owner has. Files of old releases of the reference name the container alone.
    fn release(&mut self, dir: &Path, owner: &Owner) -> Result<(), CniError> {
        for owner in [owner.clone(), (owner.0.clone(), String::new())] {
            for ip in self.owners.remove(&owner).unwrap_or_default() {
                self.taken.remove(&ip);
                match fs::remove_file(dir.join(ip.to_string())) {
                    Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(failed(dir, &error)),
                    _ => {}
                }
            }
        }
        Ok(())
    }

    fn is_full(&self, set: &Set) -> bool {
        let size: u128 = set.iter().map(Range::size).fold(0, u128::saturating_add);
        // Others may lie outside of it.
        let taken = self.taken.keys().filter(|ip| set.iter().any(|range| range.has(**ip) && range.gateway != **ip));
        self.taken.len() as u128 >= size && taken.count() as u128 >= size
    }
}

/// Whose an address is: container and link, a line each.
fn whose(path: &Path) -> io::Result<Owner> {
    let text = fs::read(path)?;
    let text = String::from_utf8_lossy(&text);
    let mut lines = text.lines().map(str::trim);
    let mut line = || lines.next().unwrap_or_default().to_owned();
    Ok((line(), line()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use netmode_model::cni::Verb;
    use serde_json::json;

    fn call(container: &str) -> Call {
        Call {
            verb: Verb::Add,
            container: container.into(),
            netns: None,
            ifname: "eth0".into(),
            args: String::new(),
            path: vec![],
        }
    }

    #[test]
    fn an_address_that_somebody_else_gives_at_this_moment_is_not_given_twice() {
        let base = std::env::temp_dir().join(format!("netmode-host-local-{}", std::process::id()));
        let ipam = json!({"type": "host-local", "subnet": "10.1.2.0/29", "dataDir": base});
        let config = Config::of(json!({"cniVersion": "1.0.0", "name": "n", "ipam": ipam})).unwrap();
        let ours = HostLocal::new("boot".into());
        let given =
            |container: &str| ours.add(&call(container), &config, false).map(|r| r.ips[0].address.ip().to_string());
        assert_eq!(given("a").unwrap(), "10.1.2.2");
        // Within one tick of the file system's clock the directory looks as we have left it.
        let dir = base.join("n");
        let before = fs::metadata(&dir).unwrap().modified().unwrap();
        fs::write(dir.join("10.1.2.3"), "theirs\r\neth0").unwrap();
        File::open(&dir).unwrap().set_modified(before).unwrap();
        assert_eq!(given("b").unwrap(), "10.1.2.4");
        assert_eq!(fs::read_to_string(dir.join("10.1.2.3")).unwrap(), "theirs\r\neth0");
        let wish = json!({"ips": ["10.1.2.5"]});
        let wanted = json!({"cniVersion": "1.0.0", "name": "n", "ipam": ipam, "runtimeConfig": wish});
        fs::write(dir.join("10.1.2.5"), "theirs\r\neth1").unwrap();
        File::open(&dir).unwrap().set_modified(fs::metadata(&dir).unwrap().modified().unwrap()).unwrap();
        let taken = ours.add(&call("c"), &Config::of(wanted).unwrap(), false).unwrap_err();
        assert!(taken.message.contains("eth1 of theirs"), "{taken}");
        fs::remove_dir_all(&base).unwrap();
    }
}
