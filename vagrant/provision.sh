#!/bin/sh
# vagrant/provision.sh NAME: what `vagrant up` runs in a new machine, as root: netmode from dist/ if a package for this
# machine is there, else built here. May be run again (vagrant provision).
set -eu
export DEBIAN_FRONTEND=noninteractive
name=$1
cd /netmode
owner=$(stat -c %U .)
say() { echo "netmode: $*"; }

hostnamectl set-hostname "$name"
for known in '192.168.56.10 lab' '192.168.56.11 node2'; do
    grep -qx "$known" /etc/hosts || echo "$known" >>/etc/hosts
done

package() { ls -t dist/netmode_*_"$(dpkg --print-architecture)".deb 2>/dev/null | head -n 1; }

start=$(date +%s)
if ! command -v dpkg >/dev/null; then
    say "building on $name"
    su "$owner" -c './bootstrap setup && make build'
    make --no-print-directory install
    systemctl enable --quiet --now netmode.socket netmode
else
    if [ -z "$(package)" ]; then
        say "no package for $(dpkg --print-architecture) in dist/: building one on $name, which takes a while"
        su "$owner" -c './bootstrap setup && make deb'
    fi
    # Package lists are read only where something is missing: a machine may have no way out.
    install_package() { apt-get -o DPkg::Lock::Timeout=300 install --yes --quiet --reinstall "./$(package)"; }
    install_package >/tmp/netmode-install.log 2>&1 || { apt-get -o DPkg::Lock::Timeout=300 update && install_package; } >>/tmp/netmode-install.log 2>&1 || {
        tail -n 20 /tmp/netmode-install.log >&2
        exit 1
    }
fi
say "$(netmode --version) installed in $(($(date +%s) - start)) s"

# Who may use sudo without a password may use the agent as well.
usermod --append --groups netmode "$owner"
install -m 644 vagrant/greeting.sh /etc/profile.d/netmode.sh

# Its findings are for the reader: a warning is no reason for a machine not to come up.
netmode doctor || :
