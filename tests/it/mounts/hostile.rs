//! Containers and images that would lead a mount elsewhere.

use std::time::{Duration, Instant};

use super::sh;
use crate::common::images::{Image, Layer};
use crate::common::registry::registry;
use crate::common::{Bench, names_in, read, write};

/// While a container exchanges a directory of a shared tree for a link to a canary, mounts on and below
/// that directory are made again and again. Each start succeeds or fails, and none touches the canary.
#[test]
fn a_racing_container_redirects_no_mount() {
    let (bench, image) = Bench::with_image();
    let shared = bench.mkdir("shared");
    let (canary, secret) = (bench.mkdir("canary"), bench.mkdir("secret"));
    write(canary.join("mine"), "untouched\n");
    write(secret.join("mark"), "secret\n");
    let bind = format!("{}:/shared", shared.display());
    let canary_path = canary.display().to_string();
    let racer = format!(
        "cd /shared; ln -s {canary_path} link; while :; do mkdir -p dir/sub; mv dir gone; cp -a link dir; rm -rf dir gone; done 2>/dev/null"
    );
    let racer = bench.start(&["--network", "none", "-v", &bind], &image, &["sh", "-c", &racer]);
    let (target, below) = (
        format!("{}:/shared/dir", secret.display()),
        format!("{}:/shared/dir/sub/file", secret.join("mark").display()),
    );
    let (mut started, begun) = (0, Instant::now());
    for round in 0..40 {
        if begun.elapsed() > Duration::from_secs(6) {
            break;
        }
        let mount = if round % 2 == 0 { &target } else { &below };
        let output = sh(&bench, &["-v", &bind, "-v", mount], &image, "true");
        started += u32::from(output.code == 0);
        assert!([0, 125].contains(&output.code), "{}", output.report());
        assert_eq!(names_in(&canary), ["mine"], "{}", output.report());
    }
    assert!(started > 0, "no start ever succeeded");
    bench.ok(&["rm", "-f", &racer]);
    assert_eq!(read(canary.join("mine")), "untouched\n");
    assert_eq!(names_in(&secret), ["mark"]);
}

#[test]
fn links_of_an_image_lead_only_into_the_container() {
    let bench = Bench::new();
    let canary = bench.mkdir("canary");
    let link = canary.display().to_string();
    let image = registry().push(
        "mounts-links",
        &[Image::small_with(vec![
            Layer::new()
                .symlink("out", &link)
                .symlink("up", "../../../../../../..")
                .symlink("self", "/proc/sys")
                .symlink("loop", "/loop"),
        ])],
    );
    bench.ok(&["pull", "-q", &image]);
    let source = bench.mkdir("source");
    write(source.join("mark"), "seen\n");
    let at = |target: &str| format!("{}:{target}", source.display());
    assert_eq!(sh(&bench, &["-v", &at("/out")], &image, &format!("cat {link}/mark")).ok().out(), "seen");
    assert_eq!(sh(&bench, &["-v", &at("/up/here")], &image, "cat /here/mark").ok().out(), "seen");
    assert_eq!(sh(&bench, &["--tmpfs", "/out/x"], &image, &format!("ls {link}")).ok().out(), "x");
    for (target, reason) in [("/self/kernel", "it leads into /proc"), ("/loop/x", "Too many levels of symbolic links")]
    {
        sh(&bench, &["-v", &at(target)], &image, "true").refused(125, reason);
    }
    assert_eq!(names_in(&canary), [""; 0], "something was made on the host");
}

#[test]
fn an_images_volume_over_proc_is_refused() {
    let bench = Bench::new();
    for (name, path) in [("mounts-proc", "/proc"), ("mounts-proc-self", "/etc/../proc/self"), ("mounts-root", "/")] {
        let config = serde_json::json!({"Volumes": {path: {}}});
        let image = registry().push(name, &[crate::common::images::small().config(config)]);
        bench.ok(&["pull", "-q", &image]);
        sh(&bench, &[], &image, "true").refused(125, "destination");
        assert_eq!(sh(&bench, &["--image-volume", "ignore"], &image, "echo ran").ok().out(), "ran");
    }
    let config = serde_json::json!({"Volumes": {"/data": {}, "/more/": {}}});
    let image = registry().push("mounts-volumes", &[crate::common::images::small().config(config)]);
    bench.ok(&["pull", "-q", &image]);
    let line = "grep -E ' /(data|more) ' /proc/self/mountinfo | cut -d' ' -f5,9";
    let flags = ["--image-volume", "tmpfs", "-v", "/bin:/more"];
    let mounted = sh(&bench, &flags, &image, line).ok().out();
    assert!(mounted.contains("/data tmpfs") && !mounted.contains("/more tmpfs"), "{mounted}");
}
