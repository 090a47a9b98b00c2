netmode rm -f web
setsid "$(command -v netmode)" lab serve --name squatter 8080 >/dev/null 2>&1 </dev/null &
