//! Units of the system's manager: for a user with subordinate ids, and for one that systemd makes up.

use super::{Manager, Unit, machine};
use crate::common::{Bench, wait_until};

#[test]
fn a_system_unit_runs_a_container_for_a_user() {
    if !machine() {
        return;
    }
    let (bench, image) = Bench::with_image();
    let script = "trap \"exit 0\" TERM; id -u; touch /up; while :; do sleep 0.1; done";
    let lines = format!(
        "Type=exec\nUser=someone\nTimeoutStopSec=60\nExecStart=@RBOX@ run --rm --name s {image} sh -c '{script}'\n"
    );
    let unit = Unit::new(&bench, Manager::System, &lines);
    unit.start();
    wait_until("it is up", || bench.rbox(&["exec", "s", "test", "-e", "/up"]).run().code == 0);
    assert!(!unit.processes().is_empty());
    assert_eq!(unit.systemctl("stop").code, 0);
    assert_eq!(unit.show("Result"), "success", "{}", unit.journal());
    assert!(unit.journal().lines().any(|line| line == "0"), "{}", unit.journal());
    unit.left_nothing();
    bench.no_containers();
    bench.no_processes();
}

#[test]
fn a_user_that_systemd_makes_up_has_containers_of_one_user() {
    if !machine() {
        return;
    }
    // Its files are its own: the bench's belong to another user.
    let bench = Bench::new();
    let lines = "Type=exec\nDynamicUser=yes\nStateDirectory=%N\nRuntimeDirectory=%N\nWorkingDirectory=%S/%N\n\
                 Environment=HOME=%S/%N RBOX_ROOT=%S/%N/store RBOX_RUNROOT=%t/%N/run\n\
                 ExecStartPre=mkdir -p tree/bin\nExecStartPre=cp /bin/busybox tree/bin/sh\n\
                 ExecStart=@RBOX@ run --rm rootfs:%S/%N/tree sh -c 'id -u; exit 5'\n";
    let unit = Unit::new(&bench, Manager::System, lines);
    unit.start();
    wait_until("it has ended", || unit.show("SubState") == "failed");
    assert_eq!(unit.show("ExecMainStatus"), "5", "{}", unit.journal());
    assert!(unit.journal().lines().any(|line| line == "0"), "{}", unit.journal());
    unit.left_nothing();
}
