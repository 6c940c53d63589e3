use super::*;

fn plan(program: HelperKind, options: &str) -> HelperPlan {
    HelperPlan {
        program,
        options: options.split(',').map(str::to_owned).collect(),
        namespace: "/proc/7/ns/net".into(),
        user_namespace: None,
        ports: Vec::new(),
        mtu: None,
        directory: "/run/c".into(),
    }
}

fn line(plan: &HelperPlan) -> Result<String, String> {
    let arguments = plan.arguments().map_err(|error| error.to_string())?;
    Ok(arguments.iter().map(|word| word.to_str().unwrap()).collect::<Vec<_>>().join(" "))
}

fn port(host_ip: Option<&str>, host_port: u16, container_port: u16, protocol: HelperProtocol) -> HelperPort {
    HelperPort { host_ip: host_ip.map(|ip| ip.parse().unwrap()), host_port, container_port, protocol }
}

#[test]
fn pasta_is_closed_unless_asked() {
    let mut plan = plan(HelperKind::Pasta, "");
    assert_eq!(
        line(&plan).unwrap(),
        "--config-net --quiet -t none -u none -T none -U none --no-map-gw --mtu 65520 --dns-forward 169.254.1.1 \
         --netns /proc/7/ns/net"
    );
    plan.ports.push(port(Some("::1"), 8080, 80, HelperProtocol::Tcp));
    plan.ports.push(port(None, 53, 53, HelperProtocol::Udp));
    plan.options = ["--map-gw", "-T", "5000", "--mtu=1400", "-q"].map(str::to_owned).to_vec();
    plan.user_namespace = Some("/proc/7/ns/user".into());
    assert_eq!(
        line(&plan).unwrap(),
        "--config-net --quiet -T 5000 --mtu=1400 -t ::1/8080:80 -u 53:53 -U none --dns-forward 169.254.1.1 \
         --userns /proc/7/ns/user --netns /proc/7/ns/net"
    );
}

#[test]
fn pasta_is_given_no_files_namespaces_or_commands() {
    for option in
        ["sh", "-P,/tmp/x", "--pid=/tmp/x", "-l/tmp/x", "--pcap,x", "--netns,x", "-F,3", "-f", "--", "-", "-ft"]
    {
        assert!(line(&plan(HelperKind::Pasta, option)).is_err(), "{option}");
    }
    assert!(line(&plan(HelperKind::Pasta, "-t")).unwrap_err().contains("value is missing"));
    assert!(line(&plan(HelperKind::Pasta, "-t,auto,-uauto,--dns-forward,10.9.9.9")).is_ok());
    let inside = plan(HelperKind::Pasta, "-a,10.1.0.9,-n,24,--gateway=10.1.0.1,--map-gw").inside().unwrap();
    assert_eq!(inside.address, Some(("10.1.0.9".parse().unwrap(), 24)));
    assert_eq!((inside.gateway, inside.host), (Some("10.1.0.1".parse().unwrap()), Some("10.1.0.1".parse().unwrap())));
}

#[test]
fn slirp_takes_podmans_options() {
    let mut plan = plan(
        HelperKind::Slirp4netns,
        "mtu=1400,cidr=10.3.0.0/24,allow_host_loopback=true,port_handler=slirp4netns,enable_ipv6=false,outbound_addr=eth0",
    );
    plan.user_namespace = Some("/proc/7/ns/user".into());
    assert_eq!(
        line(&plan).unwrap(),
        "--configure --mtu=1400 --enable-sandbox --enable-seccomp --netns-type=path --cidr=10.3.0.0/24 \
         --outbound-addr=eth0 --api-socket=/run/c/slirp4netns.sock --userns-path=/proc/7/ns/user -- /proc/7/ns/net tap0"
    );
    let inside = plan.inside().unwrap();
    assert_eq!(inside.address, Some(("10.3.0.100".parse().unwrap(), 24)));
    assert_eq!(inside.host, inside.gateway);
    assert_eq!(inside.dns, Some("10.3.0.3".parse().unwrap()));
    assert!(line(&self::plan(HelperKind::Slirp4netns, "")).unwrap().contains("--disable-host-loopback --enable-ipv6"));
}

