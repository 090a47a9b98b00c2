# enter.sh PID CMD [ARG...]: CMD in the lab whose first process has this pid; run by `netmode lab`.
# shellcheck shell=sh
set -eu
pid=$1
shift
# First into the lab's control groups, so that what CMD starts is counted and limited there.
cgroups=/proc/$pid/root/sys/fs/cgroup
for procs in "$cgroups"/init/cgroup.procs "$cgroups"/*/init/cgroup.procs "$cgroups"/*/cgroup.procs; do
    case $procs in
        */init/cgroup.procs) ;;
        *) [ ! -d "${procs%/*}/init" ] && [ "${procs%/*}" != "$cgroups/init" ] || continue ;;
    esac
    [ ! -e "$procs" ] || echo $$ 2>/dev/null >"$procs" || :
done
exec nsenter --target "$pid" --mount --pid --net --uts --ipc --cgroup --wd="/proc/$pid/root/run/home" -- "$@"
