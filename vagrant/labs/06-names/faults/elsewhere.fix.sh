netmode exec nginx getent hosts gunicorn || netmode network inspect shop
netmode rm -f gunicorn nginx
netmode run -d --name gunicorn --network shop --rootfs / netmode lab serve --name gunicorn 8000
netmode run -d --name nginx --network shop -p 80:80 -v /run/home/conf:/conf --rootfs / nginx -c /conf/nginx.conf
