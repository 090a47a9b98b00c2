bridge link
ip link set vred master br0
