netmode subnet create tasks --cidr 10.0.2.0/24
netmode sg create web
netmode sg authorize web --protocol tcp --port 80 --cidr 0.0.0.0/0
netmode run -d --name web-1 --mode awsvpc --subnet tasks --security-group web --rootfs / netmode lab serve --name web-1 80
netmode run -d --name web-2 --mode awsvpc --subnet tasks --security-group web --rootfs / netmode lab serve --name web-2 80
