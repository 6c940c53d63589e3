#!/bin/bash
# The inside of the tests that end the machine: `prepare` once, `before ROUND` leaves containers of all
# kinds and work in progress behind, `after ROUND` looks at them after the next boot.
set -euo pipefail

export RBOX_ROOT=$HOME/power
rbox() { /stage/bin/rbox "$@"; }
ROOT=rootfs:$HOME/tree

fail() { printf 'power: %s\n' "$*" >&2; rbox ps -a >&2 || true; exit 1; }

prepare() {
    local name
    mkdir -p ~/tree/bin
    cp /bin/busybox ~/tree/bin/
    for name in sh sleep true; do
        ln -s busybox ~/tree/bin/$name
    done
}

# Containers, volumes and networks that come and go, until the machine does.
work() {
    local number
    for ((number = 0; ; number++)); do
        rbox run --rm --label temporary -v "$1-$number:/data" "$ROOT" sh -c 'echo data >/data/file' || true
        rbox volume rm "$1-$number" || true
        rbox create --name "$1" "$ROOT" true || true
        rbox rename "$1" "$1-renamed" || true
        rbox rm "$1-renamed" "$1" || true
        rbox network create "$1" || true
        rbox network rm "$1" || true
    done
}

# Images that come and go.
images() {
    local id
    while :; do
        tar -C ~/tree -c . | rbox import - "$1" || true
        id=$(rbox create "$1" sh) || true
        tar -C ~/tree -c bin/sh | rbox cp - "$id:/" || true
        rbox commit "$id" "$1-changed" || true
        rbox rm "$id" || true
        rbox rmi "$1-changed" "$1" || true
    done
}

before() {
    rbox ps -aq | xargs -r /stage/bin/rbox rm -f >/dev/null
    rbox run -d --name plain "$ROOT" sleep 10000
    rbox run -d --name always --restart always "$ROOT" sleep 10000
    rbox run -d --name stopped --restart unless-stopped "$ROOT" sleep 10000
    rbox stop -t 0 stopped
    rbox run -d --name unless --restart unless-stopped "$ROOT" sleep 10000
    rbox run --name finished "$ROOT" sh -c 'exit 3' || true
    # No name that could be the beginning of an id: rm takes these, too.
    for worker in 'work x' 'work y' 'images z'; do
        ($worker) </dev/null >/dev/null 2>&1 &
        disown
    done
    sleep "$((RANDOM % 8)).$((RANDOM % 10))"
}

after() {
    local list
    # Nothing runs: the truth before anybody restarts anything.
    list=$(rbox ps -q 2>&1)
    [[ -z $list ]] || fail "after a boot ps says: $list"
    [[ $(rbox inspect -f '{{.State.Status}} {{.State.ExitCode}}' finished) == 'exited 3' ]] || fail "an end was forgotten"
    rbox system check || fail "the store is damaged"
    rbox system restart-all
    list=$(rbox ps --format '{{.Names}}' | sort | tr '\n' ' ')
    [[ $list == 'always unless ' ]] || fail "running: $list"
    [[ -z $(rbox ps -aq --filter label=temporary) ]] || fail "a container that was to be removed is there"
    rbox exec always true
    rbox system check || fail "the store is damaged after restarts"
}

"$@"
