//! The supervisor: forked from the invocation, never executed anew, in U and the first process of a
//! pid namespace of its own. When it ends, by whatever cause, the kernel kills everything in that
//! namespace and those below: no container outlives its supervisor.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::time::Duration;

use jiff::Timestamp;
use nix::libc;
use oci_spec::runtime::{LinuxIdMapping, LinuxIdMappingBuilder, LinuxNamespaceType as Namespace};
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, waitid};

use super::cgroup::{self, Place, Watch};
use super::channel::{Channel, Received};
use super::health::Checks;
use super::leftover::Mark;
use super::log::{Log, LogPlan};
use super::message::Kind;
use super::network::{Helper, JoinError, Links, NetworkPlan};
use super::notify::Notifier;
use super::plan::Plan;
use super::recorder::Recorder;
use super::session::{self, Session, StopRule, Streams};
use super::setup::{Doing, Report, ResolvedUser, SetupError};
use super::{builder, devices, idmap, mounted, userns};
use crate::spec::event::Happening;
use crate::spec::port::PublishedPort;
use crate::spec::restart::RestartPolicy;
use crate::store::containers::{Container, ProcessIdentity, Status, boot_id};
use crate::store::lock::AliveLock;
use crate::store::staging::Trash;
use crate::store::{Store, fs};
use crate::sys::process::{self, Cloned};

/// What the invocation hands to the supervisor it forks.
pub struct Charge {
    pub store: Store,
    pub plan: Plan,
    pub container: Container,
    pub alive: AliveLock,
    /// To the invocation.
    pub socket: OwnedFd,
    /// The invocation stays attached, and the container ends with it.
    pub foreground: bool,
    /// Rows and columns of the terminal at the start.
    pub size: Option<(u16, u16)>,
    /// The container's keeper starts it.
    pub again: bool,
}

impl Charge {
    /// The namespaces that the supervisor needs for itself. A container that shares its pid namespace
    /// must be reachable from ours, so then we stay in the host's; the init's parent-death signal ties
    /// it to us instead.
    pub fn namespaces(&self) -> libc::c_int {
        if self.plan.is_private(Namespace::Pid) { libc::CLONE_NEWPID } else { 0 }
    }
}

/// Runs in the supervisor's process, which ends when this returns.
pub fn supervise(charge: Charge) {
    let Charge { store, mut plan, mut container, alive, socket, foreground, size, again } = charge;
    let invocation = if foreground { None } else { plan.notify.as_ref().and_then(|_| socket.try_clone().ok()) };
    let recorder = Recorder::new(&store, &container.config);
    if foreground {
        store.happened(Happening::of_container(&container.config, "attach"));
    }
    let mut supervisor = match Supervisor::start(&store, &mut plan, &mut container, size, again, invocation) {
        Ok(supervisor) => supervisor,
        Err(error) => return report_failure(&store, &mut plan, &mut container, &alive, socket, &error, again),
    };
    let attached = supervisor.session.attach(socket, foreground);
    supervisor.session.tell(Kind::Started, &supervisor.pid.to_le_bytes());
    supervisor.session.started();
    if attached.is_err() || !foreground {
        supervisor.session.drop_clients();
    }
    supervisor.session.check(Checks::begin(&store, &container));
    // From here on it mostly waits, perhaps for months.
    drop((plan.spec, plan.inherited, plan.credentials));
    process::release_free_memory();
    process::release_code();
    let code = supervisor.session.run().unwrap_or(255);
    if let Some(mark) = supervisor.mark {
        mark.kill_all();
    }
    let oom_killed = supervisor.session.was_killed_for_memory();
    // The one it was started in, or one that was made around it later.
    cgroup::clear(&store, &plan.id);
    // It may have been renamed, or its policy changed.
    let config = store.containers().get(&plan.id).map_or_else(|_| container.config.clone(), |now| now.config);
    let stopped = supervisor.session.was_end_wanted();
    // The last write of the state comes before the lock is free, the lock before anybody is told.
    let recorded = container.update_state(|state| {
        state.stopped_by_user |= stopped;
        state.oom_killed = oom_killed;
        state.paused = None;
        let unhealthy = supervisor.session.wants_restart() && !state.stopped_by_user;
        state.end(code, Timestamp::now(), if unhealthy { RestartPolicy::Always } else { config.restart });
    });
    store.containers().tell_end(&config, &container.state);
    let links = supervisor.session.take_links();
    if let Some(links) = &links {
        links.leave();
    }
    recorder.volumes_unmounted();
    let removed = plan.auto_remove && !supervisor.session.is_restarted();
    let trash = removed.then(|| store.containers().retire(&plan.id, &alive));
    drop(alive);
    if let Err(error) = recorded {
        supervisor.session.tell(Kind::Warning, format!("{error:#}").as_bytes());
    }
    supervisor.session.finish(code);
    let _ = userns::leave(&store, supervisor.own.pid);
    if let Some(links) = links {
        links.clear();
    }
    // The container is gone for everybody. What deletes its files now is nobody's wait, and if it is
    // killed the next command goes on with it.
    if let Some(Ok(trash)) = trash {
        let _ = mounted::discard(&store, mounted::Kind::Container, plan.id.as_str());
        let _ = trash.delete();
    }
}

