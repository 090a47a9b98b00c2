tc qdisc show
netmode update --net-rate none bridge
