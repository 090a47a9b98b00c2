//! Records as text.

use super::window::{Action, Entry};
use netmode_model::flow::Tuple;
use netmode_model::flowlog::{Field, Format};
use std::collections::BTreeMap;
use std::fmt::{self, Write};

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

/// The records of an interface in a format: what is the same in all of them is looked up once.
#[derive(Debug, Clone)]
pub struct Template(Vec<Part>);

#[derive(Debug, Clone)]
enum Part {
    Fixed(String),
    Of(Value),
}

/// What differs from record to record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Value {
    From,
    To,
    FromPort,
    ToPort,
    Protocol,
    Packets,
    Bytes,
    Start,
    End,
    Action,
    Status,
    Flags,
    Type,
    Direction,
}

impl Value {
    fn of(name: &str) -> Option<Self> {
        Some(match name {
            // No translation lies between the packet and the interface.
            "srcaddr" | "pkt-srcaddr" => Self::From,
            "dstaddr" | "pkt-dstaddr" => Self::To,
            "srcport" => Self::FromPort,
            "dstport" => Self::ToPort,
            "protocol" => Self::Protocol,
            "packets" => Self::Packets,
            "bytes" => Self::Bytes,
            "start" => Self::Start,
            "end" => Self::End,
            "action" => Self::Action,
            "log-status" => Self::Status,
            "tcp-flags" => Self::Flags,
            "type" => Self::Type,
            "flow-direction" => Self::Direction,
            _ => return None,
        })
    }

    fn write(self, out: &mut String, between: (u64, u64), status: Status<'_>) -> fmt::Result {
        match (self, status) {
            (_, Status::Data(entry)) => self.write_of(out, entry),
            (Self::Start, _) => write!(out, "{}", between.0),
            (Self::End, _) => write!(out, "{}", between.1),
            (Self::Status, Status::NoData) => out.write_str("NODATA"),
            (Self::Status, Status::SkipData) => out.write_str("SKIPDATA"),
            _ => out.write_str("-"),
        }
    }

    fn write_of(self, out: &mut String, entry: &Entry) -> fmt::Result {
        let Tuple { protocol, from, to } = &entry.tuple;
        match self {
            Self::From => write!(out, "{}", from.ip),
            Self::To => write!(out, "{}", to.ip),
            Self::FromPort => write!(out, "{}", from.port),
            Self::ToPort => write!(out, "{}", to.port),
            Self::Protocol => write!(out, "{protocol}"),
            Self::Packets => write!(out, "{}", entry.carried.packets),
            Self::Bytes => write!(out, "{}", entry.carried.bytes),
            Self::Start => write!(out, "{}", entry.start),
            Self::End => write!(out, "{}", entry.end),
            Self::Action => out.write_str(if entry.action == Action::Accept { "ACCEPT" } else { "REJECT" }),
            Self::Status => out.write_str("OK"),
            Self::Flags => write!(out, "{}", entry.tcp_flags),
            Self::Type => out.write_str(if from.ip.is_ipv4() { "IPv4" } else { "IPv6" }),
            Self::Direction => out.write_str(if entry.inward { "ingress" } else { "egress" }),
        }
    }
}

impl Template {
    /// For an interface.
    pub fn new(format: &Format, about: &About) -> Self {
        let part = |field: &Field| match (field.name, Value::of(field.name)) {
            ("version", _) => Part::Fixed(format.version().to_string()),
            (_, Some(value)) => Part::Of(value),
            (name, None) => {
                let known = about.values.get(name).filter(|text| !text.is_empty());
                Part::Fixed(known.cloned().unwrap_or_else(|| "-".into()))
            }
        };
        Self(format.fields().iter().map(part).collect())
    }

    /// Appends a record, with its end of line. `between`: the window, in seconds since 1970.
    pub fn write(&self, out: &mut String, between: (u64, u64), status: Status<'_>) {
        for (n, part) in self.0.iter().enumerate() {
            if n > 0 {
                out.push(' ');
            }
            match part {
                Part::Fixed(text) => out.push_str(text),
                // Writing to a text does not fail.
                Part::Of(value) => _ = value.write(out, between, status),
            }
        }
        out.push('\n');
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use netmode_model::flow::{Carried, End};

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
        let line = |format: &Format, about: &About, window, status| {
            let mut out = String::new();
            Template::new(format, about).write(&mut out, window, status);
            assert_eq!(out.pop(), Some('\n'));
            out
        };
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
