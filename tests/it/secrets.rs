//! Secrets: from the store into containers, and nowhere else.
//!
//! RBOX_TEST_KILLS says how often create and rm are killed at a random moment; 100 in the long run,
//! fewer otherwise.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Duration;

use rustix::process::Signal;

use crate::common::{Bench, proc, program, write};

const VALUE: &str = "s3cr3t-Tr0ub4dor";
const ROOT: &str = "rootfs:/";

fn kills() -> usize {
    std::env::var("RBOX_TEST_KILLS").ok().and_then(|text| text.parse().ok()).unwrap_or(6)
}

/// A bench with the secret `tok`.
fn bench() -> Bench {
    let bench = Bench::new();
    bench.rbox(&["secret", "create", "tok", "-"]).stdin(VALUE).ok();
    bench
}

/// Files below a directory that hold the secret.
fn traces(directory: &Path) -> String {
    program("grep").args(["-rlaF", VALUE]).arg(directory).run().out()
}

#[test]
fn secrets_are_made_listed_shown_and_removed() {
    let bench = Bench::new();
    let file = bench.path("value");
    write(&file, VALUE);
    let path = file.to_str().unwrap();
    let id = bench.ok(&["secret", "create", "-l", "a=b", "--label", "c", "from-file", path]);
    assert!(id.len() == 25 && id.bytes().all(|byte| byte.is_ascii_hexdigit()), "{id}");
    bench.rbox(&["secret", "create", "--env", "from-env", "SOME_SECRET"]).env("SOME_SECRET", VALUE).ok();
    bench.rbox(&["secret", "create", "-d", "file", "from-stdin", "-"]).stdin(VALUE).ok();
    let data = ["secret", "inspect", "--showsecret", "-f", "{{.SecretData}}", "from-file", "from-env", "from-stdin"];
    assert_eq!(bench.ok(&data), [VALUE; 3].join("\n"));

    let list = bench.ok(&["secret", "ls"]);
    let words: Vec<Vec<&str>> = list.lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(words[0], ["ID", "NAME", "DRIVER", "CREATED", "UPDATED"]);
    assert_eq!((words[2][0], words[2][1], words[2][2]), (id.as_str(), "from-file", "file"), "{list}");
    assert_eq!(bench.ok(&["secret", "ls", "-n", "--filter", "name=^from-e", "--format", "{{.Name}}"]), "from-env");
    assert_eq!(bench.ok(&["secret", "list", "-q", "-f", &format!("id={}", &id[..8])]), id);
    assert_eq!(
        bench.ok(&["secret", "ls", "--filter", "label=a=b", "--format", "{{.Name}} {{.Labels}}"]),
        "from-file a=b,c="
    );
    assert!(!bench.ok(&["secret", "ls", "--format", "json"]).contains(VALUE));

    let shown = bench.ok(&["secret", "inspect", &id[..20]]);
    let value: serde_json::Value = serde_json::from_str(&shown).unwrap();
    assert_eq!(value[0]["Spec"]["Driver"]["Name"], "file");
    assert_eq!(value[0]["Spec"]["Labels"], serde_json::json!({"a": "b", "c": ""}));
    assert!(!shown.contains(VALUE) && value[0].get("SecretData").is_none());
    let pretty = bench.ok(&["secret", "inspect", "--pretty", "from-file"]);
    assert!(
        pretty.starts_with(&format!("ID:              {id}\nName:            from-file\nLabels:\n - a=b\n - c\n")),
        "{pretty}"
    );

    let taken = bench.rbox(&["secret", "create", "from-file", path]).run().exits(1);
    assert_eq!(taken.err(), "rbox: from-file: secret name in use");
    assert_eq!(bench.ok(&["secret", "create", "--ignore", "from-file", path]), id);
    write(&file, "another");
    let replaced = bench.ok(&["secret", "create", "--replace", "from-file", path]);
    assert_ne!(replaced, id);
    assert_eq!(bench.ok(&["secret", "inspect", "--showsecret", "-f", "{{.SecretData}}", "from-file"]), "another");

    bench.rbox(&["secret", "exists", "from-env"]).run().ok();
    assert_eq!(bench.ok(&["secret", "rm", "from-file"]), replaced);
    bench.rbox(&["secret", "exists", "from-file"]).run().exits(1);
    let gone = bench.rbox(&["secret", "rm", "from-file", "from-env"]).run().exits(1);
    assert_eq!(gone.err(), "rbox: no secret with name or id \"from-file\": no such secret");
    assert_eq!(gone.out().lines().count(), 1);
    assert_eq!(bench.ok(&["secret", "rm", "-i", "from-file"]), "");
    bench.ok(&["secret", "rm", "--all"]);
    assert_eq!(bench.ok(&["secret", "ls", "-q"]), "");
}