/// A container that could not be started stays what it was, with the reason; a `--rm` one goes.
fn report_failure(
    store: &Store,
    plan: &mut Plan,
    container: &mut Container,
    alive: &AliveLock,
    socket: OwnedFd,
    error: &SetupError,
    again: bool,
) {
    cgroup::clear(store, &plan.id);
    // The keeper records what it hears.
    if !again {
        let _ = container.update_state(|state| {
            state.status = if state.started_at.is_some() { Status::Exited } else { Status::Created };
            state.pid = 0;
            state.exit_code = i32::from(error.code);
            state.error = error.text.clone();
        });
    }
    if plan.auto_remove {
        let _ = store.containers().retire(&plan.id, alive).map(Trash::delete);
    }
    tell_failure(&socket, error);
}

/// Tells the invocation why nothing was started. One that is gone needs no telling.
pub(super) fn tell_failure(socket: &OwnedFd, error: &SetupError) {
    let mut payload = vec![error.code];
    payload.extend_from_slice(error.text.as_bytes());
    payload.truncate(super::message::PAYLOAD_MAX);
    let mut frame = Vec::new();
    super::message::push_frame(&mut frame, Kind::Failed, &payload);
    let _ = rustix::net::send(socket, &frame, rustix::net::SendFlags::NOSIGNAL);
}

struct Supervisor {
    session: Session,
    /// What its processes are found by, where no pid namespace ends them with the init.
    mark: Option<Mark>,
    /// The init in the host's pid namespace.
    pid: i32,
    /// This process.
    own: ProcessIdentity,
}

impl Supervisor {
    fn start(
        store: &Store,
        plan: &mut Plan,
        container: &mut Container,
        size: Option<(u16, u16)>,
        again: bool,
        invocation: Option<OwnedFd>,
    ) -> Result<Self, SetupError> {
        let signals = session::block_signals().doing("block signals")?;
        let passed = plan.passthrough.then(pass_streams);
        leave_the_invocation().doing("leave the invocation's session")?;
        let (mut streams, inside) = match passed {
            Some(passed) => (Streams::default(), passed),
            None => make_streams(plan).doing("make the standard streams")?,
        };

        let (ours, theirs) = Channel::pair().doing("make a channel")?;
        let Some(builder) = process::clone(libc::CLONE_NEWNS).doing("create a mount namespace")? else {
            drop(ours);
            plan.network.close_ports();
            builder::run(plan, theirs, inside)
        };
        let builder = Builder(Some(builder));
        drop((theirs, inside));
        let mut networking = join_networks(store, plan, &ours)?;
        // While the builder works.
        let own = identify_self(plan)?;
        let pid = own.pid.as_raw_nonzero().get();
        let open_log = |log: &LogPlan| {
            Log::open(log, pid)
                .map_err(|error| SetupError::new(format!("failed to initialize logging driver: {error}")))
        };
        let log = plan.log.as_ref().map(open_log).transpose()?;
        let notifier = plan.notify.as_ref().map(|notify| Notifier::new(notify, &plan.directory, invocation));
        let notifier = notifier.transpose().doing("make the notify socket")?.unwrap_or_default();
        let listener = control_socket(&plan.directory).doing("make the control socket")?;
        let ports = networking.ports();
        let built = build(store, plan, &ours, &mut streams, size, &mut networking)?;
        let mark = mark(plan, &built);
        record_start(container, &built.identity, &own, ports, again)?;
        plan.volumes.starting.clear();
        let recorder = Recorder::new(store, &container.config);
        if let Networking::Links(links) = &networking {
            links.tell_joined();
        }
        recorder.volumes_mounted();
        store.happened(Happening::of_container(&container.config, "start"));
        let rule = StopRule {
            signal: process::signal_from_number(plan.stop_signal.number()).unwrap_or(Signal::TERM),
            timeout: plan.stop_timeout.map(|seconds| Duration::from_secs(seconds.into())),
            on_owner_lost: true,
        };
        let mut session = Session::new(built.pidfd, streams, log, signals, rule).doing("watch the container")?;
        session.expect_end_of(builder.let_go());
        session.listen(listener);
        session.limit(plan.lifetime.map(|seconds| Duration::from_secs(seconds.into())));
        session.notify(notifier);
        session.keep_record(recorder);
        if let Networking::Links(links) = networking {
            session.tend(links);
        }
        watch_memory(&mut session, store, plan, container);
        Ok(Self { session, mark, pid: built.identity.pid.as_raw_nonzero().get(), own })
    }
}

