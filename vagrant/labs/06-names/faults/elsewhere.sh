netmode rm -f gunicorn
netmode run -d --name gunicorn --rootfs / netmode lab serve --name gunicorn 8000
