netmode stop -t 1 awsvpc
