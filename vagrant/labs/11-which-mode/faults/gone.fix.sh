netmode ps -a
netmode start awsvpc
