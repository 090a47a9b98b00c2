# shellcheck shell=sh
# Socket activation, and containers in scopes of their own.
check 'the service is started by the first who asks' '
    systemctl stop netmode.service
    [ "$(systemctl is-active netmode.service)" = inactive ]
    systemctl is-active netmode.socket
    netmode ps
    systemctl is-active netmode.service'
check 'a container serves on a published port' '
    serve web -p 8080:80 -p 8080:80/udp
    eventually 20 "reaches client $HOST:8080 web"
    reaches host 127.0.0.1:8080 web'
check 'it reaches outside' 'reaches "$(field web .pid)" $CLIENT:9000 client'
# /run, where its writable layer is, is mounted noexec.
check 'a container executes what it has written' '
    netmode run --rm --rootfs / sh -c "cp /bin/true /srv/t && /srv/t"'
check 'it is in a scope of its own, not in the unit of the agent' '
    id=$(field web .id)
    systemctl is-active "netmode-$id.scope"
    grep "netmode-$id.scope" "/proc/$(field web .pid)/cgroup"
    systemd-cgls --no-pager /system.slice
    [ "$(cat /sys/fs/cgroup/system.slice/netmode.service/cgroup.procs)" = "$(main_pid)" ] || {
        cat /sys/fs/cgroup/system.slice/netmode.service/cgroup.procs; false; }'
check 'the store of systemd keeps what the next agent needs' '
    [ "$(systemctl show -P NFileDescriptorStore netmode.service)" = 2 ]
    not pgrep -x netmode-keep
    netmode doctor | grep "held ports.*service manager"'
check 'a stop and a start of the service change nothing for it' '
    pid=$(field web .pid)
    systemctl stop netmode.service
    reaches client $HOST:8080 web
    systemctl start netmode.service
    [ "$(field web .pid)" = "$pid" ]
    reaches client $HOST:8080 web'
check 'killed, the agent is started again by systemd' '
    old=$(main_pid)
    kill -9 "$old"
    eventually 20 "[ \"\$(main_pid)\" != $old ] && netmode ps"
    reaches client $HOST:8080 web'
check 'systemd-networkd is restarted and leaves all of it as it is' '
    before=$(ip rule)
    systemctl restart systemd-networkd
    sleep 2
    reaches client $HOST:8080 web
    reaches "$(field web .pid)" $CLIENT:9000 client
    eventually 15 "ip -br addr | grep -q \"^e.*10.0.2.15\""
    ip rule
    [ "$(ip rule)" = "$before" ]'
