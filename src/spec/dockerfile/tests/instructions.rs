//! Each instruction's forms.

use std::time::Duration;

use super::*;

fn words(words: &[&str]) -> Vec<String> {
    words.iter().map(|word| (*word).to_owned()).collect()
}

fn shell(text: &str) -> Command {
    Command::Shell(text.to_owned())
}

fn path(text: &str) -> FileSource {
    FileSource::Path(text.to_owned())
}

#[test]
fn commands() {
    for (text, expected) in [
        ("CMD echo  $A", Instruction::Cmd(shell("echo  $A"))),
        ("cmd [\"a\", \"b c\"]", Instruction::Cmd(Command::Exec(words(&["a", "b c"])))),
        ("CMD [ \"a\\u00e9\\n\" ]  ", Instruction::Cmd(Command::Exec(words(&["aé\n"])))),
        ("CMD ['a']", Instruction::Cmd(shell("['a']"))),
        ("CMD [\"a\",]", Instruction::Cmd(shell("[\"a\",]"))),
        ("CMD [\"a\"] b", Instruction::Cmd(shell("[\"a\"] b"))),
        ("CMD [a]", Instruction::Cmd(shell("[a]"))),
        ("CMD []", Instruction::Cmd(Command::Exec(Vec::new()))),
        ("CMD", Instruction::Cmd(shell(""))),
        ("ENTRYPOINT -- --x", Instruction::Entrypoint(shell("--x"))),
        ("ENTRYPOINT\t[\"e\"]", Instruction::Entrypoint(Command::Exec(words(&["e"])))),
        ("SHELL [\"sh\", \"-c\"]", Instruction::Shell(words(&["sh", "-c"]))),
        ("USER a b", Instruction::User("a b".to_owned())),
        ("WORKDIR $X/y", Instruction::Workdir("$X/y".to_owned())),
        ("STOPSIGNAL $S", Instruction::Stopsignal("$S".to_owned())),
        ("MAINTAINER me <a@b>", Instruction::Maintainer("me <a@b>".to_owned())),
        ("EXPOSE 80  $P/udp", Instruction::Expose(words(&["80", "$P/udp"]))),
        ("VOLUME /a \"/b\"", Instruction::Volume(words(&["/a", "\"/b\""]))),
        ("VOLUME [\"/a b\"]", Instruction::Volume(words(&["/a b"]))),
        ("ONBUILD  run  x", Instruction::Onbuild("run  x".to_owned())),
    ] {
        assert_eq!(one(text), expected, "{text}");
    }
}

#[test]
fn names_and_values() {
    let pair = |key: &str, value: &str, legacy| Pair { key: key.to_owned(), value: value.to_owned(), legacy };
    for (rest, expected) in [
        ("A=1 B=\"x y\"", vec![pair("A", "1", false), pair("B", "\"x y\"", false)]),
        ("A=a\\ b C='d e'", vec![pair("A", "a\\ b", false), pair("C", "'d e'", false)]),
        ("A= B==", vec![pair("A", "", false), pair("B", "=", false)]),
        ("A  the rest=of it", vec![pair("A", "the rest=of it", true)]),
        ("\"a b\"=c", vec![pair("\"a b\"", "c", false)]),
        ("A=1\\", vec![pair("A", "1", false)]),
        ("A=\"x\\\"y z\"", vec![pair("A", "\"x\\\"y z\"", false)]),
    ] {
        assert_eq!(one(&format!("ENV {rest}")), Instruction::Env(expected.clone()), "{rest}");
        assert_eq!(one(&format!("LABEL {rest}")), Instruction::Label(expected), "{rest}");
    }
    let item =
        |name: &str, default: Option<&str>| ArgItem { name: name.to_owned(), default: default.map(str::to_owned) };
    let expected = vec![item("A", None), item("B", Some("1")), item("C", Some("\"d e\"")), item("D", Some(""))];
    assert_eq!(one("ARG A B=1 C=\"d e\" D="), Instruction::Arg(Arg(expected)));
}

#[test]
fn copy_and_add() {
    let Instruction::Copy(copy) =
        one("COPY --from=b --chown=1:$G --chmod=u+x --link --parents=TRUE --exclude=*.o --exclude=x a b/ /c/")
    else {
        panic!()
    };
    let files = &copy.files;
    assert_eq!(
        (copy.from.as_deref(), files.chown.as_deref(), files.chmod.as_deref()),
        (Some("b"), Some("1:$G"), Some("u+x"))
    );
    assert_eq!((files.link, files.parents, &files.exclude), (true, true, &words(&["*.o", "x"])));
    assert_eq!((&files.sources, files.destination.as_str()), (&vec![path("a"), path("b/")], "/c/"));
    let Instruction::Copy(copy) = one("COPY --link=false [\"a b\", \"c\"]") else { panic!() };
    assert_eq!((copy.files.link, copy.files.sources, copy.files.destination.as_str()), (false, vec![path("a b")], "c"));
    let Instruction::Add(add) = one("ADD --checksum=sha256:x --keep-git-dir=true --unpack=false https://e/x.tar /x")
    else {
        panic!()
    };
    assert_eq!((add.checksum.as_deref(), add.keep_git_dir, add.unpack), (Some("sha256:x"), Some(true), Some(false)));
    let Instruction::Add(add) = one("ADD --chown=\"a b\" x y") else { panic!() };
    assert_eq!((add.files.chown.as_deref(), add.unpack), (Some("a b"), None));
}

