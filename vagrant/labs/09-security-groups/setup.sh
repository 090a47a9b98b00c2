netmode subnet create tasks --cidr 10.0.2.0/24
