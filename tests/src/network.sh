# The network around the host (see lab.rs); run inside the sandbox, once. Variables: UPLINK_MTU, RP_FILTER.
set -eu
for netns in lan client far; do
    ip netns add "$netns"
done
# Addresses count at once: nobody else can have them. And for IPv4 a new namespace has what the machine's own has set
# (net.core.devconf_inherit_init_net).
for netns in '' lan client far; do
    rp_filter=0
    [ -n "$netns" ] || rp_filter=$RP_FILTER
    # shellcheck disable=SC2016,SC2086
    ${netns:+nsenter --net=/run/netns/$netns} sh -euc 'cd /proc/sys/net
        echo 0 >ipv4/ip_forward
        for kind in all default; do
            for key in route_localnet arp_ignore arp_announce proxy_arp; do echo 0 >ipv4/conf/$kind/$key; done
            echo "$0" >ipv4/conf/$kind/rp_filter
            echo 0 >ipv6/conf/$kind/accept_dad
        done' "$rp_filter"
done

# The indices are all different: a veth whose peer has the same one (in another namespace) comes up a second
# later (Linux net/core/link_watch.c, linkwatch_urgent_event).
ip -batch - <<EOF
link add name uplink0 index 10 mtu $UPLINK_MTU type veth peer name host0 index 11 mtu $UPLINK_MTU netns lan
addr add 192.0.2.1/24 dev uplink0
addr add 192.0.2.5/24 dev uplink0
addr add 2001:db8:1::5/64 dev uplink0 nodad
addr add 2001:db8:1::1/64 dev uplink0 nodad
link set uplink0 up
route add default via 192.0.2.254
route add default via 2001:db8:1::fe
EOF
ip -n lan -batch - <<EOF
link set lo up
link add name switch0 type bridge
link add name client0 index 12 type veth peer name eth0 index 13 netns client
link add name far0 index 14 type veth peer name eth0 index 15 netns far
link set host0 master switch0 up
link set client0 master switch0 up
addr add 192.0.2.254/24 dev switch0
addr add 2001:db8:1::fe/64 dev switch0 nodad
link set switch0 up
addr add 203.0.113.254/24 dev far0
addr add 2001:db8:2::fe/64 dev far0 nodad
link set far0 up
EOF
# The attacker's view: the host is the way to its containers, and to the far network.
ip -n client -batch - <<EOF
link set lo up
addr add 192.0.2.9/24 dev eth0
addr add 2001:db8:1::9/64 dev eth0 nodad
link set eth0 up
route add default via 192.0.2.1
route add default via 2001:db8:1::1
EOF
ip -n far -batch - <<EOF
link set lo up
addr add 203.0.113.9/24 dev eth0
addr add 2001:db8:2::9/64 dev eth0 nodad
link set eth0 up
route add default via 203.0.113.254
route add default via 2001:db8:2::fe
EOF
nsenter --net=/run/netns/lan sh -c 'echo 1 >/proc/sys/net/ipv4/ip_forward; echo 1 >/proc/sys/net/ipv6/conf/all/forwarding'
