netmode ps
netmode rm -f job
netmode run -d --name job --mode none -v /run/home/data:/data --rootfs / \
    sh -c 'ip -br link >/data/links; exec netmode lab serve 8080'
