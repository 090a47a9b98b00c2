netmode rm -f t11
netmode rm -f t12
netmode run -d --name t12 --mode awsvpc --subnet small --rootfs / sleep 10000
