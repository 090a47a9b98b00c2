netmode exec job ip -br link
ip link del probe0
