//! Completions, in the real shells: keys typed on a terminal into bash and zsh, `complete -C` in
//! fish. And what the completer does to a store: nothing.

use std::fs::{File, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::time::Duration;

use crate::common::pty::Terminal;
use crate::common::{Bench, comes_true, names_in, program, read, skip, write};

fn script(name: &str) -> PathBuf {
    let tree = std::env::var_os("CARGO_MANIFEST_DIR").expect("started by cargo or scripts/test.sh");
    PathBuf::from(tree).join("completions").join(name)
}

fn has(shell: &str) -> bool {
    let found = program("sh").args(["-c", &format!("command -v {shell}")]).run().code == 0;
    if !found {
        skip(&format!("{shell} is not installed"));
    }
    found
}

/// A store with containers alpha, album and web (created) and runner (running), the small image under
/// the names alpine:3.20 and reg.example:5000/team/app:1, and some files.
fn filled() -> Bench {
    let (bench, image) = Bench::with_image();
    for name in ["alpine:3.20", "alpine", "reg.example:5000/team/app:1"] {
        bench.ok(&["tag", &image, name]);
    }
    bench.ok(&["rmi", &image]);
    for name in ["alpha", "album", "web"] {
        bench.ok(&["create", "--name", name, "alpine", "true"]);
    }
    bench.start(&["--name", "runner", "--init"], "alpine", &["sleep", "600"]);
    bench.mkdir("d/sub");
    bench.mkdir("d/with blank");
    write(bench.path("d/vars.env"), "");
    bench
}

/// An interactive shell on a terminal, which tells what stands in its command line.
struct Shell<'a> {
    bench: &'a Bench,
    terminal: Terminal,
}

impl<'a> Shell<'a> {
    /// Starts it and loads the completions; ctrl-x ctrl-p writes the line to the file `line`.
    fn start(bench: &'a Bench, command: &str, setup: &str) -> Self {
        let files = bench.text("");
        let mut terminal = Terminal::shell(bench, &format!("cd {files} && LANG=C.UTF-8 exec {command}"));
        // One line, which is only echoed in pieces.
        terminal.line(&format!("PS1='$ '; {setup}; echo re''ady"));
        terminal.expect("ready");
        Self { bench, terminal }
    }

    /// Types, and reads what the line has become.
    #[track_caller]
    fn typed(&mut self, keys: &str) -> String {
        let file = self.bench.path("line");
        let _ = std::fs::remove_file(&file);
        self.terminal.send(keys);
        self.terminal.send("\x18\x10");
        assert!(comes_true(Duration::from_secs(20), || file.exists()), "{keys:?}:\n{}", self.terminal.screen());
        self.terminal.send("\x15");
        read(file).trim_end_matches('\n').to_owned()
    }

    #[track_caller]
    fn check(&mut self, keys: &str, expected: &str) {
        assert_eq!(self.typed(keys), expected, "{keys:?}");
    }

    fn leave(mut self) {
        self.terminal.send("\x15exit\n");
        self.terminal.wait();
    }
}

