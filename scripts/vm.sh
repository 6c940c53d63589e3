#!/bin/bash
# A Debian with systemd as pid 1, cgroup v2 and a user manager, in a virtual machine without KVM.
#
#   scripts/vm.sh start [--dir DIR]                  boot it; DIR is /stage inside, read-only
#   scripts/vm.sh exec [--root] [--limit S] -- COMMAND [ARGUMENT...]
#                                                    run a command in it: input, output, exit code
#   scripts/vm.sh stop                               shut it down and forget its disk
#   scripts/vm.sh cut                                take its power; `start` boots the same disk again
#   scripts/vm.sh reboot                             shut it down, boot the same disk again
#   scripts/vm.sh run [--dir DIR] [--root] [--limit S] -- COMMAND [ARGUMENT...]
#                                                    start, exec, stop
#   scripts/vm.sh image                              make the machine's disk image, no more
#
# Commands run as the user `someone` (uid 1000, 65536 subordinate ids, lingering), each in a login
# session of its own; with --root as root. Up to six run at the same time. Files go in by --dir, or by
# standard input: `tar -c . | scripts/vm.sh exec -- tar -x -C /var/tmp/x`. The machine has no network.
#
# RBOX_VM names the directory of a machine (default /var/tmp/rbox-vm.UID), so that several may run;
# its console is in console.log there. RBOX_VM_LIFE is after how many seconds it is killed (default
# 3600), RBOX_VM_MEMORY and RBOX_VM_CPUS what it has (default 2048 MiB, 2).
#
# The image is made by mmdebstrap of the suite of this machine and kept below /var/cache/rbox-tests
# (other users than root: ~/.cache/rbox-tests) until its recipe changes; no machine changes it.
set -euo pipefail
cd "$(dirname "$0")/.."

VM=${RBOX_VM:-/var/tmp/rbox-vm.$UID}
PORTS=6
# Longer than a boot takes on a busy machine.
BOOT_LIMIT=300

PACKAGES=(
    # what a user session is made of
    systemd systemd-sysv dbus dbus-user-session libpam-systemd util-linux login kmod
    # what rbox needs
    uidmap fuse-overlayfs nftables
    # what the tests use
    attr busybox-static docker-registry file gzip hostname iproute2 jq less procps python3 skopeo socat strace sudo zstd
)

fail() { printf 'vm: %s\n' "$*" >&2; exit 1; }

# The directory of the image, the kernel and its modules: IMAGE. Made when missing.
prepare_image() {
    local suite cache=/var/cache/rbox-tests options exclude include
    suite=$(sed -n 's/^VERSION_CODENAME=//p' /etc/os-release)
    ((UID == 0)) || cache=${XDG_CACHE_HOME:-$HOME/.cache}/rbox-tests
    include=$(IFS=,; echo "${PACKAGES[*]}")
    options=(--variant=minbase --include="$include" --skip=output/dev --skip=output/mknod --format=tar
        --customize-hook="$PWD/tests/vm/customize.sh")
    for exclude in man doc locale info; do
        options+=("--dpkgopt=path-exclude=/usr/share/$exclude/*")
    done
    IMAGE=$cache/vm-$( (echo "$suite ${options[*]/"$PWD"/}"; declare -f make_image; cat tests/vm/customize.sh) |
        cksum | cut -d' ' -f1)
    [[ ! -e $IMAGE ]] || return 0
    printf 'vm: making the image of a Debian %s\n' "$suite" >&2
    mkdir -p "$cache"
    WORK=$(mktemp -d "$cache/vm-making.XXXXXX")
    trap 'remove_mapped "$WORK"' EXIT
    mmdebstrap --quiet "${options[@]}" "$suite" "$WORK/root.tar" ||
        fail "mmdebstrap could not make the root file system of $suite"
    as_owner make_image "$WORK"
    rm "$WORK/root.tar"
    chmod 755 "$WORK"
    # Another run may have been quicker.
    mv -T "$WORK" "$IMAGE" 2>/dev/null || [[ -e $IMAGE ]] || fail "cannot make $IMAGE"
    remove_mapped "$WORK"
    trap - EXIT
}

