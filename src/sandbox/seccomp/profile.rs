//! A user's profile: docker's JSON format (`archMap`, `includes`, `excludes`) and the OCI runtime
//! specification's `linux.seccomp`, which is the part of it without conditions.

use libseccomp::{ScmpAction, ScmpArch, ScmpArgCompare, ScmpCompareOp};
use serde::Deserialize;

use super::compile::{CompileError, Rule, Stage, Syscall};

/// What the conditions of a profile are about.
#[derive(Clone, Debug)]
pub struct Circumstances<'a> {
    /// The container's bounding set (`CAP_…`).
    pub capabilities: &'a [&'a str],
    /// The machine's architecture in images' words (`amd64`).
    pub architecture: &'a str,
    /// The kernel's version: 6.1.
    pub kernel: (u32, u32),
}

/// Why a profile cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ProfileError {
    #[error("not a seccomp profile: {0}")]
    Json(#[from] serde_json::Error),
    #[error(
        "unknown action {0:?}: expected SCMP_ACT_ALLOW, _ERRNO, _KILL_PROCESS, _KILL_THREAD, _TRAP, _TRACE or _LOG"
    )]
    Action(String),
    #[error("SCMP_ACT_NOTIFY needs a listener, which rbox does not offer")]
    Notify,
    #[error("errno {0} is beyond 4095")]
    Errno(u32),
    #[error("unknown architecture {0:?}")]
    Architecture(String),
    #[error("unknown operator {0:?} for {1}: expected SCMP_CMP_EQ, _NE, _LT, _LE, _GE, _GT or _MASKED_EQ")]
    Operator(String, String),
    #[error("argument index {0} for {1}: system calls have arguments 0 to 5")]
    Index(u32, String),
    #[error("unknown flag {0:?}: expected SECCOMP_FILTER_FLAG_SPEC_ALLOW or _TSYNC")]
    Flag(String),
    #[error("a rule without system calls")]
    NoNames,
    #[error("{0:?} is to be refused, but it is no system call this rbox knows: the rule would have no effect")]
    Unenforceable(String),
    #[error("minKernel {0:?} is not a kernel version such as 4.8")]
    Kernel(String),
    #[error("{0}")]
    Compile(#[from] CompileError),
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Profile {
    default_action: String,
    default_errno_ret: Option<u32>,
    arch_map: Option<Vec<ArchMap>>,
    architectures: Option<Vec<String>>,
    flags: Option<Vec<String>>,
    syscalls: Option<Vec<Entry>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ArchMap {
    architecture: String,
    sub_architectures: Option<Vec<String>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Entry {
    /// The oldest profiles have one name an entry.
    name: Option<String>,
    names: Option<Vec<String>>,
    action: String,
    errno_ret: Option<u32>,
    args: Option<Vec<Argument>>,
    includes: Option<Condition>,
    excludes: Option<Condition>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Argument {
    index: u32,
    value: u64,
    value_two: Option<u64>,
    op: String,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Condition {
    caps: Option<Vec<String>>,
    arches: Option<Vec<String>>,
    min_kernel: Option<String>,
}

/// A profile ready for [`compile`](super::compile::compile).
#[derive(Debug)]
pub struct Parsed {
    pub stage: Stage,
    pub abis: Vec<ScmpArch>,
}

/// Reads a profile's JSON and decides its conditions.
pub fn parse(json: &str, circumstances: &Circumstances<'_>) -> Result<Parsed, ProfileError> {
    let profile: Profile = serde_json::from_str(json)?;
    let default = action(&profile.default_action, profile.default_errno_ret)?;
    let abis = abis(&profile)?;
    check_flags(profile.flags.as_deref().unwrap_or_default())?;
    let mut rules = Vec::new();
    for entry in profile.syscalls.iter().flatten() {
        if applies(entry, circumstances)? {
            add_rules(entry, default, profile.default_errno_ret, &mut rules)?;
        }
    }
    Ok(Parsed { stage: Stage { default, rules }, abis })
}

fn action(name: &str, value: Option<u32>) -> Result<ScmpAction, ProfileError> {
    /// What docker and runc return where a profile names no errno.
    const EPERM: u32 = 1;
    /// The kernel's MAX_ERRNO.
    const LAST: u32 = 4095;
    let value = value.unwrap_or(EPERM);
    match name {
        "SCMP_ACT_ALLOW" => Ok(ScmpAction::Allow),
        "SCMP_ACT_LOG" => Ok(ScmpAction::Log),
        "SCMP_ACT_KILL" | "SCMP_ACT_KILL_THREAD" => Ok(ScmpAction::KillThread),
        "SCMP_ACT_KILL_PROCESS" => Ok(ScmpAction::KillProcess),
        "SCMP_ACT_TRAP" => Ok(ScmpAction::Trap),
        "SCMP_ACT_TRACE" => u16::try_from(value).map(ScmpAction::Trace).map_err(|_| ProfileError::Errno(value)),
        "SCMP_ACT_ERRNO" if value <= LAST => Ok(ScmpAction::Errno(value as i32)),
        "SCMP_ACT_ERRNO" => Err(ProfileError::Errno(value)),
        "SCMP_ACT_NOTIFY" => Err(ProfileError::Notify),
        other => Err(ProfileError::Action(other.to_owned())),
    }
}

/// The machine's own ABI and what the profile adds to it.
fn abis(profile: &Profile) -> Result<Vec<ScmpArch>, ProfileError> {
    let native = ScmpArch::native();
    let parse = |name: &String| name.parse::<ScmpArch>().map_err(|_| ProfileError::Architecture(name.clone()));
    let mut abis = vec![native];
    for name in profile.architectures.iter().flatten() {
        abis.push(parse(name)?);
    }
    for map in profile.arch_map.iter().flatten() {
        if parse(&map.architecture)? == native {
            for name in map.sub_architectures.iter().flatten() {
                abis.push(parse(name)?);
            }
        }
    }
    let mut unique = Vec::new();
    for abi in abis {
        if !unique.contains(&abi) {
            unique.push(abi);
        }
    }
    Ok(unique)
}

/// The filter is always loaded with SPEC_ALLOW, and by a single thread.
fn check_flags(flags: &[String]) -> Result<(), ProfileError> {
    let known = ["SECCOMP_FILTER_FLAG_SPEC_ALLOW", "SECCOMP_FILTER_FLAG_TSYNC"];
    match flags.iter().find(|flag| !known.contains(&flag.as_str())) {
        Some(flag) => Err(ProfileError::Flag(flag.clone())),
        None => Ok(()),
    }
}

/// docker's rule: every included condition holds (all the capabilities), none of the excluded.
fn applies(entry: &Entry, now: &Circumstances<'_>) -> Result<bool, ProfileError> {
    let has = |capability: &String| now.capabilities.contains(&capability.as_str());
    let here = |architecture: &String| architecture == now.architecture;
    if let Some(includes) = &entry.includes {
        let arches = includes.arches.as_deref().unwrap_or_default();
        let caps = includes.caps.as_deref().unwrap_or_default();
        let elsewhere = !arches.is_empty() && !arches.iter().any(here);
        if elsewhere || !caps.iter().all(has) || !at_least(includes, now)?.unwrap_or(true) {
            return Ok(false);
        }
    }
    let excludes = entry.excludes.as_ref();
    let arch = excludes.and_then(|excludes| excludes.arches.as_ref()).is_some_and(|arches| arches.iter().any(here));
    let caps = excludes.and_then(|excludes| excludes.caps.as_ref()).is_some_and(|caps| caps.iter().any(has));
    let kernel = excludes.map_or(Ok(None), |excludes| at_least(excludes, now))?.unwrap_or(false);
    Ok(!(arch || caps || kernel))
}

/// Whether the kernel is at least the condition's; None without such a condition.
fn at_least(condition: &Condition, now: &Circumstances<'_>) -> Result<Option<bool>, ProfileError> {
    let Some(text) = condition.min_kernel.as_deref().filter(|text| !text.is_empty()) else { return Ok(None) };
    let wanted = kernel_version(text).ok_or_else(|| ProfileError::Kernel(text.to_owned()))?;
    Ok(Some(now.kernel >= wanted))
}

/// The first two numbers of a kernel release (`6.1.0-13-amd64`).
pub fn kernel_version(release: &str) -> Option<(u32, u32)> {
    let mut parts = release.splitn(3, '.');
    let major = parts.next()?.parse().ok()?;
    let minor: String = parts.next()?.chars().take_while(char::is_ascii_digit).collect();
    Some((major, minor.parse().ok()?))
}

fn add_rules(
    entry: &Entry,
    default: ScmpAction,
    default_errno: Option<u32>,
    rules: &mut Vec<Rule>,
) -> Result<(), ProfileError> {
    let names: Vec<&String> = entry.names.iter().flatten().chain(&entry.name).collect();
    if names.is_empty() {
        return Err(ProfileError::NoNames);
    }
    let action = action(&entry.action, entry.errno_ret.or(default_errno.filter(|_| entry.action == "SCMP_ACT_ERRNO")))?;
    // libseccomp refuses rules that repeat the default action; they say nothing.
    if action == default {
        return Ok(());
    }
    for name in names {
        let Some(syscall) = Syscall::named(name) else {
            // A call that nobody here knows keeps the default action. That is how profiles stay
            // usable as kernels grow, unless the default lets through what the rule would stop.
            if passes(default) && !passes(action) {
                return Err(ProfileError::Unenforceable(name.clone()));
            }
            continue;
        };
        for compare in alternatives(name, entry.args.as_deref().unwrap_or_default())? {
            rules.push(Rule { syscall: syscall.clone(), action, compare });
        }
    }
    Ok(())
}

fn passes(action: ScmpAction) -> bool {
    matches!(action, ScmpAction::Allow | ScmpAction::Log)
}

/// The comparisons of one entry: together, or, when an argument is named twice, as alternatives
/// (libseccomp compares each argument once a rule; runc and crun read such entries so).
fn alternatives(name: &str, args: &[Argument]) -> Result<Vec<Vec<ScmpArgCompare>>, ProfileError> {
    let compares: Vec<ScmpArgCompare> = args.iter().map(|arg| compare(name, arg)).collect::<Result<_, _>>()?;
    let repeated = args.iter().enumerate().any(|(at, arg)| args[..at].iter().any(|other| other.index == arg.index));
    Ok(if repeated { compares.into_iter().map(|compare| vec![compare]).collect() } else { vec![compares] })
}

fn compare(name: &str, arg: &Argument) -> Result<ScmpArgCompare, ProfileError> {
    if arg.index > 5 {
        return Err(ProfileError::Index(arg.index, name.to_owned()));
    }
    let (op, value) = match arg.op.as_str() {
        "SCMP_CMP_EQ" => (ScmpCompareOp::Equal, arg.value),
        "SCMP_CMP_NE" => (ScmpCompareOp::NotEqual, arg.value),
        "SCMP_CMP_LT" => (ScmpCompareOp::Less, arg.value),
        "SCMP_CMP_LE" => (ScmpCompareOp::LessOrEqual, arg.value),
        "SCMP_CMP_GE" => (ScmpCompareOp::GreaterEqual, arg.value),
        "SCMP_CMP_GT" => (ScmpCompareOp::Greater, arg.value),
        // `value` is the mask here, `valueTwo` what must remain.
        "SCMP_CMP_MASKED_EQ" => (ScmpCompareOp::MaskedEqual(arg.value), arg.value_two.unwrap_or(0)),
        other => return Err(ProfileError::Operator(other.to_owned(), name.to_owned())),
    };
    Ok(ScmpArgCompare::new(arg.index, op, value))
}
