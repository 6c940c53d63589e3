"""Tries to get out of a container. Prints a line BREACH for everything that worked and should not.

Arguments: key=value pairs: pids=1,2,3 (of the host, to reach), secret=WORD (in the environment and
memory of another container), paths=A:B (of the host, not to be seen), bind=DIR (a read-only bind
mount in this container).
"""

import ctypes
import errno
import os
import signal
import socket
import struct
import sys

libc = ctypes.CDLL(None, use_errno=True)
arguments = dict(word.split("=", 1) for word in sys.argv[1:])
PIDS = [int(pid) for pid in arguments.get("pids", "").split(",") if pid]
SECRET = arguments.get("secret", "no-such-secret")
PATHS = [path for path in arguments.get("paths", "").split(":") if path]
BIND = arguments.get("bind")
tried = 0


def breach(text):
    print("BREACH", text, flush=True)


def call(name, *arguments):
    ctypes.set_errno(0)
    result = getattr(libc, name)(*arguments)
    return result, ctypes.get_errno()


def must_fail(what, name, *arguments):
    global tried
    tried += 1
    result, error = call(name, *arguments)
    if result >= 0:
        breach(f"{what}: {name} gave {result}")
    return error


def must_not(what, action):
    """The action must raise OSError or give something false."""
    global tried
    tried += 1
    try:
        result = action()
    except (OSError, UnicodeError):
        return
    if result:
        breach(f"{what}: {result!r}")


def write(path, data):
    descriptor = os.open(path, os.O_WRONLY)
    try:
        return os.write(descriptor, data)
    finally:
        os.close(descriptor)


def read(path, size=1 << 16):
    with open(path, "rb") as file:
        return file.read(size)


def processes():
    own = set()
    for name in os.listdir("/proc"):
        if not name.isdigit():
            continue
        own.add(int(name))
        for file in ("cmdline", "environ"):
            must_not(f"see another's {file}", lambda: SECRET.encode() in read(f"/proc/{name}/{file}")
                     and int(name) != os.getpid())
    if len(own) > 8:
        breach(f"{len(own)} processes in sight")
    for pid in PIDS:
        if pid in own:
            continue
        must_not(f"signal {pid}", lambda: os.kill(pid, 0) is None)
        must_fail(f"open a pidfd of {pid}", "syscall", 434, pid, 0)
        must_fail(f"attach to {pid}", "ptrace", 16, pid, 0, 0)
        must_fail(f"seize {pid}", "ptrace", 0x4206, pid, 0, 0)
        local = ctypes.create_string_buffer(64)
        vector = struct.pack("QQ", ctypes.addressof(local), 64)
        remote = struct.pack("QQ", 0x400000, 64)
        must_fail(f"read memory of {pid}", "process_vm_readv", pid, vector, 1, remote, 1, 0)
        for kind in ("user", "mnt", "net", "pid", "cgroup"):
            must_not(f"open a namespace of {pid}", lambda: os.open(f"/proc/{pid}/ns/{kind}", os.O_RDONLY))
        must_not(f"see the root of {pid}", lambda: os.listdir(f"/proc/{pid}/root"))


def kernel():
    settings = {
        "/proc/sys/kernel/core_pattern": b"|/bin/false",
        "/proc/sys/kernel/modprobe": b"/bin/false",
        "/proc/sys/kernel/panic": b"0",
        "/proc/sys/vm/drop_caches": b"0",
        "/proc/sys/fs/binfmt_misc/register": b":x:M::xxxx::/bin/false:",
        "/proc/sysrq-trigger": b"h",
        "/sys/kernel/mm/transparent_hugepage/enabled": b"always",
        "/sys/kernel/uevent_helper": b"/bin/false",
        "/sys/power/state": b"",
    }
    for path, value in settings.items():
        must_not(f"write {path}", lambda: write(path, value))
    for path in ("/proc/kcore", "/proc/kmsg", "/proc/kpagecount"):
        must_not(f"read {path}", lambda: read(path, 16))
    must_fail("set the clock", "clock_settime", 0, struct.pack("qq", 1, 0))
    must_fail("load a module", "syscall", 175, b"x", 1, b"")
    must_fail("change the swap", "swapon", b"/dev/null", 0)
    must_fail("read the kernel's log", "klogctl", 3, ctypes.create_string_buffer(64), 64)
    for function in ("iopl",):
        must_fail("reach I/O ports", function, 3)


