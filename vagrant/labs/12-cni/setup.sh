for dir in /usr/local/lib /usr/lib; do
    [ ! -e $dir/netmode/cni/netmode ] || plugin=$dir/netmode/cni/netmode
done
mkdir -p /opt/cni/bin /etc/cni/net.d
# What stands in the place of the plugin writes the call down, and then makes it.
cat >/opt/cni/bin/netmode <<END
#!/bin/sh
input=\$(cat)
{ env | grep ^CNI_ | sort; echo "\$input"; echo; } >>/run/home/calls
printf '%s' "\$input" | $plugin
END
chmod 755 /opt/cni/bin/netmode
cat >/etc/cni/net.d/10-lab.conflist <<'END'
{ "cniVersion": "1.0.0", "name": "lab",
  "plugins": [ { "type": "netmode", "mode": "bridge", "capabilities": { "portMappings": true } } ] }
END
cat >/run/home/pod.json <<'END'
{ "cniVersion": "1.0.0", "name": "lab", "type": "netmode", "mode": "bridge",
  "runtimeConfig": { "portMappings": [ { "hostPort": 8080, "containerPort": 80, "protocol": "tcp" } ] } }
END
