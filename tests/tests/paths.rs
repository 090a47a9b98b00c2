//! Every way to a published port and out of a container, and the source address that the server sees.
//!
//! What is found is held against the expectations below and written as `docs/paths.md`; the test fails where the file in
//! the repository says something else (`UPDATE_DOCS=1` writes it).

use netmode_tests::lab::address::*;
use netmode_tests::sandbox::repository;
use netmode_tests::{Failure, Lab, Target, all_at_once, tcp, udp};
use std::fmt::Write;

/// The columns: protocol and IP version.
const COLUMNS: [&str; 4] = ["tcp, IPv4", "udp, IPv4", "tcp, IPv6", "udp, IPv6"];

/// A way: who asks, for what.
struct Path {
    name: &'static str,
    from: &'static str,
    /// What is asked for, IPv4 and IPv6: `{web}` stands for the container's own address.
    to: [&'static str; 2],
    /// What must come of it, by column.
    expected: [&'static str; 4],
}

const SILENT: &str = "silence";
const REFUSED: &str = "refused at once";
const UNREACHABLE: &str = "no route";

/// What a lab on an IPv4-only default bridge must show. `web` publishes 8080 to its port 80.
const V4_ONLY: &[Path] = &[
    Path {
        name: "another machine → the host's address",
        from: "client",
        to: ["192.0.2.1:8080", "[2001:db8:1::1]:8080"],
        expected: [CLIENT, CLIENT, REFUSED, SILENT],
    },
    Path {
        name: "the host → its own address",
        from: "host",
        to: ["192.0.2.1:8080", "[2001:db8:1::1]:8080"],
        expected: [HOST, HOST, REFUSED, SILENT],
    },
    Path {
        name: "the host → 127.0.0.1, ::1",
        from: "host",
        to: ["127.0.0.1:8080", "[::1]:8080"],
        expected: [GATEWAY, GATEWAY, REFUSED, SILENT],
    },
    Path {
        name: "the host → the container's address",
        from: "host",
        to: ["{web}:80", ""],
        expected: [GATEWAY, GATEWAY, "", ""],
    },
    Path {
        name: "a sibling → the container's address",
        from: "sibling",
        to: ["{web}:80", ""],
        expected: ["172.17.0.3", "172.17.0.3", "", ""],
    },
    Path {
        name: "a sibling → the host's address",
        from: "sibling",
        to: ["192.0.2.1:8080", "[2001:db8:1::1]:8080"],
        expected: [GATEWAY, GATEWAY, UNREACHABLE, UNREACHABLE],
    },
    Path {
        name: "a sibling → the gateway",
        from: "sibling",
        to: ["172.17.0.1:8080", ""],
        expected: [GATEWAY, GATEWAY, "", ""],
    },
    Path {
        name: "the container itself → the host's address",
        from: "web",
        to: ["192.0.2.1:8080", "[2001:db8:1::1]:8080"],
        expected: [GATEWAY, GATEWAY, UNREACHABLE, UNREACHABLE],
    },
    Path {
        name: "outbound, to a machine of the LAN",
        from: "web",
        to: ["192.0.2.9:80", "[2001:db8:1::9]:80"],
        expected: [HOST, HOST, UNREACHABLE, UNREACHABLE],
    },
    Path {
        name: "outbound, beyond a router",
        from: "web",
        to: ["203.0.113.9:80", "[2001:db8:2::9]:80"],
        expected: [HOST, HOST, UNREACHABLE, UNREACHABLE],
    },
    Path {
        name: "another network of netmode → the host's address",
        from: "other",
        to: ["192.0.2.1:8080", "[2001:db8:1::1]:8080"],
        expected: ["10.8.0.2", "10.8.0.2", REFUSED, SILENT],
    },
    Path {
        name: "another network of netmode → the container's address",
        from: "other",
        to: ["{web}:80", ""],
        expected: [SILENT, SILENT, "", ""],
    },
];

/// The same on a dual-stack default bridge.
const DUAL_STACK: &[Path] = &[
    Path {
        name: "another machine → the host's address",
        from: "client",
        to: ["192.0.2.1:8080", "[2001:db8:1::1]:8080"],
        expected: [CLIENT, CLIENT, CLIENT6, CLIENT6],
    },
    Path {
        name: "the host → its own address",
        from: "host",
        to: ["192.0.2.1:8080", "[2001:db8:1::1]:8080"],
        expected: [HOST, HOST, HOST6, HOST6],
    },
    Path {
        name: "the host → 127.0.0.1, ::1",
        from: "host",
        to: ["127.0.0.1:8080", "[::1]:8080"],
        expected: [GATEWAY, GATEWAY, GATEWAY6, GATEWAY6],
    },
    Path {
        name: "the host → the container's address",
        from: "host",
        to: ["{web}:80", "[{web6}]:80"],
        expected: [GATEWAY, GATEWAY, GATEWAY6, GATEWAY6],
    },
    Path {
        name: "a sibling → the container's address",
        from: "sibling",
        to: ["{web}:80", "[{web6}]:80"],
        expected: ["172.17.0.3", "172.17.0.3", "fd00:17::3", "fd00:17::3"],
    },
    Path {
        name: "a sibling → the host's address",
        from: "sibling",
        to: ["192.0.2.1:8080", "[2001:db8:1::1]:8080"],
        expected: [GATEWAY, GATEWAY, GATEWAY6, GATEWAY6],
    },
    Path {
        name: "a sibling → the gateway",
        from: "sibling",
        to: ["172.17.0.1:8080", "[fd00:17::1]:8080"],
        expected: [GATEWAY, GATEWAY, GATEWAY6, GATEWAY6],
    },
    Path {
        name: "the container itself → the host's address",
        from: "web",
        to: ["192.0.2.1:8080", "[2001:db8:1::1]:8080"],
        expected: [GATEWAY, GATEWAY, GATEWAY6, GATEWAY6],
    },
    Path {
        name: "outbound, to a machine of the LAN",
        from: "web",
        to: ["192.0.2.9:80", "[2001:db8:1::9]:80"],
        expected: [HOST, HOST, HOST6, HOST6],
    },
    Path {
        name: "outbound, beyond a router",
        from: "web",
        to: ["203.0.113.9:80", "[2001:db8:2::9]:80"],
        expected: [HOST, HOST, HOST6, HOST6],
    },
    Path {
        name: "another network of netmode → the host's address",
        from: "other",
        to: ["192.0.2.1:8080", "[2001:db8:1::1]:8080"],
        expected: ["10.8.0.2", "10.8.0.2", "fd08::2", "fd08::2"],
    },
    Path {
        name: "another network of netmode → the container's address",
        from: "other",
        to: ["{web}:80", "[{web6}]:80"],
        expected: [SILENT, SILENT, SILENT, SILENT],
    },
];

/// The network that `web` and `sibling` are on.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Net {
    /// The default bridge, IPv4 alone.
    Four,
    /// The default bridge with IPv6.
    Dual,
    /// A user-defined network with IPv6.
    Own,
}

impl Net {
    const ALL: [Net; 3] = [Net::Four, Net::Dual, Net::Own];

