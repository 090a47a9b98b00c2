netmode subnet create tasks --cidr 10.0.2.0/24
netmode sg create web
netmode sg authorize web --protocol tcp --port 80 --cidr 0.0.0.0/0
# The router of the VPC knows where the subnet of the tasks is.
ip -n lan route add 10.0.2.0/24 via 192.0.2.1
