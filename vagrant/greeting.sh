# shellcheck shell=sh
# Greets who logs in, in a terminal, once: /etc/profile.d/netmode.sh on the Vagrant machine.
case $- in *i*)
    if [ -t 1 ] && [ -z "${NETMODE_GREETED-}" ]; then
        export NETMODE_GREETED=1
        echo "This is $(hostname), with $(netmode --version 2>/dev/null || echo 'no netmode'). The sources are in /netmode."
        if netmode lab --help >/dev/null 2>&1; then
            echo 'The labs teach one network mode after the other; "netmode lab start 1" begins.'
            echo
            timeout 5 netmode lab ls || :
        else
            echo '"netmode doctor" looks at the machine, "netmode --help" lists what it can do.'
        fi
    fi
    ;;
esac
