//! What looks like the solution and is not: a check tells it.

use crate::course::Course;

/// The lab, the check that must fail, and what `sed` makes of the solution.
const SHORT_CUTS: &[(u32, &str, &str)] = &[
    (
        1,
        "job sees the host's directory /run/home/data as /data",
        "s|-v /run/home/data:/data ||; s|ip -br link >/data/links; ||; $a ip -br link show lo >data/links",
    ),
    (2, "nobody chose web-2's port by hand", "s/--port-env PORT/-p 9090/; s/$PORT/9090/"),
    (5, "nobody chose the ports by hand", "s/-p 3000/-p 4000$n:3000/"),
    (5, "nginx asks the copies by their ports of the host", "s/127.0.0.1:${line.*};/172.17.0.$((n + 1)):3000;/"),
    (
        7,
        "the group web lets in tcp 80, and nothing else",
        "$a netmode sg authorize web --protocol tcp --port 8080 --cidr 0.0.0.0/0",
    ),
    (7, "the group web lets in tcp 80, and nothing else", "$a netmode sg authorize web --cidr 192.0.2.9/32"),
    (
        7,
        "the group web lets in tcp 80, and nothing else",
        "s|--port 80 --cidr 0.0.0.0/0|--port 80 --cidr 192.0.2.0/24|",
    ),
    (9, "db's group lets in tcp 5432 from web, and nothing else", "$a netmode sg authorize db --group web"),
    (
        9,
        "the flow log has what web and neighbour have tried",
        "/^netmode exec/d; /^address=/d; s/^netmode stop/netmode lab check || true; &/",
    ),
    (10, "t12 may go into either subnet", "s/--subnet small,big/--subnet big/"),
];

/// Takes each of a lab's short cuts.
pub fn all_fail(course: &Course, number: u32) {
    for (_, check, sed) in SHORT_CUTS.iter().filter(|(lab, ..)| *lab == number) {
        course.short_cut(check, sed);
    }
}
