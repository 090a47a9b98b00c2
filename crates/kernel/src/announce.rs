//! Telling the neighbours who has an address now.
//!
//! The kernel sends the packets itself: when a link's hardware address is set, and be it to what it is, it
//! sends a gratuitous ARP request (`arp_notify`, RFC 5227 §3) and an unsolicited neighbour advertisement
//! (`ndisc_notify`, RFC 4861 §7.2.6) for every address of the link. A packet socket would do as well, but
//! closing one waits for a grace period: 16 ms.

use crate::netns::Worker;
use crate::wire::Refused;
use netmode_model::{IfName, Mac, Place};
use std::net::IpAddr;

pub(crate) fn announce(worker: &mut Worker, at: &Place, dev: &IfName, ip: IpAddr, mac: Mac) -> Result<(), Refused> {
    let key = match ip {
        IpAddr::V4(_) => format!("net/ipv4/conf/{dev}/arp_notify"),
        IpAddr::V6(_) => format!("net/ipv6/conf/{dev}/ndisc_notify"),
    };
    let previous = worker.variables(at)?.exchange(&key, "1")?;
    let sent = worker.route(at)?.set_mac(dev, mac);
    let restored = match previous {
        Some(previous) => worker.variables(at)?.restore(&key, "1", &previous),
        None => Ok(()),
    };
    sent.and(restored)
}
