#!/bin/sh
# Runs the black-box tests in the virtual machine, as its user, with the arguments given: the files are
# in /stage, and the cgroup is one that the user manager has delegated.
set -eu
cd /stage/tree
export RBOX_BIN=/stage/bin/rbox CARGO_MANIFEST_DIR=/stage/tree TMPDIR=/var/tmp LANG=C.UTF-8 RUST_BACKTRACE=1
# Emulation is that much slower than a real machine, and a little more on a busy one.
export RBOX_TEST_VM=1 RBOX_TEST_PATIENCE=6
[ ! -e /stage/system.tar ] || export RBOX_TEST_SYSTEM=/stage/system.tar
exec systemd-run --user --scope --quiet --property=Delegate=yes /stage/bin/it --show-output "$@"
