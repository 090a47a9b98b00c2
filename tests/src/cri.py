# cri.py SOCKET: speaks CRI (k8s.io/cri-api, runtime/v1), one command a line of standard input, one line of JSON each.
#
#   status                                 conditions of the runtime
#   run NAME IMAGE HOSTPORT                a pod with one container that serves on port 80; its id and addresses
#   stop ID | remove ID                    of a pod
#
# The messages are few and small, so their fields are written by number, as protocol buffers have them on the wire.
import json, sys
import grpc


def varint(n):
    out = b""
    while n > 127:
        out, n = out + bytes([n & 127 | 128]), n >> 7
    return out + bytes([n])


def message(fields):
    out = b""
    for number, value in fields:
        if isinstance(value, int):
            out += varint(number << 3) + varint(value)
        else:
            value = value.encode() if isinstance(value, str) else value
            out += varint(number << 3 | 2) + varint(len(value)) + value
    return out


def fields(data):
    found, at = {}, 0

    def number():
        nonlocal at
        n = shift = 0
        while True:
            byte = data[at]
            at += 1
            n |= (byte & 127) << shift
            shift += 7
            if byte < 128:
                return n

    while at < len(data):
        tag = number()
        if tag & 7 == 0:
            value = number()
        else:
            size = number()
            value = data[at:at + size]
            at += size
        found.setdefault(tag >> 3, []).append(value)
    return found


channel = grpc.insecure_channel("unix://" + sys.argv[1])


def call(name, body):
    method = channel.unary_unary("/runtime.v1.RuntimeService/" + name, lambda b: b, lambda b: b)
    return fields(method(body, timeout=60))


def status():
    conditions = fields(call("Status", b"")[1][0]).get(1, [])
    return {fields(c)[1][0].decode(): bool(fields(c).get(2, [0])[0]) for c in conditions}


def run(name, image, port):
    metadata = message([(1, name), (2, name), (3, "tests")])
    mapping = message([(2, 80), (3, int(port))])
    pod = message([(1, metadata), (2, name), (5, mapping), (8, b"")])
    sandbox = call("RunPodSandbox", message([(1, pod)]))[1][0].decode()
    network = fields(fields(call("PodSandboxStatus", message([(1, sandbox)]))[1][0])[5][0])
    more = [fields(ip)[1][0].decode() for ip in network.get(2, [])]
    command = [(3, "/bin/probe"), (3, "serve"), (3, "--tag"), (3, name), (3, "tcp/80")]
    container = message([(1, message([(1, "c")])), (2, message([(1, image)])), *command, (15, b"")])
    made = call("CreateContainer", message([(1, sandbox), (2, container), (3, pod)]))[1][0].decode()
    call("StartContainer", message([(1, made)]))
    return {"id": sandbox, "ips": [network[1][0].decode(), *more]}


def stop(sandbox):
    call("StopPodSandbox", message([(1, sandbox)]))


def remove(sandbox):
    call("RemovePodSandbox", message([(1, sandbox)]))


for line in sys.stdin:
    command, *words = line.split()
    try:
        print(json.dumps({"ok": {"status": status, "run": run, "stop": stop, "remove": remove}[command](*words)}))
    except grpc.RpcError as error:
        print(json.dumps({"error": error.details()}))
    sys.stdout.flush()
