//! Where the engine meets the kernel: the engine's traits, carried out by Linux.

use ipnetwork::IpNetwork;
use netmode_engine::settings::DOOMED;
use netmode_engine::{Apply, Hold, HoldFailure, Host, Kept, Observe, Sockets};
use netmode_kernel::hold::{self, Held, HoldError, Inherited};
use netmode_kernel::keep::Keeper;
use netmode_kernel::{Kernel, Scope};
use netmode_model::op::OpError;
use netmode_model::state::LinkState;
use netmode_model::{Final, HostAddr, IfName, Inverse, Mac, NetnsName, Observed, Op, Place, PortRange, Protocol};
use std::net::IpAddr;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, Sender};
use std::time::{Duration, Instant};

/// What is done behind the reply waits so long for more of its kind: a look at all tracked connections costs
/// about 10 ms, however many ports it is for, and deleting a link 15, however many are deleted with it. Telling a
/// thousand neighbours takes 4.
const GATHER: Duration = Duration::from_millis(5);

/// How long an answer of a machine on the LAN is waited for before an address is used there: a wire answers in less
/// than one.
const NEIGHBOURS_PATIENCE: Duration = Duration::from_millis(20);

/// And so long after the last time, so that it takes a fifth of one processor at most.
const PAUSE: Duration = Duration::from_millis(50);

/// The kernel, as the engine sees it.
#[derive(Clone)]
pub struct Linux {
    kernel: Arc<Kernel>,
    keeper: Arc<Keeper>,
    inherited: Arc<Inherited>,
    behind: Sender<Final>,
}

impl Linux {
    /// Joins the kernel and what a predecessor left, and starts the thread for what is done behind replies.
    ///
    /// # Errors
    /// No thread can be started.
    pub fn new(kernel: Arc<Kernel>, keeper: Arc<Keeper>, inherited: Arc<Inherited>) -> std::io::Result<Self> {
        let (behind, steps) = mpsc::channel();
        let shared = kernel.clone();
        std::thread::Builder::new().name("behind".into()).spawn(move || work_behind(&shared, &steps))?;
        Ok(Self { kernel, keeper, inherited, behind })
    }

    /// Leaves the socket that owns the table to a successor, for as long as this agent lives and after.
    pub fn keep_table(&self) {
        let left = self.kernel.owner_socket().and_then(|socket| self.keeper.keep(&[socket.as_fd()]));
        match left {
            Ok(bundle) => std::mem::forget(bundle),
            Err(error) => tracing::warn!(%error, "the table will be nobody's until a successor owns it"),
        }
    }
}

fn work_behind(kernel: &Kernel, steps: &Receiver<Final>) {
    let mut last: Option<Instant> = None;
    while let Ok(first) = steps.recv() {
        let since = last.map_or(PAUSE, |l| l.elapsed());
        std::thread::sleep(GATHER.max(PAUSE.saturating_sub(since)));
        let (links, flows): (Vec<_>, Vec<_>) =
            std::iter::once(first).chain(steps.try_iter()).partition(|s| matches!(s, Final::LinkDrop { .. }));
        let failures = kernel.finish(&flows).into_iter().chain(drop_links(kernel, &links));
        for failure in failures {
            tracing::warn!(%failure, "not done behind the reply");
        }
        last = Some(Instant::now());
    }
}

fn drop_links(kernel: &Kernel, links: &[Final]) -> Vec<OpError> {
    let index = |step: &Final| match step {
        Final::LinkDrop { dev } => kernel.link(&Place::Host, dev).ok().flatten().map(|l| l.index),
        _ => None,
    };
    let indexes: Vec<u32> = links.iter().filter_map(index).collect();
    if indexes.is_empty() { Vec::new() } else { kernel.delete_links(&indexes, DOOMED).err().into_iter().collect() }
}

impl Apply for Linux {
    fn neighbour(&self, dev: &IfName, ip: IpAddr) -> Result<Option<Mac>, OpError> {
        let found = self.kernel.neighbour(&Place::Host, dev, ip, NEIGHBOURS_PATIENCE);
        match &found {
            Ok(Some(mac)) => tracing::warn!(%ip, %mac, "a machine of the LAN has an address that was to be given"),
            Ok(None) => {}
            Err(error) => tracing::warn!(%ip, %error, "the LAN was not asked"),
        }
        found
    }