def filesystems():
    os.makedirs("/tmp/mnt", exist_ok=True)
    for kind in ("devtmpfs", "debugfs", "tracefs", "securityfs", "ext4", "configfs", "efivarfs", "selinuxfs"):
        must_fail(f"mount {kind}", "mount", b"none", b"/tmp/mnt", kind.encode(), 0, None)
    must_fail("detach the root", "umount2", b"/", 2)
    # Block and memory devices, by every number that this machine has.
    numbers = set()
    for path in os.listdir("/sys/dev/block") if os.path.isdir("/sys/dev/block") else []:
        numbers.add((0o060000, *map(int, path.split(":"))))
    numbers |= {(0o060000, major, 0) for major in (8, 253, 254, 259, 7)}
    numbers |= {(0o020000, 1, minor) for minor in (1, 2, 4)} | {(0o020000, 10, 229), (0o020000, 5, 1)}
    for kind, major, minor in sorted(numbers):
        path = f"/tmp/node-{kind}-{major}-{minor}"
        try:
            os.mknod(path, kind | 0o600, os.makedev(major, minor))
        except OSError:
            continue
        must_not(f"open device {major}:{minor}", lambda: os.open(path, os.O_RDONLY))
    # Out of the root by chroot and a directory kept open.
    before = os.stat("/")
    keep = os.open("/", os.O_RDONLY)
    os.makedirs("/tmp/jail", exist_ok=True)
    if os.fork() == 0:
        try:
            os.chroot("/tmp/jail")
            os.fchdir(keep)
            for _ in range(64):
                os.chdir("..")
            os.chroot(".")
            after = os.stat("/")
            if (before.st_dev, before.st_ino) != (after.st_dev, after.st_ino):
                breach("chroot led out of the container's root")
            look_around("after chroot")
        except OSError:
            pass
        os._exit(0)
    os.wait()
    look_around("plainly")
    handles(keep)


def look_around(how):
    for path in PATHS:
        must_not(f"see {path} {how}", lambda: os.path.lexists(path) and (os.path.isfile(path) or os.listdir(path)))


def handles(root):
    """open_by_handle_at with the inode number of a file system's root."""
    targets = [root] + ([os.open(BIND, os.O_RDONLY)] if BIND else [])
    for target in targets:
        for inode in (2, 64, 128, 256):
            handle = struct.pack("IiII", 8, 1, inode, 0)
            buffer = ctypes.create_string_buffer(handle, 16)
            result, _ = call("syscall", 304, target, buffer, os.O_RDONLY)
            if result >= 0 and any(os.path.exists(f"/proc/self/fd/{result}/{name}") for name in ("lost+found", "proc")):
                breach(f"opened inode {inode} by handle: {os.listdir(result)}")


