//! Tasks with an ENI: the subnets and the groups that their tests begin with.

use crate::Lab;
use crate::lab::address::HOST6;

/// A lab with a subnet on a LAN's own prefix (macvlan), or on one of its own that the host routes to (veth).
pub fn lab_on(backend: &str) -> Lab {
    let lab = Lab::start();
    match backend {
        "macvlan" => {
            let flags = ["--cidr", "192.0.2.0/24", "--ip-range", "192.0.2.64/26", "--backend", "macvlan"];
            lab.netmode(&[&["subnet", "create", "tasks"], &flags[..]].concat()).success();
        }
        _ => {
            lab.netmode(&["subnet", "create", "tasks", "--cidr", "10.0.2.0/24", "--backend", backend]).success();
        }
    }
    lab.netmode(&["sg", "create", "open"]).success();
    lab.netmode(&["sg", "authorize", "open", "--cidr", "0.0.0.0/0,::/0"]).success();
    lab
}

/// Serves tcp/80 and udp/53 on an ENI with a security group that lets everything in.
pub fn serve(lab: &Lab, name: &str) -> String {
    serve_in(lab, name, &["open"])
}

/// The same with these groups.
pub fn serve_in(lab: &Lab, name: &str, groups: &[&str]) -> String {
    let mut flags = vec!["--mode", "awsvpc", "--subnet", "tasks"];
    groups.iter().for_each(|group| flags.extend(["--security-group", group]));
    lab.serve(name, &flags, &["tcp/80", "udp/53"]);
    lab.address(name)
}

/// A dual-stack subnet whose way back the LAN knows.
pub fn dual(backend: &str, flags: &[&str]) -> Lab {
    let lab = Lab::dual_stack();
    let create =
        ["subnet", "create", "tasks", "--cidr", "10.0.2.0/24", "--ipv6-cidr", "fd00:2::/64", "--backend", backend];
    lab.netmode(&[&create[..], flags].concat()).success();
    lab.netmode(&["sg", "create", "open"]).success();
    lab.netmode(&["sg", "authorize", "open", "--cidr", "0.0.0.0/0,::/0"]).success();
    lab.sh(&format!("nsenter --net=/run/netns/lan ip -6 route add fd00:2::/64 via {HOST6}"));
    lab
}
