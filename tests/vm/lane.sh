#!/bin/bash
# Boots the machine of scripts/vm.sh with the files of a directory, runs its tests, and stops it. The
# last line counts as that of a test program does.
#
#   tests/vm/lane.sh DIRECTORY [FILTER...]
#
# DIRECTORY holds bin/rbox, bin/it and the source tree, and system.tar, a Debian to boot, if there is one.
# Without FILTER: the tests of systemd, limits under it, power cuts and reboots (RBOX_TEST_POWER, default
# 2), and then, but not with CI set, the core of the suite.
set -euo pipefail
cd "$(dirname "$0")/../.."

DIRECTORY=$1
shift

# What depends on the kernel or on cgroups, and little more: emulation is slow.
CORE=(
    systemd::
    run::a_bind run::binds run::bytes run::commands_see run::exit_codes run::hostname run::init
    run::limits run::namespaces run::networks run::read_only run::signals run::users
    rootfs::
    isolation::capabilities isolation::a_mount_target isolation::our_executable isolation::what
    lifecycle::
    volumes::
    identity::
)
# Slow without being about the kernel.
SKIP=(two_hundred_megabytes)

passed=0 failed=0 ignored=0

suite() {
    local line options=() word
    for word in "${SKIP[@]}"; do
        options+=(--skip "$word")
    done
    line=$(scripts/vm.sh exec --limit "${RBOX_VM_LIFE:-3600}" -- /stage/tree/tests/vm/suite.sh --test-threads 3 "${options[@]}" "$@" 2>&1 |
        tee >(cat >&2) | grep '^test result: ' || true)
    if [[ $line =~ ([0-9]+)\ passed\;\ ([0-9]+)\ failed\;\ ([0-9]+)\ ignored ]]; then
        passed=$((passed + BASH_REMATCH[1]))
        failed=$((failed + BASH_REMATCH[2]))
        ignored=$((ignored + BASH_REMATCH[3]))
    else
        echo "the tests in the machine crashed or took too long"
        failed=$((failed + 1))
    fi
}

# Ends the machine in the middle of everything, and looks at what is there after the next boot.
power() {
    local round how
    scripts/vm.sh exec --limit 60 -- /stage/tree/tests/vm/power.sh prepare
    for ((round = 1; round <= ${RBOX_TEST_POWER:-2}; round++)); do
        how='cut'
        ((round % 2)) || how='reboot'
        scripts/vm.sh exec --limit 120 -- /stage/tree/tests/vm/power.sh before "$round"
        if [[ $how == cut ]]; then
            scripts/vm.sh cut
            scripts/vm.sh start
        else
            scripts/vm.sh reboot
        fi
        if scripts/vm.sh exec --limit 120 -- /stage/tree/tests/vm/power.sh after "$round"; then
            echo "test power::$how ($round) ... ok"
            passed=$((passed + 1))
        else
            echo "test power::$how ($round) ... FAILED"
            failed=$((failed + 1))
        fi
    done
}

# Limits as systemd enforces them; each of its lines is a test.
limits() {
    local line
    while read -r line; do
        echo "$line"
        case $line in
            ok*) passed=$((passed + 1)) ;;
            FAIL*) failed=$((failed + 1)) ;;
        esac
    done < <(tests/vm/limits.sh /stage/bin/rbox /stage/root 2>&1 || true)
}

# A root directory of busybox, for containers without an image.
mkdir -p "$DIRECTORY/root/bin"
cp /bin/busybox "$DIRECTORY/root/bin/"
for name in $(busybox --list); do
    [[ $name == busybox ]] || ln -sf busybox "$DIRECTORY/root/bin/$name"
done

trap 'scripts/vm.sh stop' EXIT
scripts/vm.sh start --dir "$DIRECTORY"
if (($#)); then
    suite "$@"
else
    suite vm:: units::
    limits
    power || failed=$((failed + 1))
    [[ -n ${CI:-} ]] || suite "${CORE[@]}"
fi
echo "test result: $( ((failed)) && echo FAILED || echo ok). $passed passed; $failed failed; $ignored ignored"
((failed == 0))