/// What bash and zsh agree on: keys, and the line that they make.
const BOTH: &[(&str, &str)] = &[
    ("rbox sto\t", "rbox stop "),
    ("rbox system ch\t", "rbox system check "),
    ("rbox rm alp\t", "rbox rm alpha "),
    ("rbox rm alpha al\t", "rbox rm alpha album "),
    ("rbox stop \t", "rbox stop runner "),
    ("rbox exec -it \t", "rbox exec -it runner "),
    ("rbox start r\t", "rbox start r"),
    ("rbox rmi re\t", "rbox rmi reg.example:5000/team/app:1 "),
    ("rbox run -it --rm alpine:3\t", "rbox run -it --rm alpine:3.20 "),
    ("rbox run reg.example:5000/t\t", "rbox run reg.example:5000/team/app:1 "),
    ("rbox run --pul\t", "rbox run --pull "),
    ("rbox run --pull=mi\t", "rbox run --pull=missing "),
    ("rbox run --pid=co\t", "rbox run --pid=container:"),
    ("rbox run --pid container:\t", "rbox run --pid container:runner "),
    ("rbox ps --filter=stat\t", "rbox ps --filter=status="),
    ("rbox kill -s HU\t", "rbox kill -s HUP "),
    ("rbox run --env-file=d/v\t", "rbox run --env-file=d/vars.env "),
    ("rbox run --env-file d/v\t", "rbox run --env-file d/vars.env "),
    ("rbox run -v ./d/s\t", "rbox run -v ./d/sub/"),
    ("rbox run -v ./d/w\t", "rbox run -v ./d/with\\ blank/"),
    ("rbox run rootfs:./d/s\t", "rbox run rootfs:./d/sub/"),
    ("rbox run --mount type=bind,source=./d/s\t", "rbox run --mount type=bind,source=./d/sub/"),
    ("rbox rm \"alp\t", "rbox rm \"alpha\" "),
    ("rbox rm 'alp\t", "rbox rm 'alpha' "),
    ("rbox run --name=x -- alpine:3\t", "rbox run --name=x -- alpine:3.20 "),
    ("true; rbox rm alp\t", "true; rbox rm alpha "),
    // What the container will run is its own affair.
    ("rbox run alpine al\t", "rbox run alpine al"),
    ("rbox run alpine ls --na\t", "rbox run alpine ls --na"),
    ("rbox exec runner d/v\t", "rbox exec runner d/v"),
    ("rbox nosuch al\t", "rbox nosuch al"),
    ("rbox --root /nonexistent rm al\t", "rbox --root /nonexistent rm al"),
];

#[test]
fn bash_completes_what_is_typed() {
    if !has("bash") {
        return;
    }
    let bench = filled();
    let setup = format!(
        "source {}; bind 'set bell-style none'; bind 'set enable-bracketed-paste off'; \
         show() {{ printf '%s\\n' \"$READLINE_LINE\" >line.part; mv line.part line; }}; \
         bind -x '\"\\C-x\\C-p\": show'",
        script("rbox.bash").display()
    );
    let mut shell = Shell::start(&bench, "bash --noprofile --norc -i", &setup);
    for (keys, expected) in BOTH {
        shell.check(keys, expected);
    }
    // M-* inserts all that is offered.
    shell.check("rbox rm al\x1b*", "rbox rm album alpha ");
    shell.check("rbox start \x1b*", "rbox start album alpha web ");
    shell.check("rbox rm web \x1b*", "rbox rm web album alpha runner ");
    shell.check("rbox run alpi\x1b*", "rbox run alpine:3.20 alpine:latest ");
    shell.check("rbox run --pull \x1b*", "rbox run --pull always missing never newer ");
    // With the cursor inside the line only what is before it counts; readline reuses the blank.
    shell.check("rbox rm alp --force\x1bb\x1bb\x1bf\t", "rbox rm alpha --force");
    // Another idea of where words break.
    shell.terminal.line("COMP_WORDBREAKS=${COMP_WORDBREAKS//[:=]}; echo wi''thout");
    shell.terminal.expect("without");
    shell.check("rbox run alpine:3\t", "rbox run alpine:3.20 ");
    shell.check("rbox run --env-file=d/v\t", "rbox run --env-file=d/vars.env ");
    shell.check("rbox run -v./d/s\t", "rbox run -v./d/sub/");
    assert!(!shell.terminal.screen().contains("command not found"), "{}", shell.terminal.screen());
    shell.leave();
}

