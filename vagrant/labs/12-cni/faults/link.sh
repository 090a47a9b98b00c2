ip -n pod route del default
