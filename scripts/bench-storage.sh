#!/bin/bash
# Compares rbox's work with ids, volumes and files with podman, and with the host itself, on this
# machine, in one sitting: the figures of one run may be compared with each other, not with another
# run's. Each row takes turns between the tools and reports medians, and the ratio of rbox to each.
#
#   scripts/bench-storage.sh [ROUNDS] [ROW]...   as an unprivileged user with subordinate ids (default 3 rounds, all rows)
#   RBOX_BIN=PATH                                the program (default: rbox on the PATH; build with --release)
#
# Rows: keepid copyup cpin cpout volumes files. `scripts/test.sh prepare` installs podman; without it
# rbox is measured alone. Needs 6 GB below TMPDIR, or /var/tmp.
set -euo pipefail

# shellcheck source=scripts/bench-lib.sh
. "$(dirname "$0")/bench-lib.sh"
begin 3 "$@"

# make_tar NAME FILES SIZE: $WORK/NAME.tar with busybox, and below /data so many files of SIZE bytes.
make_tar() {
    python3 - "$WORK/$1.tar" "$(command -v busybox)" "$2" "$3" <<'PYTHON'
import io, random, sys, tarfile
path, busybox, files, size = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
source = random.Random(path)
with tarfile.open(path, "w") as archive:
    def entry(name, kind=tarfile.REGTYPE, data=b"", mode=0o644, link=""):
        info = tarfile.TarInfo(name)
        info.type, info.size, info.mode, info.linkname = kind, len(data), mode, link
        archive.addfile(info, io.BytesIO(data))
    for name in "bin", "dev", "proc", "sys", "tmp", "etc", "data":
        entry(name, tarfile.DIRTYPE, mode=0o755)
    entry("bin/busybox", data=open(busybox, "rb").read(), mode=0o755)
    for applet in "sh", "true", "sleep", "tar":
        entry(f"bin/{applet}", tarfile.SYMTYPE, link="busybox")
    for file in range(files):
        if file % 100 == 0:
            entry(f"data/d{file // 100}", tarfile.DIRTYPE, mode=0o755)
        entry(f"data/d{file // 100}/f{file}", data=source.randbytes(size))
PYTHON
}

# have_image NAME: $WORK/NAME.tar as an image of each tool, anew. Its time never counts.
have_image() {
    "$RBOX" rmi -f "$1" || true
    "$RBOX" import -q "$WORK/$1.tar" "$1"
}
have_podman_image() {
    "${PODMAN[@]}" rmi -f "$1" || true
    "${PODMAN[@]}" import -q "$WORK/$1.tar" "$1"
}

