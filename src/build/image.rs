//! The configuration of the image that a stage makes: what each instruction does to it, and the history.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::args::{self, Args, Given};
use crate::build::step::worker::Report;
use crate::spec::create::{DEFAULT_PATH, parse_expose};
use crate::spec::digest::Digest;
use crate::spec::dockerfile::ast::{Arg, Command, Healthcheck, Instruction, Pair};
use crate::spec::dockerfile::expand;
use crate::spec::env::{self, EnvChange};
use crate::spec::image::{History, ImageConfig};
use crate::spec::platform::Platform;
use crate::spec::signal::Signal;

const COMMENT: &str = "buildkit.dockerfile.v0";
const SHELL: [&str; 2] = ["/bin/sh", "-c"];
/// What docker keeps beside the image proper, about how that very image was made.
const OF_THE_MAKER: [&str; 7] =
    ["id", "parent", "comment", "container", "container_config", "docker_version", "moby.buildkit.buildinfo.v1"];

/// A stage as far as it was evaluated.
#[derive(Clone, Debug)]
pub struct StageImage {
    pub config: ImageConfig,
    pub args: Args,
    /// CMD was set in this stage.
    cmd_set: bool,
    escape: char,
    /// RFC 3339: when everything is said to have been made.
    created: Option<String>,
}

impl StageImage {
    /// A stage from nothing.
    pub fn scratch(platform: &Platform, escape: char, created: Option<&str>) -> Self {
        let mut config = ImageConfig {
            architecture: platform.architecture.clone(),
            os: platform.os.clone(),
            variant: platform.variant.clone(),
            ..ImageConfig::default()
        };
        config.config.working_dir = "/".to_owned();
        config.rootfs.kind = "layers".to_owned();
        Self::from_config(config, escape, created)
    }

    /// A stage from an image.
    pub fn from_base(mut config: ImageConfig, platform: &Platform, escape: char, created: Option<&str>) -> Self {
        OF_THE_MAKER.iter().for_each(|key| drop(config.rest.remove(*key)));
        if config.architecture.is_empty() {
            config.architecture.clone_from(&platform.architecture);
        }
        if config.os.is_empty() {
            config.os.clone_from(&platform.os);
        }
        config.rootfs.kind = "layers".to_owned();
        Self::from_config(config, escape, created)
    }

    /// A stage from another one, whose arguments it knows.
    pub fn from_stage(stage: &Self) -> Self {
        let image = Self::from_config(stage.config.clone(), stage.escape, stage.created.as_deref());
        Self { args: stage.args.clone(), ..image }
    }

    fn from_config(mut config: ImageConfig, escape: char, created: Option<&str>) -> Self {
        if !config.config.env.iter().any(|entry| entry.starts_with("PATH=")) {
            config.config.env.push(DEFAULT_PATH.to_owned());
        }
        Self { config, args: Args::default(), cmd_set: false, escape, created: created.map(str::to_owned) }
    }

    /// Sets variables.
    pub fn set_environment(&mut self, variables: &[(String, String)]) {
        let changes = variables.iter();
        let changes = changes.map(|(name, value)| EnvChange { name: name.clone(), value: Some(value.clone()) });
        env::apply(&mut self.config.config.env, changes);
    }

    /// Takes the triggers off that its base has left.
    pub fn take_triggers(&mut self) -> Vec<String> {
        let triggers = self.config.config.rest.remove("OnBuild");
        let list = triggers.as_ref().and_then(Value::as_array).into_iter().flatten();
        list.filter_map(|trigger| trigger.as_str().map(str::to_owned)).collect()
    }

    /// The value of a variable: of the environment, or of an ARG.
    pub fn lookup(&self, name: &str) -> Option<String> {
        let in_environment = |entry: &String| {
            let (known, value) = entry.split_once('=').unwrap_or((entry, ""));
            (known == name).then(|| value.to_owned())
        };
        self.config.config.env.iter().rev().find_map(in_environment).or_else(|| self.args.get(name).cloned())
    }

    /// Expands a word of an instruction.
    pub fn expand(&self, word: &str) -> Result<String, String> {
        args::expand(word, self.escape, &|name| self.lookup(name))
    }

    /// Expands the variables of a heredoc's content, where quotes mean nothing.
    pub fn expand_content(&self, content: &str) -> Result<String, String> {
        expand::expand_content(content, &|name| self.lookup(name)).map_err(|error| error.to_string())
    }

    /// Words that may expand to nothing.
    pub fn expand_all(&self, words: &[String]) -> Result<Vec<String>, String> {
        let words = words.iter().map(|word| self.expand(word)).collect::<Result<Vec<_>, _>>()?;
        Ok(words.into_iter().filter(|word| !word.is_empty()).collect())
    }

