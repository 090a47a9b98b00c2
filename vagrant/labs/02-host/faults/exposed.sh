netmode rm -f safe
netmode run -d --name safe --mode host --rootfs / sleep 10000
