nft list table ip byhand
nft flush chain ip byhand post
nft add rule ip byhand post ip saddr 10.10.0.0/24 oifname eth0 masquerade
