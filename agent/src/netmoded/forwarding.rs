//! Forwarding: switched on where a network needs it, and what was there before is kept for the day it is taken back.
//!
//! A host that forwards only because the agent switched that on does not become a router for the networks around it: the
//! table drops what goes from one to another of the links that were there before, and of the devices that are plugged in
//! later. What somebody else makes later (Docker's bridge, a tunnel) is his to open and to close.

use crate::join::Linux;
use netmode_engine::{Apply, bridge};
use netmode_kernel::{Kernel, Scope};
use netmode_model::nft::{Element, Family, TableName};
use netmode_model::op::OpError;
use netmode_model::state::LinkState;
use netmode_model::{IfName, Inverse, Op, Place};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Version of the record.
const VERSION: u32 = 1;

const FORWARD4: &str = "net/ipv4/ip_forward";
const FORWARD6: &str = "net/ipv6/conf/all/forwarding";

/// Kinds of links that people make in order to route what comes from them (`IFLA_INFO_KIND`).
const ROUTED: [&str; 3] = ["bridge", "tun", "wireguard"];

/// What was changed. On tmpfs: a reboot undoes it, and the record with it.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Record {
    v: u32,
    changed: Vec<Inverse>,
    /// A record before this one could not be read.
    #[serde(default)]
    torn: bool,
    /// Links between which nothing is forwarded, by family.
    #[serde(default)]
    closed: BTreeMap<Family, BTreeSet<IfName>>,
}

/// The host's forwarding.
pub struct Forwarding {
    kernel: Arc<Kernel>,
    linux: Linux,
    table: TableName,
    path: PathBuf,
    /// Strangers may send through this host, whoever switched forwarding on.
    for_strangers: bool,
    record: Mutex<Record>,
}

/// Whether an agent made it, this one or another.
fn is_ours(link: &LinkState) -> bool {
    link.alias.as_deref().is_some_and(|alias| alias.starts_with("netmode/"))
}

fn accept_ra(link: &IfName) -> String {
    format!("net/ipv6/conf/{link}/accept_ra")
}

fn key(family: Family) -> &'static str {
    match family {
        Family::V4 => FORWARD4,
        Family::V6 => FORWARD6,
    }
}

impl Forwarding {
    /// Reads what an agent before this one changed.
    pub fn open(kernel: Arc<Kernel>, linux: Linux, table: String, run_dir: &Path, for_strangers: bool) -> Self {
        let table = TableName::inet(&table);
        let path = run_dir.join("forwarding.json");
        let text = std::fs::read(&path);
        let read = text.as_ref().ok().and_then(|text| serde_json::from_slice::<Record>(text).ok());
        let torn = text.is_ok() && read.is_none();
        if torn {
            tracing::error!(path = %path.display(), "cannot be read: strangers are shut out, as if netmode had switched forwarding on");
        }
        let record = Mutex::new(read.unwrap_or(Record { torn, ..Record::default() }));
        Self { kernel, linux, table, path, for_strangers, record }
    }

    fn record(&self) -> MutexGuard<'_, Record> {
        self.record.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn by_us(&self, family: Family) -> bool {
        let switched = |i: &Inverse| matches!(i, Inverse::Restore { key: k, .. } if k == key(family));
        self.record().changed.iter().any(switched)
    }

    fn is_on(&self, family: Family) -> bool {
        self.kernel.variable(key(family)).is_ok_and(|value| value != "0")
    }

    /// Whether strangers' traffic of a family is dropped.
    fn closes(&self, family: Family) -> bool {
        !self.for_strangers && (self.record().torn || self.by_us(family))
    }

    /// What shuts strangers out.
    ///
    /// # Errors
    /// The kernel does not tell its links.
    pub fn elements(&self) -> Result<Vec<Element>, OpError> {
        let mut elements = Vec::new();
        for family in [Family::V4, Family::V6].into_iter().filter(|family| self.closes(*family)) {
            elements.extend(self.links(family)?.iter().map(|link| bridge::closed(family, link)));
        }
        Ok(elements)
    }

    /// Links between which nothing of a family is forwarded; where none are known, all that are there.
    fn links(&self, family: Family) -> Result<BTreeSet<IfName>, OpError> {
        if let Some(known) = self.record().closed.get(&family) {
            return Ok(known.clone());
        }
        let links = self.kernel.observe(Scope::default())?.links.into_iter().filter(|link| !is_ours(link));
        let there: BTreeSet<_> = links.map(|link| link.name).collect();
        self.remember(family, there.clone());
        Ok(there)
    }