    fn paths(self) -> &'static [Path] {
        if self == Net::Four { V4_ONLY } else { DUAL_STACK }
    }

    fn title(self) -> &'static str {
        match self {
            Net::Four => "An IPv4-only bridge (the default)",
            Net::Dual => "A dual-stack bridge (`[bridge] ipv6 = \"fd00:17::/64\"`)",
            Net::Own => "A network of one's own (`network create --subnet 10.9.0.0/24 --subnet fd09::/64`)",
        }
    }

    /// The addresses of the default bridge are those of the network of one's own.
    fn own(self, text: &str) -> String {
        if self == Net::Own { text.replace("172.17.0.", "10.9.0.").replace("fd00:17::", "fd09::") } else { text.into() }
    }
}

/// A lab with `web` (publishes 8080/tcp and 8080/udp) and `sibling`, `other` on another network, and servers on the LAN
/// and beyond.
fn lab(net: Net) -> Lab {
    let lab = if net == Net::Dual { Lab::dual_stack() } else { Lab::start() };
    for (name, four, six) in [("app", "10.9.0.0/24", "fd09::/64"), ("else", "10.8.0.0/24", "fd08::/64")] {
        lab.netmode(&["network", "create", "--subnet", four, "--subnet", six, name]).success();
    }
    let network = if net == Net::Own { "app" } else { "bridge" };
    for place in ["client", "far"] {
        lab.at(place).serve(place, &["tcp/80", "udp/80"]);
    }
    lab.serve("web", &["--network", network, "-p", "8080:80", "-p", "8080:80/udp"], &["tcp/80", "udp/80"]);
    lab.serve("sibling", &["--network", network], &["tcp/80"]);
    lab.serve("other", &["--network", "else"], &["tcp/80"]);
    lab
}

/// Asks for one cell: the address that the server saw, or how it failed; empty where there is nothing to ask for.
fn ask(lab: &Lab, net: Net, path: &Path, column: usize, own: &[String; 2]) -> String {
    let to = net.own(path.to[column / 2]).replace("{web}", &own[0]).replace("{web6}", &own[1]);
    if to.is_empty() {
        return String::new();
    }
    let target: Target = if column.is_multiple_of(2) { tcp(&to) } else { udp(&to) };
    let at = if ["web", "sibling", "other"].contains(&path.from) { lab.inside(path.from) } else { lab.at(path.from) };
    match at.who(target) {
        Ok(seen) => seen.peer.to_string(),
        Err(Failure::Refused) => REFUSED.into(),
        Err(Failure::Timeout) => SILENT.into(),
        Err(Failure::Unreachable) => UNREACHABLE.into(),
        Err(other) => format!("{other:?}"),
    }
}

