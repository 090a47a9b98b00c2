for port in $(ip -br link show master br0 | sed 's/[@ ].*//'); do
    ip link set "$port" nomaster
done
