//! The crate's face: operations in, observations out.

use crate::announce::announce;
use crate::conntrack::{self, Flusher, Target};
use crate::executor::{carry_out, drop_netns, is_gone, nft_place, take_back};
use crate::hold::Inherited;
use crate::netns::{NetnsFd, Pool, Registry};
use crate::nft::{self, Aborted, Owner};
use crate::wire::{Netlink, Refused};
use netlink_sys::protocols::NETLINK_NETFILTER;
use netmode_model::nft::{Element, Ruleset, TableName, walls};
use netmode_model::op::OpError;
use netmode_model::{Final, IfName, Inverse, Mac, NetnsName, Observed, Op, Place};
use std::io;
use std::net::IpAddr;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::atomic::AtomicU32;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Threads that enter namespaces: enough to overlap waiting for the kernel, few enough not to queue on its
/// own lock (RTNL).
const WORKERS: std::ops::RangeInclusive<usize> = 2..=4;

/// Where things are.
#[derive(Debug, Clone)]
pub struct KernelConfig {
    /// Directory of the pins.
    pub netns_dir: PathBuf,
    /// Name of the tables that [`Kernel::observe`] reads.
    pub table: String,
}

impl Default for KernelConfig {
    fn default() -> Self {
        Self { netns_dir: "/run/netns".into(), table: "netmode".into() }
    }
}

/// The kernel's sockets could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// CAP_NET_ADMIN and CAP_SYS_ADMIN are needed.
    #[error("netmode needs root: the kernel refused a privileged netlink socket")]
    NoPrivilege,
    /// Anything else.
    #[error("cannot open {what}: {source}")]
    Io {
        /// A socket or a thread.
        what: &'static str,
        /// The reason.
        source: io::Error,
    },
}

/// An operation failed; what had been done before it was taken back, newest first.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{error}{}", if undo.is_empty() { String::new() } else { format!("; {} steps could not be taken back", undo.len()) })]
pub struct Failed {
    /// The step that the kernel refused.
    pub error: OpError,
    /// Errors of taking back.
    pub undo: Vec<OpError>,
}

/// What to look at, besides the host's links, addresses, routes and rules.
#[derive(Debug, Clone, Copy, Default)]
pub struct Scope<'a> {
    /// Namespaces known by [`Op::NetnsAdd`], [`Kernel::adopt`] or [`Kernel::register`]. One that is not is left out.
    pub namespaces: &'a [NetnsName],
    /// Whether to read the tables with all their elements.
    pub table: bool,
}

/// Linux, as far as netmode changes it, seen from the namespace it was opened in: "the host".
pub struct Kernel {
    table: String,
    walls: String,
    /// The group of links to be deleted that was found empty; 0 before.
    pub(crate) doomed: Arc<AtomicU32>,
    pub(crate) registry: Arc<Registry>,
    pub(crate) pool: Pool,
    owner: Mutex<Owner>,
    /// Writes tables of others.
    pub(crate) guest: Mutex<Owner>,
    /// Tables of others whose changes the monitor tells of.
    pub(crate) watched: Arc<Mutex<nft::Watched>>,
    /// For dumps, so that a transaction does not wait for them.
    pub(crate) reader: Mutex<Netlink>,
    flows: Flusher,
}

