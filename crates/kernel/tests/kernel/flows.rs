//! Connections that are forgotten, addresses that are announced.

use crate::lab::*;
use crate::packets::{inside, network};
use netmode_model::{Final, HostAddr, PortRange, Protocol};
use std::time::{Duration, Instant};

fn flow(ip: &str, port: u16, from: u16) {
    let (source, destination) = if ip.contains(':') { ("2001:db8::9", ip) } else { ("192.0.2.9", ip) };
    let (port, from) = (port.to_string(), from.to_string());
    let args = ["-I", "-p", "udp", "-s", source, "-d", destination, "--sport", &from, "--dport", &port, "-t", "300"];
    run("conntrack", &args, "");
}

fn count() -> u32 {
    run("conntrack", &["-C"], "").trim().parse().unwrap()
}

fn flush(host: HostAddr, ports: &str) -> Final {
    Final::FlushConntrack { protocol: Protocol::Udp, host, ports: ports.parse::<PortRange>().unwrap(), kept: vec![] }
}

#[test]
fn flows_to_a_published_port_are_forgotten_and_no_others() {
    let lab = lab!();
    need!("conntrack");
    for address in ["192.0.2.1/32", "192.0.2.2/32", "2001:db8::1/128"] {
        run("ip", &["address", "add", address, "dev", "lo"], "");
    }
    // Passes through the host to the same port elsewhere.
    flow("203.0.113.7", 53, 2000);
    let fill = || {
        for (n, ip) in ["192.0.2.1", "192.0.2.2", "2001:db8::1"].into_iter().enumerate() {
            for port in [53, 54, 55, 100] {
                flow(ip, port, 2000 + n as u16);
            }
        }
    };
    let v4: HostAddr = Some("192.0.2.1".parse().unwrap()).into();
    let all4: HostAddr = Some("0.0.0.0".parse().unwrap()).into();
    let cases: [(&[Final], u32); 6] = [
        (&[flush(HostAddr::Any, "53")], 3),
        (&[flush(v4, "53")], 1),
        (&[flush(all4, "53")], 2),
        (&[flush(HostAddr::Any, "53-55")], 9),
        (&[flush(v4, "53"), flush(all4, "54-54"), flush(HostAddr::Any, "100-200")], 6),
        (&[flush(HostAddr::Any, "56-99")], 0),
    ];
    for (steps, gone) in cases {
        fill();
        assert_eq!(count(), 13);
        assert_eq!(lab.kernel.finish(steps), []);
        assert_eq!(count(), 13 - gone, "{steps:?}");
        assert_eq!(lab.kernel.finish(&[flush(HostAddr::Any, "1-65535")]), []);
        assert_eq!(count(), 1, "somebody else's flow stays");
    }
    // A container's connection outward that got the port as its own before it was published.
    let outward = "-I -p udp -s 10.5.0.2 -d 203.0.113.7 --sport 99 --dport 4000 --reply-src 203.0.113.7 \
        --reply-dst 192.0.2.1 --reply-port-src 4000 --reply-port-dst 53 -t 300";
    run("conntrack", &outward.split_whitespace().collect::<Vec<_>>(), "");
    assert_eq!(count(), 2);
    assert_eq!(lab.kernel.finish(&[flush(v4, "54")]), []);
    assert_eq!(count(), 2);
    assert_eq!(lab.kernel.finish(&[flush(v4, "53")]), []);
    assert_eq!(count(), 1, "it would swallow what is for the port now");
    let tcp = Final::FlushConntrack {
        protocol: Protocol::Tcp,
        host: HostAddr::Any,
        ports: "53".parse().unwrap(),
        kept: vec![],
    };
    flow("192.0.2.1", 53, 2000);
    assert_eq!(lab.kernel.finish(&[tcp]), []);
    assert_eq!(count(), 2);
}

/// Makes the neighbour believe something else first; what it has not heard of it need not learn.
fn believe(lab: &Lab, ip: &str, address: &str) {
    let args = ["neigh", "replace", ip, "lladdr", address, "dev", "eth0", "nud", "stale"];
    inside(lab, "c1", || run("ip", &args, ""));
}

#[test]
fn a_neighbour_learns_who_has_an_address_now() {
    let lab = lab!();
    need!("ip");
    network(&lab);
    lab.apply(&container("c2", 3));
    for ip in ["10.5.0.3", "fd05::3"] {
        believe(&lab, ip, "02:00:00:00:00:99");
        let announce = Final::Announce { at: at("c2"), dev: dev("eth0"), ip: ip.parse().unwrap(), mac: mac(3) };
        assert_eq!(lab.kernel.finish(&[announce]), []);
        let begun = Instant::now();
        while !inside(&lab, "c1", || run("ip", &["neigh", "show", ip], "")).contains(&mac(3).to_string()) {
            assert!(begun.elapsed() < Duration::from_secs(2), "{ip} is not learnt");
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}
