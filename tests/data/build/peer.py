"""Builds with buildah and lists trees, as the root of a user namespace with the user's whole range.

usage: peer.py ROOT RUNROOT LIST_TREE

Reads requests, one JSON object a line, and answers each with one:

    {"run": [ARGUMENT, ...]}                  runs buildah so: code, out, err
    {"build": [ARGUMENT, ...], "tree": BOOL}  builds: code, err, config (the image's, as text), tree
    {"layers": [DIRECTORY, ...]}              topmost first: tree
"""

import contextlib
import io
import json
import os
import runpy
import subprocess
import sys
import tempfile

root, run_root, list_tree = sys.argv[1:]
buildah = ["buildah", "--root", root, "--runroot", run_root, "--storage-driver", "overlay"]
work = tempfile.mkdtemp(prefix="rbox-peer.", dir=os.environ.get("TMPDIR"))
empty, nothing, mounted, id_file = (os.path.join(work, name) for name in ("empty", "nothing", "mounted", "id"))
for directory in empty, nothing, mounted:
    os.mkdir(directory)


def run(arguments):
    done = subprocess.run(buildah + arguments, stdin=subprocess.DEVNULL, capture_output=True, timeout=100, check=False)
    return {"code": done.returncode, "out": done.stdout.decode(errors="replace"),
            "err": done.stderr.decode(errors="replace")}


def layers_of(image):
    """The directories of an image's layers in buildah's store, topmost first."""
    with open(os.path.join(root, "overlay-images/images.json"), encoding="utf-8") as file:
        layer = next(entry.get("layer", "") for entry in json.load(file) if entry["id"] == image)
    with open(os.path.join(root, "overlay-layers/layers.json"), encoding="utf-8") as file:
        parents = {entry["id"]: entry.get("parent", "") for entry in json.load(file)}
    found = []
    while layer:
        found.append(os.path.join(root, "overlay", layer, "diff"))
        layer = parents[layer]
    return found


def tree(layers):
    """A line for each file: PATH, then what list_tree.py says of it."""
    # Relative: the options of a mount are a page at most.
    top = os.path.commonpath([os.path.dirname(layer) for layer in layers]) if layers else "/"
    lower = ":".join([os.path.relpath(layer, top) for layer in layers] + [empty, nothing])
    options = f"userxattr,lowerdir={lower}"
    subprocess.run(["mount", "-t", "overlay", "-o", options, "none", mounted], check=True, cwd=top)
    try:
        sys.argv = [list_tree, mounted]
        with contextlib.redirect_stdout(io.StringIO()) as listing:
            runpy.run_path(list_tree)
    finally:
        subprocess.run(["umount", mounted], check=True)
    return listing.getvalue().splitlines()


def build(arguments, with_tree):
    answer = run(["build", "--iidfile", id_file] + arguments)
    if answer["code"] == 0:
        with open(id_file, encoding="utf-8") as file:
            image = file.read().strip().removeprefix("sha256:")
        inspected = json.loads(run(["inspect", "--type", "image", image])["out"])
        answer["config"] = inspected["Config"]
        if with_tree:
            answer["tree"] = tree(layers_of(image))
    return answer


def answer(request):
    if "build" in request:
        return build(request["build"], request["tree"])
    if "run" in request:
        return run(request["run"])
    return {"tree": tree(request["layers"])}


for line in sys.stdin:
    print(json.dumps(answer(json.loads(line))), flush=True)
subprocess.run(["rm", "-rf", work], check=False)
