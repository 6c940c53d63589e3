"""Runs a program under a seccomp filter that refuses system calls.

    forbid.py errno=N|kill NUMBER[,NUMBER...] PROGRAM [ARGUMENT...]
"""
import ctypes
import os
import struct
import sys

ALLOW, KILL_PROCESS, ERRNO = 0x7FFF0000, 0x80000000, 0x00050000
LOAD_NUMBER, JUMP_IF_EQUAL, RETURN = 0x20, 0x15, 0x06
PR_SET_NO_NEW_PRIVS, PR_SET_SECCOMP, SECCOMP_MODE_FILTER = 38, 22, 2

how, numbers, program = sys.argv[1], sys.argv[2].split(","), sys.argv[3:]
verdict = KILL_PROCESS if how == "kill" else ERRNO | int(how.partition("=")[2])

filter_ = [(LOAD_NUMBER, 0, 0, 0)]
for number in numbers:
    filter_ += [(JUMP_IF_EQUAL, 0, 1, int(number)), (RETURN, 0, 0, verdict)]
filter_.append((RETURN, 0, 0, ALLOW))
code = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *step) for step in filter_))


class Program(ctypes.Structure):
    _fields_ = [("length", ctypes.c_ushort), ("filter", ctypes.c_void_p)]


libc = ctypes.CDLL(None, use_errno=True)
description = Program(len(filter_), ctypes.cast(code, ctypes.c_void_p))
if libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) or libc.prctl(
    PR_SET_SECCOMP, SECCOMP_MODE_FILTER, ctypes.byref(description), 0, 0
):
    sys.exit(f"forbid.py: {os.strerror(ctypes.get_errno())}")
os.execvp(program[0], program)
