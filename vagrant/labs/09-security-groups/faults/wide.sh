netmode sg authorize db --protocol tcp --port 5432 --cidr 10.0.2.0/24