    /// The shell of commands in shell form.
    pub fn shell(&self) -> Vec<String> {
        let set = self.config.config.rest.get("Shell").and_then(Value::as_array);
        let words = |words: &Vec<Value>| words.iter().filter_map(|word| word.as_str().map(str::to_owned)).collect();
        set.map(words)
            .filter(|words: &Vec<String>| !words.is_empty())
            .unwrap_or_else(|| SHELL.map(str::to_owned).into())
    }

    /// The words of a command.
    pub fn command(&self, command: &Command) -> Vec<String> {
        match command {
            Command::Exec(words) => words.clone(),
            Command::Shell(text) => self.shell().into_iter().chain([text.clone()]).collect(),
        }
    }

    /// The environment of RUN: the image's, ARGs that it does not hide, and proxies that were given.
    pub fn run_environment(&self, given: &Given) -> Vec<String> {
        let mut environment = self.config.config.env.clone();
        let mut add = |name: &str, value: &str| {
            if !environment.iter().any(|entry| entry.split_once('=').is_some_and(|(known, _)| known == name)) {
                environment.push(format!("{name}={value}"));
            }
        };
        for (name, value) in self.args.iter() {
            if let Some(value) = value {
                add(name, value);
            }
        }
        given.proxies().for_each(|(name, value)| add(name, value));
        environment
    }

    /// An absolute path for one that may be below the working directory.
    pub fn absolute(&self, path: &str) -> String {
        absolute(&self.config.config.working_dir, path)
    }

    /// Adds a step to the history that needed no work.
    pub fn record(&mut self, created_by: impl Into<String>) {
        self.record_step(created_by, &Report::default());
    }

    /// Adds a step to the history, with what came of it.
    pub fn record_step(&mut self, created_by: impl Into<String>, report: &Report) {
        self.config.history.push(History {
            created: self.created.clone().or_else(|| report.created.clone()),
            created_by: created_by.into(),
            comment: COMMENT.to_owned(),
            empty_layer: report.layer.is_none(),
            rest: Map::new(),
        });
    }

    /// The configuration. Steps without a time of their own get that of the one before, or after, so that an image
    /// whose steps are all in the cache is the same image (BuildKit).
    pub fn finish(self, now: &str) -> ImageConfig {
        let mut config = self.config;
        let first = config.history.iter().find_map(|step| step.created.clone());
        let mut last = first.unwrap_or_else(|| now.to_owned());
        for step in &mut config.history {
            last = step.created.clone().unwrap_or(last);
            step.created = Some(last.clone());
        }
        config.created = self.created.or(Some(last));
        config
    }

    /// Adds a layer.
    pub fn add_layer(&mut self, diff_id: Digest) {
        self.config.rootfs.diff_ids.push(diff_id);
    }

    /// Replaces all layers but the lowest `kept` by what squashing them made, or nothing.
    pub fn squash(&mut self, kept: usize, report: &Report) {
        let diff_ids = &mut self.config.rootfs.diff_ids;
        diff_ids.truncate(kept);
        diff_ids.extend(report.layer.map(|layer| layer.diff_id));
        let mut layers = 0;
        for step in &mut self.config.history {
            layers += usize::from(!step.empty_layer);
            step.empty_layer |= layers > kept;
        }
        if report.layer.is_some() {
            self.record_step(format!("squashed {} layers", layers - kept), report);
        }
    }

    /// What RUN's history says: the ARGs that count, and the words.
    pub fn run_history(&self, words: &[String]) -> String {
        let args: Vec<String> = self
            .args
            .iter()
            .filter(|(name, _)| !args::is_predefined(name))
            .map(|(name, value)| format!("{name}={}", value.unwrap_or_default()))
            .collect();
        let count = if args.is_empty() { Vec::new() } else { vec![format!("|{}", args.len())] };
        let all: Vec<&str> = count.iter().chain(&args).chain(words).map(String::as_str).collect();
        format!("RUN {} # buildkit", all.join(" "))
    }

