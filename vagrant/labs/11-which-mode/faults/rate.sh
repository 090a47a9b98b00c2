netmode update --net-rate in=32kbit,out=32kbit bridge
