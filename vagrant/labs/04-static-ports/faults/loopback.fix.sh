netmode port web
netmode rm -f web
netmode run -d --name web -p 80:3000 --rootfs / netmode lab serve --name web 3000
