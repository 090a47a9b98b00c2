//! Rules that a person writes, by iptables or nft.

use super::*;

#[test]
fn a_policy_that_drops_and_rules_of_the_user() {
    let own = format!("iptables -A FORWARD -d {FAR} -p tcp --dport 9001 -j DROP");
    let lab = lab(&format!("{DROP}; {own}; iptables -A FORWARD -j REJECT"));
    assert_works(&lab, "at the start");
    assert_tools(&lab, "at the start", "FORWARD", "FORWARD");
    assert_eq!(doctor(&lab, "firewall ip filter FORWARD").0, "ok");
    assert_eq!(doctor(&lab, "firewall ip6 filter FORWARD").0, "ok");
    let user = "-d 203.0.113.9/32 -p tcp -m tcp --dport 9001 -j DROP";
    let end = "-j REJECT --reject-with icmp-port-unreachable";
    assert_eq!(chain(&lab, "iptables", "FORWARD"), [user, "from", "to", end]);
    assert!(lab.inside("web").who(tcp(format!("{FAR}:9001"))).is_err(), "what the user blocks is blocked");

    // Whatever the number of containers.
    for n in 0..4 {
        lab.task(&format!("c{n}"), &["-p", "80"], &["sleep", "1000"]);
    }
    assert_eq!((lab.sh(OURS).trim(), lab.sh(OURS6).trim()), ("2", "2"));

    // The user's next rule is before ours as well, wherever he puts it.
    lab.sh(&format!("iptables -D FORWARD -j REJECT; iptables -A FORWARD -d {FAR} -p tcp --dport 9002 -j DROP"));
    let next = "-d 203.0.113.9/32 -p tcp -m tcp --dport 9002 -j DROP";
    eventually("ours move behind it", 3.0, || chain(&lab, "iptables", "FORWARD") == [user, next, "from", "to"]);
    assert!(lab.inside("web").who(tcp(format!("{FAR}:9002"))).is_err());
    assert_works(&lab, "with more rules of the user");

    lab.sh("iptables -F FORWARD; ip6tables -F");
    until(&lab, "back after a flush", OURS, "2");
    until(&lab, "back after a flush", OURS6, "2");
    assert_works(&lab, "after a flush");
    // A stranger's own rule of that kind is his.
    lab.sh(&format!("iptables -P FORWARD ACCEPT; iptables -A FORWARD {}", FROM.replace("default", "other")));
    until(&lab, "gone when nothing drops any more", OURS, "0");
    assert_eq!(lab.sh("iptables -S FORWARD | grep -c netmode/other").trim(), "1");
}

#[test]
fn a_table_of_nft() {
    let site = "table inet site {
        set blocked { type ipv4_addr; elements = { 198.51.100.1 } }
        chain forward {
            type filter hook forward priority filter; policy drop;
            ct state invalid drop
            ip daddr @blocked drop
            tcp dport 9001 drop
        }
        chain input { type filter hook input priority filter; policy accept; }
    }";
    let options = Lab::with()
        .ipv6()
        .first(&format!("cat >/etc/nftables.conf <<'EOF'\nflush ruleset\n{site}\nEOF\nnft -f /etc/nftables.conf"));
    let lab = populate(options.config("[firewall]\nowner = false"));
    assert_works(&lab, "at the start");
    let rules = || lab.sh("nft -s list chain inet site forward");
    let listed = rules();
    for rule in [
        "iifgroup 28269 counter accept comment \"netmode/default/from\"",
        "oifgroup 28269 ct status expected,seen-reply,snat,dnat counter accept comment \"netmode/default/to\"",
    ] {
        assert!(listed.contains(rule), "{listed}");
    }
    assert!(lab.inside("web").who(tcp(format!("{FAR}:9001"))).is_err(), "what the user blocks is blocked");
    // What nft lists, nft reads.
    lab.sh("(echo 'delete table inet site'; nft -s list table inet site) >/tmp/site; nft -f /tmp/site");
    assert_eq!(rules(), listed);
    // The service is restarted: everything of everybody is flushed.
    lab.sh("nft -f /etc/nftables.conf");
    eventually("back after a reload", 3.0, || rules() == listed);
    eventually("the table as well", 3.0, || silent(&lab, &promised()).is_empty());
    assert_works(&lab, "after a reload");
    assert_eq!(doctor(&lab, "firewall inet site forward").0, "ok");
    lab.sh("nft add rule inet site forward tcp dport 9002 drop");
    eventually("behind the user's next rule", 3.0, || {
        rules()
            .lines()
            .rev()
            .filter(|l| l.contains("drop") || l.contains("group"))
            .nth(2)
            .is_some_and(|l| l.contains("9002"))
    });
}

