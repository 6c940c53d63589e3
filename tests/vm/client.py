"""Runs one command in the virtual machine of scripts/vm.sh, as if it were a command here.

    client.py DIRECTORY USER LIMIT COMMAND [ARGUMENT...]

DIRECTORY is the machine's, with its ports in it. The protocol is told in guest/.../agent.py.
"""

import fcntl
import glob
import json
import os
import secrets
import signal
import socket
import struct
import sys
import threading
import time


def free_port(directory):
    """A port that nobody uses, and its lock, marked as in use."""
    while True:
        paths = sorted(glob.glob(f"{directory}/port.[0-9]"))
        if not paths:
            sys.exit(f"vm: no machine runs in {directory}")
        for path in paths:
            lock = os.open(f"{path}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                os.close(lock)
                continue
            if os.pread(lock, 1, 0):
                # Its last user was killed: the machine needs a moment to notice.
                time.sleep(1.5)
            os.pwrite(lock, b"x", 0)
            return path, lock
        time.sleep(0.1)


def send_input(port):
    try:
        while True:
            data = os.read(0, 1 << 16)
            port.sendall(struct.pack("!I", len(data)) + data)
            if not data:
                return
    except OSError:
        pass


def gone():
    sys.exit("vm: the machine has gone")


def answer(read):
    """What was read; a broken connection is an end."""
    try:
        return read()
    except ConnectionError:
        return b""


def main():
    directory, user, limit, *command = sys.argv[1:]
    path, lock = free_port(directory)
    port = socket.socket(socket.AF_UNIX)
    try:
        # By a short name: the address of a socket has room for 107 bytes.
        here = os.open(directory, os.O_PATH)
        port.connect(f"/proc/self/fd/{here}/{os.path.basename(path)}")
    except OSError:
        gone()
    signal.signal(signal.SIGALRM, lambda *_: (print(f"vm: not done in {limit} s", file=sys.stderr), os._exit(124)))
    signal.alarm(int(limit))
    signal.signal(signal.SIGTERM, lambda *_: os._exit(143))
    signal.signal(signal.SIGINT, lambda *_: os._exit(130))
    name = secrets.token_hex(16)
    port.sendall(json.dumps({"id": name, "command": command, "user": user}).encode() + b"\n")
    answers = port.makefile("rb")
    while (line := answer(answers.readline)) and not line.endswith(name.encode() + b"\n"):
        pass  # The answer to a caller before us.
    if not line:
        gone()
    threading.Thread(target=send_input, args=(port,), daemon=True).start()
    while header := answer(lambda: answers.read(5)):
        kind, length = struct.unpack("!cI", header)
        data = answers.read(length)
        if kind == b"x":
            os.ftruncate(lock, 0)
            sys.stdout.flush()
            os._exit(int(data))
        stream = sys.stdout if kind == b"o" else sys.stderr
        stream.buffer.write(data)
        stream.buffer.flush()
    gone()


main()
