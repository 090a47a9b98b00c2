netmode eni ls
netmode rm -f neighbour
netmode run -d --name neighbour --mode awsvpc --subnet tasks --security-group other --rootfs / sleep 10000
