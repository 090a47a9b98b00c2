cd /run/home
port=$(netmode port web-2)
sed -i "s/:${port##*:}\\b/:9/" upstream.conf
# Not by a reload: behind that the processes of before still answer for a moment.
nginx -s stop -c /run/home/nginx.conf
for _ in $(seq 500); do
    [ -e nginx.pid ] || break
    sleep 0.02
done
nginx -c /run/home/nginx.conf