# Turns root.tar in a directory into disk, vmlinuz, and the modules that the disks need, in order.
make_image() {
    cd "$1"
    mkdir root modules
    tar --extract --directory root --file root.tar --xattrs --xattrs-include='*'
    cp root/boot/vmlinuz-* vmlinuz
    local number=10 module
    while read -r module; do
        cp "root/$module" "modules/$number-$(basename "$module")"
        number=$((number + 1))
    done <root/boot/modules
    rm -r root/boot/*
    truncate --size 6G disk
    mke2fs -q -t ext4 -L root -N 200000 -E nodiscard,lazy_itable_init=0 -d root disk
    rm -r root
}

# Runs a function as root of the files' user namespace: of the real one, or of ours.
as_owner() {
    if ((UID == 0)); then
        (set -e; "$@")
    else
        unshare --user --map-auto --map-root-user bash -euc "$(declare -f "$1"); \"\$@\"" bash "$@"
    fi
}

remove_mapped() {
    rm -rf "$1" 2>/dev/null || unshare --user --map-auto --map-root-user rm -rf "$1"
}

# The initial RAM disk: the modules, our files for the machine, and what puts them in their places.
make_initrd() {
    local tree=$VM/initrd.tree
    rm -rf "$tree"
    mkdir -p "$tree"/{bin,dev,root}
    cp /bin/busybox "$tree/bin/"
    cp -r "$IMAGE/modules" tests/vm/init tests/vm/guest "$tree/"
    chmod -R u=rwX,go=rX "$tree"
    chmod 755 "$tree/init"
    (cd "$tree" && find . | busybox cpio -o -H newc -R 0:0 2>/dev/null) >"$VM/initrd"
    rm -rf "$tree"
}

# The disk with the directory's files, read-only inside.
make_stage() {
    local directory=$1 size
    size=$(du --summarize --block-size=1M "$directory" | cut -f1)
    rm -f "$VM/stage"
    truncate --size $((size + size / 8 + 16))M "$VM/stage"
    mke2fs -q -t ext4 -O ^has_journal -E nodiscard,root_owner=0:0 -m 0 -d "$directory" "$VM/stage"
}

running() { [[ -e $VM/pid ]] && kill -0 "$(cat "$VM/pid")" 2>/dev/null; }

start() {
    local directory='' begun=$SECONDS
    while (($#)); do
        case $1 in
            --dir) directory=$2; shift 2 ;;
            *) fail "start: unknown argument $1" ;;
        esac
    done
    ! running || fail "a machine runs in $VM already"
    command -v qemu-system-x86_64 >/dev/null || fail "qemu-system-x86 is not installed"
    prepare_image
    mkdir -p "$VM"
    chmod 700 "$VM"
    make_initrd
    if [[ -n $directory ]]; then
        make_stage "$directory"
    elif [[ ! -e $VM/stage ]]; then
        mkdir -p "$VM/empty"
        make_stage "$VM/empty"
    fi
    [[ -e $VM/disk ]] || qemu-img create -q -f qcow2 -b "$IMAGE/disk" -F raw "$VM/disk"
    boot
    in_machine root "$BOOT_LIMIT" true </dev/null || { tail -n 20 "$VM/console.log" >&2; take_power; fail "it does not boot"; }
    printf 'vm: booted in %d s\n' $((SECONDS - begun)) >&2
}

# Starts the emulator in the background.
boot() {
    local ports=() number
    for ((number = 0; number < PORTS; number++)); do
        rm -f "$VM/port.$number.lock"
        ports+=(-chardev "socket,id=port$number,path=port.$number,server=on,wait=off"
            -device "virtserialport,chardev=port$number,name=rbox.$number")
    done
    # In its directory, where the names of its sockets are short.
    (
        cd "$VM"
        exec setsid timeout --kill-after=5 "${RBOX_VM_LIFE:-3600}" qemu-system-x86_64 \
            -nodefaults -no-user-config -display none -machine pc -accel tcg,thread=multi,tb-size=512 \
            -cpu max,la57=off -smp "${RBOX_VM_CPUS:-2}" -m "${RBOX_VM_MEMORY:-2048}" -no-reboot \
            -kernel "$IMAGE/vmlinuz" -initrd initrd \
            -append "console=ttyS0 panic=-1 mitigations=off systemd.journald.forward_to_console=1 systemd.show_status=0 systemd.wants=rbox-agent.service systemd.mask=serial-getty@ttyS0.service systemd.mask=docker-registry.service" \
            -serial file:console.log \
            -drive file=disk,if=none,id=disk,format=qcow2,cache=writeback,discard=unmap \
            -device virtio-blk-pci,drive=disk \
            -drive file=stage,if=none,id=stage,format=raw,read-only=on -device virtio-blk-pci,drive=stage \
            -device virtio-serial-pci "${ports[@]}" </dev/null >qemu.log 2>&1
    ) &
    echo $! >"$VM/pid"
    disown
    local tries=100
    until [[ -S $VM/port.$((PORTS - 1)) ]]; do
        running || fail "the emulator does not start: $(cat "$VM/qemu.log")"
        ((tries-- > 0)) || fail "the emulator makes no ports"
        sleep 0.1
    done
}

# in_machine USER LIMIT COMMAND...
in_machine() { python3 -I tests/vm/client.py "$VM" "$@"; }

# Reads the options and the command of exec and run: USER_INSIDE, LIMIT, DIRECTORY, COMMAND.
parse() {
    USER_INSIDE=someone LIMIT=600 DIRECTORY=''
    while (($#)); do
        case $1 in
            --root) USER_INSIDE=root; shift ;;
            --limit) LIMIT=$2; shift 2 ;;
            --dir) DIRECTORY=$2; shift 2 ;;
            --) shift; break ;;
            *) break ;;
        esac
    done
    (($#)) || fail "no command given"
    COMMAND=("$@")
}

# Waits until the emulator has ended by itself; kills it after some seconds.
await_end() {
    local tries=300
    while running && ((tries-- > 0)); do
        sleep 0.1
    done
    take_power
}

take_power() {
    ! running || kill -KILL -- "-$(cat "$VM/pid")"
    while running; do
        sleep 0.05
    done
    rm -f "$VM/pid" "$VM"/port.*
}

shut_down() {
    running || fail "no machine runs in $VM"
    in_machine root 30 systemctl start poweroff.target --job-mode=replace-irreversibly --no-block </dev/null || true
    await_end
}

# A machine is the emulator and `timeout` above it, a process group; nothing of it is kept.
forget() {
    take_power
    rm -rf "$VM"
}

main() {
    local part=${1:-}
    shift || true
    case $part in
        image) prepare_image ;;
        start) start "$@" ;;
        exec)
            parse "$@"
            running || fail "no machine runs in $VM"
            in_machine "$USER_INSIDE" "$LIMIT" "${COMMAND[@]}"
            ;;
        run)
            parse "$@"
            ! running || fail "a machine runs in $VM already"
            prepare_image
            trap forget EXIT
            start ${DIRECTORY:+--dir "$DIRECTORY"}
            in_machine "$USER_INSIDE" "$LIMIT" "${COMMAND[@]}"
            ;;
        stop) forget ;;
        cut) take_power ;;
        reboot) shut_down && start ;;
        *) fail "unknown part '$part': expected image, start, exec, run, stop, cut or reboot" ;;
    esac
}

main "$@"
