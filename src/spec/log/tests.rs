use super::syslog::{Address, Format};
use super::*;

fn flags(driver: Option<&str>, options: &[&str]) -> Result<LogConfig, String> {
    let defaults = LogConfig { max_size: Some(5), max_file: 2, ..LogConfig::default() };
    let options: Vec<String> = options.iter().map(|option| (*option).to_owned()).collect();
    defaults.with_flags(driver, &options).map_err(|error| error.to_string())
}

#[test]
fn flags_replace_defaults_one_by_one() {
    let json = |max_size, max_file| Ok(LogConfig { max_size, max_file, ..LogConfig::default() });
    assert_eq!(flags(None, &[]), json(Some(5), 2));
    assert_eq!(flags(None, &["max-size=10m"]), json(Some(10_000_000), 2));
    assert_eq!(flags(Some("json-file"), &["max-size=1k", "max-file=3", "max-size=-1"]), json(None, 3));
    assert_eq!(flags(Some("none"), &[]).unwrap().driver, LogDriver::None);
    for (name, driver) in DRIVERS {
        assert_eq!((name.parse(), driver.to_string()), (Ok(driver), name.to_owned()));
        let text = serde_json::to_string(&driver).unwrap();
        assert_eq!(text, format!("\"{name}\""));
    }
}

#[test]
fn a_configuration_of_before_is_read() {
    let old = r#"{"driver":"json-file","max_size":null,"max_file":1}"#;
    assert_eq!(serde_json::from_str::<LogConfig>(old).unwrap(), LogConfig::default());
    assert_eq!(serde_json::to_string(&LogConfig::default()).unwrap(), old);
}

#[test]
fn local_rotates_and_compresses_unless_told() {
    let local = |options: &[&str]| {
        let options: Vec<String> = options.iter().map(|option| (*option).to_owned()).collect();
        let config = LogConfig::default().with_flags(Some("local"), &options).unwrap();
        (config.max_size, config.max_file, config.options().unwrap().compress)
    };
    assert_eq!(local(&[]), (Some(20_000_000), 5, true));
    assert_eq!(local(&["max-file=1"]), (Some(20_000_000), 1, false));
    assert_eq!(local(&["compress=false", "max-size=1k"]), (Some(1000), 5, false));
}

#[test]
fn options_are_understood() {
    let given = ["labels=a,b", "labels-regex=^x", "env=E", "tag={{.Name}}", "mode=non-blocking", "max-buffer-size=4m"];
    let options = flags(Some("journald"), &given).unwrap().options().unwrap();
    assert!(["a", "b", "xy"].iter().all(|name| options.labels.contains(name)) && !options.labels.contains("c"));
    assert!(options.env.contains("E") && !options.env.contains("x"));
    assert_eq!((options.tag.as_deref(), options.non_blocking, options.buffer), (Some("{{.Name}}"), true, 4 << 20));
    let options = flags(Some("k8s-file"), &["path=/tmp/x.log", "compress=true"]).unwrap().options().unwrap();
    assert_eq!((options.path, options.compress), (Some("/tmp/x.log".into()), true));
}

#[test]
fn syslog_addresses_are_understood() {
    let address = |text: &str| {
        let config = flags(Some("syslog"), &[&format!("syslog-address={text}")]);
        config.map(|config| config.options().unwrap().syslog.address)
    };
    let name = |name: &str| name.to_owned();
    assert_eq!(address(""), Ok(Address::Local));
    assert_eq!(address("unix:///dev/log"), Ok(Address::Unix("/dev/log".into())));
    assert_eq!(address("unixgram:///dev/log"), Ok(Address::UnixDatagram("/dev/log".into())));
    assert_eq!(address("udp://10.0.0.1"), Ok(Address::Udp(name("10.0.0.1"), 514)));
    assert_eq!(address("tcp://logs.example:6514"), Ok(Address::Tcp(name("logs.example"), 6514)));
    assert_eq!(address("tcp://[::1]:99"), Ok(Address::Tcp(name("::1"), 99)));
    let options = flags(Some("syslog"), &["syslog-facility=local7", "syslog-format=rfc5424micro"]).unwrap();
    let syslog = options.options().unwrap().syslog;
    assert_eq!((syslog.facility, syslog.format), (23, Format::Rfc5424Micro));
}