    fn apply(&self, ops: &[Op]) -> Result<Vec<Inverse>, OpError> {
        self.kernel.apply(ops).map_err(|failed| {
            for left in &failed.undo {
                tracing::warn!(%left, "could not be taken back");
            }
            failed.error
        })
    }

    fn undo(&self, inverses: Vec<Inverse>) -> Vec<OpError> {
        self.kernel.undo(inverses)
    }

    fn finish(&self, steps: &[Final]) -> Vec<OpError> {
        let later = |s: &Final| !matches!(s, Final::NetnsDrop { .. });
        let (behind, now): (Vec<_>, Vec<_>) = steps.iter().cloned().partition(later);
        for step in behind {
            // The thread lives as long as this does.
            let _ = self.behind.send(step);
        }
        self.kernel.finish(&now)
    }
}

impl Host for Linux {
    fn link(&self, dev: &IfName) -> Result<Option<LinkState>, OpError> {
        self.kernel.link(&Place::Host, dev)
    }

    fn links(&self) -> Result<Vec<LinkState>, OpError> {
        Ok(self.kernel.observe(Scope::default())?.links)
    }

    fn addresses(&self, index: u32) -> Result<Vec<IpNetwork>, OpError> {
        self.kernel.addresses_of(index)
    }

    fn egress(&self) -> Result<Option<IfName>, OpError> {
        self.kernel.egress()
    }
}

impl Observe for Linux {
    fn observe(&self, namespaces: &[NetnsName]) -> Result<Observed, OpError> {
        self.kernel.observe(Scope { namespaces, table: true })
    }
}

impl Hold for Linux {
    fn hold(&self, protocol: Protocol, host: HostAddr, ports: PortRange, answering: bool) -> Result<Kept, HoldFailure> {
        // Binding would do for a multicast or broadcast address, too, and with ip_nonlocal_bind for any.
        if let Some(ip) = host.specific().filter(|ip| !ip.is_loopback()) {
            let addresses = self.kernel.host_addresses().map_err(|e| HoldFailure::Other { errno: e.errno })?;
            if !addresses.iter().any(|a| a.ip() == ip) {
                return Err(HoldFailure::NoSuchAddress);
            }
        }
        let (held, answering) = match answering {
            true => hold::hold_range_answering(&self.inherited, protocol, host, ports),
            false => hold::hold_range(&self.inherited, protocol, host, ports).map(|held| (held, Vec::new())),
        }
        .map_err(failure)?;
        let by_socket = held.iter().all(|h| !matches!(h, Held::Recorded));
        Ok(Kept { by_socket, sockets: Box::new(Holders(held)), answering })
    }

    fn keep(&self, kept: &[&Kept]) -> Box<dyn Send + Sync> {
        let answering = kept.iter().flat_map(|k| k.answering.iter().map(|(_, fd)| fd.as_fd()));
        let fds: Vec<_> = kept.iter().flat_map(|k| k.sockets.fds()).chain(answering).collect();
        match self.keeper.keep(&fds) {
            Ok(bundle) => Box::new(bundle),
            Err(error) => {
                tracing::warn!(%error, "a successor will have to bind the ports of this endpoint again");
                Box::new(())
            }
        }
    }

    fn holder(&self, protocol: Protocol, port: u16) -> Option<String> {
        hold::who_holds(protocol, port).map(|h| format!("process {} ({})", h.pid, h.command))
    }
}

struct Holders(Vec<Held>);

impl Sockets for Holders {
    fn fds(&self) -> Vec<BorrowedFd<'_>> {
        self.0.iter().filter_map(Held::fd).collect()
    }
}

fn failure(error: HoldError) -> HoldFailure {
    match error {
        HoldError::Taken { port, .. } => HoldFailure::Taken { port, holder: None },
        HoldError::NoSuchAddress { .. } => HoldFailure::NoSuchAddress,
        HoldError::Limit { limit } => HoldFailure::Limit { limit },
        HoldError::Other { errno, .. } => HoldFailure::Other { errno: errno as i32 },
    }
}
