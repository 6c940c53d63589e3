"""Runs commands that come over the machine's serial ports: one at a time per port, several ports.

A request is a line of JSON {id, command, user}, then standard input in chunks: 4 bytes of length,
data; a length of 0 is its end. The answer is the line `id`, then chunks: one byte of kind, 4 bytes of
length, data. Kinds: o and e are output and error output, x is the exit status in decimal and the end.
A caller that goes takes its command with it.
"""

import glob
import json
import os
import pwd
import select
import shlex
import signal
import struct
import subprocess
import threading
import time


class Gone(Exception):
    """The caller has left."""


class Port:
    def __init__(self, path):
        self.fd = os.open(path, os.O_RDWR | os.O_NONBLOCK)
        self.buffer = b""
        self.writing = threading.Lock()

    def wait(self, events):
        poll = select.poll()
        poll.register(self.fd, events)
        for _, happened in poll.poll():
            if happened & select.POLLHUP:
                raise Gone

    def fill(self):
        while True:
            try:
                self.wait(select.POLLIN)
                data = os.read(self.fd, 1 << 16)
            except BlockingIOError:
                continue
            if not data:
                raise Gone
            self.buffer += data
            return

    def take(self, count):
        while len(self.buffer) < count:
            self.fill()
        data, self.buffer = self.buffer[:count], self.buffer[count:]
        return data

    def line(self):
        while b"\n" not in self.buffer:
            self.fill()
        line, self.buffer = self.buffer.split(b"\n", 1)
        return line

    def write(self, data):
        with self.writing:
            while data:
                try:
                    self.wait(select.POLLOUT)
                    data = data[os.write(self.fd, data) :]
                except BlockingIOError:
                    continue

    def chunk(self, kind, data):
        self.write(kind + struct.pack("!I", len(data)) + data)


def start(request):
    """Starts the command in a session of the user's, as a login makes one."""
    command = request["command"]
    if request["user"] != "root":
        # The environment is that of a login: nothing of the agent's goes in.
        command = ["su", "--login", request["user"], "--command", "exec " + shlex.join(command)]
    home = pwd.getpwnam("root").pw_dir
    environment = {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "LANG": "C.UTF-8"}
    environment |= {"HOME": home, "USER": "root", "TERM": "dumb"}
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    return subprocess.Popen(command, **pipes, cwd="/", env=environment, start_new_session=True)


def relay(port, kind, stream):
    """Passes on what a command prints, as it comes."""
    try:
        while data := os.read(stream.fileno(), 1 << 16):
            port.chunk(kind, data)
    except (Gone, OSError):
        pass


def feed(port, process, ended):
    """Passes on standard input until the command has ended; True when the caller has gone before."""
    poll = select.poll()
    poll.register(port.fd, select.POLLIN)
    poll.register(ended, select.POLLIN)
    while True:
        if not port.buffer:
            happened = dict(poll.poll())
            if ended in happened:
                return
        length = struct.unpack("!I", port.take(4))[0]
        data = port.take(length)
        try:
            if data:
                process.stdin.write(data)
                process.stdin.flush()
            else:
                process.stdin.close()
        except (BrokenPipeError, ValueError):
            pass


def serve(port):
    try:
        line = port.line()
        # Before it may stand what an earlier caller sent as input to a command that had ended.
        request = json.loads(line[max(line.rfind(b'{"id": '), 0) :])
    except ValueError:
        return
    port.write(request["id"].encode() + b"\n")
    try:
        process = start(request)
    except OSError as error:
        port.chunk(b"e", f"{error}\n".encode())
        port.chunk(b"x", b"127")
        return
    streams = [(b"o", process.stdout), (b"e", process.stderr)]
    relays = [threading.Thread(target=relay, args=(port, *stream), daemon=True) for stream in streams]
    for thread in relays:
        thread.start()
    ended = os.pidfd_open(process.pid)
    try:
        feed(port, process, ended)
        code = process.wait()
        for thread in relays:
            # Longer than a line takes; a process in the background may keep the stream for ever.
            thread.join(2)
        port.chunk(b"x", str(code if code >= 0 else 128 - code).encode())
    finally:
        os.close(ended)
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGTERM)
            time.sleep(0.5)
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def listen(path):
    port = Port(path)
    while True:
        try:
            serve(port)
        except Gone:
            port.buffer = b""
            time.sleep(0.05)


ports = [f"/dev/{os.path.basename(path)}" for path in glob.glob("/sys/class/virtio-ports/*")]
threads = [threading.Thread(target=listen, args=(path,)) for path in ports]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
