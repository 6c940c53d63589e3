//! The built-in profile: the data of [`table`] as stages for [`compile`](super::compile). Shared
//! with the build script, which embeds the usual variants.

use std::cell::RefCell;
use std::collections::BTreeSet;

use libseccomp::{ScmpAction, ScmpArch, ScmpArgCompare, ScmpCompareOp};

use super::compile::{Rule, Stage, Syscall, UNDECIDED};
use super::table::{self, Action, Arg, Compare};

/// What a call through another architecture's entry gets: as if the kernel were built without it.
pub const FOREIGN: ScmpAction = ScmpAction::Errno(table::DEFAULT_ERRNO);

/// ioctls that put input into a terminal: a container that shares one with its caller could type
/// commands into the caller's shell (CVE-2017-5226; TIOCLINUX pastes the selection).
const TERMINAL_INPUT: &[u64] = &[0x5412, 0x541c];

/// The ABIs open to a container of `architecture`.
pub fn abis(architecture: &str) -> Vec<ScmpArch> {
    let names = table::architectures(architecture);
    names.iter().filter_map(|name| name.parse().ok()).collect()
}

/// Those of `capabilities` (`CAP_…`) that make a difference to the profile, in order.
pub fn relevant(capabilities: &[&str], architecture: &str) -> BTreeSet<String> {
    let asked = RefCell::new(BTreeSet::new());
    let deny_and_note = |capability: &str| {
        asked.borrow_mut().insert(capability.to_owned());
        false
    };
    table::resolve(&deny_and_note, architecture);
    let asked = asked.into_inner();
    capabilities.iter().filter(|name| asked.contains(**name)).map(|name| (*name).to_owned()).collect()
}

/// The profile for a container whose bounding set is `capabilities`.
pub fn stages(capabilities: &BTreeSet<String>, architecture: &str) -> Vec<Stage> {
    let resolved = table::resolve(&|capability| capabilities.contains(capability), architecture);
    let rules = resolved.iter().flat_map(|rule| {
        let action = action(rule.action);
        let compare: Vec<ScmpArgCompare> = rule.args.iter().map(compare).collect();
        let calls = rule.names.iter().filter_map(|name| Syscall::named(name));
        calls.map(move |syscall| Rule { syscall, action, compare: compare.clone() })
    });
    let profile = Stage { default: ScmpAction::Errno(table::DEFAULT_ERRNO), rules: rules.collect() };
    vec![terminal_input(), profile]
}

/// The kernel reads only the low 32 bits of an ioctl's number, so the comparison is masked; as
/// "everything but" cannot be said of masked values, this is a stage of its own.
fn terminal_input() -> Stage {
    let action = ScmpAction::Errno(table::DENIED_ERRNO);
    let rule = |syscall: Syscall, number: u64| {
        let compare = vec![ScmpArgCompare::new(1, ScmpCompareOp::MaskedEqual(0xffff_ffff), number)];
        Rule { syscall, action, compare }
    };
    let ioctl = Syscall::named("ioctl");
    let rules = TERMINAL_INPUT.iter().filter_map(|number| Some(rule(ioctl.clone()?, *number)));
    Stage { default: UNDECIDED, rules: rules.collect() }
}

fn action(action: Action) -> ScmpAction {
    match action {
        Action::Allow => ScmpAction::Allow,
        Action::Errno(errno) => ScmpAction::Errno(errno),
    }
}

fn compare(arg: &Arg) -> ScmpArgCompare {
    match arg.compare {
        Compare::Equal(value) => ScmpArgCompare::new(arg.index, ScmpCompareOp::Equal, value),
        Compare::Greater(value) => ScmpArgCompare::new(arg.index, ScmpCompareOp::Greater, value),
        Compare::MaskedEqual { mask, value } => ScmpArgCompare::new(arg.index, ScmpCompareOp::MaskedEqual(mask), value),
    }
}
