netmode subnet ls
netmode rm -f t12
netmode run -d --name t11 --mode awsvpc --subnet small --rootfs / sleep 10000
netmode run -d --name t12 --mode awsvpc --subnet small,big --rootfs / sleep 10000
