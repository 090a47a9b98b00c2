# What an earlier one has left.
netmode rm -f squatter 2>/dev/null || :
netmode rm -f task-10
# An interface is free when its link is gone.
for _ in 1 2 3 4 5 6 7 8 9 10; do
    netmode run -d --name squatter --mode awsvpc --rootfs / sleep 10000 && break
    sleep 0.1
done
