//! What listens for the host alone, on its loopback and on abstract unix sockets: host mode puts it within a
//! container's reach (CVE-2020-15257).

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// `TCP_LISTEN`, include/net/tcp_states.h.
const LISTEN: &str = "0A";

/// `__SO_ACCEPTCON`, include/uapi/linux/net.h: the socket listens.
const ACCEPTS: u32 = 1 << 16;

/// `SOCK_DGRAM`, include/linux/net.h: needs not listen to be sent to.
const DATAGRAM: u32 = 2;

/// Characters of an abstract name that are shown.
const SHOWN: usize = 64;

/// TCP services that listen on a loopback address, such as `127.0.0.1:6379`, lowest first, then abstract unix sockets,
/// such as `@/tmp/.X11-unix/X0`. Reading these tables takes some 2 ms each: the kernel walks all of its hash buckets.
pub fn listening() -> Vec<String> {
    // Not /proc/net, which is the main thread's view; names of sockets need not be UTF-8.
    let read = |table: &str| {
        let bytes = std::fs::read(format!("/proc/thread-self/net/{table}")).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    };
    let tcp: BTreeSet<_> = [read("tcp"), read("tcp6")].iter().flat_map(|t| t.lines().filter_map(listener)).collect();
    let tcp = tcp.into_iter().map(|(ip, port)| SocketAddr::new(ip, port).to_string());
    let unix: BTreeSet<String> = read("unix").lines().filter_map(abstract_name).collect();
    tcp.chain(unix).collect()
}

/// `Num RefCount Protocol Flags Type St Inode Path`; an abstract name begins with `@`.
fn abstract_name(line: &str) -> Option<String> {
    let (_, name) = line.split_once(" @")?;
    let mut columns = line.split_whitespace().skip(3).map(|hex| u32::from_str_radix(hex, 16).ok());
    let (flags, kind) = (columns.next()??, columns.next()??);
    // Somebody else chose the name, and it is shown on a terminal.
    let shown = || name.chars().take(SHOWN).flat_map(char::escape_debug).collect::<String>();
    (flags & ACCEPTS != 0 || kind == DATAGRAM).then(|| format!("@{}", shown()))
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

    #[test]
    fn only_abstract_sockets_that_take_messages_count() {
        let line = |flags: &str, kind: &str, path: &str| {
            abstract_name(&format!("0000000000000000: 00000002 00000000 {flags} {kind} 01 4711 {path}"))
        };
        assert_eq!(line("00010000", "0001", "@/tmp/.X11-unix/X0").as_deref(), Some("@/tmp/.X11-unix/X0"));
        assert_eq!(line("00000000", "0002", "@log").as_deref(), Some("@log"));
        assert_eq!(line("00000000", "0001", "@client"), None);
        assert_eq!(line("00010000", "0001", "/run/x"), None);
        assert_eq!(line("00010000", "0001", "@a\u{1b}[2Jb").as_deref(), Some("@a\\u{1b}[2Jb"));
        assert_eq!(abstract_name("Num       RefCount Protocol Flags    Type St Inode Path"), None);
    }
}
