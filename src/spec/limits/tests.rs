use super::*;

fn machine() -> Available {
    Available { cpus: "0-3".to_owned(), mems: "0".to_owned() }
}

fn number(path: &str) -> Result<String, String> {
    if path == "/dev/sda" { Ok("8:0".to_owned()) } else { Err(format!("no {path}")) }
}

fn files(limits: &Limits) -> (Vec<String>, Vec<String>) {
    let show = |settings: Vec<Setting>| settings.iter().map(|one| format!("{}={}", one.file, one.value)).collect();
    (show(unified(limits, number).unwrap().0), show(legacy(limits, number).unwrap().0))
}

#[test]
fn weights_lead_from_the_usual_to_the_usual() {
    for (shares, weight) in [(0, 1), (2, 1), (512, 59), (1024, 100), (2048, 174), (262_144, 10_000), (u64::MAX, 10_000)]
    {
        assert_eq!(cpu_weight(shares), weight, "{shares}");
    }
    assert_eq!((io_weight(10), io_weight(500), io_weight(1000)), (1, 4950, 10_000));
}

#[test]
fn processors_are_decimals() {
    for (text, nano) in [("0.75", 750_000_000), ("2", 2_000_000_000), (".5", 500_000_000), ("1.", 1_000_000_000)] {
        assert_eq!(parse_cpus(text), Ok(nano), "{text}");
    }
    assert_eq!(parse_cpus("0.0000000010"), Ok(1));
    assert_eq!(parse_cpus("0.0000000001"), Err(InvalidLimit::TooPrecise));
    assert_eq!(parse_cpus("99999999999"), Err(InvalidLimit::TooLarge));
    for text in ["", ".", "-1", "1e3", "x", "1.2.3", "\u{1b}"] {
        assert!(matches!(parse_cpus(text), Err(InvalidLimit::Rational(_))), "{text}");
    }
}

#[test]
fn lists_are_numbers_and_ranges() {
    assert_eq!(parse_list("0-2,1,7"), Ok(vec![0, 1, 2, 7]));
    assert_eq!(parse_list(""), Ok(Vec::new()));
    for text in ["3-1", "a", "1-", "-1", "1,,2", "0-4294967295", "+1", "1 2"] {
        assert!(parse_list(text).is_err(), "{text}");
    }
}

#[test]
fn devices_have_rates() {
    assert_eq!(parse_speed("/dev/sda:1mb"), Ok(DeviceRate { path: "/dev/sda".to_owned(), rate: 1 << 20 }));
    assert_eq!(parse_rate("/dev/sda:100"), Ok(DeviceRate { path: "/dev/sda".to_owned(), rate: 100 }));
    assert!(parse_rate("/dev/sda:1k").is_err() && parse_speed("/dev/sda:-1").is_err());
    assert_eq!(parse_speed("sda:1"), Err(InvalidLimit::DevicePath("sda:1".to_owned())));
    assert_eq!(parse_speed("/dev/sda"), Err(InvalidLimit::Device("/dev/sda".to_owned())));
    assert_eq!(parse_weight_device("/dev/sda:5"), Err(InvalidLimit::Weight("/dev/sda:5".to_owned())));
    assert!(parse_weight_device("/dev/sda:0").is_ok() && parse_weight_device("/dev/sda:1000").is_ok());
}

#[test]
fn raw_files_are_those_of_controllers() {
    assert_eq!(parse_conf("memory.high=1G=x"), Ok(("memory.high".to_owned(), "1G=x".to_owned())));
    for text in ["memory.high", "memory.high=", "cgroup.procs=1", "../memory.max=1", "a/b.c=1", "memory=1", ".x=1"] {
        assert!(parse_conf(text).is_err(), "{text}");
    }
}

#[test]
fn each_limit_is_a_file_of_either_version() {
    let limits = Limits {
        memory: 64 << 20,
        memory_reservation: 32 << 20,
        nano_cpus: 500_000_000,
        cpu_shares: 1024,
        cpuset_cpus: "0,2".to_owned(),
        pids_limit: Some(100),
        device_read_bps: vec![DeviceRate { path: "/dev/sda".to_owned(), rate: 1000 }],
        blkio_weight: 1000,
        ..Limits::default()
    };
    let (new, old) = files(&limits.settle(&machine()).unwrap());
    assert_eq!(
        new,
        [
            "memory.max=67108864",
            "memory.swap.max=67108864",
            "memory.low=33554432",
            "cpu.weight=100",
            "cpu.max=50000 100000",
            "cpuset.cpus=0,2",
            "pids.max=100",
            "io.weight=default 10000",
            "io.max=8:0 rbps=1000",
        ]
    );
    assert_eq!(
        old,
        [
            "memory.limit_in_bytes=67108864",
            "memory.memsw.limit_in_bytes=134217728",
            "memory.soft_limit_in_bytes=33554432",
            "cpu.shares=1024",
            "cpu.cfs_period_us=100000",
            "cpu.cfs_quota_us=50000",
            "cpuset.cpus=0,2",
            "pids.max=100",
            "blkio.weight=1000",
            "blkio.throttle.read_bps_device=8:0 1000",
        ]
    );
    let open = Limits { memory: 64 << 20, memory_swap: -1, pids_limit: Some(0), cpu_quota: -1, ..Limits::default() };
    let (new, old) = files(&open);
    assert_eq!(new, ["memory.max=67108864", "memory.swap.max=max", "cpu.max=max 100000", "pids.max=max"]);
    assert!(
        old.contains(&"memory.memsw.limit_in_bytes=-1".to_owned()) && old.contains(&"cpu.cfs_quota_us=-1".to_owned())
    );
    let missing =
        Limits { device_read_bps: vec![DeviceRate { path: "/dev/x".to_owned(), rate: 1 }], ..Limits::default() };
    assert_eq!(unified(&missing, number), Err("no /dev/x".to_owned()));
}

