//! Files that come from elsewhere: ADD of addresses and repositories, repositories and archives as contexts.

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use super::{bench, build, cached, context};
use crate::common::http::{Request, Server};
use crate::common::{Bench, Running, program, sha256, wait_until, write};

/// What a command says in the image `made`.
#[track_caller]
fn said(bench: &Bench, command: &str) -> String {
    bench.run_rm(&["--net", "none"], "made", &["sh", "-c", command]).ok().out()
}

/// A server of one file, whose tag is what it says.
struct Page {
    server: Server,
    content: Arc<Mutex<String>>,
}

impl Page {
    fn start(content: &str) -> Self {
        let content = Arc::new(Mutex::new(content.to_owned()));
        let shared = Arc::clone(&content);
        let answer = move |request: &Request| {
            let path = request.line().split(' ').nth(1).unwrap_or_default().to_owned();
            let content = shared.lock().expect("no panic while held").clone();
            let tag = format!("\"{}\"", sha256(content.as_bytes()));
            match path.as_str() {
                _ if request.header("if-none-match") == Some(&tag) => (304, format!("ETag: {tag}\r\n"), String::new()),
                "/undated" => (200, String::new(), content),
                "/gone" => (404, String::new(), String::new()),
                "/moved" => (302, "Location: /dir/file.txt\r\n".to_owned(), String::new()),
                _ => (200, format!("Last-Modified: Wed, 02 Jan 2019 03:04:05 GMT\r\nETag: {tag}\r\n"), content),
            }
        };
        Self { server: Server::start(answer), content }
    }

    fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.server.host())
    }

    fn change(&self, content: &str) {
        content.clone_into(&mut self.content.lock().expect("no panic while held"));
    }
}

#[test]
fn files_by_their_address() {
    let bench = bench();
    let page = Page::start("one\n");
    let file = page.url("/dir/file.txt");
    let dockerfile = format!(
        "FROM base\nADD {file}?q=1 /plain/\nADD --chmod=4755 --chown=alice:extra {file} /named\nADD {} /unnamed/\n\
         ADD {} /undated\nADD {} /moved/\nRUN stat -c '%n %a %u:%g %Y %s' /plain/* /named /unnamed/* /undated /moved/* >/out\n",
        page.url("/"),
        page.url("/undated"),
        page.url("/moved")
    );
    let directory = context(&bench, "ctx", &[("Dockerfile", &dockerfile)]);
    build(&bench, &directory, &["-t", "made"]).run().ok();
    let time = 1_546_398_245;
    let expected = format!(
        "/plain/file.txt 600 0:0 {time} 4\n/named 4755 1000:2000 {time} 4\n/unnamed/__unnamed__ 600 0:0 {time} 4\n\
         /undated 600 0:0 0 4\n/moved/moved 600 0:0 {time} 4"
    );
    assert_eq!(said(&bench, "cat /out"), expected);
    // It is asked whether it changed, and fetched when it did.
    assert_eq!(cached(&build(&bench, &directory, &["-t", "made"]).run().ok()), 6);
    page.change("second\n");
    assert_eq!(cached(&build(&bench, &directory, &["-t", "made"]).run().ok()), 0);
    assert_eq!(said(&bench, "cat /plain/file.txt /undated"), "second\nsecond");
}

