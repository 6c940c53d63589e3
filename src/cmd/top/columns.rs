//! The columns of `top`: podman's descriptors, and docker's default, which is `ps -ef`.

use jiff::Timestamp;
use jiff::tz::TimeZone;

use super::observed::{Accounts, Kind, Observed};
use crate::spec::caps;

/// One column.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Column(&'static (&'static str, &'static str, Cell));

type Cell = fn(&Observed, &Accounts) -> String;

/// podman's names, the titles, and what is in them.
const COLUMNS: &[(&str, &str, Cell)] = &[
    ("args", "COMMAND", |p, _| command_line(p)),
    ("capamb", "AMBIENT CAPS", |p, _| capabilities(p.status.capamb.unwrap_or(0))),
    ("capbnd", "BOUNDING CAPS", |p, _| capabilities(p.status.capbnd.unwrap_or(0))),
    ("capeff", "EFFECTIVE CAPS", |p, _| capabilities(p.status.capeff)),
    ("capinh", "INHERITED CAPS", |p, _| capabilities(p.status.capinh)),
    ("capprm", "PERMITTED CAPS", |p, _| capabilities(p.status.capprm)),
    ("comm", "COMMAND", |p, _| p.stat.comm.clone()),
    ("etime", "ELAPSED", |p, _| elapsed(p.elapsed)),
    ("group", "GROUP", |p, a| a.inside(Kind::Group, p.status.egid)),
    ("groups", "GROUPS", |p, a| list(&p.status.groups, |gid| a.inside(Kind::Group, gid))),
    ("hgroup", "HGROUP", |p, a| a.on_host(Kind::Group, p.status.egid)),
    ("hgroups", "HGROUPS", |p, a| list(&p.status.groups, |gid| a.on_host(Kind::Group, gid))),
    ("hpid", "HPID", |p, _| p.stat.pid.to_string()),
    ("huser", "HUSER", |p, a| a.on_host(Kind::User, p.status.euid)),
    ("label", "LABEL", |p, _| p.label.clone()),
    ("nice", "NI", |p, _| p.stat.nice.to_string()),
    ("pcpu", "%CPU", |p, _| format!("{:.3}", share(p))),
    ("pgid", "PGID", |p, _| innermost(&p.status.nspgid, p.stat.pgrp)),
    ("pid", "PID", |p, _| innermost(&p.status.nspid, p.stat.pid)),
    ("ppid", "PPID", |p, _| p.stat.ppid.to_string()),
    ("rgroup", "RGROUP", |p, a| a.inside(Kind::Group, p.status.rgid)),
    ("ruser", "RUSER", |p, a| a.inside(Kind::User, p.status.ruid)),
    ("seccomp", "SECCOMP", |p, _| seccomp(p.status.seccomp)),
    ("state", "STATE", |p, _| p.stat.state.to_string()),
    ("stime", "STIME", |p, _| started(p)),
    ("time", "TIME", |p, _| clock(p.time)),
    ("tty", "TTY", |p, _| terminal(p)),
    ("user", "USER", |p, a| a.inside(Kind::User, p.status.euid)),
    ("vsz", "VSZ", |p, _| (p.stat.vsize / 1024).to_string()),
];

/// What docker shows by default.
const DEFAULT: &[(&str, &str, Cell)] = &[
    ("", "UID", |p, a| a.on_host(Kind::User, p.status.euid)),
    ("", "PID", |p, _| p.stat.pid.to_string()),
    ("", "PPID", |p, _| p.stat.ppid.to_string()),
    ("", "C", |p, _| format!("{:.0}", share(p))),
    ("", "STIME", |p, _| started(p)),
    ("", "TTY", |p, _| terminal(p)),
    ("", "TIME", |p, _| clock(p.time)),
    ("", "CMD", |p, _| command_line(p)),
];

/// The columns that the words after the container's name ask for; None when they are for ps(1).
pub fn parse(words: &[String]) -> Option<Vec<Column>> {
    if words.is_empty() {
        return Some(DEFAULT.iter().map(Column).collect());
    }
    let names = words.iter().flat_map(|word| word.split(','));
    names.map(|name| COLUMNS.iter().find(|column| column.0 == name).map(Column)).collect()
}

impl Column {
    /// Its first line.
    pub fn title(self) -> &'static str {
        self.0.1
    }

    /// What it says about a process.
    pub fn of(self, process: &Observed, accounts: &Accounts) -> String {
        (self.0.2)(process, accounts)
    }
}