def read_only_bind():
    if not BIND:
        return
    path = BIND.encode()
    probe = os.path.join(BIND, "written")

    def try_writing(how, where=BIND):
        must_not(f"write to the read-only bind {how}",
                 lambda: os.open(os.path.join(where, "written"), os.O_CREAT | os.O_WRONLY) >= 0)

    try_writing("plainly")
    MS_BIND, MS_REMOUNT, MS_REC = 4096, 32, 16384
    must_fail("remount the bind writable", "mount", None, path, None, MS_REMOUNT | MS_BIND, None)
    try_writing("after a remount")
    call("mount", None, path, None, MS_REMOUNT, None)
    try_writing("after a remount of its file system")
    os.makedirs("/tmp/copy", exist_ok=True)
    if call("mount", path, b"/tmp/copy", None, MS_BIND | MS_REC, None)[0] == 0:
        call("mount", None, b"/tmp/copy", None, MS_REMOUNT | MS_BIND, None)
        try_writing("through a further bind", "/tmp/copy")
    # open_tree(CLONE), mount_setattr(clear RDONLY), move_mount.
    tree, _ = call("syscall", 428, -100, path, 1)
    if tree >= 0:
        attributes = struct.pack("QQQQ", 0, 1, 0, 0)
        call("syscall", 442, tree, b"", 0x1000, attributes, len(attributes))
        os.makedirs("/tmp/tree", exist_ok=True)
        call("syscall", 429, tree, b"", -100, b"/tmp/tree", 4)
        try_writing("through a cloned tree", "/tmp/tree")
    if os.fork() == 0:
        if call("unshare", 0x10020000)[0] == 0:
            call("mount", None, path, None, MS_REMOUNT | MS_BIND, None)
            try_writing("from a further user namespace")
        os._exit(0)
    os.wait()
    call("umount2", path, 2)
    if os.path.exists(probe):
        breach("the bind's content shows after it was unmounted")


def keys():
    for keyring in (-2, -3, -4, -5):  # process, session, user, user session
        found, _ = call("syscall", 250, 10, keyring, b"user", SECRET.encode(), 0)
        if found >= 0:
            breach(f"found the key in keyring {keyring}")
    found, _ = call("syscall", 249, b"user", SECRET.encode(), None, 0)
    if found >= 0:
        breach("request_key found the key")


def network():
    if not os.path.exists("/proc/net/unix"):
        return
    for line in read("/proc/net/unix", 1 << 20).decode("utf-8", "replace").splitlines():
        name = line.split()[-1]
        if name.startswith("@") and "rbox" in name:
            breach(f"an abstract socket of rbox's: {name}")
        if name.startswith("/") and "rbox" in name:
            client = socket.socket(socket.AF_UNIX)
            must_not(f"connect to {name}", lambda: client.connect(name) is None)


def nested_namespaces():
    """Only for containers without privilege: no namespace may be made, nor anything mounted."""
    for flag in (0x10000000, 0x00020000, 0x40000000, 0x20000000, 0x08000000, 0x04000000, 0x02000000):
        must_fail(f"unshare {flag:#x}", "unshare", flag)
        result, _ = call("syscall", 56, flag | signal.SIGCHLD, 0, 0, 0, 0)
        if result == 0:
            os._exit(0)
        if result > 0:
            breach(f"clone with {flag:#x}")
    must_fail("mount a tmpfs", "mount", b"none", b"/tmp", b"tmpfs", 0, None)
    must_fail("open a file system", "syscall", 430, b"tmpfs", 0)
    must_fail("clone a tree", "syscall", 428, -100, b"/", 1)
    must_fail("unmount /proc", "umount2", b"/proc", 2)
    must_fail("use bpf", "syscall", 321, 0, b"\0" * 128, 128)
    must_fail("use perf", "syscall", 298, b"\0" * 128, 0, -1, -1, 0)
    must_fail("use userfaultfd", "syscall", 323, 0)
    must_fail("use keyctl", "syscall", 250, 0, -3, 0, 0, 0)
    must_fail("add a key", "syscall", 248, b"user", b"x", b"x", 1, -3)
    must_fail("change the root", "syscall", 155, b"/", b"/")
    for family in (38, 40):  # AF_ALG, AF_VSOCK
        must_fail(f"socket of family {family}", "socket", family, 1, 0)


MODES = {
    "processes": processes,
    "kernel": kernel,
    "filesystems": filesystems,
    "bind": read_only_bind,
    "keys": keys,
    "network": network,
    "nested": nested_namespaces,
}
for mode in arguments["try"].split(","):
    MODES[mode]()
print(f"done: {tried} attempts", flush=True)