#[test]
fn checksums_of_files() {
    let bench = bench();
    let page = Page::start("content\n");
    let file = page.url("/file");
    let right = format!("sha256:{}", sha256(b"content\n"));
    let wrong = format!("sha256:{}", sha256(b"other\n"));
    let dockerfile = format!("FROM base\nARG SUM\nADD --checksum=$SUM {file} /file\n");
    let directory = context(&bench, "ctx", &[("Dockerfile", &dockerfile)]);
    let with = |sum: &str| build(&bench, &directory, &["-t", "made", "--build-arg", &format!("SUM={sum}")]);
    let refused = with(&wrong).run().exits(1).err();
    assert!(
        refused.contains("digest mismatch") && refused.contains(&right) && refused.contains("Dockerfile:3"),
        "{refused}"
    );
    bench.rbox(&["image", "inspect", "made"]).run().exits(1);
    with(&right).run().ok();
    assert_eq!(said(&bench, "cat /file"), "content");
    // What is here is not asked for, not even whether it changed.
    let asked = page.server.seen().len();
    with(&right).run().ok();
    assert_eq!(page.server.seen().len(), asked);
    with(&wrong).run().exits(1);
    for (sum, word) in
        [("sha256:12", "--checksum"), ("md5:d41d8cd98f00b204e9800998ecf8427e", "--checksum"), ("x", "--checksum")]
    {
        let refused = with(sum).run().exits(1).err();
        assert!(refused.contains(word), "{sum}: {refused}");
    }
    write(directory.join("Dockerfile"), format!("FROM base\nADD {} /file\n", page.url("/gone")));
    let gone = build(&bench, &directory, &[]).run().exits(1).err();
    assert!(gone.contains("404") && gone.contains("Dockerfile:2"), "{gone}");
}

/// Files of a directory, served as they are; ends when dropped.
pub(super) struct Files {
    _running: Running,
    pub host: String,
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").and_then(|free| free.local_addr()).expect("a free port").port()
}

fn listens(port: u16) {
    wait_until("a server listens", || std::net::TcpStream::connect(("127.0.0.1", port)).is_ok());
}

impl Files {
    pub fn start(directory: &Path) -> Self {
        let port = free_port();
        let server = program("python3").args(["-m", "http.server", "--bind", "127.0.0.1", &port.to_string()]);
        let running = server.current_dir(directory).limit(300).spawn();
        listens(port);
        Self { _running: running, host: format!("127.0.0.1:{port}") }
    }

    /// The same for repositories only, with git's own protocol.
    fn daemon(directory: &Path) -> Self {
        let port = free_port();
        let path = PathBuf::from(program("git").arg("--exec-path").ok()).join("git-daemon");
        let flags = ["--export-all", "--reuseaddr", "--listen=127.0.0.1", &format!("--port={port}")].map(str::to_owned);
        let server = program(path).args(&flags).arg(format!("--base-path={}", directory.display()));
        let running = server.limit(300).spawn();
        listens(port);
        Self { _running: running, host: format!("127.0.0.1:{port}") }
    }
}

/// A bare repository `repo.git` in a directory: the tag v1, then one commit more on main, a branch, a submodule.
#[track_caller]
fn repository(bench: &Bench) -> PathBuf {
    let served = bench.mkdir("served");
    let script = r#"
        export GIT_AUTHOR_NAME=a GIT_AUTHOR_EMAIL=a@b GIT_COMMITTER_NAME=a GIT_COMMITTER_EMAIL=a@b
        export GIT_CONFIG_GLOBAL=/dev/null HOME=/nonexistent
        git init -q -b main "$1/work"; cd "$1/work"
        mkdir sub; echo first >file; echo below >sub/below; ln -s below sub/link; chmod 755 file
        printf 'FROM base\nCOPY . /ctx\n' >Dockerfile; printf 'FROM base\nCOPY . /of-sub\n' >sub/Dockerfile
        git add .; git commit -q -m one; git tag -a -m annotated v1
        echo second >file; git commit -q -am two
        git checkout -q -b side; echo aside >file; git commit -q -am three; git checkout -q main
        git clone -q --bare . "$1/repo.git"; git -C "$1/repo.git" update-server-info
        git rev-parse HEAD v1^{}"#;
    let commits = program("bash").args(["-ec", script, "make"]).arg(&served).ok();
    let (main, first) = commits.split_once('\n').expect("two commits");
    write(served.join("main"), main);
    write(served.join("first"), first);
    served
}

