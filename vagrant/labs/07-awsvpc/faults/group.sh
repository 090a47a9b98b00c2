netmode rm -f web-2
netmode run -d --name web-2 --mode awsvpc --subnet tasks --rootfs / netmode lab serve --name web-2 80