#[test]
fn zsh_completes_what_is_typed() {
    if !has("zsh") {
        return;
    }
    let bench = filled();
    // As installed: a function found along fpath.
    let functions = bench.mkdir("functions");
    std::fs::copy(script("_rbox"), functions.join("_rbox")).expect("a file of ours");
    let setup = "fpath=($PWD/functions $fpath); autoload -U compinit; compinit -u -D; unsetopt beep; bindkey -e; \
                 show() { print -r -- $BUFFER >line.part; mv line.part line }; zle -N show; bindkey '^X^P' show";
    let mut shell = Shell::start(&bench, "zsh -f -i", setup);
    for (keys, expected) in BOTH {
        shell.check(keys, expected);
    }
    shell.check("rbox run -v./d/s\t", "rbox run -v./d/sub/");
    // The list has descriptions.
    shell.terminal.send("rbox rm \t");
    shell.terminal.expect("alpine, created");
    shell.terminal.expect("alpine, running");
    shell.terminal.send("\x15");
    shell.leave();

    // And as printed into a running shell.
    let setup = "autoload -U compinit; compinit -u -D; bindkey -e; source <(rbox completion zsh); \
                 show() { print -r -- $BUFFER >line.part; mv line.part line }; zle -N show; bindkey '^X^P' show";
    let mut shell = Shell::start(&bench, "zsh -f -i", setup);
    shell.check("rbox rm alp\t", "rbox rm alpha ");
    shell.leave();
}

#[test]
fn fish_completes_what_is_typed() {
    if !has("fish") {
        return;
    }
    let bench = filled();
    let offered = |line: &str| -> Vec<String> {
        let source = script("rbox.fish").display().to_string();
        let quoted = line.replace('\\', "\\\\").replace('\'', "\\'");
        let text = format!("source {source}; complete -C '{quoted}'");
        let wanted = format!("cd {} && exec fish --no-config -c \"$TEXT\"", bench.text(""));
        let output = bench.shell(&wanted).env("TEXT", text).env("LANG", "C.UTF-8").run().ok();
        assert_eq!(output.err(), "", "{line}");
        output.out().lines().map(str::to_owned).collect()
    };
    for (line, expected) in [
        ("rbox sto", &["stop\tStop one or more running containers"][..]),
        ("rbox rm al", &["album\talpine, created", "alpha\talpine, created"]),
        ("rbox rm alpha al", &["album\talpine, created"]),
        ("rbox stop ", &["runner\talpine, running"]),
        ("rbox rm \"alp", &["alpha\talpine, created"]),
        ("rbox run --pull=mi", &["--pull=missing"]),
        ("rbox run --pid=container:", &["--pid=container:runner\talpine, running"]),
        ("rbox run --env-file=d/v", &["--env-file=d/vars.env"]),
        ("rbox run --env-file d/v", &["d/vars.env"]),
        ("rbox run rootfs:./d/s", &["rootfs:./d/sub/\tDirectory"]),
        ("rbox run alpine al", &[]),
        ("rbox run alpine ls --na", &[]),
        ("rbox exec runner d/v", &[]),
        ("rbox --root /nonexistent rm al", &[]),
    ] {
        assert_eq!(offered(line), expected, "{line}");
    }
    let images = offered("rbox run -it --rm alpine:");
    assert_eq!(images.len(), 2, "{images:?}");
    assert!(images[0].starts_with("alpine:3.20\t"), "{images:?}");
    assert!(
        offered("rbox run --det").contains(&"--detach\tRun container in background and print container ID".to_owned())
    );
}

/// What bash would be told for a line.
fn ask(bench: &Bench, line: &str) -> crate::common::Cmd {
    bench.rbox(&["__complete", "bash", " \t\n\"'@><=;|&(:", line])
}

#[track_caller]
fn answers(bench: &Bench, line: &str, expected: &str) {
    let output = ask(bench, line).run().ok();
    assert_eq!((output.out().as_str(), output.err().as_str()), (expected, ""), "{line}");
}

#[test]
fn asking_makes_no_store() {
    let bench = Bench::new();
    for line in ["rbox rm ", "rbox run ", "rbox inspect a", "rbox run --pid=container:"] {
        answers(&bench, line, "values");
    }
    assert!(!bench.root().exists() && !bench.runroot().exists());
    // Somewhere that cannot be read, or is no store at all.
    write(bench.root(), "a file");
    answers(&bench, "rbox rm ", "values");
    std::fs::remove_file(bench.root()).expect("ours");
}

