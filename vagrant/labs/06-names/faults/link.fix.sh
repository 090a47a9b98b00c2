netmode exec nginx cat /etc/hosts
netmode rm -f nginx
netmode run -d --name nginx --network shop -p 80:80 -v /run/home/conf:/conf --rootfs / nginx -c /conf/nginx.conf