#[test]
fn health() {
    let Instruction::Healthcheck(check) =
        one("HEALTHCHECK --interval=1m30s --timeout=0s --start-period=1ms --start-interval=2s --retries=3 cmd [\"a\"]")
    else {
        panic!()
    };
    let expected = Healthcheck::Cmd {
        command: Command::Exec(words(&["a"])),
        interval: Some(Duration::from_secs(90)),
        timeout: None,
        start_period: Some(Duration::from_millis(1)),
        start_interval: Some(Duration::from_secs(2)),
        retries: Some(3),
    };
    assert_eq!(check, expected);
    assert_eq!(one("HEALTHCHECK none"), Instruction::Healthcheck(Healthcheck::None));
}

fn mounts(flags: &str) -> Vec<RunMount> {
    let Instruction::Run(run) = one(&format!("RUN {flags} x")) else { panic!() };
    assert_eq!(run.command, shell("x"));
    run.mounts
}

#[test]
fn run_and_its_mounts() {
    let Instruction::Run(run) = one("RUN --network=none --security=insecure [\"a\"]") else { panic!() };
    assert_eq!((run.network, run.security), (RunNetwork::None, RunSecurity::Insecure));
    let some = |text: &str| Some(text.to_owned());
    let all = mounts(
        "--mount=target=/t,from=b,src=s --mount=type=cache,dst=/c,id=$I,sharing=locked,mode=0700,uid=1,gid=2,ro \
         --mount=type=tmpfs,destination=/m,size=64m --mount=type=secret,id=s,env=E,required --mount=TYPE=ssh,mode=600 \
         --mount=type=bind,rw=true,target=/x",
    );
    let kinds: Vec<RunMountKind> = all.iter().map(|mount| mount.kind.clone()).collect();
    assert_eq!(
        kinds,
        [
            RunMountKind::Bind { from: some("b"), source: some("s") },
            RunMountKind::Cache { id: some("$I"), from: None, source: None, sharing: Sharing::Locked },
            RunMountKind::Tmpfs { size: Some(64 << 20) },
            RunMountKind::Secret { id: some("s"), env: some("E") },
            RunMountKind::Ssh { id: None },
            RunMountKind::Bind { from: None, source: None },
        ]
    );
    assert_eq!(all.iter().map(|mount| mount.readonly).collect::<Vec<_>>(), [true, true, false, true, true, false]);
    assert_eq!((all[1].mode, all[1].uid, all[1].gid), (Some(0o700), Some(1), Some(2)));
    assert_eq!((all[3].required, all[4].mode), (true, Some(0o600)));
    assert_eq!(all[2].target.as_deref(), Some("/m"));
}

#[test]
fn mounts_with_variables() {
    let [mount] = &mounts("--mount=type=cache,target=/c/$X,uid=$U,mode=$M,sharing=$S")[..] else { panic!() };
    assert_eq!((mount.uid, mount.target.as_deref()), (None, Some("/c/$X")));
    let value = |name: &str| match name {
        "U" => "7".to_owned(),
        "M" => "750".to_owned(),
        "S" => "private".to_owned(),
        _ => "x".to_owned(),
    };
    let expander =
        |text: &str| expand::expand(text, '\\', &|name| Some(value(name))).map_err(|error| error.to_string());
    let mount = mount::evaluate(&mount.text, &expander).unwrap();
    assert_eq!((mount.uid, mount.mode, mount.target.as_deref()), (Some(7), Some(0o750), Some("/c/x")));
    let kind = RunMountKind::Cache { id: None, from: None, source: None, sharing: Sharing::Private };
    assert_eq!(mount.kind, kind);
}

#[test]
fn triggers() {
    assert_eq!(parse_onbuild("RUN a \\\n b").unwrap().value, one("RUN a  b"));
    for (trigger, message) in [
        ("FROM a", "FROM isn't allowed as an ONBUILD trigger"),
        ("ONBUILD RUN a", "ONBUILD isn't allowed as an ONBUILD trigger"),
        ("RNU a", "unknown instruction: RNU (did you mean RUN?)"),
        ("RUN a\nRUN b", "onbuild trigger should be a single expression: RUN a\\nRUN b"),
        ("", "onbuild trigger should be a single expression: "),
    ] {
        assert_eq!(parse_onbuild(trigger).unwrap_err().message, message, "{trigger}");
    }
}
