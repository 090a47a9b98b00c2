netmode task stop "$(netmode task ls -q | head -n 1)"
sed -i 's|proxy_pass .*|proxy_pass http://localhost:8001;|' /run/home/conf/localhost.conf
netmode task run -f /run/home/pod.json --security-group web
