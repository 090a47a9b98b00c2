cd /run/home
sed -i '2s/:[0-9]*;/:9;/' upstream.conf
nginx -s reload -c /run/home/nginx.conf
