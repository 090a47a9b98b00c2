# shellcheck shell=sh
# The package is upgraded while packets go to and from containers of netmode and of ctr. None is sent a second time.
pod() { ctr task ls | awk '$1 == "c1" { print $2 }'; }
start_streams() {
    rm -f /tmp/stop /tmp/stream.*
    client python3 stream.py $HOST 8080 /tmp/stop >/tmp/stream.web 2>&1 &
    web=$!
    nsenter -t "$(field web .pid)" -n python3 stream.py $CLIENT 9000 /tmp/stop >/tmp/stream.out 2>&1 &
    out=$!
    nsenter -t "$(pod)" -n python3 stream.py $CLIENT 9000 /tmp/stop >/tmp/stream.ctr 2>&1 &
    ctr=$!
    sleep 5
}
end_streams() {
    sleep 2
    touch /tmp/stop
    for pid in $web $out $ctr; do
        wait "$pid" || echo "$pid" >>/tmp/stream.failed
    done
    cat /tmp/stream.web /tmp/stream.out /tmp/stream.ctr
}

# Whatever the machine cannot carry while nothing is done to it is not the upgrade's.
start_streams
sleep 5
end_streams
check 'streams lose nothing while nothing happens' '[ ! -e /tmp/stream.failed ]'

state() { field web .pid; pod; netmode version; main_pid; }
before=$(state)
start_streams
apt-get install --yes ./upgraded.deb >/tmp/upgrade.log 2>&1
upgrade=$?
end_streams
check 'the package is upgraded' "cat /tmp/upgrade.log; [ $upgrade = 0 ]; dpkg -s netmode | grep '^Version.*upgraded'"
check 'an upgrade loses no packet to or from running containers' '[ ! -e /tmp/stream.failed ]'
after=$(state)
check 'it is another agent, with the same containers' "
    [ '$(echo "$before" | tail -n 1)' != '$(echo "$after" | tail -n 1)' ]
    [ '$(echo "$before" | head -n 2)' = '$(echo "$after" | head -n 2)' ]
    netmode exec web true
    reaches client $HOST:8080 web
    reaches client $HOST:8081 pod1"
check 'a container can be started, and the port that was published is still held' '
    not netmode run -d --name again -p 8080:80 --rootfs / sleep 10
    netmode run --rm --rootfs / true
    doctor=$(netmode doctor) || [ $? = 1 ]
    echo "$doctor"'
