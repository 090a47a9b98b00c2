nft flush chain ip byhand post
nft add rule ip byhand post ip saddr 10.11.0.0/24 oifname eth0 masquerade
