# shellcheck shell=sh
# Boot 2 follows an orderly reboot, boot 3 one without any warning.
[ "$BOOT" != 2 ] || check 'the reboot has not waited for containers' '
    begun=$(($(date +%s) - $(uptime)))
    echo "$((begun - $(cat /var/lib/asked))) s"
    [ $((begun - $(cat /var/lib/asked))) -lt 60 ]'
check 'socket and service are there again' '
    systemctl is-active netmode.socket netmode.service containerd
    [ -z "$(systemctl --failed --no-legend --plain)" ] || { systemctl --failed; false; }'
check 'no record was set aside, and doctor finds no failure' '
    journalctl --no-pager -b -u netmode >/tmp/said
    not grep -i "set aside" /tmp/said
    netmode doctor || [ $? = 1 ]'
check 'networks, subnets and groups are as they were' '
    netmode network inspect app | jq -e ".[0].IPAM.Config[0].Subnet == \"10.20.0.0/24\""
    netmode subnet show tasks -o json | grep -q 10.30.0.0/24
    netmode sg show web -o json | grep -q 80
    ip -br addr | grep "10.20.0.1/24"'
check 'who is to be started again runs, with address and port' '
    eventually 60 "reaches client $HOST:8090 back"
    [ "$(address back)" = 10.20.0.7 ]'
check 'who is not is stopped' '
    netmode ps -a
    for task in web own gone; do [ "$(field $task .state)" = STOPPED ]; done
    not reaches client $HOST:8080 web'
check 'their addresses and ports are free' '
    netmode rm web gone own
    serve web -p 8080:80
    serve gone --network app -p 8091:80
    serve own --mode awsvpc --subnet tasks --security-group web
    eventually 20 "reaches client $HOST:8080 web && reaches client $HOST:8091 gone"
    eventually 20 "reaches host $(address own):80 own"
    netmode ps
    [ "$(address web)" = 172.17.0.2 ]
    [ "$(address gone)" = 10.20.0.2 ]'
check 'pods from before the reboot can be removed, and a new one has a network' '
    cri status
    for id in $(ls /var/lib/containerd/io.containerd.grpc.v1.cri/sandboxes); do cri "stop $id
remove $id"; done
    [ -z "$(ls /var/lib/containerd/io.containerd.grpc.v1.cri/sandboxes)" ]
    cri run "pod-$BOOT" localhost/probe:local 8081 >/tmp/pod
    eventually 20 "reaches client $HOST:8081 pod-$BOOT"'
addresses='find /var/lib/cni/networks -type f -name "*[.:]*[.:]*"'
# host-local forgets what an earlier boot left when it is next asked for an address in that directory.
check 'its addresses are the only ones that are taken' "$addresses; [ \$($addresses | wc -l) = 2 ]"
# The second boot's pod is there when the power is cut.
[ "$BOOT" = 2 ] || check 'nothing is left of CNI, once it is gone' '
    id=$(jq -r .ok.id /tmp/pod)
    cri "stop $id
remove $id"
    '"$addresses"'
    [ -z "$('"$addresses"')" ]
    [ -z "$(ls /run/netmode/attachments)" ]'