#[test]
fn repositories_are_added() {
    let bench = bench();
    let served = repository(&bench);
    let (plain, daemon) = (Files::start(&served), Files::daemon(&served));
    let http = format!("http://{}/repo.git", plain.host);
    let git = format!("git://{}/repo.git", daemon.host);
    let first = crate::common::read(served.join("first"));
    let dockerfile = format!(
        "FROM base\nADD {http} /main\nADD {git}#v1:sub /sub\nADD --keep-git-dir=true {git}#side /side\n\
         ADD {http}#{first} /first\nADD --chown=alice {git}?ref=v1&subdir=sub /query\n\
         ARG SUM={first}\nADD --checksum=$SUM {git}#v1 /sum/\n"
    );
    let directory = context(&bench, "ctx", &[("Dockerfile", &dockerfile)]);
    build(&bench, &directory, &["-t", "made"]).run().ok();
    assert_eq!(
        said(&bench, "cat /main/file /side/file /first/file /sum/file /sub/below"),
        "second\naside\nfirst\nfirst\nbelow"
    );
    assert_eq!(said(&bench, "ls -A /main /sub"), "/main:\nDockerfile\nfile\nsub\n\n/sub:\nDockerfile\nbelow\nlink");
    assert_eq!(
        said(&bench, "test -d /side/.git && stat -c '%a %u' /main/file /query/below && readlink /query/link"),
        "755 0\n644 1000\nbelow"
    );
    // Nothing is fetched for a commit that was added before.
    assert_eq!(cached(&build(&bench, &directory, &["-t", "made"]).run().ok()), 6);
    let wrong = ["--build-arg", "SUM=0123456789012345678901234567890123456789"];
    let refused = build(&bench, &directory, &wrong).run().exits(1).err();
    assert!(refused.contains("expected checksum to match 0123456789"), "{refused}");
    for (reference, word) in [("#nosuch", "does not contain ref nosuch"), ("#main:nosuch", "no directory nosuch")] {
        write(directory.join("Dockerfile"), format!("FROM base\nADD {git}{reference} /x\n"));
        let refused = build(&bench, &directory, &[]).run().exits(1).err();
        assert!(refused.contains(word) && refused.contains("Dockerfile:2"), "{refused}");
    }
    write(directory.join("Dockerfile"), format!("FROM base\nADD http://{}/nosuch.git /x\n", plain.host));
    let refused = build(&bench, &directory, &[]).run().exits(1).err();
    assert!(refused.contains("failed to fetch remote") && refused.contains("nosuch.git"), "{refused}");
}

#[test]
fn repositories_as_contexts() {
    let bench = bench();
    let served = repository(&bench);
    let (plain, daemon) = (Files::start(&served), Files::daemon(&served));
    let build = |address: &str, args: &[&str]| {
        bench.rbox(&["build", "--progress", "plain", "-t", "made"]).args(args).arg(address).limit(120)
    };
    for address in [format!("http://{}/repo.git", plain.host), format!("git://{}/repo.git", daemon.host)] {
        build(&address, &[]).run().ok();
        assert_eq!(said(&bench, "cat /ctx/file; ls -A /ctx"), "second\nDockerfile\nfile\nsub");
        build(&format!("{address}#v1"), &[]).run().ok();
        assert_eq!(said(&bench, "cat /ctx/file"), "first");
        build(&format!("{address}#side:sub"), &[]).run().ok();
        assert_eq!(said(&bench, "ls -A /of-sub"), "Dockerfile\nbelow\nlink");
        build(&format!("{address}#side"), &["-f", "sub/Dockerfile"]).run().ok();
        assert_eq!(said(&bench, "cat /of-sub/file"), "aside");
    }
    let address = format!("git://{}/repo.git", daemon.host);
    build(&format!("{address}#nosuch"), &[]).run().refused(1, "does not contain ref nosuch");
    build(&format!("{address}#:nosuch"), &[]).run().refused(1, "no directory nosuch");
    build(&address, &[]).env("PATH", "/nowhere").run().refused(1, "install git");
}

