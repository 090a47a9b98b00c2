netmode flow-log create --to file:vpc.log --max-aggregation-interval 60
for group in web db other; do
    netmode sg create $group
done
netmode sg authorize db --protocol tcp --port 5432 --group web
netmode run -d --name db --mode awsvpc --subnet tasks --security-group db --rootfs / netmode lab serve --name db 5432
netmode run -d --name web --mode awsvpc --subnet tasks --security-group web --rootfs / sleep 10000
netmode run -d --name neighbour --mode awsvpc --subnet tasks --security-group other --rootfs / sleep 10000
address=$(netmode eni ls --filter task=db --format '{{.PrivateIpAddress}}')
netmode exec web curl -sS --retry 3 --retry-connrefused --max-time 2 "http://$address:5432/"
netmode exec neighbour curl -sS --max-time 1 "http://$address:5432/" || true
netmode stop -t 1 db
netmode start db
cat /var/log/netmode/vpc.log
