//! Two hundred runs at once: each says the truth, and nothing is left of them.

use crate::common::Bench;

/// Eight shells, 25 runs each. A shell prints the numbers of the runs that went wrong.
const EIGHT_SHELLS: &str = r#"
    for shell in 1 2 3 4 5 6 7 8; do
        (
            for run in $(seq 25); do
                out=$(rbox run --rm "$1" echo "$shell.$run" 2>&1)
                code=$?
                [ "$code.$out" = "0.$shell.$run" ] || echo "run $shell.$run: exit $code: $out"
            done
        ) &
    done
    wait
"#;

#[test]
fn two_hundred_runs_from_eight_shells_all_succeed() {
    let (bench, image) = Bench::with_image();
    let output = bench.shell(EIGHT_SHELLS).arg("sh").arg(&image).limit(300).run().ok();
    assert_eq!(output.out(), "");
    assert_eq!(output.err(), "");
    assert_eq!(bench.ok(&["ps", "-aq"]), "");
    bench.rbox(&["system", "check"]).run().ok();
}

/// The same while another process kills a third of the invocations and supervisors it meets.
const WITH_A_KILLER: &str = r#"
    for shell in 1 2 3 4 5 6 7 8; do
        (
            for run in $(seq 25); do
                rbox run --rm --stop-timeout 0 "$1" echo "$shell.$run" >/dev/null 2>&1 &
                victim=$!
                if [ $((run % 3)) = 0 ]; then
                    # Anywhere between the first instruction and the last.
                    sleep 0.0$((RANDOM % 80 + 10))
                    tree=$(pgrep -P "$victim" 2>/dev/null)
                    set -- "$1" $victim $tree
                    shift $((RANDOM % ($# - 1) + 1))
                    kill -9 "$1" 2>/dev/null
                    set -- "$IMAGE"
                fi
                wait "$victim"
            done
        ) &
    done
    wait
"#;

#[test]
fn two_hundred_runs_with_a_third_killed_leave_a_clean_store() {
    let (bench, image) = Bench::with_image();
    bench.shell(WITH_A_KILLER).env("IMAGE", &image).arg("sh").arg(&image).limit(300).run().ok();
    bench.no_processes();
    let left = bench.ok(&["ps", "-a", "--format", "{{.ID}} {{.State}}"]);
    assert!(!left.contains("running"), "{left}");
    for line in left.lines() {
        bench.ok(&["rm", "-f", line.split(' ').next().unwrap()]);
    }
    bench.rbox(&["system", "check"]).run().ok();
    bench.no_staging();
}