#[test]
fn archives_at_addresses() {
    let bench = bench();
    let served = bench.mkdir("served");
    let directory = context(&bench, "ctx", &[("Dockerfile", "FROM base\nCOPY . /ctx\n"), ("d/f", "f\n")]);
    program("tar").args(["-C"]).arg(&directory).args(["-czf"]).arg(served.join("a.tar.gz")).arg(".").ok();
    write(served.join("Dockerfile"), "FROM base\nRUN echo alone >/alone\n");
    let files = Files::start(&served);
    let archive = format!("http://{}/a.tar.gz", files.host);
    write(
        directory.join("Dockerfile"),
        format!(
            "FROM base\nADD {archive} /kept/\nADD --unpack=true {archive} /unpacked\nADD --unpack=false {archive} /whole\n"
        ),
    );
    build(&bench, &directory, &["-t", "made"]).run().ok();
    assert_eq!(
        said(&bench, "cat /unpacked/d/f; ls /kept; tar -tzf /whole | grep f$ | sort"),
        "f\na.tar.gz\n./Dockerfile\n./d/f".replace("./Dockerfile\n", "")
    );
    // The archive as the context, and a Dockerfile alone.
    bench.rbox(&["build", "-t", "made", &archive]).limit(120).run().ok();
    assert_eq!(said(&bench, "cat /ctx/d/f"), "f");
    bench.rbox(&["build", "-t", "made", &format!("http://{}/Dockerfile", files.host)]).limit(120).run().ok();
    assert_eq!(said(&bench, "cat /alone"), "alone");
}

/// A server that takes what comes and never answers; its port, and how many have come.
fn silent() -> (u16, Arc<Mutex<usize>>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a loopback port");
    let port = listener.local_addr().expect("an address").port();
    let came = Arc::new(Mutex::new(0));
    let shared = Arc::clone(&came);
    std::thread::spawn(move || {
        let mut kept = Vec::new();
        for stream in listener.incoming().flatten() {
            kept.push(stream);
            *shared.lock().expect("no panic while held") += 1;
        }
    });
    (port, came)
}

#[test]
fn an_interrupt_ends_what_is_fetched() {
    let bench = bench();
    let directory = context(&bench, "ctx", &[]);
    for (scheme, tail) in [("git", "/x.git"), ("http", "/x.git"), ("http", "/x.tar")] {
        let (port, came) = silent();
        let address = format!("{scheme}://127.0.0.1:{port}{tail}");
        write(directory.join("Dockerfile"), format!("FROM base\nADD {address} /x\n"));
        let directory = directory.to_string_lossy().into_owned();
        for (count, source) in [&directory, &address].into_iter().enumerate() {
            let running = bench.rbox(&["build", "--progress", "plain", source]).limit(30).spawn();
            wait_until("it asks", || *came.lock().expect("no panic while held") > count);
            running.signal(rustix::process::Signal::INT);
            let output = running.wait().exits(130);
            assert!(output.err().lines().last().is_some_and(|line| line.starts_with("rbox: ")), "{}", output.report());
            let left = || bench.shell(&format!("ps -A -o args | grep '[:]{port}'")).run().out();
            wait_until("git is gone", || left().is_empty());
            bench.no_staging();
        }
    }
}

#[test]
fn servers_that_stall_are_given_up() {
    let bench = bench();
    let (port, _) = silent();
    let directory =
        context(&bench, "ctx", &[("Dockerfile", &format!("FROM base\nADD http://127.0.0.1:{port}/x.git /x\n"))]);
    let patience = [("GIT_HTTP_LOW_SPEED_TIME", "1"), ("GIT_HTTP_LOW_SPEED_LIMIT", "1000")];
    let mut fetching = build(&bench, &directory, &[]).limit(20);
    for (name, value) in patience {
        fetching = fetching.env(name, value);
    }
    let failed = fetching.run().exits(1).err();
    assert!(failed.contains("failed to fetch remote") && failed.contains("Dockerfile:2"), "{failed}");
    // Without a word of the caller's there is patience, too.
    let bin = bench.mkdir("bin");
    write(bin.join("git"), "#!/bin/sh\necho \"for $GIT_HTTP_LOW_SPEED_TIME s\" >&2\nexit 1\n");
    program("chmod").arg("755").arg(bin.join("git")).ok();
    let said = build(&bench, &directory, &[]).env("PATH", bin).run().exits(1).err();
    assert!(said.contains("for 60 s"), "{said}");
}
