# What an earlier one has left.
ip link del probe0 2>/dev/null || :
netns=$(netmode inspect job -o json | sed -n 's|.*"netns": "/run/netns/\(.*\)".*|\1|p')
ip link add name probe0 type veth peer name eth0 netns "$netns"
ip addr add 10.66.0.1/30 dev probe0
ip link set probe0 up
ip -n "$netns" addr add 10.66.0.2/30 dev eth0
ip -n "$netns" link set eth0 up
ip -n "$netns" route add default via 10.66.0.1
