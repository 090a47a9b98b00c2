netmode instance show
netmode instance set-profile c5.large --trunking
