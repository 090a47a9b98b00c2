netmode ps
netmode rm -f safe
netmode run -d --name safe --rootfs / sleep 10000
