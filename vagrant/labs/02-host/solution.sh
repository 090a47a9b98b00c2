netmode run -d --name web --mode host -p 8080 --rootfs / netmode lab serve --name web 8080
netmode run -d --name web-2 --mode host --port-env PORT --rootfs / sh -c 'exec netmode lab serve --name web-2 $PORT'
netmode run -d --name safe --rootfs / sleep 10000
