netmode port ls
netmode rm -f extra
