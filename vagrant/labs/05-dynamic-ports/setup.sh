cat >/run/home/nginx.conf <<'END'
# nginx in front of the copies. The list of them is upstream.conf, beside this file.
pid /run/home/nginx.pid;
error_log /run/home/nginx.log;
events {}
http {
    access_log off;
    client_body_temp_path /run/home/nginx-body;
    proxy_temp_path /run/home/nginx-proxy;
    fastcgi_temp_path /run/home/nginx-fastcgi;
    uwsgi_temp_path /run/home/nginx-uwsgi;
    scgi_temp_path /run/home/nginx-scgi;
    upstream web {
        include /run/home/upstream.conf;
    }
    server {
        listen 80;
        location / {
            proxy_connect_timeout 1s;
            proxy_pass http://web;
        }
    }
}
END
