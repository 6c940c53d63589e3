#!/bin/bash
# Feeds made-up input to what reads text from elsewhere, each target for ten minutes or the seconds given.
#
#   scripts/fuzz.sh [SECONDS [TARGET]...]
#
# Wants a nightly compiler and cargo-fuzz (cargo install cargo-fuzz). Input that makes a target fail is kept in
# fuzz/artifacts/. CI does not run this: a short version of it with proptest is among the unit tests, which
# RBOX_TEST_FUZZ=CASES makes longer.
set -euo pipefail
cd "$(dirname "$0")/.."

seconds=${1:-600}
shift || true
targets=("$@")
[ ${#targets[@]} -gt 0 ] || targets=(dockerfile)

cargo fuzz --version >/dev/null 2>&1 || { echo "fuzz.sh: cargo-fuzz is missing: cargo install cargo-fuzz" >&2; exit 1; }
for target in "${targets[@]}"; do
    cargo +nightly fuzz run "$target" -- -max_total_time="$seconds" -max_len=4096 -timeout=5 -rss_limit_mb=2048
done
