//! Compiles the usual variants of the built-in seccomp profile, so that a container start loads
//! bytes instead of running libseccomp (8 ms).

use std::collections::BTreeSet;
use std::error::Error;
use std::fs::File;
use std::path::Path;

use compile::Stage;
use libseccomp::ScmpArch;

#[path = "src/sandbox/seccomp/builtin.rs"]
mod builtin;
#[path = "src/sandbox/seccomp/compile.rs"]
mod compile;
#[path = "src/sandbox/seccomp/numbers.rs"]
mod numbers;
#[path = "src/sandbox/seccomp/relay.rs"]
mod relay;
// The parts that only the program uses.
#[allow(dead_code)]
#[path = "src/spec/seccomp/table.rs"]
mod table;

const SOURCES: &[&str] = &[
    "build.rs",
    "src/sandbox/seccomp/builtin.rs",
    "src/sandbox/seccomp/compile.rs",
    "src/sandbox/seccomp/numbers.rs",
    "src/sandbox/seccomp/relay.rs",
    "src/spec/seccomp/table.rs",
];

/// Of docker's 14 default capabilities, those the profile asks about.
const DEFAULT: &[&str] = &["CAP_NET_RAW", "CAP_SYS_CHROOT"];

fn main() -> Result<(), Box<dyn Error>> {
    for source in SOURCES {
        println!("cargo::rerun-if-changed={source}");
    }
    let target = std::env::var("CARGO_CFG_TARGET_ARCH")?;
    if target != std::env::consts::ARCH {
        return Err(
            format!("build on {target}: libseccomp compiles the seccomp filter for the machine it runs on").into()
        );
    }
    let out = std::env::var("OUT_DIR")?;
    let mut table = String::from("&[\n");
    for (index, (architecture, capabilities)) in variants(&target).into_iter().enumerate() {
        let name = format!("seccomp-{index}.bpf");
        write_variant(architecture, capabilities, &Path::new(&out).join(&name))?;
        table += &format!(
            "Variant {{ architecture: {architecture:?}, capabilities: &{capabilities:?}, program: \
             include_bytes!(concat!(env!(\"OUT_DIR\"), \"/{name}\")) }},\n"
        );
    }
    std::fs::write(Path::new(&out).join("seccomp.rs"), table + "]\n")?;
    write_program(&relay::stages(), &[ScmpArch::native()], &Path::new(&out).join("relay.bpf"))?;
    Ok(())
}

/// (image architecture, relevant capabilities): the default, everything dropped, and the default
/// for the 32-bit images that the machine also runs.
fn variants(target: &str) -> Vec<(&'static str, &'static [&'static str])> {
    let (native, compat) = match target {
        "x86_64" => ("amd64", Some("386")),
        "aarch64" => ("arm64", Some("arm")),
        "riscv64" => ("riscv64", None),
        "powerpc64" => ("ppc64le", None),
        "s390x" => ("s390x", None),
        _ => return Vec::new(),
    };
    let mut variants = vec![(native, DEFAULT), (native, &[])];
    variants.extend(compat.map(|architecture| (architecture, DEFAULT)));
    variants
}

fn write_variant(architecture: &str, capabilities: &[&str], path: &Path) -> Result<(), Box<dyn Error>> {
    let relevant: BTreeSet<String> = builtin::relevant(capabilities, architecture);
    if relevant.len() != capabilities.len() {
        return Err(format!("build.rs: {capabilities:?} are not all in the profile, which has {relevant:?}").into());
    }
    write_program(&builtin::stages(&relevant, architecture), &builtin::abis(architecture), path)
}

fn write_program(stages: &[Stage], architectures: &[ScmpArch], path: &Path) -> Result<(), Box<dyn Error>> {
    let mut file = File::options().read(true).write(true).create(true).truncate(true).open(path)?;
    // The exported program stays behind in the file only if it is a single stage's: write it whole.
    let program = compile::compile(stages, architectures, builtin::FOREIGN, &mut file)?;
    std::fs::write(path, program)?;
    Ok(())
}
