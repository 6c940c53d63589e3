//! Why a program cannot be executed: told by walking to it, and to its interpreter, as execve(2)
//! does. Runs inside the container, as the container's user, after the failure.

use std::fs::File;
use std::os::unix::fs::{FileExt, FileTypeExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use nix::libc;
use rustix::fs::{Access, AtFlags, CWD, StatVfsMountFlags};
use rustix::io::Errno;

use super::path::{self, Side, Walk, walk};
use super::{Code, Explained, elf, facts, shell_path};

/// An interpreter may be a script itself; the kernel goes no deeper (execve(2)).
const DEPTH: usize = 5;
/// What the kernel reads of a script's first line.
const LINE_MAX: usize = 256;

/// Explains why execve(2) of `path` gave `errno`; None when no more is known than errno says.
pub fn failure(path: &Path, errno: Errno) -> Option<Explained> {
    match errno {
        Errno::NOENT => not_found(path, DEPTH),
        Errno::ACCESS | Errno::PERM => denied(path, DEPTH),
        Errno::NOEXEC => format(path, DEPTH),
        Errno::NOTDIR | Errno::LOOP => path::obstacle(&walk(path).ok()?, Side::Container),
        _ => None,
    }
}

/// Either something on the way is missing, or the interpreter.
fn not_found(path: &Path, depth: usize) -> Option<Explained> {
    let file = match walk(path).ok()? {
        Walk::Arrived(file) => file,
        // The error says so already.
        Walk::Missing { path: missing, link: None }
            if Some(missing.as_path()) == std::path::absolute(path).ok().as_deref() =>
        {
            return None;
        }
        walked => return path::obstacle(&walked, Side::Container),
    };
    let interpreter = Program::open(&file)?.interpreter()?;
    if let Some(line) = interpreter.path.to_str().and_then(|text| text.strip_suffix('\r')) {
        let cause =
            format!("the first line of {} ends in a carriage return after {line}, as in DOS files", file.display());
        return Some(
            Explained::new(Code::MissingInterpreter, cause)
                .advice(format!("in the image: sed -i 's/\\r$//' {}", shell_path(&file))),
        );
    }
    match walk(&interpreter.path).ok()? {
        Walk::Arrived(_) if depth == 0 => None,
        Walk::Arrived(_) => not_found(&interpreter.path, depth - 1),
        _ => Some(missing_interpreter(&file, &interpreter)),
    }
}

fn missing_interpreter(file: &Path, interpreter: &Interpreter) -> Explained {
    let (file, name) = (file.display(), interpreter.path.display());
    let (kind, mend) = match interpreter.of {
        Kind::Script => ("the interpreter", "install it in the image, or name in the first line one that is there"),
        Kind::Program => match interpreter.path.to_string_lossy() {
            text if text.contains("ld-musl") => {
                ("the dynamic loader of musl,", "take a build for glibc or a static one, or an image with musl")
            }
            text if text.contains("ld-linux") || text.contains("ld64") => (
                "the dynamic loader of glibc,",
                "take a build for the image's C library or a static one, or an image with glibc",
            ),
            _ => ("the dynamic loader", "install it in the image, or take a static build"),
        },
    };
    Explained::new(Code::MissingInterpreter, format!("{kind} {name} of {file} does not exist in the container"))
        .advice(mend)
}

/// A directory, the file's mode, its mount, its interpreter, or something beyond permissions.
fn denied(path: &Path, depth: usize) -> Option<Explained> {
    let file = match walk(path).ok()? {
        Walk::Arrived(file) => file,
        walked => return path::obstacle(&walked, Side::Container),
    };
    let metadata = std::fs::metadata(&file).ok()?;
    let shown = file.display();
    if !metadata.is_file() {
        let kind = metadata.file_type();
        let what = if kind.is_dir() {
            "a directory"
        } else if kind.is_fifo() {
            "a pipe"
        } else if kind.is_socket() {
            "a socket"
        } else {
            "a device"
        };
        return Some(Explained::new(Code::NotExecutable, format!("{shown} is {what}")));
    }
    if metadata.mode() & 0o111 == 0 {
        let cause = format!("{shown} has no x (mode {:04o})", metadata.mode() & 0o7777);
        return Some(
            Explained::new(Code::NotExecutable, cause).advice(format!("in the image: chmod +x {}", shell_path(&file))),
        );
    }
    if is_noexec(&file) {
        let mount = facts::mount_point(&file).unwrap_or_else(|| PathBuf::from("/"));
        let cause = format!("{shown} lies on {}, which is mounted noexec", mount.display());
        return Some(
            Explained::new(Code::NoexecMount, cause).advice("mount it with exec, or copy the program elsewhere"),
        );
    }
    if rustix::fs::accessat(CWD, &file, Access::EXEC_OK, AtFlags::EACCESS).is_err() {
        let cause = format!("{shown} lacks x for {}", path::who(&file, Side::Container));
        let mend = format!("in the image: chmod o+x {}, or choose another user with --user", shell_path(&file));
        return Some(Explained::new(Code::NotExecutable, cause).advice(mend));
    }
    let interpreter = Program::open(&file).and_then(|program| program.interpreter());
    match interpreter {
        Some(interpreter) if depth > 0 => denied(&interpreter.path, depth - 1),
        _ => Some(beyond_permissions(&file)),
    }
}

/// Nothing of the file system refuses it: what is left.
fn beyond_permissions(file: &Path) -> Explained {
    let suspects = facts::suspects();
    let left = if suspects.is_empty() {
        "what refused it is not to be seen from here".to_owned()
    } else {
        format!("left as suspects: {}", suspects.join(" and "))
    };
    Explained::new(Code::SecurityModule, format!("permissions and mounts allow {}; {left}", file.display()))
        .advice("see the kernel's log (dmesg, ausearch -m avc) for a denial")
}

fn is_noexec(file: &Path) -> bool {
    rustix::fs::statvfs(file).is_ok_and(|facts| facts.f_flag.contains(StatVfsMountFlags::NOEXEC))
}

/// The kernel took it for no program.
fn format(path: &Path, depth: usize) -> Option<Explained> {
    let Ok(Walk::Arrived(file)) = walk(path) else { return None };
    let program = Program::open(&file)?;
    let shown = file.display();
    if let Some(found) = elf::parse(&|offset, length| program.read(offset, length)) {
        if elf::is_native(&found) {
            return Some(Explained::new(
                Code::ExecFormat,
                format!("{shown} is damaged or no program (a library, an object)"),
            ));
        }
        let (theirs, ours) = (elf::machine_name(found.machine), std::env::consts::ARCH);
        return Some(
            Explained::new(
                Code::WrongArchitecture,
                format!("{shown} is a program for {theirs}, this machine is {ours}"),
            )
            .advice(
                "take an image for this machine (--platform), or have an emulator registered (qemu-user, binfmt_misc)",
            ),
        );
    }
    if let Some(interpreter) = program.interpreter() {
        return if depth > 0 { format(&interpreter.path, depth - 1) } else { None };
    }
    let head = program.head();
    let explained = |what: &str| Explained::new(Code::ExecFormat, format!("{shown} {what}"));
    let file = shell_path(&file);
    Some(match &head[..] {
        [] => explained("is empty"),
        [b'#', b'!', ..] => explained("has a first line #! that names no interpreter"),
        [0xef, 0xbb, 0xbf, b'#', b'!', ..] => explained("has a byte order mark before #!")
            .advice(format!("in the image: sed -i '1s/^\\xEF\\xBB\\xBF//' {file}")),
        [b'M', b'Z', ..] => explained("is a program for Windows"),
        [0xcf | 0xce, 0xfa, 0xed, 0xfe, ..] | [0xfe, 0xed, 0xfa, 0xcf | 0xce, ..] => {
            explained("is a program for macOS")
        }
        text if std::str::from_utf8(text).is_ok_and(|text| !text.contains('\0')) => {
            explained("is a text without a first line #!")
                .advice(format!("begin it with #!/bin/sh, or run it as: sh {file}"))
        }
        _ => explained("is neither an ELF program nor a script"),
    })
}

#[derive(Clone, Copy)]
enum Kind {
    Script,
    Program,
}

struct Interpreter {
    path: PathBuf,
    of: Kind,
}

/// A regular file opened to look at its format.
struct Program(File);

impl Program {
    /// None when it is no regular file or may not be read.
    fn open(file: &Path) -> Option<Self> {
        // NONBLOCK: should a FIFO have taken its place, it must not hang us.
        let flags = libc::O_NONBLOCK | libc::O_NOCTTY;
        let opened = std::fs::OpenOptions::new().read(true).custom_flags(flags).open(file).ok()?;
        opened.metadata().ok()?.is_file().then_some(Self(opened))
    }

    fn read(&self, offset: u64, length: usize) -> Option<Vec<u8>> {
        let mut bytes = vec![0; length];
        self.0.read_exact_at(&mut bytes, offset).ok().map(|()| bytes)
    }

    /// As much of the beginning as there is.
    fn head(&self) -> Vec<u8> {
        let mut bytes = vec![0; LINE_MAX];
        let count = self.0.read_at(&mut bytes, 0).unwrap_or(0);
        bytes.truncate(count);
        bytes
    }

    fn interpreter(&self) -> Option<Interpreter> {
        let head = self.head();
        if let Some(line) = head.strip_prefix(b"#!") {
            return script_interpreter(line).map(|path| Interpreter { path, of: Kind::Script });
        }
        let found = elf::parse(&|offset, length| self.read(offset, length))?;
        Some(Interpreter { path: PathBuf::from(found.interpreter?), of: Kind::Program })
    }
}

/// The first word of the line after `#!`. A carriage return belongs to it, as the kernel sees it.
fn script_interpreter(line: &[u8]) -> Option<PathBuf> {
    use std::os::unix::ffi::OsStrExt;
    let line = line.split(|&byte| byte == b'\n' || byte == 0).next()?;
    let word = line.split(|byte| matches!(byte, b' ' | b'\t')).find(|word| !word.is_empty())?;
    Some(PathBuf::from(std::ffi::OsStr::from_bytes(word)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    struct Files(tempfile::TempDir);

    impl Files {
        fn new() -> Self {
            Self(tempfile::tempdir().unwrap())
        }

        fn file(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
            let path = self.0.path().join(name);
            std::fs::write(&path, content).unwrap();
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
            path
        }
    }

    fn explain(path: &Path, errno: Errno) -> (Code, String) {
        let explained = failure(path, errno).unwrap();
        (explained.code, explained.to_string())
    }

    #[test]
    fn formats_are_told_apart() {
        let files = Files::new();
        let mut foreign = std::fs::read("/proc/self/exe").unwrap();
        foreign.truncate(4096);
        foreign[18] = 183;
        foreign[19] = 0;
        for (name, content, code, words) in [
            ("empty", &b""[..], Code::ExecFormat, "is empty"),
            ("text", b"echo hello\n", Code::ExecFormat, "text without a first line #!"),
            ("bom", b"\xef\xbb\xbf#!/bin/sh\n", Code::ExecFormat, "byte order mark"),
            ("windows", b"MZ\x90\0", Code::ExecFormat, "for Windows"),
            ("noise", b"\0\xff\x01", Code::ExecFormat, "neither"),
            ("foreign", &foreign, Code::WrongArchitecture, "a program for aarch64"),
        ] {
            let (found, text) = explain(&files.file(name, content), Errno::NOEXEC);
            assert_eq!(found, code, "{text}");
            assert!(text.contains(words), "{text}");
        }
        let bad = files.file("bad", "not a program\n");
        let script = files.file("script", format!("#!{}\n", bad.display()));
        let (_, text) = explain(&script, Errno::NOEXEC);
        assert!(text.contains("/bad is a text without"), "{text}");
    }

    #[test]
    fn interpreters_are_followed() {
        let files = Files::new();
        let script = files.file("script", "#! /no/such/shell -e\necho\n");
        let (code, text) = explain(&script, Errno::NOENT);
        assert_eq!(code, Code::MissingInterpreter);
        assert!(text.contains("the interpreter /no/such/shell of ") && text.contains("does not exist"), "{text}");
        let second = files.file("second", format!("#!{}\n", script.display()));
        assert_eq!(explain(&second, Errno::NOENT).0, Code::MissingInterpreter);
        let (code, text) = explain(&files.file("dos", "#!/bin/sh\r\necho\r\n"), Errno::NOENT);
        assert_eq!(code, Code::MissingInterpreter);
        assert!(text.contains("carriage return after /bin/sh") && text.contains("sed -i"), "{text}");
        // A script that leads to itself comes to an end.
        let round = files.0.path().join("round");
        files.file("round", format!("#!{}\n", round.display()));
        assert_eq!(failure(&round, Errno::NOENT), None);
        assert_eq!(failure(&round, Errno::NOEXEC), None);
    }

    #[test]
    fn what_permissions_refuse_is_named() {
        let files = Files::new();
        let plain = files.file("plain", "#!/bin/sh\n");
        std::fs::set_permissions(&plain, std::fs::Permissions::from_mode(0o644)).unwrap();
        let (code, text) = explain(&plain, Errno::ACCESS);
        assert_eq!(code, Code::NotExecutable);
        assert!(text.contains("/plain has no x (mode 0644)") && text.contains("chmod +x /"), "{text}");
        assert!(explain(files.0.path(), Errno::ACCESS).1.contains("is a directory"));
        let fifo = files.0.path().join("fifo");
        rustix::fs::mknodat(CWD, &fifo, rustix::fs::FileType::Fifo, rustix::fs::Mode::from_raw_mode(0o777), 0).unwrap();
        assert!(explain(&fifo, Errno::ACCESS).1.contains("is a pipe"));
        // Nothing in the way: no cause is made up.
        let (code, text) = explain(&files.file("good", "#!/bin/sh\n"), Errno::ACCESS);
        assert_eq!(code, Code::SecurityModule);
        assert!(text.contains("permissions and mounts allow"), "{text}");
    }

    #[test]
    fn a_missing_file_needs_no_more_words() {
        let files = Files::new();
        assert_eq!(failure(&files.0.path().join("absent"), Errno::NOENT), None);
        assert!(explain(&files.0.path().join("no/way"), Errno::NOENT).1.contains("/no does not exist"));
    }
}
