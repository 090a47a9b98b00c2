# The agent may have switched it on; whether the host is a router is for the learner to say.
echo 0 >/proc/sys/net/ipv4/ip_forward
