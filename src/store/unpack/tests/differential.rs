//! The same archive through GNU tar and through us gives the same tree, whoever wrote it.

use std::fs;
use std::path::Path;
use std::process::Command;

use super::bench::{Bench, tree};

/// Writes a tree with everything an image has, from a language with its own tar writer.
const TREE: &str = r#"
import os, sys
top = sys.argv[1]
os.umask(0o022)
def put(name, data=b'', mode=0o644):
    path = os.path.join(top, name)
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, 'wb') as f: f.write(data)
    os.chmod(path, mode)
    return path
put('usr/bin/tool', b'#!/bin/sh\n' * 1000, 0o755)
put('usr/bin/suid', b'x', 0o4755)
put('etc/empty')
put('etc/' + 'n' * 200 + '/' + 'm' * 240, b'long')
put('etc/caf\u00e9 with spaces\nand a line', b'odd')
put('big', os.urandom(1 << 20) * 3)
for i in range(300): put('many/%d/%d' % (i % 7, i), b'%d' % i)
os.symlink('/usr/bin/tool', os.path.join(top, 'abs'))
os.symlink('x' * 180, os.path.join(top, 'dangling'))
os.link(os.path.join(top, 'usr/bin/tool'), os.path.join(top, 'usr/bin/' + 'h' * 150))
os.mkfifo(os.path.join(top, 'pipe'), 0o640)
os.mkdir(os.path.join(top, 'tmp')); os.chmod(os.path.join(top, 'tmp'), 0o1777)
with open(os.path.join(top, 'sparse'), 'wb') as f:
    for i in range(40):
        f.seek(i << 18); f.write(b'block %d' % i)
    f.truncate(20 << 20)
try:
    os.setxattr(os.path.join(top, 'big'), 'user.note', b'a\nb=c')
except OSError: pass
if os.geteuid() == 0: os.chown(os.path.join(top, 'etc/empty'), 1000, 60000, follow_symlinks=False)
ns = 1500000000123456789
for d, dirs, files in os.walk(top, topdown=False):
    for n in files + ['.']: os.utime(os.path.join(d, n), ns=(ns, ns), follow_symlinks=False); ns += 1000000007
"#;

const PYTHON_TAR: &str = r#"
import sys, tarfile
with tarfile.open(sys.argv[1], 'w', format=getattr(tarfile, sys.argv[3])) as t: t.add(sys.argv[2], '.')
"#;

fn run(command: &mut Command) {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
}

fn compare(archive: &Path) {
    let bench = Bench::new();
    bench.unpack_from(fs::File::open(archive).unwrap()).unwrap();
    let theirs = tempfile::tempdir().unwrap();
    run(Command::new("tar").args(["--xattrs", "--numeric-owner", "-xpf"]).arg(archive).arg("-C").arg(theirs.path()));
    let (ours, theirs) = (bench.tree(), tree(theirs.path()));
    assert_eq!(ours.keys().collect::<Vec<_>>(), theirs.keys().collect::<Vec<_>>());
    for (path, node) in &ours {
        assert!(*node == theirs[path], "{archive:?}: {path:?}");
    }
}

#[test]
fn gnu_tar_and_python_archives_come_out_as_gnu_tar_takes_them() {
    let scratch = tempfile::tempdir().unwrap();
    let top = scratch.path().join("top");
    fs::create_dir(&top).unwrap();
    run(Command::new("python3").args(["-c", TREE]).arg(&top));
    let archive = scratch.path().join("archive.tar");
    for options in [
        &["--format=gnu"][..],
        &["--format=gnu", "-S"],
        &["--format=pax"],
        &["--format=pax", "--xattrs"],
        &["--format=pax", "-S", "--sparse-version=0.0"],
        &["--format=pax", "-S", "--sparse-version=0.1"],
        &["--format=pax", "-S", "--sparse-version=1.0"],
    ] {
        run(Command::new("tar").args(options).arg("-cf").arg(&archive).arg("-C").arg(&top).arg("."));
        compare(&archive);
    }
    for format in ["GNU_FORMAT", "PAX_FORMAT"] {
        run(Command::new("python3").args(["-c", PYTHON_TAR]).arg(&archive).arg(&top).arg(format));
        compare(&archive);
    }
}
