#!/usr/bin/env python3
"""A bus with a systemd on it that can do two things: make a scope, and move processes to one.

systemd.py SOCKET DIRECTORY: listens on SOCKET, makes scopes in DIRECTORY, a cgroup of version 2, and prints a
line for each call.
"""
import os
import socket
import struct
import sys
import threading


def receive(connection, count):
    data = b""
    while len(data) < count:
        more = connection.recv(count - len(data))
        if not more:
            raise EOFError
        data += more
    return data


def string(data, at):
    length = struct.unpack_from("<I", data, at)[0]
    return data[at + 4 : at + 4 + length].decode(), at + 4 + length + 1


def reply(serial):
    fields = struct.pack("<BBBBI", 5, 1, ord("u"), 0, serial)
    return struct.pack("<cBBBIII", b"l", 2, 0, 1, 0, 1, len(fields)) + fields


def pids_of(body):
    at = body.index(b"PIDs\0") + 5 + len(b"\x02au\0")
    at += -at % 4
    count = struct.unpack_from("<I", body, at)[0] // 4
    return struct.unpack_from(f"<{count}I", body, at + 4)


def serve(connection, directory):
    line = b""
    # A nul byte, then lines.
    while not line.endswith(b"BEGIN\r\n"):
        line += connection.recv(1)
        if line.endswith(b"AUTH EXTERNAL\r\n"):
            connection.sendall(b"DATA\r\n")
        elif line.endswith(b"\r\nDATA\r\n"):
            connection.sendall(b"OK 0123456789abcdef0123456789abcdef\r\n")
    while True:
        fixed = receive(connection, 16)
        body_length, serial, fields_length = struct.unpack_from("<III", fixed, 4)
        fields = receive(connection, fields_length + -fields_length % 8)
        body = receive(connection, body_length)
        if b"StartTransientUnit\0" in fields:
            unit, _ = string(body, 0)
            scope = os.path.join(directory, unit)
            os.mkdir(scope)
            for pid in pids_of(body):
                with open(os.path.join(scope, "cgroup.procs"), "w") as procs:
                    procs.write(str(pid))
            print("start", unit, "slice" if b"test.slice\0" in body else "", flush=True)
        connection.sendall(reply(serial))


def attend(connection, directory):
    try:
        serve(connection, directory)
    except (EOFError, ConnectionError):
        connection.close()


def main():
    path, directory = sys.argv[1:]
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(path)
    listener.listen()
    print("ready", flush=True)
    while True:
        connection, _ = listener.accept()
        threading.Thread(target=attend, args=(connection, directory), daemon=True).start()


main()