#[test]
fn what_cannot_be_a_secret() {
    let bench = bench();
    let closed = bench.path("closed");
    write(&closed, VALUE);
    std::fs::set_permissions(&closed, PermissionsExt::from_mode(0o000)).unwrap();
    let closed = closed.to_str().unwrap();
    for (args, code, reason) in [
        (&["a=b", "-"][..], 1, "secret name \"a=b\" can not include '=', '/', ',', or the '\\0' (NULL)"),
        (&["a/b", "-"], 1, "can not include"),
        (&["", "-"], 1, "be between 1 and 253 characters"),
        (&["n", closed], 1, "ermission denied"),
        (&["n", "/nonexistent"], 1, "open /nonexistent: No such file or directory"),
        (&["n", "/"], 1, "s a directory"),
        (&["n", "/dev/zero"], 1, "secret data must be larger than 0 and less than 512000 bytes"),
        (&["n", "/dev/null"], 1, "secret data must be larger than 0 and less than 512000 bytes"),
        (&["--env", "n", "NO_SUCH_VARIABLE"], 1, "environment variable NO_SUCH_VARIABLE is not set"),
        (&["-d", "pass", "n", "-"], 1, "invalid driver \"pass\""),
        (&["--driver-opts", "path=/x", "n", "-"], 1, "unknown driver option \"path=/x\""),
        (&["--label", "=x", "n", "-"], 1, "invalid label"),
        (&["--template-driver", "golang", "n", "-"], 125, "unknown flag: --template-driver"),
    ] {
        let output = bench.rbox(&["secret", "create"]).args(args).stdin("x").run().exits(code);
        assert!(output.err().contains(reason) && output.err().lines().count() == 1, "{args:?}: {}", output.err());
    }
    assert_eq!(bench.ok(&["secret", "ls", "--format", "{{.Name}}"]), "tok");
    bench.rbox(&["secret", "create", "big", "-"]).stdin(vec![b'x'; 511_999]).ok();
    bench.rbox(&["secret", "create", "bigger", "-"]).stdin(vec![b'x'; 512_000]).run().exits(1);
    bench.rbox(&["secret", "create", "nul", "-"]).stdin("a\0b").ok();
    for (value, reason) in [
        ("nope", "no secret with name or id \"nope\": no such secret"),
        ("tok,oops", "option oops must be in form option=value"),
        ("tok,mode=999", "mode 999 invalid"),
        ("tok,type=env,mode=0400", "UID, GID, Mode options cannot be set with secret type env"),
        ("tok,target=../x", "the target must not contain '..'"),
        ("nul,type=env", "holds a NUL byte"),
        ("big,type=env", "too long for a variable"),
    ] {
        let output = bench.rbox(&["run", "--rm", "--secret", value, ROOT, "true"]).run().exits(125);
        assert!(output.err().contains(reason) && output.err().lines().count() == 1, "{value}: {}", output.err());
    }
    let twice = bench.rbox(&["create", "--secret", "tok", "--secret", "nul,target=tok", ROOT, "true"]).run().exits(125);
    assert!(twice.err().contains("two secrets have this target"), "{}", twice.err());
    let both =
        bench.rbox(&["create", "--secret", "tok,target=/tmp/x", "--tmpfs", "/tmp/x", ROOT, "true"]).run().exits(125);
    assert!(both.err().contains("Duplicate mount point: /tmp/x"), "{}", both.err());
    let unmapped = bench.run_rm(&["--secret", "tok,uid=4000000000"], ROOT, &["true"]).exits(125);
    assert!(unmapped.err().contains("is outside the ids mapped"), "{}", unmapped.err());
    bench.no_containers();
}

#[test]
fn every_form_arrives() {
    let bench = bench();
    let all = "stat -c '%a %u:%g %n' /run/secrets/tok /run/secrets/a/b /mnt/key; cat /run/secrets/tok /run/secrets/a/b /mnt/key; echo; echo $tok $NAMED";
    let secrets = [
        "--secret",
        "tok",
        "--secret",
        "tok,target=a/b,uid=7,gid=8,mode=0400",
        "--secret",
        "source=tok,target=/mnt/key,mode=640",
        "--secret",
        "tok,type=env",
        "--secret",
        "source=tok,type=env,target=NAMED",
    ];
    let expected = format!(
        "444 0:0 /run/secrets/tok\n400 7:8 /run/secrets/a/b\n640 0:0 /mnt/key\n{VALUE}{VALUE}{VALUE}\n{VALUE} {VALUE}"
    );
    assert_eq!(bench.run_rm(&secrets, ROOT, &["sh", "-c", all]).ok().out(), expected);
    // Owners are counted as the container counts them.
    let image = bench.pull_small();
    let mapped = [
        "--userns",
        "keep-id:uid=1000,gid=1000",
        "--secret",
        "tok,uid=1000,gid=5,mode=0400",
        "--secret",
        "tok,target=r",
    ];
    let owners = ["stat", "-c", "%u:%g", "/run/secrets/tok", "/run/secrets/r", "/run/secrets"];
    assert_eq!(bench.run_rm(&mapped, &image, &owners).ok().out(), "1000:5\n0:0\n0:0");
    // Nobody can write there, and the mount says why.
    let denied = bench.run_rm(&["--secret", "tok"], ROOT, &["sh", "-c", "echo x > /run/secrets/tok"]);
    assert!(denied.err().contains("Read-only file system"), "{}", denied.err());
    let options =
        bench.run_rm(&["--secret", "tok"], ROOT, &["grep", " /run/secrets ", "/proc/self/mountinfo"]).ok().out();
    assert!(options.contains("ro,nosuid,nodev,noexec") && options.contains("tmpfs"), "{options}");
    // Over a tmpfs of the user's, and for another user.
    let flags = ["--tmpfs", "/run", "--secret", "tok,uid=1000,mode=0400", "-u", "1000"];
    assert_eq!(bench.run_rm(&flags, ROOT, &["cat", "/run/secrets/tok"]).ok().out(), VALUE);
    let other = bench.run_rm(&["--secret", "tok,uid=1000,mode=0400", "-u", "1001"], ROOT, &["cat", "/run/secrets/tok"]);
    assert!(other.err().contains("Permission denied"), "{}", other.err());
}

