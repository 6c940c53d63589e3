//! How a flag looks in help and man pages, and under which heading.

use clap::{Arg, ArgAction, Command};

/// Headings of the many flags of `run` and `create`, in order; what is in none is under the first.
const HEADINGS: &[(&str, &[&str])] = &[
    ("Options", &[]),
    (
        "Process Options",
        &[
            "entrypoint",
            "env",
            "env-file",
            "env-host",
            "env-merge",
            "http-proxy",
            "load-credential",
            "secret",
            "tz",
            "unsetenv",
            "unsetenv-all",
            "init",
            "stop-signal",
            "stop-timeout",
            "systemd",
            "ulimit",
            "user",
            "workdir",
        ],
    ),
    ("Image Options", &["platform", "pull", "quiet", "tls-verify"]),
    (
        "File System Options",
        &[
            "chrootdirs",
            "image-volume",
            "mount",
            "read-only",
            "read-only-tmpfs",
            "shm-size",
            "shm-size-systemd",
            "storage-opt",
            "tmpfs",
            "volume",
            "volume-driver",
        ],
    ),
    (
        "Limit Options",
        &[
            "blkio-weight",
            "blkio-weight-device",
            "cgroup-conf",
            "cgroup-parent",
            "cgroupns",
            "cgroups",
            "cpu-period",
            "cpu-quota",
            "cpu-rt-period",
            "cpu-rt-runtime",
            "cpu-shares",
            "cpus",
            "cpuset-cpus",
            "cpuset-mems",
            "device-read-bps",
            "device-read-iops",
            "device-write-bps",
            "device-write-iops",
            "limits",
            "memory",
            "memory-reservation",
            "memory-swap",
            "memory-swappiness",
            "oom-kill-disable",
            "oom-score-adj",
            "pids-limit",
            "rdt-class",
        ],
    ),
    ("Log Options", &["log-driver", "log-opt"]),
    (
        "Network Options",
        &[
            "add-host",
            "dns",
            "dns-option",
            "dns-search",
            "expose",
            "hostname",
            "ip",
            "ip6",
            "link",
            "mac-address",
            "network",
            "network-alias",
            "no-hosts",
            "publish",
            "publish-all",
        ],
    ),
    (
        "Isolation Options",
        &["cap-add", "cap-drop", "device", "gpus", "ipc", "pid", "privileged", "security-opt", "userns", "uts"],
    ),
];
/// The heading of flags that every command has.
pub const GLOBAL: &str = "Global Options";

/// The flags of a built command under their headings, each sorted by name.
pub fn grouped(command: &Command) -> Vec<(&'static str, Vec<&Arg>)> {
    let mut groups: Vec<(&'static str, Vec<&Arg>)> = HEADINGS.iter().map(|(name, _)| (*name, Vec::new())).collect();
    groups.push((GLOBAL, Vec::new()));
    let is_root = command.get_name() == env!("CARGO_PKG_NAME");
    // Everybody knows --help, and help that lists it teaches nothing.
    let shown = |arg: &&Arg| !arg.is_positional() && !arg.is_hide_set() && (is_root || arg.get_id() != "help");
    for arg in command.get_arguments().filter(shown) {
        let heading = if is_root || arg.is_global_set() { GLOBAL } else { heading(command, arg) };
        groups.iter_mut().filter(|(name, _)| *name == heading).for_each(|(_, args)| args.push(arg));
    }
    groups.iter_mut().for_each(|(_, args)| args.sort_by_key(|arg| arg.get_long()));
    groups.retain(|(_, args)| !args.is_empty());
    groups
}

fn heading(command: &Command, arg: &Arg) -> &'static str {
    let listed = |(_, longs): &&(&str, &[&str])| arg.get_long().is_some_and(|long| longs.contains(&long));
    match HEADINGS.iter().find(listed) {
        Some((name, _)) if matches!(command.get_name(), "run" | "create") => name,
        _ => HEADINGS[0].0,
    }
}

/// `-e, --env NAME=VALUE`; without a short form it is indented as if there were one.
pub fn spec(arg: &Arg) -> String {
    let short = arg.get_short().map_or_else(|| "    ".to_owned(), |short| format!("-{short}, "));
    let long = arg.get_long().unwrap_or_default();
    match value_name(arg) {
        Some(value) => format!("{short}--{long} {value}"),
        None => format!("{short}--{long}"),
    }
}

/// The name of the value that must follow a flag; None for a boolean, which needs none.
pub fn value_name(arg: &Arg) -> Option<String> {
    if matches!(arg.get_action(), ArgAction::Help | ArgAction::Version) || arg.is_require_equals_set() {
        return None;
    }
    let names = arg.get_value_names().filter(|_| arg.get_action().takes_values())?;
    Some(names.iter().map(|name| name.as_str()).collect::<Vec<_>>().join(" "))
}

/// What a flag or argument does, with its values, its default and its variable.
pub fn about(arg: &Arg) -> String {
    let mut text = arg.get_help().map(ToString::to_string).unwrap_or_default();
    let values: Vec<String> = arg.get_possible_values().iter().map(|value| value.get_name().to_owned()).collect();
    if !values.is_empty() && !arg.is_hide_possible_values_set() {
        text.push_str(&format!(" ({})", values.join(", ")));
    }
    let defaults: Vec<_> = arg.get_default_values().iter().map(|value| value.to_string_lossy()).collect();
    if !defaults.is_empty() && !arg.is_hide_default_value_set() {
        text.push_str(&format!(" (default {:?})", defaults.join(",")));
    }
    if let Some(variable) = arg.get_env() {
        text.push_str(&format!(" [env: {}]", variable.to_string_lossy()));
    }
    text
}

/// An argument as the usage line has it: `IMAGE`, `[COMMAND] [ARG...]`, `CONTAINER [CONTAINER...]`.
pub fn placeholder(arg: &Arg) -> String {
    let name = arg.get_value_names().and_then(|names| names.first()).map_or("", |name| name.as_str());
    let many = arg.get_num_args().is_some_and(|range| range.max_values() > 1);
    match (arg.is_required_set(), many, arg.is_trailing_var_arg_set()) {
        (true, _, true) => format!("{name} [ARG...]"),
        (false, _, true) => format!("[{name}] [ARG...]"),
        (true, true, _) => format!("{name} [{name}...]"),
        (false, true, _) => format!("[{name}...]"),
        (true, false, _) => name.to_owned(),
        (false, false, _) => format!("[{name}]"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_look_as_docker_shows_them() {
        let mut root = crate::cmd::command();
        root.build();
        let run = root.find_subcommand("run").unwrap();
        let find = |long: &str| run.get_arguments().find(|arg| arg.get_long() == Some(long)).unwrap();
        assert_eq!(spec(find("env")), "-e, --env NAME=VALUE");
        assert_eq!(spec(find("rm")), "    --rm");
        assert_eq!(spec(find("sig-proxy")), "    --sig-proxy");
        assert_eq!(spec(find("name")), "    --name NAME");
        assert_eq!(
            about(find("pull")),
            "Pull image before running (always, missing, newer, never), missing unless configured"
        );
    }

    #[test]
    fn every_listed_flag_exists() {
        let mut root = crate::cmd::command();
        root.build();
        let run = root.find_subcommand("run").unwrap();
        for long in HEADINGS.iter().flat_map(|(_, longs)| *longs) {
            assert!(run.get_arguments().any(|arg| arg.get_long() == Some(*long)), "run has no --{long}");
        }
    }
}
