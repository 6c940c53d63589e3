#!/bin/bash
# Limits under a real systemd, as nobody else can show them: in scopes of the user manager, from a session
# that is not its own; without delegation, and after its cure; in services of the system's.
#
#   tests/vm/limits.sh RBOX ROOTFS     with a machine that scripts/vm.sh has started; RBOX and ROOTFS are the
#                                      program and a busybox root directory, as the machine sees them
set -euo pipefail
cd "$(dirname "$0")/../.."

RBOX=$1 ROOTFS=rootfs:$2
SERVICE=/sys/fs/cgroup/user.slice/user-1000.slice/user@1000.service
DROP_IN=/etc/systemd/system/user@.service.d
failures=0

user() { scripts/vm.sh exec --limit 200 -- bash -c "$1" 2>&1; }
root() { scripts/vm.sh exec --root --limit 200 -- bash -c "$1" 2>&1; }

# expect WHAT PATTERN TEXT
expect() {
    # shellcheck disable=SC2053  # a pattern
    if [[ $3 == $2 ]]; then
        echo "ok    $1"
    else
        echo "FAIL  $1: $3"
        failures=$((failures + 1))
    fi
}

# shellcheck disable=SC2016  # for the shell inside
files='cd /sys/fs/cgroup; echo $(cat memory.max memory.swap.max pids.max cpu.max cpuset.cpus)'
expect "limits are read back from inside" "67108864 0 20 50000 100000 0" \
    "$(user "$RBOX run --rm -m 64m --memory-swap 64m --pids-limit 20 --cpus 0.5 --cpuset-cpus 0 $ROOTFS sh -c '$files'")"
expect "io of a device is limited" "*rbps=1048576*" \
    "$(user "$RBOX run --rm --device-read-bps /dev/vda:1mb $ROOTFS sh -c 'cat /sys/fs/cgroup/io.max'")"
expect "a raw file of the cgroup is written" "52428800" \
    "$(user "$RBOX run --rm --cgroup-conf memory.high=50M $ROOTFS sh -c 'cat /sys/fs/cgroup/memory.high'")"
expect "a slice is the parent" "*/my.slice/rbox-*.scope/container" \
    "$(user "$RBOX run --rm --cgroup-parent my.slice -m 64m --cgroupns host $ROOTFS sh -c 'cat /proc/self/cgroup'")"

user "$RBOX run -d --name one -m 64m --pids-limit 20 $ROOTFS sleep 1000" >/dev/null
expect "exec from another session is in the container's cgroup" "*0::/" "$(user "$RBOX exec one cat /proc/self/cgroup")"
expect "update takes effect live" "*134217728*30" \
    "$(user "$RBOX update -m 128m --memory-swap 256m --pids-limit 30 one; cat $SERVICE/app.slice/rbox-*.scope/container/{memory,pids}.max")"
expect "stats shows the limit" "*/ 128MiB*" "$(user "$RBOX stats --no-stream one")"
expect "the freezer is there" "one*(Paused)*" "$(user "$RBOX pause one; $RBOX ps --format '{{.Status}}'; $RBOX rm -f one")"
user "$RBOX run -d --name late $ROOTFS sleep 1000" >/dev/null
expect "a cgroup is made for one that runs" "late*7" \
    "$(user "$RBOX update --pids-limit 7 late; cat $SERVICE/app.slice/rbox-*.scope/container/pids.max")"
user "$RBOX rm -f late" >/dev/null
expect "a full memory is told" "*true 137" \
    "$(user "$RBOX run --name full -m 32m --memory-swap 32m $ROOTFS sh -c 'x=aaaaaaaa; while :; do x=\$x\$x; done'; \
             $RBOX inspect full -f '{{.State.OOMKilled}} {{.State.ExitCode}}'")"
user "$RBOX rm full" >/dev/null
expect "nothing is left" "" "$(user "find $SERVICE -name 'rbox-*.scope'")"

root "mkdir -p $DROP_IN; rm -f $DROP_IN/*; printf '[Service]\nDelegate=\nDelegate=pids memory\n' >$DROP_IN/a.conf; \
      systemctl daemon-reload; systemctl restart user@1000" >/dev/null
refusal=$(user "$RBOX run --rm --cpuset-cpus 0 -m 64m $ROOTFS true" || true)
expect "missing delegation is an error with its cure" \
    "*cannot enforce --cpuset-cpus: the cgroup controller cpuset is not handed to *an administrator runs: *" "$refusal"
expect "the rest can be had" "*--cpuset-cpus is not enforced: *67108864" \
    "$(user "$RBOX run --rm --limits=best-effort --cpuset-cpus 0 -m 64m $ROOTFS sh -c 'cat /sys/fs/cgroup/memory.max'")"
root "${refusal##*an administrator runs: }" >/dev/null
expect "the cure works" "0" "$(user "$RBOX run --rm --cpuset-cpus 0 $ROOTFS sh -c 'cat /sys/fs/cgroup/cpuset.cpus'")"

service="systemd-run --quiet --wait --pipe -p User=someone"
expect "a service with Delegate=yes limits its container" "69206016" \
    "$(root "$service -p Delegate=yes $RBOX run --rm -m 66m $ROOTFS sh -c 'cat /sys/fs/cgroup/memory.max'")"
expect "a delegated scope of the user's does, too" "69206016" \
    "$(user "systemd-run --user --scope -q -p Delegate=yes $RBOX run --rm -m 66m $ROOTFS sh -c 'cat /sys/fs/cgroup/memory.max'")"
root "systemctl stop user@1000; loginctl disable-linger someone" >/dev/null
expect "without a user manager a service is told what it needs" "*add Delegate=yes to the \[Service\] section of *" \
    "$(root "$service $RBOX run --rm -m 66m $ROOTFS true" || true)"
root "loginctl enable-linger someone" >/dev/null

((failures == 0)) || { echo "$failures failed"; exit 1; }
