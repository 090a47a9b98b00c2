# Raw frames for an attacker, and a watcher that counts those that come through; see tests/attacks.rs. A watcher knows
# them by a mark, whatever they pretend to be: in the data, in the trailer of what is not IP (br_netfilter cuts it from
# what is), or in a reserved field of neighbour discovery.
import fcntl, json, os, socket, struct, time

MARK, RESERVED = b"netmode-attack", 0x0BAD0BAD
ALL_NODES, ALL_STATIONS = "33:33:00:00:00:01", "ff:ff:ff:ff:ff:ff"


def mac(text):
    return bytes.fromhex(text.replace(":", ""))


def four(text):
    return socket.inet_pton(socket.AF_INET, text)


def six(text):
    return socket.inet_pton(socket.AF_INET6, text)


def own_mac(dev="eth0"):
    with socket.socket() as s:
        return fcntl.ioctl(s.fileno(), 0x8927, struct.pack("256s", dev.encode()))[18:24].hex(":")


def link_local(hardware):
    a = mac(hardware)
    return socket.inet_ntop(socket.AF_INET6, bytes.fromhex("fe80000000000000") + bytes([a[0] ^ 2]) + a[1:3] + b"\xff\xfe" + a[3:])


def checksum(data):
    if len(data) % 2:
        data += b"\0"
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def ether(dst, src, kind, body):
    return mac(dst) + mac(src) + struct.pack("!H", kind) + body + MARK


def arp(op, sha, spa, tha, tpa):
    return struct.pack("!HHBBH", 1, 0x0800, 6, 4, op) + mac(sha) + four(spa) + mac(tha) + four(tpa)


def ip4(src, dst, proto, body):
    head = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(body), 1, 0, 64, proto, 0) + four(src) + four(dst)
    return head[:10] + struct.pack("!H", checksum(head)) + head[12:] + body


def ip6(src, dst, following, body, hops=255):
    return struct.pack("!IHBB", 6 << 28, len(body), following, hops) + six(src) + six(dst) + body


def upper(src, dst, proto, body, at):
    """With the checksum over the pseudo header of either family, at byte `at`."""
    if ":" in src:
        pseudo = six(src) + six(dst) + struct.pack("!II", len(body), proto)
    else:
        pseudo = four(src) + four(dst) + struct.pack("!HH", proto, len(body))
    return body[:at] + struct.pack("!H", checksum(pseudo + body)) + body[at + 2 :]


def udp4(src, sport, dst, dport, data=MARK):
    return ip4(src, dst, 17, upper(src, dst, 17, struct.pack("!HHHH", sport, dport, 8 + len(data), 0) + data, 6))


def udp6(src, sport, dst, dport, data=MARK):
    return ip6(src, dst, 17, upper(src, dst, 17, struct.pack("!HHHH", sport, dport, 8 + len(data), 0) + data, 6), 64)


def icmp6(src, dst, kind, body):
    return upper(src, dst, 58, struct.pack("!BBH", kind, 0, 0) + body, 2)


def option(kind, hardware):
    return struct.pack("!BB", kind, 1) + mac(hardware)


def router_advert(src, dst="ff02::1", dev="eth0"):
    prefix = struct.pack("!BBBBIII", 3, 4, 64, 0xC0, 1800, 1800, 0) + six("2001:db8:bad::")
    return icmp6(src, dst, 134, struct.pack("!BBHII", 64, 0, 1800, RESERVED, 0) + option(1, own_mac(dev)) + prefix)


def neighbour(kind, src, dst, target, options=b""):
    flags = 0x60000000 if kind == 136 else 0
    return ip6(src, dst, 58, icmp6(src, dst, kind, struct.pack("!I", flags | RESERVED) + six(target) + options))


def send(frames, seconds=0.0, dev="eth0"):
    """Sends all of them, again and again for so long."""
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as s:
        s.bind((dev, 0))
        until = time.monotonic() + seconds
        while True:
            for frame in frames:
                s.send(frame)
            if time.monotonic() >= until:
                return
            time.sleep(0.02)


def watch(dev, name):
    """Prints how many marked frames came in by a link, by EtherType, until /tmp/NAME.end is there."""
    seen = {}
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3)) as s:
        s.bind((dev, 3))
        s.settimeout(0.05)
        open(f"/tmp/{name}.begun", "w").close()
        ended = None
        while ended is None or time.monotonic() < ended + 0.3:
            if ended is None and os.path.exists(f"/tmp/{name}.end"):
                ended = time.monotonic()
            try:
                frame, address = s.recvfrom(4096)
            except TimeoutError:
                continue
            if address[2] != 4 and (MARK in frame or b"\xad\x0b\xad" in frame):
                kind = frame[12:14].hex()
                # ICMPv6 by its type.
                kind += f" {frame[54]}" if kind == "86dd" and frame[20] == 58 else ""
                seen[kind] = seen.get(kind, 0) + 1
    print(json.dumps(seen))
