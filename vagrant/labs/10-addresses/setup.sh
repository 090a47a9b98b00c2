# The router of the VPC knows where both ranges are.
ip -n lan route add 10.0.3.0/28 via 192.0.2.1
ip -n lan route add 100.64.0.0/24 via 192.0.2.1
ip -n lan route add fd00:64::/64 via 2001:db8:1::1
