//! `doctor`: asks the system for everything that rbox stands on, by trying it where that is
//! possible, and says what fails, why it matters and which line mends it.
//!
//! What is dangerous to this process, or may hang, is tried in forked children with a time limit.
//! Nothing is installed or changed, but for a store that is made if it is missing, as every
//! command does.

mod cgroups;
mod child;
mod disk;
mod ids;
mod inside;
mod kernel;
mod limits;
mod network;
mod nftables;
mod security;
mod session;

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::explain::{Code, Explained, Mend};

/// How a check ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Status {
    Pass,
    /// Works, with something less.
    Warn,
    Fail,
    /// Could not be asked, or does not apply here.
    Skipped,
}

impl Status {
    /// The stable name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Pass => "pass",
            Self::Warn => "warn",
            Self::Fail => "fail",
            Self::Skipped => "skipped",
        }
    }
}

/// The outcome of one check.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    pub code: Code,
    pub status: Status,
    /// What was found, in a line.
    pub summary: String,
    pub mend: Vec<Mend>,
}

impl Finding {
    fn pass(code: Code, summary: impl Into<String>) -> Self {
        Self { code, status: Status::Pass, summary: summary.into(), mend: Vec::new() }
    }

    fn skipped(code: Code, summary: impl Into<String>) -> Self {
        Self { code, status: Status::Skipped, summary: summary.into(), mend: Vec::new() }
    }

    fn warn(explained: Explained) -> Self {
        Self::of(Status::Warn, explained)
    }

    fn fail(explained: Explained) -> Self {
        Self::of(Status::Fail, explained)
    }

    fn of(status: Status, explained: Explained) -> Self {
        Self { code: explained.code, status, summary: explained.cause, mend: explained.mend }
    }

    /// Whether somebody should do something.
    pub fn is_problem(&self) -> bool {
        matches!(self.status, Status::Warn | Status::Fail)
    }
}

/// Where this installation keeps things.
#[derive(Clone, Debug)]
pub struct Places {
    /// The store.
    pub root: PathBuf,
    /// The runtime directory, or why there is none.
    pub runtime: Result<PathBuf, String>,
    /// Whether the runtime directory was named by flag or environment, not taken from the session.
    pub runtime_given: bool,
}

/// Makes every check, each once and always in the same order.
pub fn examine(places: &Places) -> Vec<Finding> {
    let (namespaces, ranges, helpers) = (kernel::user_namespaces(), ids::subordinate(), ids::helpers());
    let works = |finding: &Finding| finding.status != Status::Fail;
    let mut disk = disk::examine(places);
    let inside = inside::examine(disk.store.as_ref(), [&namespaces, &ranges, &helpers].into_iter().all(works));
    let proc = inside::proc_mount(&inside);
    let nested = kernel::nested([&namespaces, &proc].iter().all(|finding| finding.status == Status::Pass));
    let mut findings = vec![kernel::version(), kernel::system_calls(), namespaces, nested, proc];
    findings.extend([ranges, helpers, inside::id_map(&inside)]);
    let overlay = inside::overlay(&inside, &disk);
    if overlay.status == Status::Pass {
        disk::soften(&mut disk.findings);
    }
    findings.append(&mut disk.findings);
    findings.extend([overlay, inside::fuse_overlay(&inside)]);
    findings.extend([session::runtime_directory(places), session::lingering(), cgroups::examine()]);
    findings.extend([network::tun(), network::nf_tables(&inside), network::ping_range(), network::low_ports()]);
    findings.extend([security::seccomp(&places.root), security::module()]);
    findings.extend(limits::examine());
    findings
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_check_is_made_once_in_order() {
        let directory = tempfile::tempdir().unwrap();
        let places = Places {
            root: directory.path().join("root"),
            runtime: Ok(directory.path().join("run")),
            runtime_given: true,
        };
        // In a process of its own: test threads must not fork.
        let codes: Vec<Code> = Code::ALL.into_iter().take_while(|code| *code != Code::DiskQuota).collect();
        let found = child::in_test_process(|| examine(&places));
        assert_eq!(found.iter().map(|finding| finding.code).collect::<Vec<_>>(), codes, "{found:#?}");
        for finding in &found {
            assert!(!finding.summary.is_empty() && !finding.summary.contains('\n'), "{finding:?}");
        }
    }
}