#[test]
fn a_container_keeps_what_it_was_created_with() {
    let bench = bench();
    bench.start(&["--name", "c", "--secret", "tok", "--secret", "tok,type=env"], ROOT, &["sleep", "100"]);
    let seen = || bench.ok(&["exec", "c", "sh", "-c", "cat /run/secrets/tok; echo -n \" $tok\""]);
    let both = format!("{VALUE} {VALUE}");
    assert_eq!(seen(), both);
    bench.rbox(&["secret", "create", "--replace", "tok", "-"]).stdin("new").ok();
    bench.ok(&["restart", "-t", "0", "c"]);
    assert_eq!(seen(), both);
    bench.ok(&["secret", "rm", "tok"]);
    bench.ok(&["restart", "-t", "0", "c"]);
    assert_eq!(seen(), both);
    assert_eq!(bench.inspect("c", "{{range .Config.Secrets}}{{.Name}} {{.Mode}}{{end}}"), "tok 292");
    bench.ok(&["rm", "-f", "c"]);
    assert_eq!(traces(&bench.root()), "");
}

#[test]
fn the_bytes_are_nowhere_else() {
    let (bench, image) = Bench::with_image();
    bench.rbox(&["secret", "create", "tok", "-"]).stdin(VALUE).ok();
    let flags = ["--name", "c", "--init", "--secret", "tok", "--secret", "tok,type=env"];
    bench.start(&flags, &image, &["sh", "-c", "echo started; sleep 100"]);
    for pid in proc::pids() {
        let cmdline = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        assert!(!String::from_utf8_lossy(&cmdline).contains(VALUE), "process {pid}");
    }
    assert!(!bench.ok(&["inspect", "c"]).contains(VALUE));
    assert!(!bench.ok(&["logs", "c"]).contains(VALUE));
    assert!(!bench.ok(&["info"]).contains(VALUE));
    let exported = bench.rbox(&["export", "c"]).run().ok();
    assert!(!exported.out().contains(VALUE));
    let id = bench.ok(&["commit", "-q", "c"]);
    assert!(!bench.ok(&["inspect", &id]).contains(VALUE) && !bench.ok(&["history", "--no-trunc", &id]).contains(VALUE));
    assert_eq!(bench.ok(&["run", "--rm", &id, "sh", "-c", "ls -A /run/secrets; echo -n $tok"]), "");
    // In the store, and in the container's copies.
    let files = traces(&bench.root());
    let container = bench.inspect("c", "{{.Id}}");
    let allowed = |file: &&str| file.ends_with("/payload") || file.contains(&format!("{container}/secrets/"));
    assert_eq!(files.lines().filter(|file| !allowed(file)).collect::<Vec<_>>(), [""; 0]);
    assert_eq!(files.lines().count(), 3, "{files}");
    for file in files.lines() {
        assert_eq!(std::fs::metadata(file).unwrap().permissions().mode() & 0o777, 0o600, "{file}");
    }
}

#[test]
fn killed_at_any_moment_nothing_is_half_made() {
    let bench = Bench::new();
    for round in 0..kills() {
        let wait = Duration::from_micros(500 + 700 * (round as u64 * 7 % 23));
        let create =
            bench.rbox(&["secret", "create", "--replace", "tok", "-"]).stdin(format!("{VALUE} {round}")).spawn();
        std::thread::sleep(wait);
        create.signal(Signal::KILL);
        create.wait();
        if bench.rbox(&["secret", "exists", "tok"]).run().code == 0 {
            let shown = bench.ok(&["secret", "inspect", "--showsecret", "-f", "{{.SecretData}}", "tok"]);
            assert!(shown.starts_with(VALUE), "{shown}");
            let remove = bench.rbox(&["secret", "rm", "tok"]).spawn();
            std::thread::sleep(wait);
            remove.signal(Signal::KILL);
            remove.wait();
        }
        bench.rbox(&["system", "check"]).run().ok();
        bench.no_staging();
    }
    bench.ok(&["secret", "rm", "--all"]);
    assert_eq!(traces(&bench.root()), "");
}
