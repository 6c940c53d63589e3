//! Limits of this session that reach into containers (getrlimit(2)).

use rustix::process::{Resource, Rlimit, getrlimit};

use super::Finding;
use crate::explain::{Code, Explained, facts, shortage};

/// A builder holds a descriptor for each layer, at most 127, and some dozen more.
const FILES_FAIL: u64 = 256;
/// What most programs take for granted.
const FILES_WARN: u64 = 1024;
const PROCESSES_FAIL: u64 = 16;
const PROCESSES_WARN: u64 = 256;

/// Open files, processes, core files.
pub fn examine() -> [Finding; 3] {
    [open_files(getrlimit(Resource::Nofile)), processes(), core_files(getrlimit(Resource::Core))]
}

fn number(limit: Option<u64>) -> String {
    limit.map_or_else(|| "unlimited".to_owned(), |limit| limit.to_string())
}

/// rbox raises its own soft limit, so the hard one counts.
fn open_files(limit: Rlimit) -> Finding {
    let code = Code::OpenFiles;
    let summary = format!("{} for each process, up to {}", number(limit.current), number(limit.maximum));
    let explained = || Explained::new(code, summary.clone()).administrator(shortage::limit_line("nofile", 524_288));
    match limit.maximum.unwrap_or(u64::MAX) {
        0..FILES_FAIL => Finding::fail(explained()),
        FILES_FAIL..FILES_WARN => Finding::warn(explained()),
        _ if limit.current.is_some_and(|soft| soft < FILES_FAIL) => {
            let hard = number(limit.maximum);
            Finding::warn(Explained::new(code, summary).you(format!("ulimit -n {hard}")))
        }
        _ => Finding::pass(code, summary),
    }
}

fn processes() -> Finding {
    let code = Code::Processes;
    let own = shortage::processes();
    let tightest =
        own.into_iter().chain(shortage::cgroup_processes()).min_by_key(|(used, limit)| limit.saturating_sub(*used));
    let Some((used, limit)) = tightest else { return Finding::pass(code, "no limit") };
    let free = limit.saturating_sub(used);
    let summary = format!("{used} of at most {limit} processes and threads");
    let explained = Explained::new(code, summary.clone());
    let explained = if own == Some((used, limit)) {
        explained.administrator(shortage::limit_line("nproc", 65_536))
    } else {
        explained.administrator(format!(
            "systemctl set-property user-{}.slice TasksMax=infinity",
            rustix::process::getuid().as_raw()
        ))
    };
    match free {
        0..PROCESSES_FAIL => Finding::fail(explained),
        PROCESSES_FAIL..PROCESSES_WARN => Finding::warn(explained),
        _ => Finding::pass(code, summary),
    }
}

/// A soft limit of 0 is the usual one and can be raised; a hard one cannot.
fn core_files(limit: Rlimit) -> Finding {
    let code = Code::CoreFiles;
    match (limit.current, limit.maximum) {
        (_, Some(0)) => Finding::warn(Explained::new(code, "none can be written (the limit is 0)").administrator(
            format!("echo '{} hard core unlimited' >>/etc/security/limits.d/rbox.conf", facts::user_name()),
        )),
        (Some(0), maximum) => Finding::pass(
            code,
            format!("none unless asked for: 'ulimit -c {}' before, or --ulimit core=-1", number(maximum)),
        ),
        (soft, _) => Finding::pass(code, format!("up to {} bytes", number(soft))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::Status;

    #[test]
    fn limits_are_judged() {
        let limit = |current, maximum| Rlimit { current, maximum };
        for (soft, hard, expected) in [
            (Some(1024), None, Status::Pass),
            (Some(64), Some(64), Status::Fail),
            (Some(512), Some(512), Status::Warn),
            (Some(64), Some(4096), Status::Warn),
        ] {
            let finding = open_files(limit(soft, hard));
            assert_eq!((finding.status, finding.mend.is_empty()), (expected, expected == Status::Pass), "{finding:?}");
        }
        assert_eq!(core_files(limit(Some(0), None)).status, Status::Pass);
        assert_eq!(core_files(limit(Some(0), Some(0))).status, Status::Warn);
        assert_eq!(core_files(limit(None, None)).status, Status::Pass);
    }
}
