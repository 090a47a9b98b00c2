netmode eni ls
netmode rm -f squatter
netmode run -d --name task-10 --mode awsvpc --rootfs / netmode lab serve --name task-10 80