# peers NAME FUNCTION...: those that are here, as PEERS.
peers() {
    PEERS=()
    while (($#)); do
        [[ $1 == podman* ]] && ! ((${#PODMAN[@]})) || PEERS+=("$1" "$2")
        shift 2
    done
}

plain() { "$RBOX" run --rm --network none "$@"; }
podman_plain() { "${PODMAN[@]}" run --rm --network none "$@"; }

# Nothing is removed between rounds: without a journal ext4 passes over inodes that were freed a
# moment ago one by one, which can take longer than the work that is measured.
serial=0

# --- the caller's id inside, another one each time: layers are made ready for a map
prepare_keepid() { serial=$((serial + 1)); sync -f "$WORK"; }
keepid() { plain --userns "keep-id:uid=$((2000 + serial)),gid=$((2000 + serial))" large true; }
prepare_podman_keepid() { prepare_keepid; }
podman_keepid() { podman_plain --userns "keep-id:uid=$((2000 + serial)),gid=$((2000 + serial))" large true; }
prepare_later() { later; }
later() { plain --userns keep-id large true; }
prepare_podman_later() { podman_later; }
podman_later() { podman_plain --userns keep-id large true; }
normal() { plain large true; }
bench_keepid() {
    have_image large >/dev/null 2>&1
    ! ((${#PODMAN[@]})) || have_podman_image large >/dev/null 2>&1
    peers podman podman_keepid
    row "first start with --userns keep-id, image of 350 MB, 10,000 files" "$ROUNDS" rbox keepid "${PEERS[@]}"
    peers podman podman_later
    row "later starts with --userns keep-id" "$((ROUNDS * 5))" rbox later "rbox, no map" normal "${PEERS[@]}"
}

# --- copy-up: a new volume over a directory of the image
prepare_copyup() { serial=$((serial + 1)); sync -f "$WORK"; }
copyup() { plain -v "fresh$serial:/data" seed true; }
prepare_podman_copyup() { prepare_copyup; }
podman_copyup() { podman_plain -v "fresh$serial:/data" seed true; }
bench_copyup() {
    peers podman podman_copyup
    row "copy-up of 10,000 files into a new volume" "$ROUNDS" rbox copyup "${PEERS[@]}"
}

# --- cp, in and out of containers that do not run
prepare_cpin() { "$RBOX" rm -f box; "$RBOX" create --name box seed true; }
cpin() { "$RBOX" cp -q "$WORK/big" box:/big; }
prepare_podman_cpin() { "${PODMAN[@]}" rm -f box; "${PODMAN[@]}" create --name box seed true; }
podman_cpin() { "${PODMAN[@]}" cp "$WORK/big" box:/big; }
bench_cpin() {
    head -c 1G /dev/urandom >"$WORK/big"
    peers podman podman_cpin
    row "cp of a file of 1 GB in" "$ROUNDS" rbox cpin "${PEERS[@]}"
    rm -f "$WORK/big"
}
prepare_cpout() { serial=$((serial + 1)); prepare_cpin; }
cpout() { "$RBOX" cp -q box:/data "$WORK/out$serial"; }
prepare_podman_cpout() { serial=$((serial + 1)); prepare_podman_cpin; }
podman_cpout() { "${PODMAN[@]}" cp box:/data "$WORK/out$serial"; }
bench_cpout() {
    peers podman podman_cpout
    row "cp of 10,000 files out" "$ROUNDS" rbox cpout "${PEERS[@]}"
    rm -rf "$WORK"/out*
}

# --- 1,000 volumes; podman needs a minute to make so many and has a tenth
volumes() { "$RBOX" volume ls; }
podman_volumes() { "${PODMAN[@]}" volume ls; }
bench_volumes() {
    local number
    for number in {0..999}; do "$RBOX" volume create "v$number" >/dev/null; done
    ! ((${#PODMAN[@]})) || for number in {0..99}; do "${PODMAN[@]}" volume create "v$number" >/dev/null; done
    peers "podman (100)" podman_volumes
    row "volume ls with 1,000 volumes" 10 rbox volumes "${PEERS[@]}"
}

# --- work of a program inside, its start included: the unpacking of 10,000 files of 35 kB
fresh_directory() { rm -rf "$WORK/work"; mkdir "$WORK/work"; sync -f "$WORK"; }
prepare_on_bind() { fresh_directory; }
on_bind() { plain -v "$WORK/large.tar:/large.tar:ro" -v "$WORK/work:/work" seed tar -xf /large.tar -C /work; }
prepare_on_volume() { "$RBOX" volume rm -f work; "$RBOX" volume create work; sync -f "$WORK"; }
on_volume() { plain -v "$WORK/large.tar:/large.tar:ro" -v work:/work seed tar -xf /large.tar -C /work; }
prepare_on_host() { fresh_directory; }
on_host() { busybox tar -xf "$WORK/large.tar" -C "$WORK/work"; }
bench_files() {
    row "tar -x of 350 MB, 10,000 files, on a bind mount" "$((ROUNDS * 2))" rbox on_bind "host" on_host
    row "tar -x of 350 MB, 10,000 files, on a volume" "$((ROUNDS * 2))" rbox on_volume "host" on_host
    fresh_directory
}

make_tar seed 10000 1000
make_tar large 10000 35000
if have podman; then
    PODMAN=(podman --root "$WORK/podman" --runroot "$WORK/podman-run" --runtime runc --cgroup-manager cgroupfs)
    works podman "${PODMAN[@]}" import -q "$WORK/seed.tar" seed || PODMAN=()
fi
have_image seed >/dev/null 2>&1

# What this rbox lacks is left out.
for name in keepid copyup cpin cpout volumes files; do
    wanted "$name" || continue
    case $name in
        cp*) command="cp" ;;
        copyup | volumes) command="volume" ;;
        *) command="run" ;;
    esac
    if "$RBOX" "$command" --help >/dev/null 2>&1; then
        "bench_$name"
    else
        echo "bench: leaving out $name: this rbox has no $command" >&2
    fi
done