/// Asks for every cell of a table; gives the rows as found, and what is not as expected.
fn table(net: Net) -> (Vec<Vec<String>>, Vec<String>) {
    let (lab, paths) = (lab(net), net.paths());
    let own = [lab.address("web"), if net == Net::Four { String::new() } else { lab.address6("web") }];
    let cells: Vec<(usize, usize)> = (0..paths.len()).flat_map(|row| (0..4).map(move |column| (row, column))).collect();
    // A few at a time: silence is measured, and a crowded machine is silent now and then.
    let found: Vec<String> = cells
        .chunks(8)
        .flat_map(|some| all_at_once(some, |(row, column)| ask(&lab, net, &paths[*row], *column, &own)))
        .collect();
    let expected = |row: usize, column: usize| net.own(paths[row].expected[column]);
    let wrong = cells.iter().zip(&found).filter(|((row, column), found)| expected(*row, *column) != **found);
    let say = |((row, column), found): (&(usize, usize), &String)| {
        let wanted = expected(*row, *column);
        format!("{}: {}, {}: expected {wanted}, found {found}", net.title(), paths[*row].name, COLUMNS[*column])
    };
    (found.chunks(4).map(<[String]>::to_vec).collect(), wrong.map(say).collect())
}

fn markdown(title: &str, paths: &[Path], rows: &[Vec<String>]) -> String {
    let mut text = format!("\n## {title}\n\n| way | {} |\n|---|---|---|---|---|\n", COLUMNS.join(" | "));
    for (path, row) in paths.iter().zip(rows) {
        let cells: Vec<&str> = row.iter().map(|cell| if cell.is_empty() { "–" } else { cell }).collect();
        let _ = writeln!(text, "| {} | {} |", path.name, cells.join(" | "));
    }
    text
}

const HEAD: &str = "# Paths

Written by `tests/tests/paths.rs`, which asks with real sockets; do not edit. In the cells: the **source address that
the server saw**, or what the one who asks gets. `web` runs in bridge mode with `-p 8080:80 -p 8080:80/udp` on a host
with the addresses 192.0.2.1 and 2001:db8:1::1; a machine of the LAN is 192.0.2.9 and 2001:db8:1::9; the bridge's
gateway is 172.17.0.1 and fd00:17::1, that of the network of one's own 10.9.0.1 and fd09::1; `sibling` is another
container on the same bridge, and the other network is 10.8.0.0/24 and fd08::/64. Container addresses are closed
to other machines whatever way they try (`tests/tests/closed.rs`).
";

#[test]
fn every_path_and_the_source_that_the_server_sees() {
    let tables = all_at_once(&Net::ALL, |net| table(*net));
    let wrong: Vec<&str> = tables.iter().flat_map(|(_, wrong)| wrong).map(String::as_str).collect();
    assert!(wrong.is_empty(), "{} cells:\n{}", wrong.len(), wrong.join("\n"));

    let mut text = HEAD.to_owned();
    for (net, (rows, _)) in Net::ALL.into_iter().zip(&tables) {
        text += &markdown(net.title(), net.paths(), rows);
    }
    let file = repository().join("docs/paths.md");
    if std::env::var_os("UPDATE_DOCS").is_some() {
        std::fs::write(&file, &text).expect("docs/paths.md can be written");
    }
    let kept = std::fs::read_to_string(&file).unwrap_or_default();
    assert_eq!(kept, text, "docs/paths.md is not what the test found; write it with UPDATE_DOCS=1");
}

#[test]
fn no_v6_binding_is_shown_where_nothing_answers() {
    let lab = Lab::start();
    lab.serve("web", &["-p", "8080:80"], &["tcp/80"]);
    let view = lab.inspect("web");
    let bindings = view["containers"][0]["networkBindings"].as_array().expect("bindings");
    assert_eq!(bindings.len(), 1, "{view}");
    assert_eq!(bindings[0]["bindIP"], "0.0.0.0");
    assert!(!lab.netmode(&["port", "web"]).success().stdout.contains("::"));
    assert!(!lab.json(&["port", "ls"]).to_string().contains("::"));

    // A dual-stack name must not hang: the first try is answered at once, the second reaches the container.
    assert_eq!(lab.at("host").who(tcp("[::1]:8080")).err(), Some(Failure::Refused));
    let page = lab.run(&["curl", "-sS", "--max-time", "5", "http://localhost:8080/"]).success();
    assert!(page.stdout.contains("\"port\":80"), "{page:?}");
}

#[test]
fn a_dual_stack_port_shows_both_bindings_and_one_number() {
    let lab = Lab::dual_stack();
    lab.serve("web", &["-p", "80"], &["tcp/80"]);
    let view = lab.inspect("web");
    let bindings = view["containers"][0]["networkBindings"].as_array().expect("bindings");
    let shown: Vec<_> = bindings.iter().map(|b| b["bindIP"].as_str().unwrap_or("")).collect();
    assert_eq!(shown, ["0.0.0.0", "::"]);
    assert_eq!(bindings[0]["hostPort"], bindings[1]["hostPort"], "one number for both families");
    let port = lab.host_port("web", "tcp");
    assert_eq!(
        lab.netmode(&["port", "web"]).success().stdout,
        format!("80/tcp -> 0.0.0.0:{port}\n"),
        "v4 and v6 merged"
    );
    let seen = lab.at("client").seen_as(tcp(format!("[{HOST6}]:{port}")));
    assert_eq!(seen.as_deref(), Ok(CLIENT6));
}