/// A process that has none, as a kernel thread or one that has ended, is named in brackets.
fn command_line(process: &Observed) -> String {
    match &process.command_line[..] {
        [] => format!("[{}]", process.stat.comm),
        words => words.join(" "),
    }
}

fn capabilities(mask: u64) -> String {
    let named = caps::NAMES.iter().enumerate().filter(|(number, _)| mask >> number & 1 == 1);
    let names: Vec<&str> = named.map(|(_, name)| name.trim_start_matches("CAP_")).collect();
    match names.len() {
        0 => "none".to_owned(),
        count if count == caps::NAMES.len() => "full".to_owned(),
        _ => names.join(","),
    }
}

fn list(ids: &[u32], name: impl Fn(u32) -> String) -> String {
    ids.iter().map(|&id| name(id)).collect::<Vec<_>>().join(",")
}

/// As the container counts it.
fn innermost(numbers: &Option<Vec<i32>>, host: i32) -> String {
    numbers.as_ref().and_then(|numbers| numbers.last()).unwrap_or(&host).to_string()
}

/// Percent of a processor since its start.
fn share(process: &Observed) -> f64 {
    match process.elapsed {
        0 => 0.0,
        elapsed => process.time as f64 * 100.0 / elapsed as f64,
    }
}

fn seccomp(mode: Option<u32>) -> String {
    match mode {
        Some(0) => "disabled",
        Some(1) => "strict",
        Some(2) => "filter",
        _ => "?",
    }
    .to_owned()
}

/// The time of a day, or the day, as ps shows it.
fn started(process: &Observed) -> String {
    let Ok(moment) = Timestamp::from_second(process.started) else { return "?".to_owned() };
    let form = if process.elapsed < 24 * 3600 { "%H:%M" } else { "%b%d" };
    moment.to_zoned(TimeZone::system()).strftime(form).to_string()
}

/// `[DD-]HH:MM:SS`.
fn clock(seconds: u64) -> String {
    let time = format!("{:02}:{:02}:{:02}", seconds / 3600 % 24, seconds / 60 % 60, seconds % 60);
    match seconds / (24 * 3600) {
        0 => time,
        days => format!("{days}-{time}"),
    }
}

/// Go's form of a duration, as podman shows it.
fn elapsed(seconds: u64) -> String {
    let (hours, minutes) = (seconds / 3600, seconds / 60 % 60);
    match (hours, minutes) {
        (0, 0) => format!("{seconds}s"),
        (0, minutes) => format!("{minutes}m{}s", seconds % 60),
        (hours, minutes) => format!("{hours}h{minutes}m{}s", seconds % 60),
    }
}

/// Terminals of containers are pseudo terminals (major 136 and up, makedev(3)).
fn terminal(process: &Observed) -> String {
    match process.stat.tty_nr() {
        (0, _) => "?".to_owned(),
        (major @ 136..=143, minor) => format!("pts/{}", (major - 136) * 256 + minor),
        (4, minor) => format!("tty{minor}"),
        (major, minor) => format!("{major}:{minor}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn titles(words: &[&str]) -> Option<Vec<&'static str>> {
        let words: Vec<String> = words.iter().map(|word| (*word).to_owned()).collect();
        parse(&words).map(|columns| columns.into_iter().map(Column::title).collect())
    }

    #[test]
    fn words_are_columns_or_options() {
        assert_eq!(titles(&[]).unwrap(), ["UID", "PID", "PPID", "C", "STIME", "TTY", "TIME", "CMD"]);
        assert_eq!(titles(&["pid,user", "args"]).unwrap(), ["PID", "USER", "COMMAND"]);
        assert_eq!(
            [titles(&["-ef"]), titles(&["aux"]), titles(&["pid", "-x"]), titles(&["pid,"])],
            [None, None, None, None]
        );
    }

    #[test]
    fn times_as_ps_and_podman_show_them() {
        assert_eq!([clock(0), clock(3661), clock(90_061)], ["00:00:00", "01:01:01", "1-01:01:01"]);
        assert_eq!([elapsed(5), elapsed(65), elapsed(3605)], ["5s", "1m5s", "1h0m5s"]);
    }

    #[test]
    fn capabilities_by_name() {
        assert_eq!([capabilities(0), capabilities(0b11)], ["none", "CHOWN,DAC_OVERRIDE"]);
        assert_eq!(capabilities((1 << caps::NAMES.len()) - 1), "full");
    }
}
