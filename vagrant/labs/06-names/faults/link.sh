address=$(netmode exec nginx getent hosts gunicorn | sed 's/ .*//')
netmode rm -f nginx
netmode run -d --name nginx --network shop --add-host "gunicorn:$address" -p 80:80 -v /run/home/conf:/conf --rootfs / nginx -c /conf/nginx.conf
