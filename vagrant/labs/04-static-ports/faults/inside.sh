netmode rm -f web
netmode run -d --name web -p 80:80 --rootfs / netmode lab serve --name web 3000
