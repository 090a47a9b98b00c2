# The network around the host of a lab; run inside, once. Nothing of it leaves the machine.
#
#   client  192.0.2.9                  203.0.113.9  a server far away (an address of lan's own)
#      │                                  │
#   ┌──┴──── lan: a switch and a router ──┴──┐
#   │  192.0.2.254   knows no way to tasks   │
#   └──┬─────────────────────────────────────┘
#      │ eth0  192.0.2.1
#     host
# shellcheck shell=sh
set -eu
for netns in lan client; do
    ip netns add $netns
done
# Addresses count at once: nobody else can have them.
for netns in '' lan client; do
    ${netns:+nsenter --net=/run/netns/$netns} sh -c 'echo 0 >/proc/sys/net/ipv6/conf/default/accept_dad; echo 0 >/proc/sys/net/ipv6/conf/all/accept_dad'
done
# The indices are all different: a veth whose peer has the same one (in another namespace) comes up a second later
# (Linux net/core/link_watch.c, linkwatch_urgent_event).
ip -batch - <<END
link set lo up
link add name eth0 index 10 type veth peer name host0 index 11 netns lan
addr add 192.0.2.1/24 dev eth0
addr add 2001:db8:1::1/64 dev eth0 nodad
link set eth0 up
route add default via 192.0.2.254
route add default via 2001:db8:1::fe
END
ip -n lan -batch - <<END
link set lo up
link add name switch0 type bridge
link add name client0 index 12 type veth peer name eth0 index 13 netns client
link set host0 master switch0 up
link set client0 master switch0 up
addr add 192.0.2.254/24 dev switch0
addr add 2001:db8:1::fe/64 dev switch0 nodad
link set switch0 up
addr add 203.0.113.9/32 dev lo
addr add 2001:db8:2::9/128 dev lo nodad
END
ip -n client -batch - <<END
link set lo up
addr add 192.0.2.9/24 dev eth0
addr add 2001:db8:1::9/64 dev eth0 nodad
link set eth0 up
route add default via 192.0.2.254
route add default via 2001:db8:1::fe
END
nsenter --net=/run/netns/lan sh -c 'echo 1 >/proc/sys/net/ipv4/ip_forward; echo 1 >/proc/sys/net/ipv6/conf/all/forwarding'
# The server far away.
nsenter --net=/run/netns/lan "$NETMODE" lab serve --name far 80 >/dev/null 2>&1 </dev/null &
