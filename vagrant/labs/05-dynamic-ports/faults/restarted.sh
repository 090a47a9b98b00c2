# What an earlier one has left.
netmode rm -f other 2>/dev/null || :
netmode rm -f web-2
# Somebody else takes a port before it is back.
netmode run -d --name other -p 3000 --rootfs / sleep 10000
netmode run -d --name web-2 -p 3000 --rootfs / netmode lab serve --name web-2 3000
