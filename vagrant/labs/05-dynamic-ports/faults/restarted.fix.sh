netmode port ls
cat upstream.conf
for n in 1 2 3; do
    line=$(netmode port web-$n)
    echo "server 127.0.0.1:${line##*:};"
done >upstream.conf
nginx -s reload -c /run/home/nginx.conf
# It was begun in between, and is not needed.
netmode rm -f other
