//! Who holds a port that we could not have. Looked for only after it was refused.

use netmode_model::Protocol;
use std::collections::BTreeSet;
use std::fs;

/// A process with a socket on the port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Holder {
    /// Its number, in the agent's process namespace.
    pub pid: u32,
    /// Its command's name (`/proc/PID/comm`).
    pub command: String,
}

/// Finds the process that has a socket on a port of the calling thread's namespace. `None` if there is none to
/// be seen: sockets that are bound without listening are in no list of the kernel, nor are those of processes
/// in other namespaces.
pub fn who_holds(protocol: Protocol, port: u16) -> Option<Holder> {
    let inodes = inodes(protocol, port);
    if inodes.is_empty() {
        return None;
    }
    let processes = fs::read_dir("/proc").ok()?.flatten();
    processes.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).find_map(|pid| has_one(pid, &inodes))
}

/// Inodes of the sockets on a port. `/proc/net` is a link to the process' main thread's view, so the thread's own is read.
fn inodes(protocol: Protocol, port: u16) -> BTreeSet<u64> {
    let tables: &[&str] = match protocol {
        Protocol::Tcp => &["tcp", "tcp6"],
        Protocol::Udp => &["udp", "udp6"],
        // proc/net/sctp/eps has other columns.
        Protocol::Sctp => return sctp_inodes(port),
    };
    let text = tables.iter().filter_map(|t| fs::read_to_string(format!("/proc/thread-self/net/{t}")).ok());
    text.flat_map(|text| text.lines().skip(1).filter_map(|line| inode(line, port)).collect::<Vec<_>>()).collect()
}

/// `sl local_address rem_address st tx:rx tr:tm retrnsmt uid timeout inode …`, addresses as `HEX:PORT`.
fn inode(line: &str, port: u16) -> Option<u64> {
    let mut columns = line.split_whitespace();
    let (_, local) = columns.nth(1)?.rsplit_once(':')?;
    let inode = columns.nth(7)?.parse().ok()?;
    (u16::from_str_radix(local, 16) == Ok(port) && inode != 0).then_some(inode)
}

/// `ENDPT SOCK STY SST HBKT LPORT UID INODE LADDRS`.
fn sctp_inodes(port: u16) -> BTreeSet<u64> {
    let text = fs::read_to_string("/proc/thread-self/net/sctp/eps").unwrap_or_default();
    let inode = |line: &str| {
        let columns: Vec<&str> = line.split_whitespace().collect();
        (columns.get(5)?.parse() == Ok(port)).then(|| columns.get(7)?.parse().ok())?
    };
    text.lines().skip(1).filter_map(inode).collect()
}

fn has_one(pid: u32, inodes: &BTreeSet<u64>) -> Option<Holder> {
    let links = fs::read_dir(format!("/proc/{pid}/fd")).ok()?.flatten().filter_map(|fd| fs::read_link(fd.path()).ok());
    let sockets = links.filter_map(|to| to.to_str()?.strip_prefix("socket:[")?.strip_suffix(']')?.parse::<u64>().ok());
    let found = sockets.into_iter().any(|inode| inodes.contains(&inode));
    let command = || fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default().trim_end().to_owned();
    found.then(|| Holder { pid, command: command() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_the_table_is_read_by_its_port() {
        let line = "  0: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000  1000  0 4242 1 0 100";
        assert_eq!(inode(line, 8080), Some(4242));
        assert_eq!(inode(line, 8081), None);
        assert_eq!(inode("", 8080), None);
    }
}