#[test]
fn nonsense_is_refused_in_dockers_words() {
    let mib = 1 << 20;
    let plain = Limits::default;
    for (limits, said) in [
        (Limits { memory: 5 * mib, ..plain() }, "Minimum memory limit allowed is 6MB"),
        (Limits { memory_reservation: mib, ..plain() }, "Minimum memory reservation allowed is 6MB"),
        (
            Limits { memory: 8 * mib, memory_swap: 7 << 20, ..plain() },
            "Minimum memoryswap limit should be larger than memory limit, see usage",
        ),
        (
            Limits { memory_swap: 7 << 20, ..plain() },
            "You should always set the Memory limit when using Memoryswap limit, see usage",
        ),
        (
            Limits { memory: 8 * mib, memory_reservation: 9 * mib, ..plain() },
            "Minimum memory limit can not be less than memory reservation limit, see usage",
        ),
        (
            Limits { nano_cpus: 5_000_000_000, ..plain() },
            "range of CPUs is from 0.01 to 4.00, as there are only 4 CPUs available",
        ),
        (Limits { nano_cpus: 1, ..plain() }, "range of CPUs is from 0.01 to 4.00, as there are only 4 CPUs available"),
        (
            Limits { nano_cpus: 1_000_000_000, cpu_period: 1000, ..plain() },
            "Conflicting options: Nano CPUs and CPU Period cannot both be set.",
        ),
        (
            Limits { cpu_period: 10, ..plain() },
            "CPU cfs period can not be less than 1ms (i.e. 1000) or larger than 1s (i.e. 1000000)",
        ),
        (Limits { cpu_quota: 10, ..plain() }, "CPU cfs quota can not be less than 1ms (i.e. 1000)"),
        (
            Limits { cpuset_cpus: "0-9".to_owned(), ..plain() },
            "Requested CPUs are not available - requested 0-9, available: 0-3",
        ),
        (Limits { cpuset_mems: "x".to_owned(), ..plain() }, "Invalid value x for cpuset mems"),
        (Limits { blkio_weight: 5, ..plain() }, "Range of blkio weight is from 10 to 1000"),
        (
            Limits { oom_score_adj: Some(1001), ..plain() },
            "Invalid value 1001, range for oom score adj is [-1000, 1000]",
        ),
        (
            Limits { cgroups: CgroupsMode::Disabled, pids_limit: Some(1), ..plain() },
            "conflicting options: --cgroups=disabled and limits, which take a cgroup",
        ),
    ] {
        assert_eq!(limits.settle(&machine()).unwrap_err().to_string(), said);
    }
    assert!(Limits { memory: 8 * mib, memory_swap: -1, ..plain() }.settle(&machine()).is_ok());
}

#[test]
fn an_update_changes_what_it_names() {
    let old = Limits { memory: 64 << 20, nano_cpus: 1_000_000_000, ..Limits::default() }.settle(&machine()).unwrap();
    let change = Limits { cpu_quota: 20_000, pids_limit: Some(7), ..Limits::default() };
    let new = old.updated(&change, &machine()).unwrap();
    assert_eq!((new.memory, new.nano_cpus, new.cpu_quota, new.pids_limit), (64 << 20, 0, 20_000, Some(7)));
    let above = Limits { memory: 256 << 20, ..Limits::default() };
    let period = Limits { cpu_period: 50_000, ..Limits::default() };
    assert_eq!(old.updated(&period, &machine()), Err(InvalidLimits::NanoCpusSet));
    let (whole, cpus) =
        (Limits { cpu_quota: 20_000, ..period }, Limits { nano_cpus: 2_000_000_000, ..Limits::default() });
    let new = old.updated(&whole, &machine()).unwrap();
    assert_eq!((new.nano_cpus, new.cpu_period, new.cpu_quota), (0, 50_000, 20_000));
    let new = new.updated(&cpus, &machine()).unwrap();
    assert_eq!((new.nano_cpus, new.cpu_period, new.cpu_quota), (2_000_000_000, 0, 0));
    assert_eq!(old.updated(&above, &machine()), Err(InvalidLimits::MemoryAboveSetSwap));
    let both = Limits { memory_swap: -1, ..above };
    assert_eq!(old.updated(&both, &machine()).unwrap().memory, 256 << 20);
    assert!(old.updated(&Limits { memory: 1, ..Limits::default() }, &machine()).is_err());
}

#[test]
fn what_takes_a_cgroup() {
    let plain = Limits::default;
    assert!(!plain().want_cgroup());
    assert!(!Limits { oom_score_adj: Some(5), host_cgroupns: true, best_effort: true, ..plain() }.want_cgroup());
    assert!(
        Limits { memory: 1, ..plain() }.want_cgroup() && Limits { oom_kill_disable: true, ..plain() }.want_cgroup()
    );
    assert!(Limits { cgroups: CgroupsMode::Split, ..plain() }.want_cgroup());
    assert!(!Limits { cgroups: CgroupsMode::Disabled, ..plain() }.want_cgroup());
    assert_eq!(serde_json::from_str::<Limits>("{}").unwrap(), plain());
}
