# The router of the VPC knows where the subnet of the tasks is.
ip -n lan route add 10.0.2.0/24 via 192.0.2.1
