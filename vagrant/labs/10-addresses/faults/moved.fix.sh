netmode subnet ls
netmode rm -f t12
for _ in 1 2 3 4 5 6 7 8 9 10; do
    netmode run -d --name t11 --mode awsvpc --subnet small --rootfs / sleep 10000 && break
    sleep 0.1
done
netmode run -d --name t12 --mode awsvpc --subnet small,big --rootfs / sleep 10000
