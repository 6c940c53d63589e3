//! Malformed values and what can't be had: one line, exit code 125, nothing left.

use super::sh;
use crate::common::{Bench, names_in, write};

/// Flags and the line behind `rbox: `. `SRC` is an existing directory.
const LINES: &[(&[&str], &str)] = &[
    (&["-v", ""], "invalid empty volume spec"),
    (&["-v", "/a:/b:ro:x"], "invalid spec: /a:/b:ro:x: too many colons"),
    (&["-v", "SRC::ro"], "invalid spec: SRC::ro: empty section between colons"),
    (&["-v", "SRC:/b:foo"], "invalid volume specification: 'SRC:/b:foo': invalid mode: foo"),
    (&["-v", "SRC:/b:ro,rw"], "invalid volume specification: 'SRC:/b:ro,rw': invalid mode: ro,rw"),
    (&["-v", "SRC:/b:z,Z"], "invalid volume specification: 'SRC:/b:z,Z': invalid mode: z,Z"),
    (
        &["-v", "SRC:/b:slave,private"],
        "invalid volume specification: 'SRC:/b:slave,private': invalid mode: slave,private",
    ),
    (&["-v", "SRC:/b:nocopy"], "invalid volume specification: 'SRC:/b:nocopy': invalid mode: nocopy"),
    (&["-v", "SRC:/b:O,ro"], "invalid volume specification: 'SRC:/b:O,ro': invalid mode: O,ro"),
    (
        &["-v", "SRC:/b:O,upperdir=/u"],
        "invalid volume specification: 'SRC:/b:O,upperdir=/u': overlay volume options must have both upperdir= and workdir=, absolute paths",
    ),
    (
        &["-v", "SRC:/b:O,upperdir=/u,workdir=w"],
        "invalid volume specification: 'SRC:/b:O,upperdir=/u,workdir=w': overlay volume options must have both upperdir= and workdir=, absolute paths",
    ),
    (&["-v", "SRC:/b:idmap=uids=1"], "invalid volume specification: 'SRC:/b:idmap=uids=1': invalid mode: idmap=uids=1"),
    (
        &["-v", "SRC:/"],
        "invalid volume specification: 'SRC:/': invalid mount config for type \"bind\": invalid specification: destination can't be '/'",
    ),
    (
        &["-v", "SRC:b"],
        "invalid volume specification: 'SRC:b': invalid mount config for type \"bind\": invalid mount path: 'b' mount path must be absolute",
    ),
    (
        &["-v", "foo:ro"],
        "invalid volume specification: 'foo:ro': invalid mount config for type \"volume\": invalid mount path: 'ro' mount path must be absolute",
    ),
    (
        &["-v", "SRC:/proc"],
        "invalid volume specification: 'SRC:/proc': invalid mount config for type \"bind\": invalid specification: destination '/proc' is inside /proc, which is always the container's own",
    ),
    (
        &["-v", "SRC:/a/../proc/self"],
        "invalid volume specification: 'SRC:/a/../proc/self': invalid mount config for type \"bind\": invalid specification: destination '/proc/self' is inside /proc, which is always the container's own",
    ),
    (
        &["-v", "b/c:/d"],
        "create b/c: \"b/c\" includes invalid characters for a local volume name, only \"[a-zA-Z0-9][a-zA-Z0-9_.-]\" are allowed. If you intended to pass a host directory, use absolute path",
    ),
    (&["-v", "SRC/none:/d"], "invalid mount config for type \"bind\": bind source path does not exist: SRC/none"),
    (&["-v", "SRC:/d", "--tmpfs", "/d/"], "Duplicate mount point: /d"),
    (
        &["-v", "SRC:/d:rshared"],
        "propagation rshared can't be had: what is mounted in a container's user namespace never reaches the host (use rslave for what the host mounts)",
    ),
    (
        &["-v", "SRC:/d:shared"],
        "propagation shared can't be had: what is mounted in a container's user namespace never reaches the host (use rslave for what the host mounts)",
    ),
    (
        &["-v", "SRC:/d:idmap"],
        "cannot map the ids of SRC: only root may map the ids of a file system that the machine's root mounted (MOUNT_ATTR_IDMAP); U changes the owners for good",
    ),
    (&["-v", "SRC:/etc/passwd"], "cannot mount on /etc/passwd: this would put a directory onto a file"),
    (&["-v", "SRC/file:/etc"], "cannot mount on /etc: this would put a file onto a directory"),
    (&["-v", "SRC:/etc/passwd/x"], "cannot make the mount point /etc/passwd/x: Not a directory (os error 20)"),
    (
        &["-v", "SRC:/d:O,upperdir=SRC/no,workdir=SRC/no"],
        "cannot use the overlay's directory SRC/no: No such file or directory (os error 2)",
    ),
    (&["-v", "SRC/file:/d:O"], "cannot mount SRC/file below an overlay: it is not a directory"),
    (&["--mount", ""], "invalid --mount \"\": invalid field '' must be a key=value pair"),
    (&["--mount", "type=bind,src=SRC"], "invalid --mount \"type=bind,src=SRC\": target is required"),
    (&["--mount", "type=bind,dst=/d"], "invalid mount config for type \"bind\": field Source must not be empty"),
    (
        &["--mount", "type=bind,src=SRC,dst=/d,bogus=1"],
        "invalid --mount \"type=bind,src=SRC,dst=/d,bogus=1\": unknown option 'bogus' in 'bogus=1'",
    ),
    (
        &["--mount", "type=bind,src=SRC,dst=/d,bogus"],
        "invalid --mount \"type=bind,src=SRC,dst=/d,bogus\": invalid field 'bogus' must be a key=value pair",
    ),
    (
        &["--mount", "type=bind, src=SRC,dst=/d"],
        "invalid --mount \"type=bind, src=SRC,dst=/d\": invalid option ' src' in ' src=SRC': option should not have whitespace",
    ),
    (
        &["--mount", "type=bind,src=,dst=/d"],
        "invalid --mount \"type=bind,src=,dst=/d\": invalid value for 'src': value is empty",
    ),
    (
        &["--mount", "type=bind,src=SRC,dst=/d,ro=maybe"],
        "invalid --mount \"type=bind,src=SRC,dst=/d,ro=maybe\": invalid value for ro: maybe",
    ),
    (
        &["--mount", "type=bind,src=SRC,dst=/d,bind-propagation=all"],
        "invalid --mount \"type=bind,src=SRC,dst=/d,bind-propagation=all\": invalid value for bind-propagation: all",
    ),
    (
        &["--mount", "type=bind,src=SRC,dst=/d,tmpfs-size=1"],
        "invalid --mount \"type=bind,src=SRC,dst=/d,tmpfs-size=1\": cannot mix 'tmpfs-*' options with mount type 'bind'",
    ),
    (
        &["--mount", "type=bind,src=SRC,dst=/d,bind-recursive=readonly"],
        "invalid --mount \"type=bind,src=SRC,dst=/d,bind-recursive=readonly\": option 'bind-recursive=readonly' requires 'readonly' to be specified in conjunction",
    ),
    (
        &["--mount", "type=bind,src=SRC/none,dst=/d"],
        "invalid mount config for type \"bind\": bind source path does not exist: SRC/none",
    ),
    (
        &["--mount", "type=tmpfs,src=SRC,dst=/d"],
        "invalid mount config for type \"tmpfs\": field Source must not be specified",
    ),
    (
        &["--mount", "type=tmpfs,dst=/d,tmpfs-size=much"],
        "invalid --mount \"type=tmpfs,dst=/d,tmpfs-size=much\": invalid value for tmpfs-size: much",
    ),
    (
        &["--mount", "type=tmpfs,dst=/d,tmpfs-mode=9"],
        "invalid --mount \"type=tmpfs,dst=/d,tmpfs-mode=9\": invalid value for tmpfs-mode: 9",
    ),
    (
        &["--mount", "type=tmpfs,dst=/d,noswap"],
        "invalid --mount \"type=tmpfs,dst=/d,noswap\": invalid tmpfs option \"noswap\": the kernel lets only root have a tmpfs that is never swapped out",
    ),
    (
        &["--mount", "type=tmpfs,dst=/proc/x"],
        "invalid mount config for type \"tmpfs\": invalid specification: destination '/proc/x' is inside /proc, which is always the container's own",
    ),
    (
        &["--mount", "type=glob,src=SRC/*,dst=/d"],
        "mount type \"glob\" can't be used: give each path a mount of its own",
    ),
    (
        &["--mount", "type=nfs,dst=/d"],
        "mount type \"nfs\" can't be used: it must be bind, volume, tmpfs, image or devpts",
    ),
    (&["--mount", "type=image,dst=/d"], "invalid mount config for type \"image\": field Source must not be empty"),
    (
        &["--mount", "type=image,src=x,dst=/d,subpath=../x"],
        "invalid mount config for type \"image\": subpath must be a relative path within the image",
    ),
    (
        &["--mount", "type=volume,src=v,dst=/d,volume-subpath=/x"],
        "invalid mount config for type \"volume\": subpath must be a relative path within the volume",
    ),
    (
        &["--mount", "type=volume,dst=/d,volume-subpath=x"],
        "invalid mount config for type \"volume\": must not set Subpath when using anonymous volumes",
    ),
    (
        &["--mount", "type=devpts,dst=/d,max=none"],
        "invalid --mount \"type=devpts,dst=/d,max=none\": invalid value for max: none",
    ),
    (
        &["--tmpfs", "rel"],
        "invalid mount config for type \"tmpfs\": invalid mount path: 'rel' mount path must be absolute",
    ),
    (&["--tmpfs", "/t:size=x"], "invalid tmpfs option \"size=x\""),
    (&["--tmpfs", "/t:mode=17777"], "invalid tmpfs option \"mode=17777\""),
    (&["--tmpfs", "/t:uid=alice"], "invalid tmpfs option \"uid=alice\""),
    (&["--tmpfs", "/t:foo"], "invalid tmpfs option \"foo\""),
    (&["--tmpfs", "/t:size=1m,"], "invalid tmpfs option \"\""),
    (
        &["--tmpfs", "/proc"],
        "invalid mount config for type \"tmpfs\": invalid specification: destination '/proc' is inside /proc, which is always the container's own",
    ),
    (&["--image-volume", "all"], "invalid --image-volume \"all\": must be bind, anonymous, tmpfs or ignore"),
    (
        &["--storage-opt", "size=1g"],
        "--storage-opt size is supported only for overlay over xfs with 'pquota' mount option, where only root can set a quota: use --tmpfs PATH:size=BYTES or a volume with a limit for what may grow",
    ),
    (&["--storage-opt", "dm.basesize=1g"], "unknown option for overlay: dm.basesize"),
];

#[test]
fn each_with_its_line() {
    let (bench, image) = Bench::with_image();
    let source = bench.mkdir("src");
    write(source.join("file"), "");
    let source = source.display().to_string();
    for (flags, line) in LINES {
        let flags: Vec<String> = flags.iter().map(|flag| flag.replace("SRC", &source)).collect();
        let flags: Vec<&str> = flags.iter().map(String::as_str).collect();
        let output = sh(&bench, &flags, &image, "echo started").refused(125, "");
        assert_eq!(output.err(), format!("rbox: {}", line.replace("SRC", &source)), "{flags:?}");
        bench.no_containers();
    }
    assert_eq!(names_in(&source), ["file"], "nothing was made in the source");
}