/// The builder. Where the start fails it must be gone before the container's directory is, or it would make
/// that again.
struct Builder(Option<Cloned>);

impl Builder {
    /// Leaves it to itself.
    fn let_go(mut self) -> Option<Pid> {
        self.0.take().map(|builder| builder.pid)
    }
}

impl Drop for Builder {
    fn drop(&mut self) {
        if let Some(builder) = self.0.take() {
            let _ = rustix::process::pidfd_send_signal(&builder.pidfd, Signal::KILL);
            let _ = rustix::io::retry_on_intr(|| waitid(WaitId::PidFd(builder.pidfd.as_fd()), WaitIdOptions::EXITED));
        }
    }
}

/// Who asks what became of a container finds out even where this cannot be watched.
fn watch_memory(session: &mut Session, store: &Store, plan: &Plan, container: &Container) {
    let group = plan.cgroup.as_ref().and_then(Place::made);
    if let Some(Ok(Some(watch))) = group.map(|group| Watch::new(&group)) {
        let (store, happening) = (store.clone(), Happening::of_container(&container.config, "oom"));
        session.watch_memory(watch, move || store.happened(happening.clone()));
    }
}

/// What a container's networking has become.
enum Networking {
    Nothing,
    Links(Links),
    Helper(Helper),
}

impl Networking {
    fn ports(&self) -> Vec<PublishedPort> {
        match self {
            Self::Nothing => Vec::new(),
            Self::Links(links) => links.ports(),
            Self::Helper(helper) => helper.ports().map(|bound| bound.port).collect(),
        }
    }

    /// Starts the helper, if there is one, now that the container's namespace exists.
    fn start_helper(&mut self, init: Pid, plan: &Plan, builder: &Channel, store: &Store) -> Result<(), SetupError> {
        match std::mem::replace(self, Self::Nothing) {
            Self::Helper(helper) => {
                helper.start(init, &plan.directory, store)?;
                let _ = builder.send(&(), &[]);
            }
            other => *self = other,
        }
        Ok(())
    }
}

/// Joins the container's networks and hands their namespaces to the builder.
fn join_networks(store: &Store, plan: &mut Plan, builder: &Channel) -> Result<Networking, SetupError> {
    let members = match std::mem::take(&mut plan.network) {
        NetworkPlan::Members(members) => members,
        NetworkPlan::Helper(helper) => return Ok(Networking::Helper(helper)),
        NetworkPlan::Nothing | NetworkPlan::Namespace(_) => return Ok(Networking::Nothing),
    };
    match Links::join(store, members) {
        Ok(links) => {
            // Its end without this message means that it failed and has said why.
            let _ = builder.send(&(), &links.gateways());
            Ok(Networking::Links(links))
        }
        Err(JoinError::Unsupported { error, members }) => {
            let advice = match members.memberships.len() {
                1 => "install passt or slirp4netns, which do without, or use --network host",
                _ => "pasta and slirp4netns do without, for one network",
            };
            let helper = Helper::instead(&members.memberships, members.ports)
                .ok_or_else(|| SetupError::new(format!("{error}: {advice}")))?;
            if let Some(server) = helper.name_server().doing("ask for the name server")? {
                // What is there names the gateway that there is not.
                std::fs::write(plan.directory.join("resolv.conf"), format!("nameserver {server}\n"))
                    .doing("write resolv.conf")?;
            }
            Ok(Networking::Helper(helper))
        }
        Err(JoinError::Failed(error)) => Err(error),
    }
}

