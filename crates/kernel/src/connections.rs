//! How many connections are tracked, and whose they are.

use crate::conntrack;
use crate::kernel::Kernel;
use crate::wire::{Netlink, Refused};
use netlink_sys::protocols::NETLINK_NETFILTER;
use netmode_model::Place;
use netmode_model::op::OpError;
use std::collections::{HashMap, HashSet};
use std::net::IpAddr;

/// What the connection table of a namespace holds.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Connections {
    /// Entries.
    pub entries: u32,
    /// Most entries (`net.netfilter.nf_conntrack_max`).
    pub limit: u32,
    /// How many of them one of the addresses asked for began or answers, behind every translation. Addresses without one
    /// are left out.
    pub by_end: HashMap<IpAddr, u64>,
}

impl Kernel {
    /// What the connection table of a place holds, and how much of it these addresses have.
    ///
    /// An empty table is not read: reading visits every bucket, which takes 11 ms where there are 262,144 of them. The
    /// host's is read by the caller's own thread, so nobody waits for it.
    ///
    /// # Errors
    /// ENOENT without such a namespace; whatever the kernel says to the dump.
    pub fn connections(&self, at: &Place, ends: HashSet<IpAddr>) -> Result<Connections, OpError> {
        let read = match at {
            Place::Host => Netlink::open(NETLINK_NETFILTER)
                .map_err(Refused::from)
                .and_then(|mut netlink| read(&mut netlink, &ends)),
            Place::Netns(_) => {
                let at = at.clone();
                let read = self.pool.run(move |worker| read(&mut worker.netfilter(&at)?, &ends));
                read.and_then(|read| read)
            }
        };
        read.map_err(|refused| refused.of(&"conntrack -L"))
    }
}

fn read(netlink: &mut Netlink, ends: &HashSet<IpAddr>) -> Result<Connections, Refused> {
    let (entries, limit) = conntrack::statistics(netlink)?;
    let mut by_end = HashMap::new();
    if entries > 0 && !ends.is_empty() {
        for [begun, answers] in conntrack::parties(netlink, ends)? {
            for ip in begun.into_iter().chain(answers.filter(|ip| Some(*ip) != begun)) {
                *by_end.entry(ip).or_default() += 1;
            }
        }
    }
    Ok(Connections { entries, limit, by_end })
}
