ip -n red route get 203.0.113.9
ip -n red route replace default via 10.10.0.1
