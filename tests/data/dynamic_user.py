"""Runs a program as a service with DynamicUser= runs: no new privileges, and the seccomp filter of
RestrictSUIDSGID= (systemd, src/shared/seccomp-util.c).

    dynamic_user.py PROGRAM [ARGUMENT...]
"""
import ctypes
import errno
import os
import stat
import sys

ALLOW, ERRNO, MASKED_EQUAL = 0x7FFF0000, 0x00050000, 7


class Compare(ctypes.Structure):
    _fields_ = [("arg", ctypes.c_uint), ("op", ctypes.c_int), ("mask", ctypes.c_uint64), ("value", ctypes.c_uint64)]


library = ctypes.CDLL("libseccomp.so.2")
library.seccomp_init.restype = ctypes.c_void_p
context = ctypes.c_void_p(library.seccomp_init(ALLOW))


def refuse(call, error, **bits):
    """Answers a call with an error, if its arguments have all of these bits."""
    compared = [Compare(int(name[1:]), MASKED_EQUAL, mask, mask) for name, mask in bits.items()]
    number = library.seccomp_syscall_resolve_name(call.encode())
    result = library.seccomp_rule_add_array(
        context, ERRNO | error, number, len(compared), (Compare * len(compared))(*compared)
    )
    if result:
        sys.exit(f"{call}: {os.strerror(-result)}")


for bit in stat.S_ISUID, stat.S_ISGID:
    for call in "chmod", "fchmod", "mkdir", "mknod":
        refuse(call, errno.EPERM, a1=bit)
    for call in "fchmodat", "mkdirat", "mknodat":
        refuse(call, errno.EPERM, a2=bit)
    refuse("creat", errno.EPERM, a1=bit)
    refuse("open", errno.EPERM, a1=os.O_CREAT, a2=bit)
    refuse("openat", errno.EPERM, a2=os.O_CREAT, a3=bit)
# It takes its mode by a pointer.
refuse("openat2", errno.ENOSYS)
# This sets no_new_privs, too.
if library.seccomp_load(context):
    sys.exit("cannot load the filter")
os.execvp(sys.argv[1], sys.argv[1:])
