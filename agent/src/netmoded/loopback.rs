//! What listens on the host's loopback: host mode puts it within a container's reach.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// `TCP_LISTEN`, include/net/tcp_states.h.
const LISTEN: &str = "0A";

/// TCP services that listen on a loopback address, such as `127.0.0.1:6379`, lowest first.
pub fn services() -> Vec<String> {
    // Not /proc/net, which is the main thread's view.
    let read = |table: &str| std::fs::read_to_string(format!("/proc/thread-self/net/{table}")).unwrap_or_default();
    let mut found: Vec<_> = [read("tcp"), read("tcp6")].iter().flat_map(|t| t.lines().filter_map(listener)).collect();
    found.sort();
    found.dedup();
    found.into_iter().map(|(ip, port)| std::net::SocketAddr::new(ip, port).to_string()).collect()
}

/// `sl local_address rem_address st …`; the address in hex, each 32-bit word in the machine's byte order.
fn listener(line: &str) -> Option<(IpAddr, u16)> {
    let mut columns = line.split_whitespace().skip(1);
    let (ip, port) = columns.next()?.split_once(':')?;
    if columns.nth(1)? != LISTEN {
        return None;
    }
    let words = ip.as_bytes().chunks(8).map(|w| u32::from_str_radix(std::str::from_utf8(w).ok()?, 16).ok());
    let bytes: Vec<u8> = words.collect::<Option<Vec<u32>>>()?.into_iter().flat_map(u32::to_ne_bytes).collect();
    let ip = match bytes.len() {
        4 => IpAddr::V4(Ipv4Addr::from(<[u8; 4]>::try_from(bytes).ok()?)),
        _ => IpAddr::V6(Ipv6Addr::from(<[u8; 16]>::try_from(bytes).ok()?)),
    };
    ip.is_loopback().then_some((ip, u16::from_str_radix(port, 16).ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_listeners_on_loopback_count() {
        let line = |local: &str, state: &str| listener(&format!("   0: {local} 00000000:0000 {state} 00000000"));
        let here = u32::from_ne_bytes([127, 0, 0, 1]);
        assert_eq!(line(&format!("{here:08X}:18EB"), "0A"), Some((Ipv4Addr::LOCALHOST.into(), 6379)));
        assert_eq!(line(&format!("{here:08X}:18EB"), "01"), None);
        assert_eq!(line("00000000:18EB", "0A"), None);
        assert_eq!(listener("  sl  local_address rem_address   st"), None);
    }
}
