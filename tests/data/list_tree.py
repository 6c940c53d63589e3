"""Prints one line for each file below a directory: name, type, mode, owner, size or target, time,
extended attributes, a hash of the content, and which names are the same file."""

import hashlib
import os
import stat
import sys

# Of the overlay file system itself, not of the image.
HIDDEN = ("user.overlay.", "trusted.overlay.", "user.rootlesscontainers", "user.containers.")

root = os.fsencode(sys.argv[1])
first_name = {}


def attributes(path):
    try:
        names = os.listxattr(path, follow_symlinks=False)
    except OSError:
        return ""
    names = sorted(name for name in names if not name.startswith(HIDDEN))
    return " ".join(f"{name}={os.getxattr(path, name, follow_symlinks=False).hex()}" for name in names)


def line(path, name):
    status = os.lstat(path)
    mode = status.st_mode
    kind = stat.S_IFMT(mode)
    detail = "-"
    if stat.S_ISREG(mode):
        digest = hashlib.sha256()
        with open(path, "rb") as file:
            while block := file.read(1 << 20):
                digest.update(block)
        detail = f"{status.st_size} {digest.hexdigest()}"
        if status.st_nlink > 1:
            detail += " same=" + first_name.setdefault((status.st_dev, status.st_ino), name)
    elif stat.S_ISLNK(mode):
        detail = os.fsdecode(os.readlink(path))
    elif stat.S_ISCHR(mode) or stat.S_ISBLK(mode):
        detail = f"{os.major(status.st_rdev)}:{os.minor(status.st_rdev)}"
    return (f"{name} {kind:o} {stat.S_IMODE(mode):o} {status.st_uid}:{status.st_gid} {status.st_mtime_ns} "
            f"[{attributes(path)}] {detail}")


names = [b""]
for directory, directories, files in os.walk(root):
    below = os.path.relpath(directory, root)
    for entry in directories + files:
        names.append(os.path.normpath(os.path.join(below, entry)))
for name in sorted(names):
    shown = repr(os.fsdecode(name)) if name else "'/'"
    print(line(os.path.join(root, name), shown))