    /// Takes an instruction that changes nothing but the configuration; false for one that does work.
    /// WORKDIR does both: its directory is the caller's affair.
    pub fn apply(&mut self, instruction: &Instruction, given: &Given) -> Result<bool, String> {
        match instruction {
            Instruction::Add(_) | Instruction::Copy(_) | Instruction::Run(_) | Instruction::Workdir(_) => {
                return Ok(false);
            }
            Instruction::Arg(arg) => self.arg(arg, given)?,
            Instruction::Cmd(command) => {
                let words = self.command(command);
                self.record(format!("CMD {}", quoted(&words)));
                self.config.config.cmd = Some(words);
                self.cmd_set = true;
            }
            Instruction::Entrypoint(command) => {
                let words = self.command(command);
                self.record(format!("ENTRYPOINT {}", quoted(&words)));
                self.config.config.entrypoint = Some(words);
                if !self.cmd_set {
                    self.config.config.cmd = None;
                }
            }
            Instruction::Env(pairs) => self.env(pairs)?,
            Instruction::Expose(words) => self.expose(words)?,
            Instruction::Healthcheck(check) => self.healthcheck(check),
            Instruction::Label(pairs) => self.label(pairs)?,
            Instruction::Maintainer(name) => {
                self.config.author = Some(name.clone());
                self.record(format!("MAINTAINER {name}"));
            }
            Instruction::Onbuild(trigger) => {
                let list = self.config.config.rest.entry("OnBuild").or_insert_with(|| json!([]));
                if let Some(list) = list.as_array_mut() {
                    list.push(json!(trigger));
                }
                self.record(format!("ONBUILD {trigger}"));
            }
            Instruction::Shell(words) => {
                self.config.config.rest.insert("Shell".to_owned(), json!(words));
                self.record(format!("SHELL [{}]", words.join(" ")));
            }
            Instruction::Stopsignal(word) => {
                let signal = self.expand(word)?;
                signal.parse::<Signal>().map_err(|error| error.to_string())?;
                self.record(format!("STOPSIGNAL {signal}"));
                self.config.config.stop_signal = signal;
            }
            Instruction::User(word) => {
                let user = self.expand(word)?;
                self.record(format!("USER {user}"));
                self.config.config.user = user;
            }
            Instruction::Volume(words) => {
                let volumes = self.expand_all(words)?;
                if volumes.is_empty() {
                    return Err("VOLUME specified can not be an empty string".to_owned());
                }
                self.record(format!("VOLUME [{}]", volumes.join(" ")));
                self.config.config.volumes.extend(volumes.into_iter().map(|volume| (volume, json!({}))));
            }
        }
        Ok(true)
    }

    /// Takes WORKDIR and gives the directory. The history is written by whoever has made that.
    pub fn workdir(&mut self, word: &str) -> Result<String, String> {
        let path = self.absolute(&self.expand(word)?);
        self.config.config.working_dir.clone_from(&path);
        Ok(path)
    }

    fn arg(&mut self, arg: &Arg, given: &Given) -> Result<(), String> {
        let mut words = Vec::new();
        for item in &arg.0 {
            let default = item.default.as_deref().map(|default| self.expand(default)).transpose()?;
            let value = given.value(&item.name, default);
            words.push(match &value {
                Some(value) => format!("{}={value}", item.name),
                None => item.name.clone(),
            });
            self.args.set(&item.name, value);
        }
        self.record(format!("ARG {}", words.join(" ")));
        Ok(())
    }

    fn pairs(&self, pairs: &[Pair]) -> Result<Vec<(String, String)>, String> {
        // All are expanded before the first counts.
        pairs.iter().map(|pair| Ok((self.expand(&pair.key)?, self.expand(&pair.value)?))).collect()
    }

    fn env(&mut self, pairs: &[Pair]) -> Result<(), String> {
        let mut words = Vec::new();
        for (name, value) in self.pairs(pairs)? {
            words.push(format!("{name}={value}"));
            let environment = &mut self.config.config.env;
            let known = environment.iter().position(|entry| entry.split('=').next() == Some(name.as_str()));
            match known {
                Some(place) => environment[place] = format!("{name}={value}"),
                None => environment.push(format!("{name}={value}")),
            }
        }
        self.record(format!("ENV {}", words.join(" ")));
        Ok(())
    }

    fn label(&mut self, pairs: &[Pair]) -> Result<(), String> {
        let pairs = self.pairs(pairs)?;
        let words: Vec<String> = pairs.iter().map(|(name, value)| format!("{name}={value}")).collect();
        self.record(format!("LABEL {}", words.join(" ")));
        self.config.config.labels.extend(pairs);
        Ok(())
    }

