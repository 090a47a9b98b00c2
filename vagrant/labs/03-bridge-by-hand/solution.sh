ip netns add red
ip link add name br0 type bridge
ip addr add 10.10.0.1/24 dev br0
ip link set br0 up
ip link add name vred type veth peer name eth0 netns red
ip link set vred master br0 up
ip -n red addr add 10.10.0.2/24 dev eth0
ip -n red link set lo up
ip -n red link set eth0 up
ip -n red route add default via 10.10.0.1
sysctl -w net.ipv4.ip_forward=1
nft add table ip byhand
nft add chain ip byhand post '{ type nat hook postrouting priority srcnat; }'
nft add rule ip byhand post ip saddr 10.10.0.0/24 oifname eth0 masquerade
