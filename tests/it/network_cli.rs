//! Networks as far as they need no running container: making, listing, inspecting, removing them,
//! putting containers on them that do not run, and what bad input is answered.

use crate::common::{Bench, names_in, write};
use serde_json::Value;

const USER_NETWORK: &[&str] = &[
    "network",
    "create",
    "--driver",
    "bridge",
    "--label",
    "project=p",
    "--label",
    "chapter=5",
    "--attachable",
    "--scope",
    "local",
    "--subnet",
    "10.0.42.0/24",
    "--ip-range",
    "10.0.42.128/25",
    "user-network",
];

/// A container that never ran.
fn created(bench: &Bench, flags: &[&str], name: &str) -> String {
    bench.rbox(&["create", "--name", name]).args(flags).args(["rootfs:/", "true"]).ok()
}

fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

fn is_id(text: &str) -> bool {
    text.len() == 64 && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

#[test]
fn the_tutorials_network() {
    let bench = Bench::new();
    let listed = bench.ok(&["network", "ls"]);
    let lines: Vec<Vec<&str>> = listed.lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(lines[0], ["NETWORK", "ID", "NAME", "DRIVER", "SCOPE"]);
    let rows: Vec<&[&str]> = lines[1..].iter().map(|row| &row[1..]).collect();
    assert_eq!(rows, [["bridge", "bridge", "local"], ["host", "host", "local"], ["none", "null", "local"]]);
    assert!(lines[1..].iter().all(|row| row[0].len() == 12), "{listed}");

    let id = bench.ok(USER_NETWORK);
    assert!(is_id(&id), "{id}");
    assert_eq!(
        bench.ok(&["network", "ls", "-f", "name=user-network"]),
        format!("NETWORK ID     NAME           DRIVER    SCOPE\n{}   user-network   bridge    local", &id[..12])
    );
    let second = bench.ok(&["network", "create", "--subnet", "10.0.43.0/24", "user-network2"]);
    assert_ne!(id, second);

    let shown = json(&bench.ok(&["network", "inspect", "user-network"]));
    let network = &shown[0];
    for (pointer, expected) in [
        ("/Name", r#""user-network""#),
        ("/Scope", r#""local""#),
        ("/Driver", r#""bridge""#),
        ("/EnableIPv4", "true"),
        ("/EnableIPv6", "false"),
        (
            "/IPAM",
            r#"{"Driver":"default","Options":{},"Config":[{"Subnet":"10.0.42.0/24","IPRange":"10.0.42.128/25","Gateway":"10.0.42.128"}]}"#,
        ),
        ("/Internal", "false"),
        ("/Attachable", "true"),
        ("/ConfigFrom", r#"{"Network":""}"#),
        ("/Containers", "{}"),
        ("/Options", "{}"),
        ("/Labels", r#"{"chapter":"5","project":"p"}"#),
    ] {
        assert_eq!(network.pointer(pointer).map(Value::to_string).as_deref(), Some(expected), "{pointer}");
    }
    assert_eq!(network["Id"], id);
    let created = network["Created"].as_str().expect("a text");
    assert!(created.ends_with('Z') && created.contains('T'), "{created}");
    // By its id, by a prefix, and by inspect of everything.
    for name in [&id, &id[..8], "user-network"] {
        assert_eq!(bench.ok(&["network", "inspect", "-f", "{{.Id}}", name]), id);
        assert_eq!(bench.ok(&["inspect", "-f", "{{.Name}}", name]), "user-network");
    }
    assert_eq!(
        bench.ok(&["inspect", "--type", "network", "-f", "{{(index .IPAM.Config 0).Gateway}}", "user-network2"]),
        "10.0.43.1"
    );
    assert_eq!(bench.ok(&["network", "rm", "user-network", &second[..12]]), format!("user-network\n{}", &second[..12]));
    assert_eq!(bench.ok(&["network", "ls", "-q"]).lines().count(), 3);
    assert_eq!(names_in(bench.root().join("networks")).iter().filter(|name| name.contains("user")).count(), 0);
}

#[test]
fn lists_for_people_and_scripts() {
    let bench = Bench::new();
    let back = bench.ok(&["network", "create", "--label", "tier=back", "--internal", "back"]);
    bench.ok(&["network", "create", "--ipv6", "--label", "tier=front", "--label", "x", "front"]);
    let names =
        |args: &[&str]| bench.rbox(&["network", "ls", "--format", "{{.Name}}"]).args(args).ok().replace('\n', " ");
    let by_id = format!("id={}", &back[..10]);
    for (args, expected) in [
        (&[][..], "back bridge front host none"),
        (&["-f", "driver=null"], "none"),
        (&["-f", "driver=null", "-f", "driver=host"], "host none"),
        (&["-f", "name=b"], "back bridge"),
        (&["-f", "name=^f"], "front"),
        (&["-f", &by_id], "back"),
        (&["-f", "label=x"], "front"),
        (&["-f", "label=tier=back"], "back"),
        (&["-f", "label=tier", "-f", "label!=x"], "back"),
        (&["-f", "scope=local", "-f", "type=builtin"], "bridge host none"),
        (&["-f", "scope=swarm"], ""),
        (&["-f", "type=custom"], "back front"),
        (&["-f", "dangling=true"], "back front"),
        (&["-f", "dangling=false"], "bridge host none"),
        (&["-f", "until=24h"], ""),
    ] {
        assert_eq!(names(args), expected, "{args:?}");
    }
    for (args, text) in [
        (&["-f", "bogus=1"][..], "invalid filter 'bogus'"),
        (&["-f", "type=odd"], "invalid filter 'type=odd'"),
        (&["-f", "dangling=maybe"], "invalid filter 'dangling=maybe'"),
        (&["--format", "{{.Nope}}"], "can't evaluate field Nope in type *network.networkContext"),
        (&["--format", "{{.Name"], "failed to parse template"),
    ] {
        bench.rbox(&["network", "ls"]).args(args).run().refused(1, text);
    }
    assert_eq!(bench.ok(&["network", "ls", "-q", "--no-trunc", "-f", "name=back"]), back);
    assert_eq!(bench.ok(&["network", "list", "-n", "-f", "name=back"]).lines().count(), 1);
    let line = json(&bench.ok(&["network", "ls", "--format", "json", "-f", "name=front"]));
    let keys: Vec<&String> = line.as_object().expect("an object").keys().collect();
    assert_eq!(keys, ["CreatedAt", "Driver", "ID", "IPv4", "IPv6", "Internal", "Labels", "Name", "Scope"]);
    assert_eq!((&line["IPv4"], &line["IPv6"], &line["Internal"]), (&"true".into(), &"true".into(), &"false".into()));
    assert_eq!(line["Labels"], "tier=front,x=");
    let podmans = "{{.NetworkInterface}} {{.DNSEnabled}} {{.Label \"tier\"}}";
    assert_eq!(
        bench.ok(&["network", "ls", "-f", "name=back", "--format", podmans]),
        format!("br-{} true back", &back[..12])
    );
}

#[test]
fn removing_and_pruning() {
    let bench = Bench::new();
    for name in ["one", "two", "three"] {
        bench.ok(&["network", "create", "--label", &format!("name={name}"), name]);
    }
    for name in ["one", "bridge"] {
        bench.rbox(&["network", "exists", name]).run().exits(0);
    }
    bench.rbox(&["network", "exists", "nosuch"]).run().exits(1);
    let output = bench.rbox(&["network", "rm", "nosuch", "one", "host"]).run().exits(1);
    assert_eq!(output.out(), "one", "the others are done");
    assert_eq!(
        output.err(),
        "rbox: network nosuch not found\nrbox: host is a pre-defined network and cannot be removed"
    );
    assert_eq!(bench.ok(&["network", "rm", "-f", "nosuch"]), "nosuch");
    bench
        .rbox(&["network", "rm", "-f", "bridge"])
        .run()
        .refused(1, "bridge is a pre-defined network and cannot be removed");

    // A container that does not run holds no network.
    created(&bench, &["--network", "three"], "idle");
    let question = "WARNING! This will remove all custom networks not used by at least one container.\n\
                    Are you sure you want to continue? [y/N] ";
    for answer in ["", "n\n", "\n"] {
        let output = bench.rbox(&["network", "prune"]).stdin(answer).run().ok();
        assert_eq!(output.out(), question, "{answer:?}");
    }
    let output = bench.rbox(&["network", "prune", "--filter", "label=name=two"]).stdin("y\n").run().ok();
    assert_eq!(String::from_utf8_lossy(&output.stdout), format!("{question}Deleted Networks:\ntwo\n\n"));
    assert_eq!(bench.ok(&["network", "prune", "-f", "--filter", "until=24h"]), "");
    let output = bench.rbox(&["network", "prune", "-f"]).run().ok();
    assert_eq!(String::from_utf8_lossy(&output.stdout), "Deleted Networks:\nthree\n\n");
    assert_eq!(bench.ok(&["network", "prune", "-f"]), "");
    bench.ok(&["rm", "idle"]);
}

#[test]
fn addresses_are_chosen_and_checked() {
    let bench = Bench::new();
    let config = |name: &str| bench.ok(&["network", "inspect", "-f", "{{json .IPAM.Config}}", name]);
    bench.ok(&["network", "create", "--subnet", "10.77.0.0/16", "--gateway", "10.77.9.9", "given"]);
    assert_eq!(config("given"), r#"[{"Subnet":"10.77.0.0/16","Gateway":"10.77.9.9"}]"#);
    bench.ok(&["network", "create", "--subnet", "10.78.0.0/24", "--aux-address", "printer=10.78.0.9", "aux"]);
    assert_eq!(
        config("aux"),
        r#"[{"Subnet":"10.78.0.0/24","Gateway":"10.78.0.1","AuxiliaryAddresses":{"printer":"10.78.0.9"}}]"#
    );
    bench.ok(&["network", "create", "--subnet", "10.79.0.0/24", "--subnet", "fd12:3456::/64", "both"]);
    assert!(config("both").contains(r#""Subnet":"fd12:3456::/64","Gateway":"fd12:3456::1""#), "{}", config("both"));
    bench.ok(&["network", "create", "first"]);
    bench.ok(&["network", "create", "second"]);
    assert_ne!(config("first"), config("second"), "each has a subnet of its own");
    for (args, text) in [
        (&["--subnet", "10.77.5.0/24", "x1"][..], "Pool overlaps with other one on this address space"),
        (&["--subnet", "1.2.3.4/33", "x2"], "invalid CIDR address: 1.2.3.4/33"),
        (&["--subnet", "nonsense", "x3"], "invalid CIDR address: nonsense"),
        (&["--subnet", "10.80.0.0/24", "--gateway", "10.81.0.1", "x4"], "10.81.0.1"),
        (&["--subnet", "10.80.0.0/24", "--gateway", "nonsense", "x5"], "nonsense"),
        (&["--subnet", "10.80.0.0/24", "--ip-range", "10.99.0.0/25", "x6"], "10.99.0.0/25"),
        (&["--subnet", "10.80.0.0/24", "--aux-address", "printer=10.99.0.1", "x7"], "10.99.0.1"),
        (&["--ip-range", "10.80.0.0/25", "x8"], "every ip-range or gateway must have a corresponding subnet"),
        (&["--ipv4=false", "x9"], "IPv4 or IPv6 must be enabled"),
        (&["first"], "network with name first already exists"),
        (&["bridge"], "operation is not permitted on predefined bridge network"),
        (&["none"], "operation is not permitted on predefined none network"),
        (&["a b"], "a b"),
        (&["../x"], "../x"),
        (&[""], "name"),
        (&["-d", "overlay", "xa"], "network driver \"overlay\" is not supported: bridge is the only one"),
        (&["--scope", "swarm", "xb"], "network scope \"swarm\" is not supported: local is the only one"),
        (&["--ipam-driver", "dhcp", "xc"], "network IPAM driver \"dhcp\" is not supported: default is the only one"),
        (&["-o", "parent=eth0", "xd"], "unknown network option \"parent\""),
        (
            &["-o", "com.docker.network.driver.mtu=x", "xe"],
            "invalid value \"x\" of option com.docker.network.driver.mtu",
        ),
        (&["--label", "", "xf"], "label"),
    ] {
        let output = bench.rbox(&["network", "create"]).args(args).run().exits_with_one_of(&[1, 125]);
        assert!(output.err().contains(text), "{args:?}: {}", output.report());
        assert_eq!((output.err().lines().count(), output.out().len()), (1, 0), "{args:?}: {}", output.report());
    }
    for (args, text) in [
        (&["network", "create", "--ipv6=maybe", "x"][..], "invalid argument \"maybe\" for \"--ipv6\" flag"),
        (&["network", "create", "--dns", "nonsense", "x"], "invalid argument \"nonsense\" for \"--dns\" flag"),
        (&["network", "create", "--nosuch", "x"], "unknown flag: --nosuch; see 'rbox network create --help'"),
    ] {
        bench.rbox(args).run().refused(125, text);
    }
    bench.rbox(&["network", "create"]).run().refused(1, "missing argument: ");
    assert_eq!(bench.ok(&["network", "ls", "-q", "-f", "name=x"]).lines().count(), 1, "nothing but aux is left");
    // What is there already is no failure when that is said.
    let id = bench.ok(&["network", "inspect", "-f", "{{.Id}}", "first"]);
    assert_eq!(bench.ok(&["network", "create", "--ignore", "first"]), id);
    let name = "{{.Options}} {{.EnableIPv6}}";
    bench.ok(&["network", "create", "--opt", "com.docker.network.driver.mtu=1400", "-o", "isolate=true", "options"]);
    let options = bench.ok(&["network", "inspect", "-f", name, "options"]);
    assert_eq!(options, "map[com.docker.network.driver.mtu:1400 isolate:true] false");
}

#[test]
fn containers_that_do_not_run_are_connected() {
    let bench = Bench::new();
    bench.ok(USER_NETWORK);
    bench.ok(&["network", "create", "--subnet", "10.0.43.0/24", "user-network2"]);
    let id = created(&bench, &["--network", "user-network"], "explorer");
    let networks = || bench.ok(&["ps", "-a", "--format", "{{.Names}}={{.Networks}}"]).replace('\n', " ");
    assert_eq!(networks(), "explorer=user-network");
    let args = [
        "network",
        "connect",
        "--ip",
        "10.0.43.9",
        "--alias",
        "map",
        "--mac-address",
        "02:00:00:00:00:09",
        "--gw-priority",
        "7",
    ];
    assert_eq!(bench.rbox(&args).args(["user-network2", "explorer"]).ok(), "", "it is silent");
    assert_eq!(networks(), "explorer=user-network,user-network2");
    let shown = json(&bench.inspect("explorer", "{{json .NetworkSettings.Networks}}"));
    let second = &shown["user-network2"];
    for (field, expected) in [
        ("IPAMConfig", r#"{"IPv4Address":"10.0.43.9"}"#),
        ("Aliases", r#"["map"]"#),
        ("MacAddress", r#""02:00:00:00:00:09""#),
        ("GwPriority", "7"),
        ("IPAddress", r#""""#),
        ("EndpointID", r#""""#),
    ] {
        assert_eq!(second[field].to_string(), expected, "{field}");
    }
    assert_eq!(second["NetworkID"], bench.ok(&["network", "inspect", "-f", "{{.Id}}", "user-network2"]));
    assert_eq!(bench.inspect("explorer", "{{.HostConfig.NetworkMode}}"), "user-network");
    for (filter, expected) in [("user-network2", "explorer"), ("bridge", ""), ("none", ""), ("nosuch", "")] {
        let filter = format!("network={filter}");
        assert_eq!(bench.ok(&["ps", "-a", "--filter", &filter, "--format", "{{.Names}}"]), expected, "{filter}");
    }

    for (args, text) in [
        (&["user-network2", "explorer"][..], "endpoint with name explorer already exists in network user-network2"),
        (&["nosuch", "explorer"], "network nosuch not found"),
        (&["user-network2", "nosuch"], "No such container: nosuch"),
        (
            &["host", "explorer"],
            "cannot connect container to host network - container must be created in host network mode",
        ),
        (
            &["none", "explorer"],
            "container cannot be connected to multiple networks with one of the networks in private (none) mode",
        ),
        (&["--alias", "a b", "bridge", "explorer"], "invalid network alias"),
        (&["--driver-opt", "a=b", "bridge", "explorer"], "unknown endpoint option \"a=b\""),
    ] {
        bench.rbox(&["network", "connect"]).args(args).run().refused(1, text);
    }
    for (flags, name) in [(&["--network", "host"][..], "shares"), (&["--network", "container:explorer"], "guest")] {
        created(&bench, flags, name);
        bench.rbox(&["network", "connect", "user-network", name]).run().refused(
            1,
            "container sharing network namespace with another container or host cannot be connected to any other network",
        );
    }
    bench
        .rbox(&["network", "disconnect", "host", "shares"])
        .run()
        .refused(1, "cannot disconnect container from host network - container was created in host network mode");
    bench.ok(&["rm", "guest", "shares"]);

    let away = ["network", "disconnect", "user-network2", "explorer"];
    bench.ok(&away);
    bench.rbox(&away).run().refused(1, &format!("container {id} is not connected to network user-network2"));
    bench.rbox(&["network", "disconnect", "nosuch", "explorer"]).run().refused(1, "network nosuch not found");
    // Off its last network, and onto another.
    bench.ok(&["network", "disconnect", "-f", "user-network", "explorer"]);
    assert_eq!(networks(), "explorer=");
    bench.ok(&["network", "connect", "bridge", "explorer"]);
    assert_eq!(networks(), "explorer=bridge");

    created(&bench, &["--network", "none"], "lonely");
    bench.rbox(&["network", "connect", "user-network", "lonely"]).run().refused(1, "in private (none) mode");
    bench.ok(&["network", "disconnect", "none", "lonely"]);
    bench.ok(&["network", "connect", "user-network", "lonely"]);
    assert_eq!(networks(), "lonely=user-network explorer=bridge");
    bench.rbox(&["network", "connect", "--ip", "10.1.1.1", "user-network2", "lonely"]).run().refused(1, "10.1.1.1");
    bench.rbox(&["network", "connect", "--ip", "10.0.43.1", "user-network2", "lonely"]).run().refused(1, "10.0.43.1");
    for (flag, value) in [("--ip", "nonsense"), ("--ip6", "1.2.3.4"), ("--mac-address", "01:00:00:00:00:09")] {
        let expected = format!("invalid argument \"{value}\" for \"{flag}\" flag: ");
        bench.rbox(&["network", "connect", flag, value, "user-network2", "lonely"]).run().refused(125, &expected);
    }
    assert_eq!(networks(), "lonely=user-network explorer=bridge");
    bench.ok(&["rm", "lonely", "explorer"]);
}

#[test]
fn ports_of_what_does_not_run() {
    let bench = Bench::new();
    created(&bench, &["-p", "8080:80", "-p", "127.0.0.1::53/udp", "--expose", "9"], "web");
    assert_eq!(bench.ok(&["port", "web"]), "");
    assert_eq!(bench.ok(&["port", "-a"]), "");
    bench.rbox(&["port", "web", "80"]).run().refused(1, "no public port '80' published for web");
    bench.rbox(&["container", "port", "-l", "81/tcp"]).run().refused(1, "no public port '81/tcp' published for web");
    bench.rbox(&["port", "web", "x"]).run().refused(1, "invalid port (x)");
    bench.rbox(&["port", "nosuch"]).run().refused(1, "No such container: nosuch");
    bench.rbox(&["port"]).run().refused(1, "missing argument: ");
    assert_eq!(
        bench.inspect("web", "{{json .HostConfig.PortBindings}}"),
        r#"{"53/udp":[{"HostIp":"127.0.0.1","HostPort":""}],"80/tcp":[{"HostIp":"","HostPort":"8080"}]}"#
    );
    assert_eq!(bench.inspect("web", "{{json .NetworkSettings.Ports}}"), "{}");
    let names = |filter: &str| bench.ok(&["ps", "-a", "-f", filter, "--format", "{{.Names}}|{{.Ports}}"]);
    for (filter, expected) in [
        ("publish=80", "web|"),
        ("publish=70-90/tcp", "web|"),
        ("publish=53/udp", "web|"),
        ("publish=8080", ""),
        ("publish=9", ""),
        ("expose=9", "web|"),
        ("expose=80", "web|"),
    ] {
        assert_eq!(names(filter), expected, "{filter}");
    }
    bench.rbox(&["ps", "-f", "publish=1/x"]).run().refused(1, "invalid proto: x");
    bench.ok(&["rm", "web"]);
}

#[test]
fn damage_and_crowds() {
    let bench = Bench::new();
    bench.ok(&["network", "create", "good"]);
    bench.ok(&["network", "create", "bad"]);
    write(bench.root().join("networks/bad.json"), "{");
    let output = bench.rbox(&["network", "ls", "--format", "{{.Name}}"]).run().ok();
    assert_eq!(output.out().replace('\n', " "), "bridge good host none");
    assert!(output.err().contains("bad") && output.err().lines().count() == 1, "{}", output.report());
    assert_eq!(bench.ok(&["network", "inspect", "-f", "{{.Name}}", "good"]), "good");
    let output = bench.rbox(&["network", "inspect", "nosuch"]).run().exits(1);
    assert_eq!((output.out(), output.err()), ("[]".to_owned(), "rbox: network nosuch not found".to_owned()));
    // Nobody knows which addresses it has.
    bench.rbox(&["network", "create", "more"]).run().refused(1, "network bad cannot be used");
    bench.rbox(&["system", "check", "--repair"]).run();
    // Each gets addresses of its own when many are made at once.
    let makers: Vec<_> = (0..8).map(|n| bench.rbox(&["network", "create", &format!("n{n}")]).spawn()).collect();
    makers.into_iter().for_each(|maker| drop(maker.wait().ok()));
    let subnets = bench.shell("rbox network ls -q -f name=^n[0-9] | xargs rbox network inspect -f '{{(index .IPAM.Config 0).Subnet}}' | sort -u | wc -l");
    assert_eq!(subnets.ok().trim(), "8");
    bench.expect_damage();
}
