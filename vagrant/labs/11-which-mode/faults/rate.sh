netmode update --net-rate in=8kbit,out=8kbit bridge