/// A panic elsewhere leaves sockets as usable as they were.
pub(crate) fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Kernel {
    /// Opens the kernel's sockets in the network namespace of the calling thread, and starts the threads that
    /// enter others. Changes nothing. Goes on with the table's owner socket of an agent before this one, if that
    /// left it.
    ///
    /// # Errors
    /// Without privilege, or without a descriptor to spare.
    pub fn open(config: KernelConfig, inherited: &Inherited) -> Result<Self, OpenError> {
        crate::hold::make_room();
        let io = |what| move |source| OpenError::Io { what, source };
        let registry = Arc::new(Registry::new(config.netns_dir));
        let cpus = std::thread::available_parallelism().map_or(1, usize::from);
        let workers = cpus.clamp(*WORKERS.start(), *WORKERS.end());
        let pool = Pool::start(workers, &registry).map_err(io("the namespace workers"))?;
        let owner = Owner::open(inherited.take_table()).map_err(|e| match e.kind() {
            io::ErrorKind::PermissionDenied => OpenError::NoPrivilege,
            _ => io("a netfilter socket")(e),
        })?;
        let reader = Netlink::open(NETLINK_NETFILTER).map_err(io("a netfilter socket"))?;
        let flows = Flusher::open().map_err(io("a netfilter socket"))?;
        let guest = Mutex::new(Owner::open(None).map_err(io("a netfilter socket"))?);
        let (owner, reader, watched) = (Mutex::new(owner), Mutex::new(reader), Arc::default());
        let doomed = Arc::new(AtomicU32::new(0));
        let walls = walls(&config.table);
        Ok(Self { table: config.table, walls, doomed, registry, pool, owner, guest, watched, reader, flows })
    }

    /// Carries operations out in order and returns what takes them back, newest last.
    ///
    /// Operations on the table that follow each other are one transaction. Operations in one namespace that
    /// follow each other are one visit.
    ///
    /// # Errors
    /// The first operation that the kernel refuses, after everything before it was taken back.
    pub fn apply(&self, ops: &[Op]) -> Result<Vec<Inverse>, Failed> {
        let mut done = Vec::with_capacity(ops.len());
        for run in ops.chunk_by(|a, b| nft_place(a) == nft_place(b)) {
            let result = match run.first().and_then(nft_place) {
                Some(at) => self.transact(at, run, &mut done),
                None => self.steps(run, &mut done),
            };
            if let Err(error) = result {
                return Err(Failed { error, undo: self.undo(done) });
            }
        }
        Ok(done)
    }

    fn transact(&self, at: &Place, run: &[Op], done: &mut Vec<Inverse>) -> Result<(), OpError> {
        let ops: Vec<&Op> = run.iter().collect();
        self.tables(at, |owner| owner.transact(&ops))
            .map_err(|why| Aborted { at: None, why })
            .and_then(|done| done)
            .map_err(|aborted| name(aborted, &ops))?;
        done.extend(run.iter().map(Op::inverse));
        Ok(())
    }

    /// Writes tables of a place. Elsewhere than on the host the socket that does is opened at the first time and kept.
    fn tables<T>(&self, at: &Place, work: impl FnOnce(&mut Owner) -> T) -> Result<T, Refused> {
        let Place::Netns(netns) = at else { return Ok(work(&mut locked(&self.owner))) };
        let entry = self.registry.get(netns)?;
        let owner = match entry.tables.get() {
            Some(owner) => owner,
            None => {
                let place = at.clone();
                let opened = self.pool.run(move |worker| worker.tables(&place))??;
                entry.tables.get_or_init(|| Mutex::new(opened))
            }
        };
        Ok(work(&mut locked(owner)))
    }

    fn steps(&self, run: &[Op], done: &mut Vec<Inverse>) -> Result<(), OpError> {
        let ops = run.to_vec();
        let job = move |worker: &mut _| {
            let mut inverses = Vec::with_capacity(ops.len());
            for op in &ops {
                match carry_out(worker, op) {
                    Ok(inverse) => inverses.push(inverse),
                    Err(refused) => return (inverses, Some(refused.of(op))),
                }
            }
            (inverses, None)
        };
        let (inverses, error) = self.pool.run(job).map_err(|refused| refused.of(&run[0]))?;
        done.extend(inverses);
        error.map_or(Ok(()), Err)
    }

    /// Takes operations back, newest (the last of the list) first. Goes on past failures and returns them all;
    /// what is not there any more counts as done.
    pub fn undo(&self, mut inverses: Vec<Inverse>) -> Vec<OpError> {
        inverses.reverse();
        let nft = |inverse: &Inverse| match inverse {
            Inverse::Op(op) => nft_place(op).cloned(),
            _ => None,
        };
        let mut errors = Vec::new();
        for run in inverses.chunk_by(|a, b| nft(a) == nft(b)) {
            errors.extend(match run.first().and_then(nft) {
                Some(at) => self.undo_table(&at, run),
                None => self.undo_steps(run.to_vec()),
            });
        }
        errors
    }

    /// All in one transaction; if something is missing, one by one.
    fn undo_table(&self, at: &Place, run: &[Inverse]) -> Vec<OpError> {
        let ops: Vec<&Op> = run
            .iter()
            .filter_map(|inverse| match inverse {
                Inverse::Op(op) => Some(op),
                _ => None,
            })
            .collect();
        let work = |owner: &mut Owner| {
            if owner.transact(&ops).is_ok() {
                return Vec::new();
            }
            let mut one = |op: &&Op| match owner.transact(&[op]) {
                Err(aborted) if !is_gone(&aborted.why) => Some(name(aborted, &[op])),
                _ => None,
            };
            ops.iter().filter_map(&mut one).collect()
        };
        match self.tables(at, work) {
            Ok(errors) => errors,
            // With its namespace everything in it is gone.
            Err(refused) if is_gone(&refused) => Vec::new(),
            Err(refused) => vec![refused.of(&ops.first().map(ToString::to_string).unwrap_or_default())],
        }
    }

    fn undo_steps(&self, run: Vec<Inverse>) -> Vec<OpError> {
        let first = run.first().map(ToString::to_string).unwrap_or_default();
        let job = move |worker: &mut _| {
            let one = |inverse: &Inverse| take_back(worker, inverse).err().map(|refused| refused.of(inverse));
            run.iter().filter_map(one).collect()
        };
        self.pool.run(job).unwrap_or_else(|refused| vec![refused.of(&first)])
    }

    /// Carries out what cannot be taken back. Goes on past failures and returns them all.
    ///
    /// All [`Final::FlushConntrack`] steps of the list, and those of callers who come meanwhile, cost one reading
    /// of the connection table: 11 ms on a kernel with 262,144 buckets, nothing if no connection is tracked.
    pub fn finish(&self, steps: &[Final]) -> Vec<OpError> {
        let mut errors = Vec::new();
        let mut flushed = false;
        for step in steps {
            let result = match step {
                Final::FlushConntrack { .. } if flushed => Ok(()),
                Final::FlushConntrack { .. } => {
                    flushed = true;
                    self.flush(steps)
                }
                Final::Announce { at, dev, ip, mac } => self.announce(at, dev, *ip, *mac),
                Final::LinkDrop { dev } => self.drop_link(dev),
                Final::NetnsDrop { netns } => self.drop_netns(netns),
            };
            errors.extend(result.err().filter(|e| !is_gone(e)).map(|refused| refused.of(step)));
        }
        errors
    }

    /// The flows of all steps of a list at once.
    fn flush(&self, steps: &[Final]) -> Result<(), Refused> {
        let target = |step: &Final| match step {
            Final::FlushConntrack { protocol, host, ports, kept } => {
                Some(Target { protocol: *protocol, host: *host, ports: *ports, kept: kept.clone() })
            }
            _ => None,
        };
        let targets: Vec<Target> = steps.iter().filter_map(target).collect();
        self.flows.flush(&targets, || {
            let addresses = self.pool.run(|worker| worker.route(&Place::Host)?.addresses())??;
            Ok(addresses.into_iter().map(|(_, address)| address.ip()).collect())
        })
    }

    /// Forgets every tracked flow that has one of these addresses as an end, on the host or in a namespace.
    ///
    /// # Errors
    /// ENOENT without such a namespace; whatever the kernel says to the dump or the deletion.
    pub fn forget_flows(&self, inside: Option<&NetnsName>, ends: &[IpAddr]) -> Result<(), OpError> {
        let at = inside.map_or(Place::Host, |name| Place::Netns(name.clone()));
        let ends = ends.to_vec();
        let done = self.pool.run(move |worker| conntrack::forget(&mut worker.netfilter(&at)?, &ends));
        done.and_then(|done| done).map_err(|refused| refused.of(&"conntrack -D"))
    }

    fn announce(&self, at: &Place, dev: &IfName, ip: IpAddr, mac: Mac) -> Result<(), Refused> {
        let (at, dev) = (at.clone(), dev.clone());
        self.pool.run(move |worker| announce(worker, &at, &dev, ip, mac))?
    }

    fn drop_link(&self, dev: &IfName) -> Result<(), Refused> {
        let dev = dev.clone();
        self.pool.run(move |worker| worker.route(&Place::Host)?.delete_link(&dev))?
    }

    fn drop_netns(&self, netns: &NetnsName) -> Result<(), Refused> {
        let netns = netns.clone();
        self.pool.run(move |worker| drop_netns(worker, &netns))?
    }

    /// Reads back what exists.
    ///
    /// # Errors
    /// A dump that the kernel refused, or that changed faster than it could be read.
    pub fn observe(&self, scope: Scope<'_>) -> Result<Observed, OpError> {
        let mut places = vec![Place::Host];
        places.extend(scope.namespaces.iter().cloned().map(Place::Netns));
        // The workers share; the host's part is the greatest, so it begins first.
        let share = places.len().saturating_sub(1).div_ceil(self.pool.threads()).max(1);
        let (host, others) = places.split_at(1);
        let pending: Vec<_> = std::iter::once(host)
            .chain(others.chunks(share))
            .map(|places| {
                let places = places.to_vec();
                self.pool.begin(move |worker| -> Result<Vec<_>, Refused> {
                    let mut facts = Vec::with_capacity(places.len());
                    for place in &places {
                        match worker.route(place) {
                            Ok(route) => facts.push(route.facts(place)?),
                            Err(e) if is_gone(&e) => {}
                            Err(e) => return Err(e),
                        }
                    }
                    Ok(facts)
                })
            })
            .collect();
        let mut observed = Observed::default();
        for facts in pending {
            let facts = facts.wait().and_then(|facts| facts).map_err(|e| e.of(&"ip -details address"))?;
            for facts in facts {
                observed.links.extend(facts.links);
                observed.addrs.extend(facts.addrs);
                observed.routes.extend(facts.routes);
                observed.prohibited.extend(facts.prohibited);
                observed.blackholes.extend(facts.blackholes);
                observed.rules.extend(facts.rules);
            }
        }
        observed.netns = self.registry.pins.list().map_err(|e| e.of(&"ip netns list"))?;
        if scope.table {
            for table in [&self.table, &self.walls]
                .map(|name| TableName::inet(name))
                .into_iter()
                .chain([TableName::bridge(&self.table)])
            {
                let read = nft::read_table(&mut locked(&self.reader), &table);
                let state = read.map_err(|e| e.of(&format!("nft list table {table}")))?;
                observed.tables.extend(state.map(|state| (table, state)));
            }
        }
        Ok(observed)
    }

    /// Writes tables of one place with their elements in the place of what is there under their names, and deletes those that shall
    /// be gone, in one transaction: no packet sees a gap.
    ///
    /// # Errors
    /// EPERM if another socket owns a table; whatever the kernel says to a ruleset.
    pub fn replace_tables(&self, tables: &[(Ruleset, Vec<Element>)], gone: &[TableName]) -> Result<(), OpError> {
        let at = tables.first().map_or(&Place::Host, |(ruleset, _)| &ruleset.table.at);
        let text = || tables.iter().map(|(ruleset, _)| Op::TableAdd(ruleset.clone()).to_string()).collect::<String>();
        let replaced = self.tables(at, |owner| owner.replace(tables, gone)).map_err(|why| why.of(&text()))?;
        replaced.map_err(|aborted| aborted.why.of(&text()))
    }

    /// Owns a table that an agent before this one left behind, without touching what is in it. Returns whether
    /// it is owned now: not on kernels before 6.9, nor if it was made without ownership.
    ///
    /// # Errors
    /// ENOENT if there is no such table, EPERM if another live socket owns it.
    pub fn own_table(&self, table: &TableName) -> Result<bool, OpError> {
        locked(&self.owner).own(table).map_err(|e| e.of(&format!("nft add table {table} {{ flags owner,persist; }}")))
    }

    /// Names of the tables that are observed and watched.
    pub(crate) fn table_names(&self) -> [&str; 2] {
        [&self.table, &self.walls]
    }

    /// A copy of the socket that may write the table, for a successor.
    ///
    /// # Errors
    /// Without a descriptor to spare.
    pub fn owner_socket(&self) -> io::Result<OwnedFd> {
        locked(&self.owner).socket().try_clone_to_owned()
    }

    /// The owner socket's address.
    pub(crate) fn owner_port(&self) -> u32 {
        locked(&self.owner).port()
    }

    /// Knows a namespace that an agent before this one pinned.
    ///
    /// # Errors
    /// ENOENT if there is no such pin, EINVAL if it is no network namespace.
    pub fn adopt(&self, netns: &NetnsName) -> Result<(), OpError> {
        self.registry.adopt(netns).map_err(|e| e.of(&format!("ip netns attach {netns}")))
    }

    /// Takes the directory of the pins away, if nobody has one in it.
    pub fn put_pins_away(&self) {
        self.registry.pins.put_away();
    }

    /// Has a name stand for a namespace that somebody else made and keeps. [`Final::NetnsDrop`] of it only
    /// closes the descriptor.
    pub fn register(&self, netns: &NetnsName, fd: NetnsFd) {
        self.registry.register(netns, fd);
    }

    /// Forgets a name that was [registered](Kernel::register).
    pub fn forget(&self, netns: &NetnsName) {
        self.registry.forget(netns);
    }

    /// Has a second name stand for a registered namespace.
    pub fn alias(&self, netns: &NetnsName, name: &NetnsName) {
        self.registry.alias(netns, name);
    }
}

/// The error of a transaction by the operation that caused it.
fn name(aborted: Aborted, ops: &[&Op]) -> OpError {
    let step = aborted.at.and_then(|at| ops.get(at)).or_else(|| ops.first());
    aborted.why.of(&step.map(ToString::to_string).unwrap_or_default())
}