    fn expose(&mut self, words: &[String]) -> Result<(), String> {
        let mut ports: BTreeMap<String, Value> = BTreeMap::new();
        for word in words {
            let words = expand::expand_words(word, self.escape, &|name| self.lookup(name));
            for one in words.map_err(|error| error.to_string())? {
                // The host's side of a mapping means nothing here.
                let inside = one.rsplit(':').next().unwrap_or(&one);
                let parsed = parse_expose(inside).map_err(|error| error.to_string())?;
                ports.extend(parsed.into_iter().map(|port| (port, json!({}))));
            }
        }
        let shown: Vec<String> = ports.keys().map(|port| format!("{port}:{{}}")).collect();
        self.record(format!("EXPOSE map[{}]", shown.join(" ")));
        self.config.config.exposed_ports.extend(ports);
        Ok(())
    }

    fn healthcheck(&mut self, check: &Healthcheck) {
        let mut value = Map::new();
        let shown = match check {
            Healthcheck::None => {
                value.insert("Test".to_owned(), json!(["NONE"]));
                "&{[\"NONE\"] \"0s\" \"0s\" \"0s\" \"0s\" '\\x00'}".to_owned()
            }
            Healthcheck::Cmd { command, interval, timeout, start_period, start_interval, retries } => {
                let test: Vec<String> = match command {
                    Command::Shell(text) => vec!["CMD-SHELL".to_owned(), text.clone()],
                    Command::Exec(words) => std::iter::once("CMD".to_owned()).chain(words.iter().cloned()).collect(),
                };
                let durations = [
                    ("Interval", interval),
                    ("Timeout", timeout),
                    ("StartPeriod", start_period),
                    ("StartInterval", start_interval),
                ];
                let mut shown = format!("&{{{}", quoted(&test));
                value.insert("Test".to_owned(), json!(test));
                for (name, duration) in durations {
                    let nanoseconds = duration.map_or(0, |duration| duration.as_nanos() as u64);
                    if nanoseconds > 0 {
                        value.insert(name.to_owned(), json!(nanoseconds));
                    }
                    shown += &format!(" \"{}\"", go_duration(nanoseconds));
                }
                let retries = retries.unwrap_or(0);
                if retries > 0 {
                    value.insert("Retries".to_owned(), json!(retries));
                }
                shown + &format!(" '\\x{retries:02x}'}}")
            }
        };
        self.config.config.rest.insert("Healthcheck".to_owned(), Value::Object(value));
        self.record(format!("HEALTHCHECK {shown}"));
    }
}

/// A path below a directory, cleaned as Go's `path.Clean` does it.
pub fn absolute(directory: &str, path: &str) -> String {
    let joined = if path.starts_with('/') { path.to_owned() } else { format!("{directory}/{path}") };
    let mut parts: Vec<&str> = Vec::new();
    for part in joined.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    format!("/{}", parts.join("/"))
}

/// Words as Go's `%q` prints them.
fn quoted(words: &[String]) -> String {
    let words: Vec<String> = words.iter().map(|word| go_quoted(word)).collect();
    format!("[{}]", words.join(" "))
}

fn go_quoted(word: &str) -> String {
    let mut text = String::from("\"");
    for c in word.chars() {
        match c {
            '"' | '\\' => text.extend(['\\', c]),
            '\n' => text += "\\n",
            '\t' => text += "\\t",
            '\r' => text += "\\r",
            c if (c as u32) < 0x20 || c as u32 == 0x7f => text += &format!("\\x{:02x}", c as u32),
            c => text.push(c),
        }
    }
    text + "\""
}