    /// Not before something was changed: without that the next agent may find other links.
    fn remember(&self, family: Family, links: BTreeSet<IfName>) {
        let mut record = self.record();
        record.closed.entry(family).or_default().extend(links);
        if (record.torn || !record.changed.is_empty())
            && let Err(error) = self.write(&record)
        {
            tracing::warn!(%error, "which links are closed to strangers was not recorded; the next agent looks again");
        }
    }

    /// A wire is there, perhaps one that was plugged in, or that was made a bridge's port. Tells whether something was
    /// closed.
    ///
    /// # Errors
    /// It could not be closed.
    pub fn met(&self, name: &IfName) -> Result<bool, OpError> {
        if self.record().closed.is_empty() && !self.by_us(Family::V6) {
            return Ok(false);
        }
        self.kernel.link(&Place::Host, name)?.map_or(Ok(false), |link| self.close(&link))
    }

    /// Wires that came while nobody looked. Tells whether something was closed.
    ///
    /// # Errors
    /// As [`Forwarding::met`].
    pub fn look_again(&self) -> Result<bool, OpError> {
        let links = self.kernel.observe(Scope::default())?.links;
        links.iter().filter(|link| link.is_wire()).try_fold(false, |some, link| Ok(self.close(link)? || some))
    }

    fn close(&self, wire: &LinkState) -> Result<bool, OpError> {
        // A subnet's own macvlan has rules of its own.
        if is_ours(wire) {
            return Ok(false);
        }
        self.keep_listening(&wire.name)?;
        let mut some = false;
        for family in [Family::V4, Family::V6].into_iter().filter(|family| self.closes(*family)) {
            let known = self.links(family)?;
            let names = std::iter::once(&wire.name).chain(&wire.master);
            for name in names.filter(|name| !known.contains(*name)) {
                self.add(bridge::closed(family, name))?;
                self.remember(family, BTreeSet::from([name.clone()]));
                some = true;
            }
        }
        Ok(some)
    }

    /// An uplink that came after the agent switched IPv6 forwarding on lives on router advertisements as well.
    fn keep_listening(&self, link: &IfName) -> Result<(), OpError> {
        let key = accept_ra(link);
        match self.by_us(Family::V6) && self.kernel.variable(&key).is_ok_and(|value| value == "1") {
            true => self.change(vec![(key, "2")]),
            false => Ok(()),
        }
    }

    /// Adds an element that may be there.
    fn add(&self, element: Element) -> Result<(), OpError> {
        match self.linux.apply(&[Op::ElementAdd { table: self.table.clone(), element }]) {
            Err(error) if error.errno != nix::libc::EEXIST => Err(error),
            _ => Ok(()),
        }
    }

    /// Switches forwarding of a family on, strangers shut out first where nobody else wanted it.
    ///
    /// Uplinks that live on router advertisements would lose their routes by IPv6 forwarding (`accept_ra` 1 means: not
    /// while forwarding); they get 2.
    ///
    /// # Errors
    /// The kernel refused a step.
    pub fn switch_on(&self, family: Family) -> Result<(), OpError> {
        if self.is_on(family) {
            return Ok(());
        }
        if !self.for_strangers {
            for link in self.links(family)? {
                self.add(bridge::closed(family, &link))?;
            }
        }
        let mut wanted = Vec::new();
        if family == Family::V6 {
            wanted.extend(self.listening()?.into_iter().map(|key| (key, "2")));
        }
        wanted.push((key(family).to_owned(), "1"));
        self.note(&self.along(family)?)?;
        self.change(wanted)
    }

    /// What the kernel sets along with a family's forwarding, where that is not what is there: each with the value that it
    /// has when forwarding is switched off again (`inet_forward_change`, net/ipv4/devinet.c; `addrconf_forward_change`,
    /// net/ipv6/addrconf.c). Noted before forwarding itself, so that it is put back after it.
    fn along(&self, family: Family) -> Result<Vec<(String, &'static str)>, OpError> {
        let ip = if family == Family::V4 { "ipv4" } else { "ipv6" };
        let links = self.kernel.observe(Scope::default())?.links.into_iter().map(|link| link.name.to_string());
        let each = links.chain(["default".into()]).map(|link| (format!("net/{ip}/conf/{link}/forwarding"), "0"));
        let redirects = (family == Family::V4).then(|| ("net/ipv4/conf/all/accept_redirects".to_owned(), "1"));
        let differs = |(key, off): &(String, &str)| self.kernel.variable(key).is_ok_and(|value| value != *off);
        Ok(redirects.into_iter().chain(each).filter(differs).collect())
    }

