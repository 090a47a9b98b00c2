# sandbox.sh LAB-DIRECTORY RUN-DIRECTORY NETMODE: the machine of a lab; run by `netmode lab start`.
#
# Own mount, process, network, host name, IPC and cgroup namespaces on this machine's own file system, which is
# read-only inside but for /etc, /opt and /var (overlays that are thrown away), /run and /tmp (in memory). Its first process
# holds it; when that ends, everything that ran inside is killed and nothing is left.
# shellcheck shell=sh
set -eu
# The tops of the overlays below are for everybody to read.
umask 022
export LAB=$1 LAB_RUN=$2 NETMODE=$3
top=$(dirname "$0")
name=${LAB##*/}

# The first part, outside: control groups of the lab's own. In v1 below our own, so that what limits us limits the lab; in
# v2 below the root, because a cgroup that has processes (ours has) hands no controllers to its children.
if [ "${4-}" = '' ]; then
    mountpoint -q / || { echo "a plain chroot has no root that can be made private; run labs outside of it" >&2; exit 1; }
    CGROUPS='' own=netmode-lab-$name
    while IFS=: read -r _ controllers path; do
        case $controllers in
            '') at=/sys/fs/cgroup/unified type=cgroup2 options=defaults path=
                [ -d "$at" ] || at=/sys/fs/cgroup ;;
            name=*) at=/sys/fs/cgroup/${controllers#name=} type=cgroup options=none,$controllers ;;
            *) at=/sys/fs/cgroup/$controllers type=cgroup options=$controllers ;;
        esac
        [ -e "$at${path%/}/cgroup.procs" ] || continue
        dir=$at${path%/}/$own
        mkdir -p "$dir"
        # v1's cpuset takes no process before it has cpus and memory nodes.
        for file in cpuset.cpus cpuset.mems; do
            [ "$type" = cgroup2 ] || [ ! -e "$dir/$file" ] || cat "${dir%/*}/$file" >"$dir/$file"
        done
        echo $$ >"$dir/cgroup.procs"
        CGROUPS="$CGROUPS $at:$type:$options:$dir"
    done </proc/self/cgroup
    printf '%s\n' $CGROUPS | sed 's/.*://' >"$LAB_RUN/cgroups"
    export CGROUPS
    # The cgroup namespace first, whose root is the lab's cgroup.
    exec unshare --cgroup -- sh "$0" "$1" "$2" "$3" cgroup
fi

# The second part: under v2 everybody moves on into `init`, since only a cgroup without processes hands controllers down.
if [ "$4" = cgroup ]; then
    for c in $CGROUPS; do
        case $c in *:cgroup2:*) ;; *) continue ;; esac
        dir=${c##*:}
        mkdir -p "$dir/init"
        echo $$ >"$dir/init/cgroup.procs"
        for controller in $(cat "$dir/cgroup.controllers"); do
            echo "+$controller" >"$dir/cgroup.subtree_control" || :
        done
    done
    # Who gives up waiting for it ends all of it.
    exec unshare --mount --pid --net --uts --ipc --fork --kill-child -- sh "$0" "$1" "$2" "$3" inside
fi

# The third part: the first process of the new namespaces. /proc is still the machine's: our pid as it counts.
read -r stat </proc/self/stat
pid=${stat%% *}
# Field 22, behind the name in parentheses: when we began.
# shellcheck disable=SC2086
begun() { set -- ${stat##*) }; shift 19; echo "$1"; }
begun=$(begun)

# Everything of the machine is read-only. What cannot be made so (another user's FUSE) is not ours to worry about.
while read -r _ _ _ _ at _; do
    case $at in /proc* | /sys* | /dev* | /run*) ;; *) mount -o remount,bind,ro "$(printf %b "$at")" 2>/dev/null || : ;; esac
done </proc/self/mountinfo
mount -t tmpfs -o mode=755 lab /mnt
(cd /mnt && mkdir -p run/netmode-lab run/home run/netns tmp)
chmod 1777 /mnt/tmp
mount --bind "${LAB_RUN%/*}" /mnt/run/netmode-lab
for dir in etc opt var; do
    [ -d "/$dir" ] || continue
    mkdir -p "/mnt/$dir/upper" "/mnt/$dir/work"
    mount -t overlay -o "lowerdir=/$dir,upperdir=/mnt/$dir/upper,workdir=/mnt/$dir/work" overlay "/$dir"
done
mkdir -p /etc/netmode /var/lib/netmode /var/log/netmode
for dir in /var/lib/netmode /dev/shm; do
    mount -t tmpfs -o mode=755 lab "$dir"
done
chmod 1777 /dev/shm
mount --rbind /mnt/run /run
mount --bind /mnt/tmp /tmp
umount -l /mnt
mkdir -p /run/lock
echo "$name" >/run/this-lab

# Of sysctls those of the network are the lab's own; all others would be the machine's: read-only.
mount -t proc -o nosuid,nodev,noexec proc /proc
echo host1 >/proc/sys/kernel/hostname
mount --bind /proc/sys /proc/sys
mount --bind /proc/sys/net /proc/sys/net
mount -o remount,bind,ro /proc/sys
mount -t sysfs -o ro,nosuid,nodev,noexec sysfs /sys
case $CGROUPS in *:cgroup:*) mount -t tmpfs -o mode=755 cgroups /sys/fs/cgroup ;; esac
for c in $CGROUPS; do
    IFS=: read -r at type options _ <<END
$c
END
    mkdir -p "$at"
    mount -t "$type" -o "$options" cgroup "$at"
done
# What the agent mounts in /run/netns shows in the namespaces that `ip netns exec` makes.
mount --make-rshared /

echo '127.0.1.1 host1' >>/etc/hosts
# Nobody answers there, and no lookup leaves the lab.
rm -f /etc/resolv.conf
echo 'nameserver 192.0.2.254' >/etc/resolv.conf
cd /run/home
sh "$top/network.sh"
[ ! -e "$LAB/netmode.toml" ] || cp "$LAB/netmode.toml" /etc/netmode/
"${NETMODE%/*}/netmoded" >/run/netmoded.log 2>&1 </dev/null &
agent=$!
# The socket is there before the agent has made its part of the host; its first answer comes behind that.
tries=0
until "$NETMODE" ps -q >/dev/null 2>&1; do
    tries=$((tries + 1))
    kill -0 $agent && [ $tries -lt 1000 ] || { cat /run/netmoded.log; exit 1; }
    sleep 0.02
done
[ ! -e "$LAB/setup.sh" ] || sh -eu "$LAB/setup.sh"
echo "$pid $begun" >"$LAB_RUN/holder.new"
mv "$LAB_RUN/holder.new" "$LAB_RUN/holder"
exec "$NETMODE" lab hold
