netmode task stop "$(netmode task ls -q | head -n 1)"
sed -i 's/127.0.0.1:8000/localhost:8001/' /run/home/conf/localhost.conf
netmode task run -f /run/home/pod.json --security-group web
