netmode network create shop
netmode run -d --name gunicorn --network shop --rootfs / netmode lab serve --name gunicorn 8000
netmode run -d --name nginx --network shop -p 80:80 -v /run/home/conf:/conf --rootfs / nginx -c /conf/nginx.conf
sed -i 's/gunicorn:8000/127.0.0.1:8000/' conf/localhost.conf
netmode task run -f pod.json --security-group web
