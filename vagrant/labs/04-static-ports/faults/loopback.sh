netmode rm -f web
netmode run -d --name web -p 127.0.0.1:80:3000 --rootfs / netmode lab serve --name web 3000
