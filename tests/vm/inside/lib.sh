# shellcheck shell=sh
# For the scripts beside this file: checks that are counted, and the places that packets come from.
failed=0
uptime() { cut -d. -f1 /proc/uptime; }

# check WHAT SCRIPT: the script's status decides; what it says is shown where it fails.
check() {
    begun=$(uptime)
    if sh -euc ". ./lib.sh; $2" >/tmp/check.out 2>&1 </dev/null; then
        echo "ok - $1 ($(($(uptime) - begun)) s)"
    else
        echo "not ok - $1 ($(($(uptime) - begun)) s)"
        tail -n 30 /tmp/check.out | cut -c1-300 | sed 's/^/    /'
        failed=$((failed + 1))
    fi
}

# eventually SECONDS SCRIPT: until the script succeeds.
eventually() {
    until=$(($(uptime) + $1))
    until sh -euc ". ./lib.sh; $2" >/tmp/eventually.out 2>&1; do
        [ "$(uptime)" -lt $until ] || { echo "not within $1 s: $2"; cat /tmp/eventually.out; return 1; }
        sleep 0.2
    done
}

# "!" alone is none of the failures that end a script.
not() { if "$@"; then return 1; fi; }

# The other end of the wire lan0 (192.0.2.1) is a machine of its own: 192.0.2.2.
client() { ip netns exec client "$@"; }
CLIENT=192.0.2.2 HOST=192.0.2.1

# who NETNS-COMMAND TO: what a server at TO sees.
who() { "$@" ./probe once "{\"who\":{\"proto\":\"tcp\",\"to\":\"$to\",\"from\":null,\"wait_ms\":5000}}"; }

# reaches WHERE TO TAG: from `client`, `host` or the network namespace of a pid; TAG is what the server calls itself.
reaches() {
    to=$2
    case $1 in
        client) seen=$(who client) ;;
        host) seen=$(who env) ;;
        *) seen=$(who nsenter -t "$1" -n) ;;
    esac
    echo "$1 -> $2: $seen"
    case $seen in *"\"tag\":\"$3\""*) ;; *) return 1 ;; esac
}

# field TASK JQ: of what the agent says of a task.
field() { netmode inspect "$1" -o json | jq -r ".[0]$2"; }
address() { field "$1" .networks[0].ipv4Addresses[0] | cut -d/ -f1; }
# serve NAME FLAGS...: a task whose server calls itself NAME, on port 80.
serve() { netmode run -d --name "$@" --rootfs / "$PWD/probe" serve --tag "$1" tcp/80 udp/80; }
# One for each plugin of a list.
attachments() { ls /run/netmode/attachments | wc -l; }
main_pid() { systemctl show -P MainPID netmode.service; }
cri() {
    said=$(printf '%s\n' "$*" | python3 cri.py /run/containerd/containerd.sock) || { echo "$said" >&2; return 1; }
    echo "$said" | tee -a /dev/stderr
}