/// An end that is a rule, not a policy; and a chain that is led to from elsewhere as well.
#[test]
fn a_chain_that_rejects_at_its_end() {
    let site = "nft -f - <<'EOF'
        table ip site {
            chain last { log prefix \"last \" ; reject with icmp type admin-prohibited; }
            chain forward { type filter hook forward priority 5; policy accept; ct state established accept; goto last; }
        }
        table ip6 site {
            chain forward { type filter hook forward priority 5; policy accept; ct state established accept; counter drop; }
        }
EOF";
    let lab = lab(site);
    assert_works(&lab, "rejected at the end");
    let words = |table: &str| {
        let text = lab.sh(&format!("nft -s list chain {table} forward"));
        let word =
            |l: &str| ["established", "iifgroup", "oifgroup", "goto", "drop"].into_iter().find(|w| l.contains(w));
        text.lines().filter_map(word).collect::<Vec<_>>()
    };
    assert_eq!(words("ip site"), ["established", "iifgroup", "oifgroup", "goto"]);
    assert_eq!(words("ip6 site"), ["established", "iifgroup", "oifgroup", "drop"]);
    assert_eq!(lab.sh("nft list chain ip site last | grep -c group || :").trim(), "0");
}

/// nft's own tables are often named as those of iptables; its own words belong into them. And our links are known by
/// their group, whoever changes that.
#[test]
fn a_table_of_nft_with_a_name_of_iptables() {
    let chain = "{ type filter hook forward priority 0; policy drop; }";
    let site = ["ip", "ip6"].map(|f| format!("nft add table {f} filter; nft add chain {f} filter forward '{chain}'"));
    let lab = lab(&site.join("; "));
    assert_works(&lab, "at the start");
    for family in ["ip", "ip6"] {
        let listed = lab.sh(&format!("nft -s list chain {family} filter forward"));
        assert_eq!(listed.matches("counter accept comment \"netmode/default/").count(), 2, "{listed}");
    }
    lab.sh("ip link set nm0 group 0");
    eventually("in its group again", 3.0, || lab.sh("ip -o link show nm0").contains("group 28269"));
    assert_works(&lab, "in its group again");
}

/// Somebody else who always wants to be last is met ever more rarely.
#[test]
fn a_quarrel_costs_little() {
    let lab = lab(DROP);
    let quarrel =
        "iptables -D FORWARD -d 198.51.100.7 -j DROP 2>/dev/null; iptables -A FORWARD -d 198.51.100.7 -j DROP";
    lab.sh(&format!("for i in $(seq 400); do {quarrel}; done"));
    let changes = lab.agent_log().matches("were put right").count();
    assert!((2..40).contains(&changes), "{changes} times");
    eventually("in the end ours are last", 5.0, || {
        chain(&lab, "iptables", "FORWARD") == ["-d 198.51.100.7/32 -j DROP", "from", "to"]
    });
    assert_works(&lab, "after a quarrel");
}

/// Prints the expressions of a chain's rules as the kernel has them, counters apart.
const RAW: &str = r#"
import socket, struct, sys
s = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 12); s.bind((0, 0))
def attr(kind, data): return struct.pack("HH", len(data) + 4, kind) + data + b"\0" * (-len(data) % 4)
def attrs(data):
    while len(data) >= 4:
        n, kind = struct.unpack_from("HH", data)
        yield kind & 0x3fff, data[4:n]
        data = data[(n + 3) & ~3:]
body = struct.pack("BBH", int(sys.argv[1]), 0, 0) + attr(1, b"filter\0") + attr(2, sys.argv[2].encode() + b"\0")
s.send(struct.pack("IHHII", 16 + len(body), 10 << 8 | 7, 0x301, 1, 0) + body)
done = False
while not done:
    data = s.recv(1 << 16)
    while data:
        n, kind = struct.unpack_from("IH", data)
        if kind == 3: done = True
        if kind >> 8 == 10:
            rule = dict(attrs(data[20:n]))
            print(b" ".join(e for _, e in attrs(rule[4]) if not e[4:].startswith(b"counter")).hex())
        data = data[(n + 3) & ~3:]
"#;

#[test]
fn byte_for_byte_what_iptables_writes() {
    let lab = lab(DROP);
    lab.write("/srv/raw.py", RAW);
    for (program, family) in [("iptables", "2"), ("ip6tables", "10")] {
        lab.sh(&format!("{program} -N TWIN; {program} -A TWIN {FROM}; {program} -A TWIN {TO}"));
        let raw = |chain: &str| lab.run(&["python3", "/srv/raw.py", family, chain]).success().stdout;
        let (ours, twin) = (raw("FORWARD"), raw("TWIN"));
        assert_eq!(twin.lines().count(), 2, "{twin}");
        assert!(twin.lines().all(|line| line.len() > 600), "{twin}");
        assert_eq!(ours, twin, "{program}");
    }
}
