# shellcheck shell=sh
# What the reboot shall keep, and what it shall free.
check 'networks, subnets, groups and tasks are made' '
    netmode network create --subnet 10.20.0.0/24 --ipv6 app
    netmode subnet create tasks --cidr 10.30.0.0/24
    netmode sg create web
    netmode sg authorize web --protocol tcp --port 80 --cidr 0.0.0.0/0
    serve back --restart always --network app --ip 10.20.0.7 -p 8090:80
    serve own --mode awsvpc --subnet tasks --security-group web
    serve gone --network app -p 8091:80
    eventually 20 "reaches client $HOST:8090 back && reaches client $HOST:8091 gone"
    eventually 20 "reaches host $(address own):80 own"'
