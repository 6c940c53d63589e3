#!/usr/bin/env python3
"""Lists the Rust functions of a static binary that can call into glibc's name services.

A static glibc still loads the NSS modules of the machine it runs on, so whoever may reach
getaddrinfo, getpw* or getgr* matters. Calls go straight to the function or through a slot of the
global offset table; slots are found by their content (packed relocations keep addends in place).
"""

import re
import struct
import subprocess
import sys

NSS = re.compile(
    r"_*(new_)?(getaddrinfo|getnameinfo|gethostbyname|gethostbyaddr|getpwnam|getpwuid|getpwent|getgrnam|getgrgid"
    r"|getgrent|getgrouplist|initgroups|getservbyname|getservbyport|getprotobyname)[a-z0-9_]*"
)
RUST = ("_ZN", "_R")
POINTER_SECTIONS = (".got", ".got.plt", ".data.rel.ro", ".data")


def output(*command):
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def function_addresses(binary):
    """{address: name} of the NSS entry points linked in."""
    found = {}
    for line in output("nm", binary).splitlines():
        address, _, rest = line.partition(" ")
        kind, _, name = rest.partition(" ")
        if kind in "TtWwiI" and NSS.fullmatch(name):
            found[int(address, 16)] = name
    return found


def pointer_slots(binary, functions):
    """{slot address: name} of words that hold the address of one of the functions."""
    content = open(binary, "rb").read()
    slots = {}
    for line in output("readelf", "-SW", binary).splitlines():
        match = re.match(r"\s*\[\s*\d+\]\s+(\S+)\s+PROGBITS\s+([0-9a-f]+)\s+([0-9a-f]+)\s+([0-9a-f]+)", line)
        if not match or match[1] not in POINTER_SECTIONS:
            continue
        address, offset, size = (int(field, 16) for field in match.groups()[1:])
        for position in range(0, size - 7, 8):
            (word,) = struct.unpack_from("<Q", content, offset + position)
            if word in functions:
                slots[address + position] = functions[word]
    return slots


def callers(binary):
    """(caller, function) pairs from the disassembly; callers that are not Rust are libc's own."""
    functions = function_addresses(binary)
    targets = functions | pointer_slots(binary, functions)
    caller = ""
    for line in output("objdump", "--disassemble", "--no-show-raw-insn", binary).splitlines():
        if line.endswith(">:"):
            caller = line.split("<", 1)[1][:-2]
            continue
        if not caller.startswith(RUST):
            continue
        match = re.search(r"(?:#|\s)\s*([0-9a-f]+) <[^>]*>\s*$", line)
        if match and int(match[1], 16) in targets:
            yield caller, targets[int(match[1], 16)]


for caller, function in sorted(set(callers(sys.argv[1]))):
    print(function, caller)
