ss -Hltnp 'sport = :8080'
kill "$(ss -Hltnp 'sport = :8080' | sed -n 's/.*pid=\([0-9]*\),.*/\1/p')"
while ss -Hltn 'sport = :8080' | grep -q .; do
    sleep 0.1
done
netmode run -d --name web --mode host -p 8080 --rootfs / netmode lab serve --name web 8080
