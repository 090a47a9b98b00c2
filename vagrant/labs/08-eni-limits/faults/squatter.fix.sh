netmode eni ls
netmode rm -f squatter
for _ in 1 2 3 4 5 6 7 8 9 10; do
    netmode run -d --name task-10 --mode awsvpc --rootfs / netmode lab serve --name task-10 80 && break
    sleep 0.1
done
