# What an earlier one has left.
netmode rm -f squatter 2>/dev/null || :
netmode rm -f task-10
netmode run -d --name squatter --mode awsvpc --rootfs / sleep 10000
