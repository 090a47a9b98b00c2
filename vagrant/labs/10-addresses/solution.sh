netmode subnet create small --cidr 10.0.3.0/28
for n in 1 2 3 4 5 6 7 8 9 10 11; do
    netmode run -d --name t$n --mode awsvpc --subnet small --rootfs / sleep 10000
done
netmode run -d --name t12 --mode awsvpc --subnet small --rootfs / sleep 10000 || true
netmode subnet create big --cidr 100.64.0.0/24 --ipv6-cidr fd00:64::/64 --nat=false
netmode run -d --name t12 --mode awsvpc --subnet small,big --rootfs / sleep 10000
netmode subnet ls
