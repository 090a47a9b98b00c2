//! Records as text.

use super::window::{Action, Entry};
use netmode_model::flowlog::Format;
use std::collections::BTreeMap;

/// What is said of an interface in every record.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct About {
    /// Values by the names of their fields: `interface-id`, `subnet-id`, `ecs-task-id` …
    pub values: BTreeMap<&'static str, String>,
}

/// What became of a window.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Status<'e> {
    /// This was carried.
    Data(&'e Entry),
    /// Nothing.
    NoData,
    /// Something was not seen.
    SkipData,
}

/// A record. `between`: the window, in seconds since 1970.
pub fn line(format: &Format, about: &About, between: (u64, u64), status: Status<'_>) -> String {
    let value = |name: &str| match status {
        Status::Data(entry) => of_entry(name, entry),
        _ => of_window(name, between, status),
    };
    let words = format.fields().iter().map(|field| {
        let fixed = (field.name == "version").then(|| format.version().to_string());
        let known = fixed.or_else(|| about.values.get(field.name).cloned());
        known.or_else(|| value(field.name)).filter(|text| !text.is_empty()).unwrap_or_else(|| "-".into())
    });
    words.collect::<Vec<_>>().join(" ")
}

fn of_window(name: &str, between: (u64, u64), status: Status<'_>) -> Option<String> {
    Some(match name {
        "start" => between.0.to_string(),
        "end" => between.1.to_string(),
        "log-status" if status == Status::NoData => "NODATA".into(),
        "log-status" => "SKIPDATA".into(),
        _ => return None,
    })
}

fn of_entry(name: &str, entry: &Entry) -> Option<String> {
    let tuple = &entry.tuple;
    Some(match name {
        // No translation lies between the packet and the interface.
        "srcaddr" | "pkt-srcaddr" => tuple.from.ip.to_string(),
        "dstaddr" | "pkt-dstaddr" => tuple.to.ip.to_string(),
        "srcport" => tuple.from.port.to_string(),
        "dstport" => tuple.to.port.to_string(),
        "protocol" => tuple.protocol.to_string(),
        "packets" => entry.carried.packets.to_string(),
        "bytes" => entry.carried.bytes.to_string(),
        "start" => entry.start.to_string(),
        "end" => entry.end.to_string(),
        "action" if entry.action == Action::Accept => "ACCEPT".into(),
        "action" => "REJECT".into(),
        "log-status" => "OK".into(),
        "tcp-flags" => entry.tcp_flags.to_string(),
        "type" => if tuple.from.ip.is_ipv4() { "IPv4" } else { "IPv6" }.into(),
        "flow-direction" => if entry.inward { "ingress" } else { "egress" }.into(),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use netmode_model::flow::{Carried, End, Tuple};

    #[test]
    fn a_line_of_each_kind() {
        let end = |ip: &str, port| End { ip: ip.parse().unwrap(), port };
        let entry = Entry {
            tuple: Tuple { protocol: 6, from: end("10.0.2.99", 52044), to: end("10.0.2.61", 80) },
            action: Action::Accept,
            carried: Carried { packets: 12, bytes: 1840 },
            start: 1_795_169_460,
            end: 1_795_169_518,
            tcp_flags: 3,
            inward: true,
        };
        let about = About {
            values: [("account-id", "123456789012".into()), ("interface-id", "eni-0a1b2c3d4e5f60718".into())].into(),
        };
        let window = (1_795_169_460, 1_795_169_520);
        let default = Format::default();
        assert_eq!(
            line(&default, &about, window, Status::Data(&entry)),
            "2 123456789012 eni-0a1b2c3d4e5f60718 10.0.2.99 10.0.2.61 52044 80 6 12 1840 1795169460 1795169518 ACCEPT OK"
        );
        assert_eq!(
            line(&default, &about, window, Status::NoData),
            "2 123456789012 eni-0a1b2c3d4e5f60718 - - - - - - - 1795169460 1795169520 - NODATA"
        );
        let custom: Format =
            "${version} ${tcp-flags} ${type} ${flow-direction} ${ecs-task-id} ${log-status}".parse().unwrap();
        assert_eq!(line(&custom, &about, window, Status::Data(&entry)), "7 3 IPv4 ingress - OK");
        assert_eq!(line(&custom, &about, window, Status::SkipData), "7 - - - - SKIPDATA");
    }
}
