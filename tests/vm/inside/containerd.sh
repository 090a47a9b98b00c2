# shellcheck shell=sh
# containerd as Debian has it, by ctr and by CRI, set up as docs/cni/containerd.md says.
python3 image.py /tmp/image.tar localhost/probe:local "$PWD/probe" >/dev/null
mkdir -p /etc/cni/net.d
cp /usr/share/doc/netmode/cni/examples/10-bridge.conflist /etc/cni/net.d/
sed -i '/^  \[plugins."io.containerd.grpc.v1.cri"\]$/a sandbox_image = "localhost/probe:local"' /etc/containerd/config.toml

check 'the plugins are switched on where Debian has containerd look' '
    netmode cni enable --dir /usr/lib/cni
    netmode cni status --dir /usr/lib/cni'
check 'containerd takes the image' '
    systemctl restart containerd
    ctr image import /tmp/image.tar
    ctr -n k8s.io image import /tmp/image.tar'
check 'ctr run --cni gets a network' '
    ctr run -d --cni localhost/probe:local c1 /bin/probe serve --tag c1 tcp/80 udp/80
    pid=$(ctr task ls | awk "\$1 == \"c1\" { print \$2 }")
    nsenter -t "$pid" -n ip -br addr
    nsenter -t "$pid" -n ip -br addr show eth0 | grep -q "10.88.0.2/16"
    eventually 20 "reaches host 10.88.0.2:80 c1"
    reaches "$pid" $CLIENT:9000 client'
check 'ctr run --rm --cni gives the exit status, and the address back' '
    status=0 before=$(attachments)
    ctr run --rm --cni localhost/probe:local c2 /bin/sh -c "exit 42" || status=$?
    [ "$status" = 42 ] || { echo "status $status"; false; }
    eventually 10 "[ \$(attachments) = $before ]"'
check 'CRI says that the network is ready' 'eventually 30 "cri status | grep NetworkReady.*true"'
check 'a pod of CRI gets a network and its published port' '
    cri run pod1 localhost/probe:local 8081 >/tmp/pod1
    jq -e .ok.id /tmp/pod1
    eventually 20 "reaches client $HOST:8081 pod1"
    address=$(jq -r .ok.ips[0] /tmp/pod1)
    reaches host "$address:80" pod1'
check 'a pod is removed without a trace' '
    before=$(attachments)
    cri run pod2 localhost/probe:local 8082 >/tmp/pod2
    id=$(jq -r .ok.id /tmp/pod2)
    eventually 20 "reaches client $HOST:8082 pod2"
    cri "stop $id
remove $id"
    not reaches client $HOST:8082 pod2
    eventually 10 "[ \$(attachments) = $before ]"'
check 'doctor finds no failure' 'netmode doctor || [ $? = 1 ]'
