cd /run/home
sed -i '2s/:[0-9]*;/:9;/' upstream.conf
# Not by a reload: behind that the processes of before still answer for a moment.
nginx -s stop -c /run/home/nginx.conf
while [ -e nginx.pid ]; do
    sleep 0.02
done
nginx -c /run/home/nginx.conf
