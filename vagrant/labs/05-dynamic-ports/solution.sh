for n in 1 2 3; do
    netmode run -d --name web-$n -p 3000 --rootfs / netmode lab serve --name web-$n 3000
done
for n in 1 2 3; do
    line=$(netmode port web-$n)
    echo "server 127.0.0.1:${line##*:};"
done >upstream.conf
nginx -c /run/home/nginx.conf
