netmode sg effective db
netmode sg authorize db --protocol tcp --port 5432 --group web
netmode sg revoke db --protocol tcp --port 5433 --group web
