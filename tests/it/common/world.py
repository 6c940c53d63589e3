"""What a machine of the fake world offers: world.py NAME ADDRESS4 ADDRESS6

8000/tcp  HTTP: GET /who (caller), /name, /noise/SEED/LENGTH; POST (length and SHA-256 of the body)
7/tcp     echo: after the end of what came, sends `LENGTH bytes from CALLER` and closes (half-close)
7/udp     echo: `CALLER DATA`
81/tcp    accepts, then resets
82/tcp    accepts and says nothing
53        name server: NAME.world is 192.0.2.77 and fd00::77, text.world a long TXT, slow.world no answer,
          NAME.search.world 192.0.2.78; all else NXDOMAIN. Counts: queries.world TXT.
"""
import hashlib
import http.server
import random
import socket
import socketserver
import struct
import sys
import threading

NAME, V4, V6 = sys.argv[1:4]


def caller(address):
    host = address[0].removeprefix("::ffff:")
    return f"[{host}]:{address[1]}" if ":" in host else f"{host}:{address[1]}"


def noise(seed, length):
    """Bytes that repeat nowhere, the same for the same seed."""
    for block in range(-(-length >> 20)):
        yield random.Random(f"{seed}/{block}").randbytes(min(1 << 20, length - (block << 20)))


class Web(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def answer(self, body, code=200):
        self.send_response(code)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_GET(self):
        parts = self.path.strip("/").split("/")
        if parts[0] == "who":
            self.answer(caller(self.client_address).encode())
        elif parts[0] == "name":
            self.answer(NAME.encode())
        elif parts[0] == "noise":
            length = int(parts[2])
            self.send_response(200)
            self.send_header("Content-Length", str(length))
            self.end_headers()
            for block in noise(int(parts[1]), length):
                self.wfile.write(block)
        else:
            self.answer(b"no such thing", 404)

    def do_POST(self):
        left = int(self.headers["Content-Length"])
        total, digest = left, hashlib.sha256()
        while left > 0:
            data = self.rfile.read(min(left, 1 << 20))
            if not data:
                break
            digest.update(data)
            left -= len(data)
        self.answer(f"{total - left} {digest.hexdigest()}".encode())

    do_PUT = do_POST

    def log_message(self, *_):
        pass


class Echo(socketserver.BaseRequestHandler):
    def handle(self):
        count = 0
        while data := self.request.recv(1 << 16):
            count += len(data)
            self.request.sendall(data)
        self.request.sendall(f"{count} bytes from {caller(self.client_address)}\n".encode())


class Reset(socketserver.BaseRequestHandler):
    def handle(self):
        self.request.recv(1)
        self.request.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.request.close()


class Mute(socketserver.BaseRequestHandler):
    def handle(self):
        while self.request.recv(1 << 16):
            pass


QUERIES = {}


def dns_answer(query, tcp):
    """The answer to a query; None for silence."""
    if len(query) < 17 or query[2] & 0x80:
        return None
    at, labels = 12, []
    while query[at]:
        labels.append(query[at + 1 : at + 1 + query[at]].decode("latin-1"))
        at += 1 + query[at]
    kind = struct.unpack("!H", query[at + 1 : at + 3])[0]
    question = query[12 : at + 5]
    name = ".".join(labels).lower()
    QUERIES[name] = QUERIES.get(name, 0) + 1
    answers, code, truncated = [], 0, False
    ttl = 1 if name.startswith("short") else 300

    def record(data):
        return struct.pack("!HHHIH", 0xC00C, kind, 1, ttl, len(data)) + data

    def text(value):
        value = value.encode()
        return b"".join(bytes([len(value[i : i + 255])]) + value[i : i + 255] for i in range(0, len(value), 255))

    if name == "slow.world":
        return None
    if name == "whoami.world" and kind == 16:
        answers.append(record(text(NAME)))
    elif name.startswith("count.") and kind == 16:
        answers.append(record(text(str(QUERIES.get(name[6:], 0)))))
    elif name == "text.world" and kind == 16:
        if tcp:
            answers += [record(text(f"{number:04}" + "x" * 200)) for number in range(20)]
        else:
            truncated = True
    elif name.endswith(".world") or name.endswith(".world.search"):
        last = 78 if "search" in labels else 77
        if kind == 1:
            answers.append(record(bytes([192, 0, 2, last])))
        elif kind == 28:
            answers.append(record(socket.inet_pton(socket.AF_INET6, f"fd00::{last}")))
        elif kind == 15:
            answers.append(record(b"\0\x0a\xc0\x0c"))
    else:
        code = 3
    flags = 0x8180 | code | (0x0200 if truncated else 0)
    return query[:2] + struct.pack("!HHHHH", flags, 1, len(answers), 0, 0) + question + b"".join(answers)


class DnsStream(socketserver.BaseRequestHandler):
    def handle(self):
        stream = self.request.makefile("rb")
        while len(head := stream.read(2)) == 2:
            answer = dns_answer(stream.read(struct.unpack("!H", head)[0]), True)
            if answer:
                self.request.sendall(struct.pack("!H", len(answer)) + answer)


class Streams(socketserver.ThreadingTCPServer):
    allow_reuse_address = daemon_threads = True
    request_queue_size = 1024

    def handle_error(self, *_):
        pass


class Streams6(Streams):
    address_family = socket.AF_INET6

    def server_bind(self):
        self.socket.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        super().server_bind()


def datagrams(family, address, port, reply):
    sock = socket.socket(family, socket.SOCK_DGRAM)
    if family == socket.AF_INET6:
        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
    sock.bind((address, port))
    while True:
        data, source = sock.recvfrom(65536)
        try:
            answer = reply(data, source)
        except (IndexError, struct.error):
            continue
        if answer is not None:
            try:
                sock.sendto(answer, source)
            except OSError:
                pass


def start(function, *arguments):
    threading.Thread(target=function, args=arguments, daemon=True).start()


for family, address, server in ((socket.AF_INET, V4, Streams), (socket.AF_INET6, V6, Streams6)):
    start(datagrams, family, address, 7, lambda data, source: caller(source).encode() + b" " + data)
    start(datagrams, family, address, 53, lambda data, _: dns_answer(data, False))
    for port, handler in ((7, Echo), (81, Reset), (82, Mute), (53, DnsStream)):
        start(server((address, port), handler).serve_forever)
    start(server((address, 8000), Web).serve_forever)
threading.Event().wait()
