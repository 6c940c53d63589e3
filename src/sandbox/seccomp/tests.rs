use std::path::PathBuf;

use libseccomp::{ScmpArch, ScmpSyscall};

use super::interpreter::{Call, check, run};
use super::profile::{Circumstances, parse};
use super::table::{Action, Arg, Compare};
use super::*;

const ALLOW: u32 = 0x7fff_0000;
const ENOSYS: u32 = errno(38);
const EPERM: u32 = errno(1);
const AUDIT_ARCH_X86_64: u32 = 0xc000_003e;
const AUDIT_ARCH_I386: u32 = 0x4000_0003;

const fn errno(number: u32) -> u32 {
    0x0005_0000 | number
}

const TIOCSTI: u64 = 0x5412;

/// First and third arguments worth trying with every call.
fn arguments() -> Vec<(u64, u64)> {
    let mut firsts: Vec<u64> = (0..45).collect();
    firsts.extend((0..64).map(|shift| 1 << shift));
    firsts.extend([0x11, 0x1200_0011, 0x3d0f00, 0x2_0000, 0x2_0008, 0xffff_ffff, 1 << 32 | 1, 1 << 32 | 38, u64::MAX]);
    let thirds = [0, 1, 4, 9, 10, 12, 16, 99, 1 << 32, 1 << 32 | 9];
    firsts.into_iter().flat_map(|first| thirds.map(|third| (first, third))).collect()
}

fn matches(arg: &Arg, arguments: &[u64; 6]) -> bool {
    let actual = arguments[arg.index as usize];
    match arg.compare {
        Compare::Equal(value) => actual == value,
        Compare::Greater(value) => actual > value,
        Compare::MaskedEqual { mask, value } => actual & mask == value,
    }
}

/// What the table says of a call: the default unless a rule matches.
fn expected(rules: &[table::Rule], name: Option<&str>, arguments: &[u64; 6]) -> u32 {
    let Some(name) = name else { return ENOSYS };
    let terminal = name == "ioctl" && [TIOCSTI, 0x541c].contains(&(arguments[1] & 0xffff_ffff));
    if terminal {
        return EPERM;
    }
    let hit =
        rules.iter().find(|rule| rule.names.contains(&name) && rule.args.iter().all(|arg| matches(arg, arguments)));
    match hit.map(|rule| rule.action) {
        Some(Action::Allow) => ALLOW,
        Some(Action::Errno(number)) => errno(number as u32),
        None => ENOSYS,
    }
}

/// The name of a call in an ABI, from libseccomp or from our list of young ones.
fn name_of(number: u32, abi: ScmpArch) -> Option<String> {
    let known = ScmpSyscall::from(number as i32).get_name_by_arch(abi).ok();
    known.or_else(|| {
        let rules = table::resolve(&|_| true, "amd64");
        let mut names = rules.iter().flat_map(|rule| &rule.names);
        let young = |name: &&&str| abi == ScmpArch::native() && numbers::number(name) == Some(number as i32);
        names.find(young).map(|name| (*name).to_owned())
    })
}

/// Compares a program with the table over every system call number.
fn compare(program: &[u8], capabilities: &BTreeSet<String>, architecture: &str, abi: ScmpArch, token: u32) {
    let rules = table::resolve(&|capability| capabilities.contains(capability), architecture);
    let arguments = arguments();
    for number in (0..600).chain([1000, 0x3fff_ffff, 0x4000_0000, 0x4000_0001, 0x7fff_ffff, 0x8000_0000]) {
        let name = name_of(number, abi);
        let conditional = name
            .as_deref()
            .is_some_and(|name| rules.iter().any(|rule| rule.names.contains(&name) && !rule.args.is_empty()));
        for &(first, third) in if conditional { &arguments[..] } else { &arguments[..1] } {
            for second in [0, TIOCSTI, TIOCSTI | 1 << 32, 0x541c, 0x5413] {
                // The kernel hands over a 32-bit call's arguments with the upper halves empty.
                let width = if token == AUDIT_ARCH_I386 { u32::MAX.into() } else { u64::MAX };
                let arguments = [first, second, third, 0, 0, 0].map(|argument| argument & width);
                let call = Call { number, architecture: token, arguments };
                let (answer, wanted) = (run(program, &call), expected(&rules, name.as_deref(), &call.arguments));
                assert_eq!(answer, wanted, "{name:?} {call:x?} on {architecture}: {answer:#x}, not {wanted:#x}");
            }
        }
    }
}

fn owned(names: &[&str]) -> BTreeSet<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

