ip netns add pod
CNI_COMMAND=ADD CNI_CONTAINERID=pod CNI_NETNS=/run/netns/pod CNI_IFNAME=eth0 CNI_PATH=/opt/cni/bin /opt/cni/bin/netmode <pod.json >result.json
cat result.json
setsid ip netns exec pod netmode lab serve --name pod 80 >/dev/null 2>&1 </dev/null &
