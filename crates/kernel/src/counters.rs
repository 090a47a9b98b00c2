//! What links have carried.

use crate::kernel::Kernel;
use crate::netns::Worker;
use crate::wire::Refused;
use netmode_model::op::OpError;
use netmode_model::state::LinkCounters;
use netmode_model::{IfName, NetnsName, Place};
use nix::errno::Errno;
use std::collections::HashMap;

/// One line for each link, without the walk over all peers that a dump of veth pairs costs (proc_net(5)).
const FILE: &str = "/proc/thread-self/net/dev";

/// What the links of a place have carried, by name.
pub type OfLinks = HashMap<IfName, LinkCounters>;

impl Kernel {
    /// What the links of a place have carried. Those of the host are read by the caller's own thread: a thousand take
    /// milliseconds, in which whoever attaches would wait for a thread that enters namespaces.
    ///
    /// # Errors
    /// ENOENT without such a namespace.
    pub fn counters(&self, at: &Place) -> Result<OfLinks, OpError> {
        let read = match at {
            Place::Host => here(),
            Place::Netns(_) => {
                let at = at.clone();
                self.pool.run(move |worker| read(worker, &at)).and_then(|read| read)
            }
        };
        read.map_err(|refused| refused.of(&FILE))
    }

    /// The same of many namespaces; those that are no more are left out.
    pub fn counters_of(&self, namespaces: &[NetnsName]) -> HashMap<NetnsName, OfLinks> {
        let one = |worker: &mut Worker, name: &NetnsName| {
            Some((name.clone(), read(worker, &Place::Netns(name.clone())).ok()?))
        };
        self.pool.visit(namespaces, one).into_iter().collect()
    }
}

fn read(worker: &mut Worker, at: &Place) -> Result<OfLinks, Refused> {
    worker.stand(at)?;
    here()
}

/// What the links have carried of the namespace that the thread stands in.
fn here() -> Result<OfLinks, Refused> {
    let text = std::fs::read_to_string(FILE);
    let text = text.map_err(|e| Refused::from(Errno::from_raw(e.raw_os_error().unwrap_or(libc::EIO))))?;
    Ok(text.lines().filter_map(line).collect())
}

/// `eth0: BYTES PACKETS ERRORS DROPPED fifo frame compressed multicast BYTES PACKETS ERRORS DROPPED …`: received, then sent.
fn line(text: &str) -> Option<(IfName, LinkCounters)> {
    let (name, numbers) = text.split_once(':')?;
    let n: Vec<u64> = numbers.split_whitespace().map_while(|n| n.parse().ok()).collect();
    let [rx_bytes, rx_packets, rx_errors, rx_dropped] = n.get(..4)?.try_into().ok()?;
    let [tx_bytes, tx_packets, tx_errors, tx_dropped] = n.get(8..12)?.try_into().ok()?;
    let counters =
        LinkCounters { rx_bytes, rx_packets, rx_errors, rx_dropped, tx_bytes, tx_packets, tx_errors, tx_dropped };
    Some((name.trim().parse().ok()?, counters))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_received_then_sent() {
        let (name, counters) = line("  eth0: 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16").unwrap();
        assert_eq!((name.as_str(), counters.rx_dropped, counters.tx_bytes, counters.tx_dropped), ("eth0", 4, 9, 12));
        assert_eq!(line("Inter-|   Receive                                                |  Transmit"), None);
    }
}
