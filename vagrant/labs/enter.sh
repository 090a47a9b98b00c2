# enter.sh PID CMD [ARG...]: CMD in the lab whose first process has this pid; run by `netmode lab`.
# shellcheck shell=sh
set -eu
pid=$1
shift
# First into the lab's control groups, so that what CMD starts is counted and limited there.
join() { echo $$ >"$1/cgroup.procs" || :; }
cgroups=/proc/$pid/root/sys/fs/cgroup
if [ -d "$cgroups/init" ]; then
    join "$cgroups/init"
else
    for dir in "$cgroups"/*; do
        [ ! -d "$dir/init" ] || dir=$dir/init
        join "$dir"
    done
fi
exec nsenter --target "$pid" --mount --pid --net --uts --ipc --cgroup --wd="/proc/$pid/root/run/home" -- "$@"