#[test]
fn broken_records_and_held_locks_cost_only_themselves() {
    let bench = filled();
    let mut locks = Vec::new();
    for name in ["gc.lock", "names.lock"] {
        let file = File::options().read(true).write(true).open(bench.root().join(name)).expect("a lock of the store");
        file.lock().expect("nobody else's");
        locks.push(file);
    }
    let directory = |name: &str| bench.root().join("containers").join(bench.inspect(name, "{{.Id}}"));
    for name in ["alpha", "runner"] {
        let file = File::options().read(true).write(true).open(directory(name).join("lock")).expect("a lock");
        file.lock().expect("nobody else's");
        locks.push(file);
    }
    answers(&bench, "rbox start ", "values\nalbum\nalpha\nweb");
    let web = directory("web");
    let state = read(web.join("state.json"));
    for damage in ["", "{", "[1,2]", "\0\0\0"] {
        write(web.join("state.json"), damage);
        answers(&bench, "rbox start ", "values\nalbum\nalpha");
    }
    // It can still be removed, and is offered for that.
    answers(&bench, "rbox rm w", "values\nweb");
    std::fs::set_permissions(web.join("state.json"), Permissions::from_mode(0o000)).expect("ours");
    answers(&bench, "rbox start ", "values\nalbum\nalpha");
    std::fs::remove_file(web.join("state.json")).expect("ours");
    answers(&bench, "rbox stop ", "values\nrunner");
    write(web.join("state.json"), state);

    let images = bench.root().join("images");
    write(images.join(format!("{}.json", "0".repeat(64))), "{\"name\": \"evil\u{1b}[31m\"}");
    std::fs::create_dir(images.join(format!("{}.json", "1".repeat(64)))).expect("ours");
    answers(&bench, "rbox rmi alp", "values\nalpine:3.20\nalpine:latest");
    std::fs::remove_dir(images.join(format!("{}.json", "1".repeat(64)))).expect("ours");
    std::fs::remove_file(images.join(format!("{}.json", "0".repeat(64)))).expect("ours");
}

#[test]
fn a_store_that_does_not_answer_is_given_up() {
    let bench = Bench::new();
    bench.ok(&["create", "--name", "stuck", "rootfs:/", "true"]);
    let state = bench.root().join("containers").join(bench.inspect("stuck", "{{.Id}}")).join("state.json");
    let kept = read(&state);
    std::fs::remove_file(&state).expect("ours");
    program("mkfifo").arg(&state).ok();
    let output = ask(&bench, "rbox start ").run();
    assert_eq!((output.out().as_str(), output.err().as_str()), ("", ""));
    assert!(output.took < Duration::from_secs(10), "{:?}", output.took);
    std::fs::remove_file(&state).expect("ours");
    write(&state, kept);
}

#[test]
fn the_program_prints_the_scripts() {
    let bench = Bench::new();
    for (shell, name) in [("bash", "rbox.bash"), ("zsh", "_rbox"), ("fish", "rbox.fish")] {
        let expected = read(script(name));
        assert_eq!(bench.ok(&["completion", shell]), expected.trim_end_matches('\n'));
        bench.ok(&["completion", shell, "--file", &bench.text(name)]);
        assert_eq!(read(bench.path(name)), expected);
        let quiet = bench.ok(&["completion", "--no-desc", shell]);
        assert_eq!(quiet.matches("__complete --no-desc ").count(), 1, "{quiet}");
    }
    assert_eq!(names_in(bench.root()), [""; 0]);
    let out = bench.rbox(&["__complete", "--no-desc", "fish", "rbox", "stat"]).ok();
    assert!(!out.contains('\t') && out.contains("start"), "{out}");
    bench.rbox(&["completion", "tcsh"]).run().refused(125, "tcsh");
    bench.rbox(&["completion", "bash", "-f", "/nonexistent/x"]).run().refused(1, "write /nonexistent/x");
}
