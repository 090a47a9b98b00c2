ip -n red route replace default via 10.10.0.11
