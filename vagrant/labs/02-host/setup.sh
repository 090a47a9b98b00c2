# A service of the host for the host alone.
setsid "$NETMODE" lab serve --name private --ip 127.0.0.1 9000 >/dev/null 2>&1 </dev/null &
