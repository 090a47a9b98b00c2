netmode instance set-profile c5.large