/// A program compiled here and now.
fn program(capabilities: &[&str], architecture: &str) -> Vec<u8> {
    let stages = builtin::stages(&owned(capabilities), architecture);
    compile::compile(&stages, &builtin::abis(architecture), builtin::FOREIGN, &mut scratch().unwrap()).unwrap()
}

#[test]
#[cfg(target_arch = "x86_64")]
fn embedded_filters_are_the_table() {
    assert_eq!(EMBEDDED.len(), 3);
    for variant in EMBEDDED {
        check(variant.program);
        let capabilities = owned(variant.capabilities);
        compare(variant.program, &capabilities, variant.architecture, ScmpArch::X8664, AUDIT_ARCH_X86_64);
        if variant.architecture == "386" {
            compare(variant.program, &capabilities, "386", ScmpArch::X86, AUDIT_ARCH_I386);
        }
    }
}

#[test]
#[cfg(target_arch = "x86_64")]
fn other_capabilities_open_what_the_table_says() {
    for set in [&["CAP_SYS_ADMIN"][..], &["CAP_NET_ADMIN", "CAP_NET_RAW"], &["CAP_SYS_TIME", "CAP_SYS_PTRACE"]] {
        let program = program(set, "amd64");
        check(&program);
        compare(&program, &owned(set), "amd64", ScmpArch::X8664, AUDIT_ARCH_X86_64);
    }
}

#[test]
#[cfg(target_arch = "x86_64")]
fn other_entries_are_never_allowed() {
    let native = default_filter().unwrap();
    // i386, arm, aarch64, riscv64, ppc64le, s390x, mips, nonsense
    let foreign = [AUDIT_ARCH_I386, 0x4000_0028, 0xc000_00b7, 0xc000_00f3, 0xc000_0015, 0x8000_0016, 8, 0, u32::MAX];
    for architecture in foreign {
        for number in (0..600).chain([0x4000_0000, 0x4000_003b, u32::MAX]) {
            let call = Call { number, architecture, arguments: [0; 6] };
            assert_eq!(run(native.program(), &call), ENOSYS, "{call:x?}");
        }
    }
    // x32: the native token with bit 30 in the number.
    for number in (0..600).map(|number| number | 0x4000_0000) {
        let call = Call { number, architecture: AUDIT_ARCH_X86_64, arguments: [0; 6] };
        assert_eq!(run(native.program(), &call), ENOSYS, "{call:x?}");
    }
}

#[test]
fn every_known_call_is_decided() {
    let undecided: Vec<String> = (0..600)
        .filter_map(|number| name_of(number, ScmpArch::native()))
        .filter(|name| {
            let rules = table::resolve(&|_| false, &Platform::host().architecture);
            !rules.iter().any(|rule| rule.names.contains(&name.as_str()))
        })
        .collect();
    // clone3 is left to the default, ENOSYS, on purpose.
    assert_eq!(undecided, ["clone3"]);
}

#[test]
fn default_capabilities_get_the_embedded_filter() {
    let docker = crate::spec::caps::DEFAULT;
    let nowhere = PathBuf::from("/proc/nonexistent");
    let host = Platform::host().architecture;
    let filter = filter_for(&docker, &SeccompChoice::Builtin, &host, &nowhere).unwrap().unwrap();
    assert!(matches!(filter.program, Cow::Borrowed(_)));
    assert_eq!(Some(&filter), default_filter().as_ref());
    let none: [&str; 0] = [];
    let dropped = filter_for(&none, &SeccompChoice::Builtin, &host, &nowhere).unwrap().unwrap();
    assert!(matches!(dropped.program, Cow::Borrowed(_)));
    assert_ne!(dropped.digest(), filter.digest());
    // An emulated image makes native calls.
    let emulated = filter_for(&docker, &SeccompChoice::Builtin, "s390x", &nowhere).unwrap().unwrap();
    assert_eq!(emulated, filter);
    assert_eq!(filter_for(&docker, &SeccompChoice::Unconfined, &host, &nowhere).unwrap(), None);
}

#[test]
fn other_sets_are_cached_and_bad_entries_replaced() {
    let directory = tempfile::tempdir().unwrap();
    let cache = directory.path().join("seccomp");
    let ask = || filter_for(&["CAP_SYS_ADMIN"], &SeccompChoice::Builtin, "amd64", &cache).unwrap().unwrap();
    let first = ask();
    let entries: Vec<PathBuf> = std::fs::read_dir(&cache).unwrap().map(|entry| entry.unwrap().path()).collect();
    let [entry] = &entries[..] else { panic!("{entries:?}") };
    let stored = std::fs::read(entry).unwrap();
    assert_eq!(ask(), first);
    let mut flipped = stored.clone();
    flipped[20] ^= 1;
    for damaged in [&stored[..stored.len() - 8], &[], &flipped] {
        std::fs::write(entry, damaged).unwrap();
        assert_eq!(ask(), first);
        assert_eq!(std::fs::read(entry).unwrap(), stored);
    }
}

