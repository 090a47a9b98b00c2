mkdir -p /run/home/conf
netmode sg create web
netmode sg authorize web --protocol tcp --port 80 --cidr 0.0.0.0/0
for name in nginx localhost; do
    cat >/run/home/conf/$name.conf <<'END'
daemon off;
pid /tmp/nginx.pid;
error_log stderr;
events {}
http {
    access_log off;
    server {
        listen 80;
        location / {
            proxy_connect_timeout 1s;
            proxy_pass http://gunicorn:8000;
        }
    }
}
END
done
cat >/run/home/pod.json <<'END'
{
  "family": "shop",
  "networkMode": "awsvpc",
  "containerDefinitions": [
    { "name": "gunicorn", "rootDirectory": "/", "memory": 64,
      "command": ["netmode", "lab", "serve", "--name", "gunicorn", "8000"] },
    { "name": "nginx", "rootDirectory": "/", "memory": 64,
      "command": ["nginx", "-c", "/conf/localhost.conf"],
      "mountPoints": [{ "sourceVolume": "conf", "containerPath": "/conf" }] }
  ],
  "volumes": [{ "name": "conf", "host": { "sourcePath": "/run/home/conf" } }]
}
END
