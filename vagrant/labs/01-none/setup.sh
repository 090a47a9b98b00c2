mkdir -p /run/home/data