fn custom(json: &str, capabilities: &[&str]) -> Result<Filter> {
    let directory = tempfile::tempdir().unwrap();
    let choice = SeccompChoice::Profile(PathBuf::from("p.json"), json.to_owned());
    Ok(filter_for(capabilities, &choice, "amd64", directory.path())?.unwrap())
}

#[cfg(target_arch = "x86_64")]
fn answer(filter: &Filter, name: &str, arguments: [u64; 6]) -> u32 {
    let number = ScmpSyscall::from_name(name).unwrap().as_raw_syscall() as u32;
    run(filter.program(), &Call { number, architecture: AUDIT_ARCH_X86_64, arguments })
}

#[test]
#[cfg(target_arch = "x86_64")]
fn docker_profiles() {
    let json = r#"{
        "defaultAction": "SCMP_ACT_ERRNO", "defaultErrnoRet": 38,
        "archMap": [{"architecture": "SCMP_ARCH_X86_64", "subArchitectures": ["SCMP_ARCH_X86"]},
                    {"architecture": "SCMP_ARCH_AARCH64", "subArchitectures": null}],
        "syscalls": [
            {"names": ["read", "statmount", "no_such_call_yet"], "action": "SCMP_ACT_ALLOW", "args": null},
            {"name": "write", "action": "SCMP_ACT_ALLOW", "args": []},
            {"names": ["mkdir"], "action": "SCMP_ACT_ERRNO", "errnoRet": 13, "comment": "", "includes": {}, "excludes": {}},
            {"names": ["clone"], "action": "SCMP_ACT_ALLOW", "excludes": {"caps": ["CAP_SYS_ADMIN"]},
             "args": [{"index": 0, "value": 2114060288, "valueTwo": 0, "op": "SCMP_CMP_MASKED_EQ"}]},
            {"names": ["mount"], "action": "SCMP_ACT_ALLOW", "includes": {"caps": ["CAP_SYS_ADMIN"]}},
            {"names": ["ptrace"], "action": "SCMP_ACT_ALLOW", "includes": {"minKernel": "4.8"}},
            {"names": ["acct"], "action": "SCMP_ACT_ALLOW", "includes": {"minKernel": "99.0"}},
            {"names": ["chroot"], "action": "SCMP_ACT_ALLOW", "includes": {"arches": ["s390x"]}},
            {"names": ["dup3"], "action": "SCMP_ACT_ALLOW", "args": [
                {"index": 2, "value": 1, "op": "SCMP_CMP_EQ"}, {"index": 2, "value": 7, "op": "SCMP_CMP_EQ"}]}
        ]}"#;
    let filter = custom(json, &[]).unwrap();
    check(filter.program());
    let none = [0; 6];
    assert_eq!(answer(&filter, "read", none), ALLOW);
    assert_eq!(answer(&filter, "write", none), ALLOW);
    assert_eq!(answer(&filter, "mkdir", none), errno(13));
    assert_eq!(answer(&filter, "clone", [17, 0, 0, 0, 0, 0]), ALLOW);
    assert_eq!(answer(&filter, "clone", [0x1000_0000, 0, 0, 0, 0, 0]), ENOSYS);
    assert_eq!(answer(&filter, "mount", none), ENOSYS);
    assert_eq!(answer(&filter, "ptrace", none), ALLOW);
    assert_eq!(answer(&filter, "acct", none), ENOSYS);
    assert_eq!(answer(&filter, "chroot", none), ENOSYS);
    for (third, wanted) in [(1, ALLOW), (7, ALLOW), (2, ENOSYS)] {
        assert_eq!(answer(&filter, "dup3", [0, 0, third, 0, 0, 0]), wanted);
    }
    let young = Call { number: 457, architecture: AUDIT_ARCH_X86_64, arguments: none };
    assert_eq!(run(filter.program(), &young), ALLOW);
    // read of i386 is 3
    let compat = Call { number: 3, architecture: AUDIT_ARCH_I386, arguments: none };
    assert_eq!(run(filter.program(), &compat), ALLOW);
    let admin = custom(json, &["CAP_SYS_ADMIN"]).unwrap();
    assert_eq!(answer(&admin, "mount", none), ALLOW);
    assert_eq!(answer(&admin, "clone", [17, 0, 0, 0, 0, 0]), ENOSYS);
}

