netmode run -d --name extra -p 80:80 --rootfs / netmode lab serve --name extra 80
