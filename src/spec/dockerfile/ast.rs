//! What a Dockerfile says. Words that expand are kept as written; who evaluates a stage expands them.

use std::ops::Range;
use std::time::Duration;

/// Lines of the file, counted from one, both ends included.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Lines {
    pub first: usize,
    pub last: usize,
}

/// A whole file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Dockerfile {
    pub directives: Directives,
    /// ARGs before the first FROM.
    pub args: Vec<Located<Arg>>,
    pub stages: Vec<Stage>,
    /// What is valid but should be said.
    pub warnings: Vec<Warning>,
}

/// `# syntax=`, `# escape=`, `# check=`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Directives {
    pub syntax: Option<String>,
    /// `\` or a backquote.
    pub escape: char,
    /// As written.
    pub check: Option<String>,
}

/// Something with its place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Located<T> {
    pub lines: Lines,
    /// The instruction as it is shown in progress and history: one line, continuations joined, heredoc
    /// bodies left out.
    pub text: String,
    pub value: T,
}

/// A remark on a file that can be built.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Warning {
    /// BuildKit's name of the rule, such as `StageNameCasing`.
    pub rule: &'static str,
    pub message: String,
    pub lines: Lines,
}

/// `FROM` and what follows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stage {
    pub from: Located<From>,
    pub instructions: Vec<Located<Instruction>>,
}

/// `FROM [--platform=P] BASE [AS NAME]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct From {
    pub platform: Option<String>,
    /// An image, an earlier stage or `scratch`; variables of ARGs before the first FROM expand.
    pub base: String,
    /// In lower case.
    pub name: Option<String>,
}

/// Everything but FROM. ARG before the first FROM is in [`Dockerfile::args`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Instruction {
    Add(Add),
    Arg(Arg),
    Cmd(Command),
    Copy(Copy),
    Entrypoint(Command),
    Env(Vec<Pair>),
    /// Each word may expand to several ports.
    Expose(Vec<String>),
    Healthcheck(Healthcheck),
    Label(Vec<Pair>),
    Maintainer(String),
    /// The trigger as written, without ONBUILD.
    Onbuild(String),
    Run(Run),
    /// JSON form only.
    Shell(Vec<String>),
    Stopsignal(String),
    User(String),
    Volume(Vec<String>),
    Workdir(String),
}

/// `ARG A=b C`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Arg(pub Vec<ArgItem>);

/// One name of an ARG.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ArgItem {
    pub name: String,
    /// To be expanded.
    pub default: Option<String>,
}

/// `K=V`; both are to be expanded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pair {
    pub key: String,
    pub value: String,
    /// The old form `ENV K the rest`.
    pub legacy: bool,
}

/// Shell or exec form.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// For the stage's shell; nothing is expanded. Continuations are joined.
    Shell(String),
    Exec(Vec<String>),
}

/// A heredoc of RUN, COPY or ADD.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Heredoc {
    pub name: String,
    /// Its word was not quoted: variables in the content of COPY and ADD expand.
    pub expand: bool,
    /// `<<-`: leading tabs are taken off already.
    pub chomp: bool,
    pub content: String,
}

/// RUN.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Run {
    pub command: Command,
    /// Where the command is one heredoc (`RUN <<EOF`), this has it as its only member and the command's text is
    /// its content: what begins with `#!` is to be run as a file of that name, anything else by the shell.
    /// Otherwise this is empty, and the command's text holds the heredocs whole, for the shell.
    pub heredocs: Vec<Heredoc>,
    pub mounts: Vec<RunMount>,
    pub network: RunNetwork,
    pub security: RunSecurity,
}

/// `--network`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum RunNetwork {
    #[default]
    Default,
    None,
    Host,
}

/// `--security`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum RunSecurity {
    #[default]
    Sandbox,
    Insecure,
}

/// `RUN --mount`. Texts are to be expanded (from, source, target, id).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunMount {
    /// As written, for `mount::evaluate`: values that are numbers or words may be given by variables, and
    /// are missing below then.
    pub text: String,
    pub kind: RunMountKind,
    /// The directory or file inside; relative ones are below the working directory. Secrets and ssh have
    /// defaults of their own.
    pub target: Option<String>,
    pub readonly: bool,
    pub required: bool,
    pub uid: Option<u32>,
    pub gid: Option<u32>,
    pub mode: Option<u32>,
}

/// What is mounted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RunMountKind {
    Bind { from: Option<String>, source: Option<String> },
    Cache { id: Option<String>, from: Option<String>, source: Option<String>, sharing: Sharing },
    Tmpfs { size: Option<u64> },
    Secret { id: Option<String>, env: Option<String> },
    Ssh { id: Option<String> },
}

/// Who else may use a cache mount at the same time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Sharing {
    #[default]
    Shared,
    Private,
    Locked,
}

/// COPY. Texts are to be expanded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Copy {
    pub from: Option<String>,
    pub files: Files,
}

/// ADD. Texts are to be expanded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Add {
    pub files: Files,
    pub checksum: Option<String>,
    pub keep_git_dir: Option<bool>,
    /// Whether archives are extracted; None is the default (local ones are).
    pub unpack: Option<bool>,
}

/// What COPY and ADD have in common.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Files {
    pub sources: Vec<FileSource>,
    pub destination: String,
    pub chown: Option<String>,
    /// Octal, or symbolic as chmod(1) takes it.
    pub chmod: Option<String>,
    pub link: bool,
    pub parents: bool,
    pub exclude: Vec<String>,
}

/// One source.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FileSource {
    Path(String),
    /// A file of this name with this content.
    Inline(Heredoc),
}

/// HEALTHCHECK.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Healthcheck {
    None,
    Cmd {
        command: Command,
        interval: Option<Duration>,
        timeout: Option<Duration>,
        start_period: Option<Duration>,
        start_interval: Option<Duration>,
        retries: Option<u32>,
    },
}

/// Why a file cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct ParseError {
    /// BuildKit's text, such as `unknown instruction: FORM (did you mean FROM?)`.
    pub message: String,
    pub lines: Lines,
    /// The bytes of the first line that are meant, where one can say.
    pub column: Option<Range<usize>>,
}

impl Default for Directives {
    fn default() -> Self {
        Self { syntax: None, escape: '\\', check: None }
    }
}