    fn change(&self, wanted: Vec<(String, &str)>) -> Result<(), OpError> {
        self.note(&wanted)?;
        let set = |(key, value): (String, &str)| Op::Sysctl { at: Place::Host, key, value: value.into() };
        self.linux.apply(&wanted.into_iter().map(set).collect::<Vec<_>>()).map(drop)
    }

    /// Records what will be changed, before it is: an agent that dies in between has changed nothing unseen.
    fn note(&self, wanted: &[(String, &str)]) -> Result<(), OpError> {
        let mut record = self.record();
        let known = record.changed.len();
        for (key, ours) in wanted {
            // A link that is plugged in again: what it had the first time is known.
            if record.changed.iter().any(|i| matches!(i, Inverse::Restore { key: k, .. } if k == key)) {
                continue;
            }
            let previous = self.kernel.variable(key)?;
            let (key, ours) = (key.clone(), (*ours).to_owned());
            record.changed.push(Inverse::Restore { at: Place::Host, key, ours, previous });
        }
        record.v = VERSION;
        self.write(&record).map_err(|error| {
            record.changed.truncate(known);
            let errno = error.raw_os_error().unwrap_or(nix::libc::EIO);
            OpError { step: format!("write {}", self.path.display()), errno, detail: error.to_string() }
        })
    }

    /// Variables `accept_ra` of links that listen to router advertisements.
    fn listening(&self) -> Result<Vec<String>, OpError> {
        let links = self.kernel.observe(Scope::default())?.links.into_iter();
        let keys = links.map(|link| accept_ra(&link.name));
        Ok(keys.filter(|key| self.kernel.variable(key).is_ok_and(|value| value == "1")).collect())
    }

    fn write(&self, record: &Record) -> std::io::Result<()> {
        let fresh = self.path.with_extension("new");
        std::fs::write(&fresh, serde_json::to_vec(record).map_err(std::io::Error::other)?)?;
        std::fs::rename(&fresh, &self.path)
    }

    /// What would put back the values of before, as commands.
    pub fn restoration(&self) -> Vec<Inverse> {
        self.record().changed.iter().rev().cloned().collect()
    }

    /// Puts back the values of before, as far as they are still ours.
    pub fn restore(&self) -> Vec<OpError> {
        let changed = std::mem::take(&mut *self.record()).changed;
        let _ = std::fs::remove_file(&self.path);
        self.linux.undo(changed)
    }

    /// Who may miss the forwarding that [`Self::restore`] switches off, in words: links of others that came since, of
    /// kinds that need it. Docker does not switch on what is on already, and does not notice when it is switched off.
    pub fn missed(&self) -> Option<String> {
        let links = self.kernel.observe(Scope::default()).ok()?.links;
        let needs = |l: &LinkState| l.kind.as_deref().is_some_and(|kind| ROUTED.contains(&kind)) && !is_ours(l);
        let since = |family| {
            let known = self.record().closed.get(&family).cloned().unwrap_or_default();
            links.iter().find(|l| needs(l) && !known.contains(&l.name)).map(|l| &l.name)
        };
        let families = [Family::V4, Family::V6].into_iter().filter(|family| self.by_us(*family));
        let (links, commands): (Vec<_>, Vec<_>) = families
            .filter_map(|family| Some((since(family)?, format!("sysctl -w {}=1", key(family).replace('/', ".")))))
            .unzip();
        let link = links.first()?;
        let commands = commands.join("; ");
        Some(format!("{link} came after netmode switched forwarding on and may need it: {commands}"))
    }

    /// A family's forwarding in words, for the doctor.
    ///
    /// # Errors
    /// It is off.
    pub fn describe(&self, family: Family) -> Result<String, Off> {
        let name = key(family).replace('/', ".");
        if !self.is_on(family) {
            return Err(Off(name));
        }
        let closed = self.record().closed.get(&family).cloned().unwrap_or_default();
        if !self.closes(family) || closed.is_empty() {
            return Ok(format!("{name} is on, for strangers as well"));
        }
        let links: Vec<&str> = closed.iter().map(IfName::as_str).collect();
        Ok(format!(
            "{name} was switched on by netmode: what goes from one to another of {} is dropped (forward = true in \
             [firewall] lets it pass)",
            links.join(", ")
        ))
    }
}

/// Forwarding is off, by this variable.
#[derive(Debug, thiserror::Error)]
#[error("{0} is 0: containers reach nothing beyond this host")]
pub struct Off(String);

impl Off {
    /// The command that switches it on.
    pub fn fix(&self) -> String {
        format!("sysctl -w {}=1", self.0)
    }
}