/// A duration as Go prints it, `1m30s`.
fn go_duration(nanoseconds: u64) -> String {
    if nanoseconds == 0 {
        return "0s".to_owned();
    }
    if nanoseconds < 1_000_000_000 {
        return format!("{}ms", nanoseconds as f64 / 1e6);
    }
    let seconds = nanoseconds / 1_000_000_000;
    let (hours, minutes) = (seconds / 3600, seconds / 60 % 60);
    let rest = seconds as f64 % 60.0 + (nanoseconds % 1_000_000_000) as f64 / 1e9;
    match (hours, minutes) {
        (0, 0) => format!("{rest}s"),
        (0, minutes) => format!("{minutes}m{rest}s"),
        (hours, minutes) => format!("{hours}h{minutes}m{rest}s"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    const NOW: &str = "2020-01-01T00:00:00Z";

    fn stage() -> (StageImage, Given) {
        let platform: Platform = "linux/amd64".parse().unwrap();
        let given = Given::new(&BTreeMap::from([("V".to_owned(), "2".to_owned())]), &platform, "", None);
        (StageImage::scratch(&platform, '\\', Some(NOW)), given)
    }

    fn pair(key: &str, value: &str) -> Pair {
        Pair { key: key.to_owned(), value: value.to_owned(), legacy: false }
    }

    #[test]
    fn times_are_those_of_the_layers() {
        let times = |image: StageImage| -> (Vec<String>, String) {
            let config = image.finish("now");
            let steps = config.history.into_iter().map(|step| step.created.unwrap()).collect();
            (steps, config.created.unwrap())
        };
        let build = |fixed| {
            let mut image = StageImage::scratch(&Platform::host(), '\\', fixed);
            image.record("ENV");
            image.record_step("RUN", &Report { created: Some("then".to_owned()), ..Report::default() });
            image.record("CMD");
            image
        };
        assert_eq!(times(build(None)), (vec!["then".to_owned(); 3], "then".to_owned()));
        assert_eq!(times(build(Some("fixed"))), (vec!["fixed".to_owned(); 3], "fixed".to_owned()));
        let mut alone = StageImage::scratch(&Platform::host(), '\\', None);
        alone.record("CMD");
        assert_eq!(times(alone), (vec!["now".to_owned()], "now".to_owned()));
    }

    #[test]
    fn variables_of_the_environment_hide_args() {
        let (mut stage, given) = stage();
        let arg = |name: &str, default: Option<&str>| {
            let item =
                crate::spec::dockerfile::ast::ArgItem { name: name.to_owned(), default: default.map(str::to_owned) };
            Instruction::Arg(Arg(vec![item]))
        };
        stage.apply(&arg("V", Some("1")), &given).unwrap();
        stage.apply(&arg("W", Some("x$V")), &given).unwrap();
        stage.apply(&arg("N", None), &given).unwrap();
        assert_eq!(stage.lookup("W").as_deref(), Some("x2"));
        stage.apply(&Instruction::Env(vec![pair("V", "3"), pair("T", "$V")]), &given).unwrap();
        assert_eq!((stage.lookup("V").as_deref(), stage.lookup("T").as_deref()), (Some("3"), Some("2")));
        let environment = stage.run_environment(&given);
        assert!(environment.contains(&"V=3".to_owned()) && environment.contains(&"W=x2".to_owned()));
        assert_eq!(stage.run_history(&["/bin/sh".to_owned()]), "RUN |3 V=2 W=x2 N= /bin/sh # buildkit");
        let history: Vec<&str> = stage.config.history.iter().map(|step| step.created_by.as_str()).collect();
        assert_eq!(history, ["ARG V=2", "ARG W=x2", "ARG N", "ENV V=3 T=2"]);
    }

    #[test]
    fn commands_and_their_history() {
        let (mut stage, given) = stage();
        stage.apply(&Instruction::Cmd(Command::Shell("echo \"a\"".to_owned())), &given).unwrap();
        stage.apply(&Instruction::Entrypoint(Command::Exec(vec!["run".to_owned()])), &given).unwrap();
        assert_eq!(stage.config.config.cmd.as_ref().unwrap()[..2], SHELL);
        assert_eq!(stage.config.history[0].created_by, r#"CMD ["/bin/sh" "-c" "echo \"a\""]"#);
        let mut next = StageImage::from_stage(&stage);
        next.apply(&Instruction::Entrypoint(Command::Exec(vec!["other".to_owned()])), &given).unwrap();
        assert_eq!(next.config.config.cmd, None);
        next.apply(&Instruction::Expose(vec!["80".to_owned(), "53/udp".to_owned()]), &given).unwrap();
        assert_eq!(next.config.history.last().unwrap().created_by, "EXPOSE map[53/udp:{} 80/tcp:{}]");
        let check = Healthcheck::Cmd {
            command: Command::Shell("true".to_owned()),
            interval: Some(Duration::from_secs(90)),
            timeout: None,
            start_period: None,
            start_interval: None,
            retries: Some(3),
        };
        next.apply(&Instruction::Healthcheck(check), &given).unwrap();
        let last = &next.config.history.last().unwrap().created_by;
        assert_eq!(last, r#"HEALTHCHECK &{["CMD-SHELL" "true"] "1m30s" "0s" "0s" "0s" '\x03'}"#);
    }

    #[test]
    fn triggers_are_taken_once() {
        let (mut stage, given) = stage();
        stage.apply(&Instruction::Onbuild("RUN a".to_owned()), &given).unwrap();
        let mut next = StageImage::from_stage(&stage);
        assert_eq!(next.take_triggers(), ["RUN a"]);
        assert!(next.take_triggers().is_empty());
    }

    #[test]
    fn paths_are_cleaned() {
        for (directory, path, expected) in
            [("/", "a", "/a"), ("/a", "../b/./c/", "/b/c"), ("/a", "/b//c", "/b/c"), ("", "x", "/x"), ("/", "..", "/")]
        {
            assert_eq!(absolute(directory, path), expected);
        }
    }
}
