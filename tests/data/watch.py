"""Watches the other processes of its container while commands are run in it from outside, and
takes hold of all it can reach of them. Ends when /tmp/stop exists.

Prints LEAK lines: files of a process that lie outside the container, or an executable that could
be opened for writing.
"""

import os
import sys

needle = sys.argv[1]
seen, held = set(), {}


def look(pid):
    base = f"/proc/{pid}"
    for name in ("cwd", "root", "exe"):
        try:
            target = os.readlink(f"{base}/{name}")
        except OSError:
            continue
        if needle in target:
            seen.add(f"{name} -> {target}")
    try:
        executable = os.open(f"{base}/exe", os.O_RDONLY)
        identity = os.fstat(executable)[1:3]
        if identity in held:
            os.close(executable)
        else:
            held[identity] = executable
    except OSError:
        pass
    try:
        descriptors = os.listdir(f"{base}/fd")
    except OSError:
        return
    for descriptor in descriptors:
        try:
            target = os.readlink(f"{base}/fd/{descriptor}")
            if needle in target or os.path.isdir(f"{base}/fd/{descriptor}/lost+found"):
                seen.add(f"fd -> {target}")
        except OSError:
            pass


own = {os.getpid(), 1}
rounds = 0
print("watching", flush=True)
while not os.path.exists("/tmp/stop"):
    rounds += 1
    for name in os.listdir("/proc"):
        if name.isdigit() and int(name) not in own:
            look(int(name))
for executable in held.values():
    try:
        os.open(f"/proc/self/fd/{executable}", os.O_WRONLY)
        target = os.readlink(f"/proc/self/fd/{executable}")
        if not target.startswith(("/usr/", "/bin/")):
            seen.add(f"wrote to {target}")
    except OSError:
        pass
for line in sorted(seen):
    print("LEAK", line)
print(f"done: {rounds} rounds, {len(held)} executables", flush=True)
