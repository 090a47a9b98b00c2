netmode run -d --name host --mode host -p 8080 --rootfs / netmode lab serve --name host 8080
netmode run -d --name bridge -p 80:3000 --rootfs / netmode lab serve --name bridge 3000
netmode run -d --name awsvpc --mode awsvpc --subnet tasks --security-group web --rootfs / netmode lab serve --name awsvpc 80
ip netns exec client curl -sS --retry 5 --retry-connrefused http://192.0.2.1:8080/ http://192.0.2.1/ http://10.0.2.4/
ip netns exec client netmode lab measure --svg cost.svg host=192.0.2.1:8080 bridge=192.0.2.1:80 awsvpc=10.0.2.4:80
ip netns exec client netmode lab measure -o json host=192.0.2.1:8080 bridge=192.0.2.1:80 awsvpc=10.0.2.4:80 >cost.json
