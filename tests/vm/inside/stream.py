# stream.py ADDRESS PORT STOP: asks a server by UDP each 20 ms until the file STOP is there: once from the same socket
# always (a flow that the kernel knows) and once from a new one (a flow that it does not), and on one TCP connection.
# Prints what was asked and what was answered; nothing is asked again.
import json, os, selectors, socket, sys, time

to, stop = (sys.argv[1], int(sys.argv[2])), sys.argv[3]
wait = selectors.DefaultSelector()
asked, answered, slowest = {"old": 0, "new": 0}, {"old": 0, "new": 0}, 0.0


def datagram():
    s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    s.connect(to)
    s.setblocking(False)
    return s


def ask(s, kind):
    s.send(b"who")
    asked[kind] += 1
    return time.monotonic()


def collect(until):
    global slowest
    while (left := until - time.monotonic()) > 0:
        for key, _ in wait.select(left):
            kind, sent = key.data
            try:
                key.fileobj.recv(4096)
            except OSError as error:
                sys.exit(f"{kind}: {error}")
            answered[kind] += 1
            slowest = max(slowest, time.monotonic() - sent[0])
            if kind == "new":
                wait.unregister(key.fileobj)
                key.fileobj.close()


stream = socket.create_connection(to, 5)
stream.settimeout(5)
old, when = datagram(), [0.0]
wait.register(old, selectors.EVENT_READ, ("old", when))
lines = 0
while not os.path.exists(stop):
    when[0] = ask(old, "old")
    new = datagram()
    wait.register(new, selectors.EVENT_READ, ("new", [ask(new, "new")]))
    stream.sendall(b"line\n")
    assert stream.recv(16) == b"line\n", "the connection lost a line"
    lines += 1
    collect(time.monotonic() + 0.02)
collect(time.monotonic() + 2)
print(json.dumps({"asked": asked, "answered": answered, "lines": lines, "slowest_ms": round(slowest * 1000)}))
sys.exit(asked != answered or asked["old"] < 20)