#[test]
#[cfg(target_arch = "x86_64")]
fn oci_profiles() {
    let json = r#"{"defaultAction": "SCMP_ACT_ALLOW", "architectures": ["SCMP_ARCH_X86_64"],
        "flags": ["SECCOMP_FILTER_FLAG_SPEC_ALLOW"],
        "syscalls": [{"names": ["getcwd", "chmod"], "action": "SCMP_ACT_ERRNO"},
                     {"names": ["kill"], "action": "SCMP_ACT_KILL_PROCESS"}]}"#;
    let filter = custom(json, &[]).unwrap();
    assert_eq!(answer(&filter, "getcwd", [0; 6]), EPERM);
    assert_eq!(answer(&filter, "kill", [0; 6]), 0x8000_0000);
    assert_eq!(answer(&filter, "read", [0; 6]), ALLOW);
    let foreign = Call { number: 3, architecture: AUDIT_ARCH_I386, arguments: [0; 6] };
    assert_eq!(run(filter.program(), &foreign), ENOSYS);
}

#[test]
fn bad_profiles_are_named() {
    let rule = |rule: &str| format!(r#"{{"defaultAction": "SCMP_ACT_ERRNO", "syscalls": [{rule}]}}"#);
    for (json, wanted) in [
        (
            "{".to_owned(),
            "seccomp profile p.json: not a seccomp profile: EOF while parsing an object at line 1 column 1",
        ),
        ("{}".to_owned(), "missing field `defaultAction`"),
        (r#"{"defaultAction": "ALLOW"}"#.to_owned(), "unknown action \"ALLOW\""),
        (r#"{"defaultAction": "SCMP_ACT_NOTIFY"}"#.to_owned(), "needs a listener"),
        (r#"{"defaultAction": "SCMP_ACT_ERRNO", "defaultErrnoRet": 5000}"#.to_owned(), "errno 5000"),
        (r#"{"defaultAction": "SCMP_ACT_ALLOW", "flags": ["X"]}"#.to_owned(), "unknown flag \"X\""),
        (r#"{"defaultAction": "SCMP_ACT_ALLOW", "architectures": ["x86"]}"#.to_owned(), "unknown architecture \"x86\""),
        (rule(r#"{"action": "SCMP_ACT_ALLOW"}"#), "a rule without system calls"),
        (
            rule(
                r#"{"names": ["dup"], "action": "SCMP_ACT_ALLOW", "args": [{"index": 6, "value": 0, "op": "SCMP_CMP_EQ"}]}"#,
            ),
            "argument index 6 for dup",
        ),
        (
            rule(r#"{"names": ["dup"], "action": "SCMP_ACT_ALLOW", "args": [{"index": 0, "value": 0, "op": "=="}]}"#),
            "unknown operator \"==\" for dup",
        ),
        (
            rule(r#"{"names": ["dup"], "action": "SCMP_ACT_ALLOW", "includes": {"minKernel": "new"}}"#),
            "minKernel \"new\"",
        ),
        (
            r#"{"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"names": ["mountt"], "action": "SCMP_ACT_ERRNO"}]}"#
                .to_owned(),
            "\"mountt\" is to be refused",
        ),
    ] {
        let message = format!("{:#}", custom(&json, &[]).unwrap_err());
        assert!(message.contains(wanted), "{json}: {message}");
        assert!(!message.contains('\n'), "{message}");
    }
}

/// Debian's podman brings a large real profile; where it is installed it must compile.
#[test]
#[cfg(target_arch = "x86_64")]
fn podmans_profile_compiles() {
    let Ok(json) = std::fs::read_to_string("/usr/share/containers/seccomp.json") else {
        println!("skipped: podman's profile is not installed");
        return;
    };
    let circumstances = Circumstances { capabilities: &["CAP_CHOWN"], architecture: "amd64", kernel: (6, 1) };
    let parsed = parse(&json, &circumstances).unwrap();
    let program = compile::compile(&[parsed.stage], &parsed.abis, builtin::FOREIGN, &mut scratch().unwrap()).unwrap();
    check(&program);
    let filter = Filter { program: Cow::Owned(program) };
    assert_eq!(answer(&filter, "read", [0; 6]), ALLOW);
    assert_eq!(answer(&filter, "kexec_load", [0; 6]), EPERM);
}