#[test]
fn refusals_are_dockers() {
    let long = format!("syslog-address=unix:///{}", "x".repeat(120));
    for (driver, options, expected) in [
        (
            Some("gelf"),
            &[][..],
            "error looking up logging plugin gelf: plugin \"gelf\" not found: there are json-file,",
        ),
        (Some("fluentd"), &[], "error looking up logging plugin fluentd: plugin \"fluentd\" not found"),
        (Some("Journald"), &[], "error looking up logging plugin Journald"),
        (Some("none"), &["max-size=1m"], "invalid logging opts for driver none"),
        (Some("passthrough"), &["tag=x"], "invalid logging opts for driver passthrough"),
        (None, &["syslog-address=x"], "unknown log opt 'syslog-address' for json-file log driver: it has compress,"),
        (Some("journald"), &["max-size=1m"], "unknown log opt 'max-size' for journald log driver"),
        (Some("k8s-file"), &["labels=a"], "unknown log opt 'labels' for k8s-file log driver"),
        (Some("local"), &["tag=a"], "unknown log opt 'tag' for local log driver"),
        (None, &["max-size"], "invalid log opt \"max-size\": expected KEY=VALUE"),
        (None, &["max-size=0"], "max-size must be a positive number"),
        (None, &["max-size=ten"], "invalid max-size \"ten\": invalid size: 'ten'"),
        (None, &["max-file=0"], "max-file cannot be less than 1"),
        (None, &["max-file=1001"], "max-file cannot be more than 1000"),
        (None, &["max-file=99999999999"], "max-file cannot be more than 1000"),
        (None, &["max-file=x"], "invalid max-file \"x\": expected a whole number"),
        (None, &["compress=maybe"], "invalid compress \"maybe\": expected true or false"),
        (None, &["compress=true", "max-file=1"], "compress cannot be true when max-file is less than 2 or max-size"),
        (None, &["compress=true", "max-size=-1"], "compress cannot be true when max-file is less than 2 or max-size"),
        (None, &["mode=async"], "logger: logging mode not supported: async"),
        (None, &["max-buffer-size=1m"], "logger: max-buffer-size option is only supported with 'mode=non-blocking'"),
        (None, &["mode=non-blocking", "max-buffer-size=x"], "error parsing option max-buffer-size: invalid size: 'x'"),
        (None, &["labels-regex=("], "invalid labels-regex \"(\": unclosed group"),
        (None, &["path=relative"], "invalid log path \"relative\": it must be an absolute path"),
        (None, &["path=/a/../b"], "invalid log path \"/a/../b\""),
        (
            Some("syslog"),
            &["syslog-address=localhost"],
            "syslog-address should be in form proto://address, got localhost",
        ),
        (Some("syslog"), &["syslog-address=http://x"], "unsupported scheme: 'http'"),
        (Some("syslog"), &["syslog-address=tcp+tls://x:1"], "syslog over TLS is not supported: send to a relay"),
        (Some("syslog"), &["syslog-tls-ca-cert=x"], "syslog over TLS is not supported: send to a relay"),
        (Some("syslog"), &["syslog-address=udp://"], "invalid syslog-address \"udp://\": expected HOST[:PORT]"),
        (Some("syslog"), &["syslog-address=udp://h:99999"], "invalid syslog-address \"udp://h:99999\": the port must"),
        (
            Some("syslog"),
            &["syslog-address=udp://h:0"],
            "invalid syslog-address \"udp://h:0\": the port must be a number",
        ),
        (Some("syslog"), &["syslog-address=tcp://[::1"], "invalid syslog-address \"tcp://[::1\": the bracket is not"),
        (Some("syslog"), &["syslog-address=tcp://a b"], "invalid syslog-address \"tcp://a b\": expected HOST[:PORT]"),
        (
            Some("syslog"),
            &["syslog-address=unix://x"],
            "invalid syslog-address \"unix://x\": expected the absolute path",
        ),
        (Some("syslog"), &[long.as_str()], "invalid syslog-address"),
        (Some("syslog"), &["syslog-facility=local8"], "invalid syslog facility: \"local8\""),
        (Some("syslog"), &["syslog-facility=24"], "invalid syslog facility: \"24\""),
        (Some("syslog"), &["syslog-format=json"], "invalid syslog format: \"json\""),
        (Some("syslog"), &["cache-disabled=x"], "invalid cache-disabled \"x\": expected true or false"),
    ] {
        let error = flags(driver, options).unwrap_err();
        assert!(error.starts_with(expected), "{error}");
        assert!(!error.contains('\n'), "{error}");
    }
}

#[test]
fn inspect_shows_what_is_in_force() {
    let shown = |options: &[(&str, &str)]| -> BTreeMap<String, String> {
        options.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
    };
    let config = flags(None, &["max-size=10m", "labels=a"]).unwrap();
    assert_eq!(config.shown(), shown(&[("labels", "a"), ("max-file", "2"), ("max-size", "10m")]));
    assert!(LogConfig::default().shown().is_empty());
    assert!(flags(Some("none"), &[]).unwrap().shown().is_empty());
    assert_eq!(flags(Some("syslog"), &["tag=x"]).unwrap().shown(), shown(&[("tag", "x")]));
}
