netmode run -d --name web -p 80:3000 --rootfs / netmode lab serve --name web 3000
netmode run -d --name web-2 -p 8080:3000 --rootfs / netmode lab serve --name web-2 3000
netmode port ls
