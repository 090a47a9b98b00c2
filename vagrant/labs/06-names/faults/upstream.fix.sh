grep proxy_pass conf/localhost.conf
sed -i 's/localhost:8001/127.0.0.1:8000/' conf/localhost.conf
netmode task stop "$(netmode task ls -q | head -n 1)"
netmode task run -f pod.json --security-group web
