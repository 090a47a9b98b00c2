# Whatever its table and its chain are called: the rule that masquerades (or snat), by its handle. Not netmode's own tables.
nft list tables | grep -v ' netmode' | while read -r _ family table; do
    nft -a list table "$family" "$table" | sed -n 's/^\tchain \(.*\) { .*/chain \1/p; s/.*\(masquerade\|snat to\|snat ip to\).*# handle \(.*\)/rule \2/p' |
        while read -r what word; do
            case $what in
                chain) chain=$word ;;
                rule)
                    nft delete rule "$family" "$table" "$chain" handle "$word"
                    nft add rule "$family" "$table" "$chain" ip saddr 10.11.0.0/24 oifname eth0 masquerade ;;
            esac
        done
done
