netmode sg effective db
netmode sg revoke db --protocol tcp --port 5432 --cidr 10.0.2.0/24
