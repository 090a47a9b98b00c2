netmode rm -f neighbour
netmode run -d --name neighbour --mode awsvpc --subnet tasks --security-group other,web --rootfs / sleep 10000
