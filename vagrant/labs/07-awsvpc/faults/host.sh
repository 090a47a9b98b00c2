# What an earlier one has left.
netmode rm -f extra 2>/dev/null || :
netmode run -d --name extra -p 80:80 --rootfs / netmode lab serve --name extra 80
