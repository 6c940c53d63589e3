//! Builds that are killed, and builds of the same at the same time.

use std::time::Duration;

use rustix::process::Signal;

use super::{bench, build, context};
use crate::common::{names_in, noise, wait_until};

#[test]
fn a_killed_build_leaves_nothing_and_the_next_goes_on() {
    let kills: usize = std::env::var("RBOX_TEST_KILLS").ok().and_then(|text| text.parse().ok()).unwrap_or(4);
    let bench = bench();
    for round in 0..kills {
        let dockerfile = format!(
            "FROM base AS a\nRUN echo {round} >/a; sleep 0.05\nRUN --mount=type=cache,target=/c echo x >>/c/f\n\
             FROM base\nRUN echo {round} >/b\nCOPY --from=a /a /z/\nWORKDIR /w/x\nCOPY . /ctx\nRUN cat /z/a /b >/c\n"
        );
        let directory = context(&bench, "ctx", &[("Dockerfile", &dockerfile)]);
        let running = build(&bench, &directory, &["-t", "made", "--network", "none"]).spawn();
        let delay = noise(round as u64 + u64::from(std::process::id()), 1)[0];
        std::thread::sleep(Duration::from_millis(u64::from(delay) * 2));
        running.signal(Signal::KILL);
        drop(running);
        build(&bench, &directory, &["-t", "made", "--network", "none"]).run().ok();
        assert_eq!(bench.run_rm(&["--net", "none"], "made", &["cat", "/c"]).ok().out(), format!("{round}\n{round}"));
        bench.ok(&["system", "check"]);
        // The supervisor of a killed step ends by itself; whoever writes next clears away what it left.
        wait_until("nothing is left", || {
            bench.ok(&["tag", "made", "again"]);
            build(&bench, &directory, &["-t", "made", "--network", "none"]).run().ok();
            names_in(bench.root().join("build-cache/running")).is_empty()
                && names_in(bench.root().join("staging")).is_empty()
        });
        bench.no_containers();
    }
}

#[test]
fn the_same_step_is_done_once_by_several_builds() {
    let bench = bench();
    let dockerfile = "FROM base\nRUN echo ran-one; sleep 0.3; echo 1 >/1\nRUN echo ran-two; sleep 0.3; echo 2 >/2\n";
    let directory = context(&bench, "ctx", &[("Dockerfile", dockerfile)]);
    let names = ["one", "two", "three"];
    let builds: Vec<_> =
        names.iter().map(|name| build(&bench, &directory, &["-t", name, "--network", "none"]).spawn()).collect();
    let said: String = builds.into_iter().map(|build| build.wait().ok().err()).collect();
    let lines = |word: &str| said.lines().filter(|line| line.starts_with('#') && line.ends_with(word)).count();
    assert_eq!((lines(" ran-one"), lines(" ran-two")), (1, 1), "{said}");
    let ids = names.map(|name| bench.inspect(name, "{{.Id}}"));
    assert!(ids.iter().all(|id| *id == ids[0]), "{ids:?}");
}