/// This process as the host sees it, with a title of its own: our arguments are those of `run`,
/// environment of the container and all.
fn identify_self(plan: &Plan) -> Result<ProcessIdentity, SetupError> {
    // A title is a nicety.
    let _ = process::set_title(&format!("rbox supervisor {}", plan.id.short()));
    let pid = host_self().doing("find our own pid")?;
    let start = process::start_time(pid).doing("find our own start time")?;
    Ok(ProcessIdentity { pid, start })
}

fn mark(plan: &Plan, built: &Built) -> Option<Mark> {
    if plan.is_private(Namespace::Pid) {
        return None;
    }
    Mark::of(built.identity.pid, plan.is_private(Namespace::User)).ok()
}

/// A session of its own and no stream of the invocation's: `$(rbox run -d ...)` must not wait for us.
pub(super) fn leave_the_invocation() -> io::Result<()> {
    rustix::process::setsid()?;
    rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o077));
    rustix::process::chdir("/")?;
    let null = devices::open_null()?;
    rustix::stdio::dup2_stdin(&null)?;
    rustix::stdio::dup2_stdout(&null)?;
    Ok(rustix::stdio::dup2_stderr(&null)?)
}

/// The invocation's own streams, for the container; those that are closed stay so.
fn pass_streams() -> [Option<OwnedFd>; 3] {
    use rustix::stdio::{stderr, stdin, stdout};
    [stdin(), stdout(), stderr()].map(|stream| rustix::io::fcntl_dupfd_cloexec(stream, 3).ok())
}

/// Our ends of the container's streams, and its own ends. With a terminal there are none yet.
fn make_streams(plan: &Plan) -> io::Result<(Streams, [Option<OwnedFd>; 3])> {
    let mut streams = Streams { keep_stdin: plan.keep_stdin, ..Streams::default() };
    let mut inside = [None, None, None];
    if plan.has_terminal() {
        return Ok((streams, inside));
    }
    if plan.open_stdin {
        let (read, write) = pipe_with(PipeFlags::CLOEXEC)?;
        (inside[0], streams.stdin) = (Some(read), Some(write));
    }
    let (read, write) = pipe_with(PipeFlags::CLOEXEC)?;
    (streams.stdout, inside[1]) = (Some(read), Some(write));
    let (read, write) = pipe_with(PipeFlags::CLOEXEC)?;
    (streams.stderr, inside[2]) = (Some(read), Some(write));
    Ok((streams, inside))
}

/// The init, and what is known of it in the host's pid namespace.
struct Built {
    pidfd: OwnedFd,
    identity: ProcessIdentity,
}

/// Follows the builder and the init until the command was executed or something failed.
fn build(
    store: &Store,
    plan: &Plan,
    channel: &Channel,
    streams: &mut Streams,
    size: Option<(u16, u16)>,
    networking: &mut Networking,
) -> Result<Built, SetupError> {
    let (mut built, mut saved) = (None, false);
    while let Some(Received { message, descriptors }) = channel.receive::<Report>().doing("hear from the builder")? {
        let mut descriptors = descriptors.into_iter();
        match message {
            Report::Init => {
                let init = descriptors.next().ok_or_else(|| SetupError::new("the builder sent no init"))?;
                let init = built.insert(identify(init)?);
                networking.start_helper(init.identity.pid, plan, channel, store)?;
            }
            Report::Console => {
                streams.terminal = descriptors.next();
                streams.terminal_user = descriptors.next();
                streams.resize(size);
            }
            // While the others go on.
            Report::User(user) => {
                save_spec(plan, &user).doing("save the runtime Spec")?;
                saved = true;
            }
            Report::Failed(error) => return Err(error),
        }
    }
    built.filter(|_| saved).ok_or_else(|| SetupError::new("the process that builds the container died"))
}