#[test]
fn slirp_refuses_what_it_cannot_do() {
    for option in ["mtu=x", "mtu=70000", "cidr=10.0.0.0/26", "cidr=10.0.0.1/24", "cidr=::/8", "frob=1", "enable_ipv6"] {
        let error = line(&plan(HelperKind::Slirp4netns, option)).unwrap_err();
        assert!(error.starts_with(&format!("invalid slirp4netns option {option:?}: ")), "{error}");
    }
    let mut plan = plan(HelperKind::Slirp4netns, "");
    plan.ports.push(port(Some("::1"), 8080, 80, HelperProtocol::Tcp));
    assert_eq!(
        line(&plan).unwrap_err(),
        "slirp4netns cannot publish port ::1 8080:80/tcp: it listens on IPv4 addresses only"
    );
}

#[test]
fn programs_are_found_on_absolute_paths_only() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("tool");
    std::fs::write(&file, "").unwrap();
    let path = std::env::join_paths([Path::new("."), Path::new(""), directory.path()]).unwrap();
    assert_eq!(find_in(&path, "tool"), None);
    std::fs::set_permissions(&file, PermissionsExt::from_mode(0o755)).unwrap();
    assert_eq!(find_in(&path, "tool"), Some(file));
    assert_eq!(
        HelperError::NotInstalled(HelperKind::Pasta).to_string(),
        "pasta is not installed: install the package passt"
    );
}

fn run(script: &str) -> Run {
    Run::spawn(HelperKind::Slirp4netns, Path::new("/bin/sh"), &["-c".into(), script.into()], &[]).unwrap()
}

/// Waits for a script that is to write to its descriptor 3 when it is ready.
fn wait(script: &str, patience: Duration) -> Result<(), String> {
    let (ready, inside) = pipe_with(PipeFlags::CLOEXEC).unwrap();
    let script = format!("exec 3>&{}; {script}", inside.as_raw_fd());
    let arguments = ["-c".into(), script.into()];
    let program = HelperKind::Slirp4netns;
    let mut run = Run::spawn(program, Path::new("/bin/bash"), &arguments, &[&inside]).unwrap();
    drop(inside);
    let result = run.wait_for_ready(&ready, Instant::now() + patience, patience);
    run.kill();
    result.map_err(|error| error.to_string())
}

#[test]
fn failures_and_silence_are_told_apart() {
    let wait = |script| wait(script, Duration::from_millis(300));
    assert_eq!(wait("echo 1 >&3; sleep 9"), Ok(()));
    assert_eq!(
        wait("echo 'WARNING: x' >&2; printf 'no \\033tun\\nmore\\n' >&2; exit 1").unwrap_err(),
        "slirp4netns failed: no tun"
    );
    assert_eq!(wait("exit 3").unwrap_err(), "slirp4netns failed: exit status: 3");
    assert_eq!(wait("sleep 9").unwrap_err(), "slirp4netns was not ready within 0 s");
    assert_eq!(wait("echo busy; sleep 9").unwrap_err(), "slirp4netns was not ready within 0 s: busy");
}

#[test]
fn talkative_helpers_are_kept_short() {
    let script = "head -c 1000000 /dev/zero | tr '\\0' x; echo 1 >&3";
    assert_eq!(wait(script, Duration::from_secs(5)), Ok(()));
}

#[test]
fn helpers_are_stopped_even_if_they_are_gone() {
    Helper { child: run("sleep 9").child }.stop().unwrap();
    let run = run("exit 0");
    std::thread::sleep(Duration::from_millis(100));
    Helper { child: run.child }.stop().unwrap();
}
