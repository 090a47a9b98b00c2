ip -n pod route
ip -n pod route add default via 172.17.0.1
