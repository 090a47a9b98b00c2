netmode sg effective web-1
netmode sg authorize web --protocol tcp --port 80 --cidr 0.0.0.0/0
netmode sg revoke web --protocol tcp --port 8080 --cidr 0.0.0.0/0
