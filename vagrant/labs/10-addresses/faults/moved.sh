netmode rm -f t11
netmode rm -f t12
for _ in 1 2 3 4 5 6 7 8 9 10; do
    netmode run -d --name t12 --mode awsvpc --subnet small --rootfs / sleep 10000 && break
    sleep 0.1
done
