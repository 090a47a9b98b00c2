# shellcheck shell=sh
# Limits and counters by control groups of version 2, made by systemd.
check 'limits reach the control group' '
    netmode run -d --name small --memory 64m --cpus 0.5 --pids-limit 30 --rootfs / sleep 1000
    group=/sys/fs/cgroup$(cut -d: -f3 "/proc/$(field small .pid)/cgroup")
    cd "$group"
    grep . memory.max cpu.max pids.max
    [ "$(cat memory.max) $(cat cpu.max) $(cat pids.max)" = "67108864 50000 100000 30" ]'
check 'stats reads it' '
    netmode stats --no-stream -o json small | tee -a /dev/stderr | grep -q small'
check 'exec is inside of it' '
    netmode exec small sleep 30 &
    eventually 20 "[ \$(wc -l <"/sys/fs/cgroup$(cut -d: -f3 "/proc/$(field small .pid)/cgroup")/cgroup.procs") = 2 ]"
    wait'
check 'who takes too much memory is killed' '
    status=0
    netmode run --name greedy --memory 32m --rootfs / python3 -c "len(bytes([1]) * (200 << 20))" || status=$?
    [ "$status" = 137 ] || { echo "status $status"; false; }
    journalctl -k -b | grep "Memory cgroup out of memory"'
check 'an end leaves neither scope nor group' '
    group=/sys/fs/cgroup$(cut -d: -f3 "/proc/$(field small .pid)/cgroup")
    netmode rm -f small greedy
    eventually 10 "[ ! -e $group ]"
    [ "$(systemctl list-units --all --no-legend --plain "netmode-*.scope" | wc -l)" = 1 ] || {
        systemctl list-units --all "netmode-*.scope"; false; }'
