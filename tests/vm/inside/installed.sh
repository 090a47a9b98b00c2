# shellcheck shell=sh
# The package, installed by apt as a person does it.
check 'control groups are version 2 alone' '[ "$(stat -fc %T /sys/fs/cgroup)" = cgroup2fs ]'
check 'apt installs the package without a network' 'apt-get install --yes ./netmode.deb'
check 'socket and service are enabled and run' '
    systemctl is-enabled netmode.socket netmode.service
    systemctl is-active netmode.socket netmode.service'
check 'the socket is for its group' '[ "$(stat -c "%U:%G %a" /run/netmode/netmode.sock)" = "root:netmode 660" ]'
check 'systemd finds nothing wrong with the units' '
    systemd-analyze verify --man=no netmode.service netmode.socket 2>&1 | tee -a /dev/stderr | (! grep netmode)'
check 'nothing failed at boot' '[ -z "$(systemctl --failed --no-legend --plain)" ] || { systemctl --failed; exit 1; }'
check 'doctor finds no failure' 'netmode doctor || [ $? = 1 ]'