fn identify(pidfd: OwnedFd) -> Result<Built, SetupError> {
    let pid = session::host_pid(&pidfd).doing("find the init")?;
    Ok(Built { pidfd, identity: ProcessIdentity { pid, start: process::start_time(pid).unwrap_or_default() } })
}

/// Saves that the container runs.
fn record_start(
    container: &mut Container,
    init: &ProcessIdentity,
    own: &ProcessIdentity,
    ports: Vec<PublishedPort>,
    again: bool,
) -> Result<(), SetupError> {
    let mut stopped = false;
    let recorded = container.update_state(|state| {
        stopped = again && state.stopped_by_user;
        if stopped {
            return;
        }
        state.status = Status::Running;
        state.pid = init.pid.as_raw_nonzero().get();
        state.pid_start = init.start;
        state.supervisor_pid = own.pid.as_raw_nonzero().get();
        state.supervisor_start = own.start;
        state.started_at = Some(Timestamp::now());
        state.finished_at = None;
        state.exit_code = 0;
        state.error = String::new();
        state.boot_id = boot_id().to_owned();
        state.stopped_by_user = false;
        state.oom_killed = false;
        state.paused = None;
        state.ports = ports;
    });
    match recorded {
        Ok(()) if stopped => Err(SetupError::new("the container was stopped while it was started again")),
        recorded => recorded.map_err(|error| SetupError::new(format!("{error:#}"))),
    }
}

/// Our pid as the host sees it: /proc is the host's.
pub(super) fn host_self() -> io::Result<rustix::process::Pid> {
    let link = std::fs::read_link("/proc/self")?;
    let number = link.to_str().and_then(|text| text.parse().ok()).and_then(rustix::process::Pid::from_raw);
    number.ok_or_else(|| io::ErrorKind::InvalidData.into())
}

fn save_spec(plan: &Plan, user: &ResolvedUser) -> io::Result<()> {
    let mut spec = plan.spec.clone();
    if plan.is_private(Namespace::User)
        && let Some(linux) = spec.linux_mut()
    {
        let outer = idmap::IdMaps::of_self()?;
        let maps = outer.below(plan.identity.maps.as_ref()).map_err(io::Error::other)?;
        linux.set_uid_mappings(Some(oci_mappings(&maps.uids)?));
        linux.set_gid_mappings(Some(oci_mappings(&maps.gids)?));
    }
    if let Some(process) = spec.process_mut() {
        let own = process.user_mut();
        own.set_uid(user.uid);
        own.set_gid(user.gid);
        own.set_additional_gids(Some(user.groups.clone()));
    }
    // Written anew at each start, so nothing is lost with it: no fsync.
    fs::write_volatile(&plan.directory.join("spec.json"), &serde_json::to_vec(&spec)?)
}

fn oci_mappings(extents: &[idmap::Extent]) -> io::Result<Vec<LinuxIdMapping>> {
    let mapping = |extent: &idmap::Extent| {
        let builder = LinuxIdMappingBuilder::default().container_id(extent.inside).host_id(extent.outside);
        builder.size(extent.count).build().map_err(io::Error::other)
    };
    extents.iter().map(mapping).collect()
}

/// `ctl` in the container's directory. Reached through the directory's descriptor, whose /proc path
/// is short enough for a socket address.
fn control_socket(directory: &Path) -> io::Result<OwnedFd> {
    use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, bind, listen, socket_with};
    use std::os::fd::AsRawFd;
    let _ = std::fs::remove_file(directory.join("ctl"));
    let handle = rustix::fs::open(
        directory,
        rustix::fs::OFlags::PATH | rustix::fs::OFlags::DIRECTORY | rustix::fs::OFlags::CLOEXEC,
        rustix::fs::Mode::empty(),
    )?;
    let address = SocketAddrUnix::new(format!("/proc/self/fd/{}/ctl", handle.as_fd().as_raw_fd()))?;
    let socket =
        socket_with(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC | SocketFlags::NONBLOCK, None)?;
    bind(&socket, &address)?;
    listen(&socket, 16)?;
    Ok(socket)
}
