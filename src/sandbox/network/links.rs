//! The supervisor's side of its container's networks: a connection to each anchor, the network
//! namespaces by descriptor, and the published ports. When an anchor dies, another is started; when
//! the container enters or leaves a network, a child does it, as the supervisor must not wait.

use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, WaitOptions, waitpid};
use serde::{Deserialize, Serialize};

use super::ports::Bound;
use super::{Change, Members, change, port_name};
use crate::net::endpoint as veth;
use crate::sandbox::anchor::{self, Answer, Member, Request, Service};
use crate::sandbox::channel::{Channel, DESCRIPTORS_MAX, Received};
use crate::sandbox::setup::{Doing, SetupError};
use crate::spec::event::Happening;
use crate::spec::network::{Lease, Network};
use crate::spec::port::PublishedPort;
use crate::store::Store;
use crate::sys::process;

/// How long a new anchor may take to make its network.
const PATIENCE: Duration = Duration::from_secs(20);
/// How long an anchor of our making may take to leave at our end.
const LAST_BREATH: Duration = Duration::from_millis(200);
/// Between attempts to replace an anchor: at first, and at most.
const RETRY: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(5));

/// A container's networks.
#[derive(Debug)]
pub struct Links {
    store: Store,
    /// The first outward one carries the published ports.
    links: Vec<Link>,
    ports: Vec<Bound>,
    jobs: Vec<Job>,
    /// Changes asked for while another one is under way.
    queue: VecDeque<Asked>,
    /// Children that did or do jobs.
    children: Vec<Pid>,
}

/// A change of the container's networks, and the viewer who wants to hear of it.
#[derive(Debug)]
struct Asked {
    change: Change,
    init: Pid,
    viewer: u64,
}

/// One network.
#[derive(Debug)]
struct Link {
    network: Network,
    lease: Lease,
    /// None while another anchor is being started.
    connection: Option<Channel>,
    /// G, which lives as long as anybody holds it.
    gateway: OwnedFd,
    /// When to try again, and how long to wait after that.
    retry: Option<(Instant, Duration)>,
}

/// Something a child does for us.
#[derive(Debug)]
struct Job {
    channel: Channel,
    /// Whom to tell how it went.
    viewer: Option<u64>,
    task: Task,
}

#[derive(Debug)]
enum Task {
    /// Another anchor for this network.
    Relink(String),
    Enter(Box<(Network, Lease)>),
    /// The network's id.
    Leave(String),
}

/// A child's report; descriptors come along.
#[derive(Debug, Serialize, Deserialize)]
pub enum Done {
    Well,
    Failed(String),
}

/// What a viewer asked for is done, or why not.
#[derive(Debug)]
pub struct Finished {
    pub viewer: u64,
    pub result: Result<(), String>,
}

impl Links {
    /// Joins all networks and waits until they are up. Dropped, it leaves them.
    pub fn join(store: &Store, members: Members) -> Result<Self, JoinError> {
        let Members { memberships, ports } = members;
        let mut links = Self {
            store: store.clone(),
            links: Vec::new(),
            ports,
            jobs: Vec::new(),
            queue: VecDeque::new(),
            children: Vec::new(),
        };
        // All are asked before the first is waited for.
        for membership in &memberships {
            let join = Request::Join(member(&membership.lease));
            // One that failed has answered, and closed.
            let _ = membership.connection.send(&join, &[]);
        }
        let mut welcomes = Vec::new();
        for membership in &memberships {
            match welcome(&membership.connection, &membership.network.name) {
                Ok(gateway) => welcomes.push(gateway),
                Err(Refusal { error, lacks_feature: true }) => {
                    return Err(JoinError::Unsupported { error, members: Members { memberships, ports: links.ports } });
                }
                Err(Refusal { error, .. }) => return Err(JoinError::Failed(error)),
            }
        }
        for (membership, gateway) in memberships.into_iter().zip(welcomes) {
            let (network, lease) = (membership.network, membership.lease);
            links.links.push(Link { network, lease, connection: Some(membership.connection), gateway, retry: None });
        }
        links.publish().doing("publish ports").map_err(JoinError::Failed)?;
        Ok(links)
    }

    /// Tells that the container is on them, once it has started.
    pub fn tell_joined(&self) {
        self.links.iter().for_each(|link| self.happened(link, "connect"));
    }

    /// The networks' namespaces, in the order they were joined.
    pub fn gateways(&self) -> Vec<BorrowedFd<'_>> {
        self.links.iter().map(|link| link.gateway.as_fd()).collect()
    }

    /// The ports that are published.
    pub fn ports(&self) -> Vec<PublishedPort> {
        self.ports.iter().map(|bound| bound.port).collect()
    }

    /// Hands the sockets of the published ports to the anchor that serves them.
    fn publish(&self) -> io::Result<()> {
        let Some(link) = self.outward() else { return Ok(()) };
        let Some(connection) = &link.connection else { return Ok(()) };
        for ports in self.ports.chunks(DESCRIPTORS_MAX) {
            let service = |bound: &Bound| Service { protocol: bound.port.protocol, port: bound.port.container_port };
            let sockets: Vec<BorrowedFd<'_>> = ports.iter().map(|bound| bound.socket.as_fd()).collect();
            connection.send(&Request::Publish(ports.iter().map(service).collect()), &sockets)?;
        }
        Ok(())
    }

    /// The network whose anchor serves the published ports.
    fn outward(&self) -> Option<&Link> {
        self.links.iter().find(|link| !link.network.internal).or(self.links.first())
    }

    /// What to wait for.
    pub fn descriptors(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        let connections = self.links.iter().filter_map(|link| link.connection.as_ref());
        connections.chain(self.jobs.iter().map(|job| &job.channel)).map(|channel| channel.as_fd())
    }

    /// When something is to be tried again.
    pub fn deadline(&self) -> Option<Instant> {
        self.links.iter().filter_map(|link| Some(link.retry?.0)).min()
    }

    /// Whether something is to be tried again now.
    pub fn is_due(&self) -> bool {
        self.deadline().is_some_and(|deadline| deadline <= Instant::now())
    }

    /// Lets children go that have ended.
    pub fn reap(&mut self) {
        reap(&mut self.children);
    }

    /// Looks after what is ready or due.
    pub fn tend(&mut self) -> Vec<Finished> {
        let mut lost = Vec::new();
        for link in &mut self.links {
            if link.connection.as_ref().is_some_and(is_lost) {
                link.connection = None;
                link.retry = Some((Instant::now(), RETRY.0));
            }
            if link.retry.is_some_and(|(at, _)| at <= Instant::now()) {
                let (_, pause) = link.retry.take().unwrap_or((Instant::now(), RETRY.0));
                link.retry = Some((Instant::now() + pause + PATIENCE, (pause * 2).min(RETRY.1)));
                lost.push(link.network.id.clone());
            }
        }
        for network in lost {
            self.relink(&network);
        }
        let mut finished = Vec::new();
        let mut index = 0;
        while index < self.jobs.len() {
            match self.jobs[index].channel.try_receive::<Done>() {
                Ok(None) => index += 1,
                Ok(Some(received)) => {
                    let job = self.jobs.swap_remove(index);
                    finished.extend(self.finish(job, received));
                }
                Err(error) => {
                    let job = self.jobs.swap_remove(index);
                    let message = Done::Failed(format!("the process that works on the network died: {error}"));
                    finished.extend(self.finish(job, Received { message, descriptors: Vec::new() }));
                }
            }
        }
        finished.extend(self.begin());
        finished
    }

    /// Makes a child's work ours.
    fn finish(&mut self, job: Job, received: Received<Done>) -> Option<Finished> {
        let mut descriptors = received.descriptors.into_iter();
        let result = match received.message {
            Done::Well => Ok(()),
            Done::Failed(text) => Err(text),
        };
        match (job.task, &result) {
            (Task::Relink(network), Ok(())) => {
                let connection = descriptors.next().map(Channel::from_descriptor);
                if let Some(link) = self.links.iter_mut().find(|link| link.network.id == network)
                    && let Some(connection) = connection
                {
                    let _ = connection.send(&Request::Join(member(&link.lease)), &[]);
                    link.connection = Some(connection);
                    link.retry = None;
                    if self.outward().is_some_and(|link| link.network.id == network) {
                        let _ = self.publish();
                    }
                }
            }
            (Task::Relink(network), Err(_)) => {
                if let Some(link) = self.links.iter_mut().find(|link| link.network.id == network) {
                    link.retry = link.retry.map(|(_, pause)| (Instant::now() + pause, pause));
                }
            }
            (Task::Enter(place), Ok(())) => {
                let (network, lease) = *place;
                if let (Some(connection), Some(gateway)) = (descriptors.next(), descriptors.next()) {
                    let connection = Some(Channel::from_descriptor(connection));
                    let was_served = self.outward().map(|link| link.network.id.clone());
                    let link = Link { network, lease, connection, gateway, retry: None };
                    self.happened(&link, "connect");
                    self.links.push(link);
                    self.republish(was_served);
                }
            }
            (Task::Leave(network), Ok(())) => {
                let was_served = self.outward().map(|link| link.network.id.clone());
                let left = self.links.extract_if(.., |link| link.network.id == network).collect::<Vec<_>>();
                left.iter().for_each(|link| self.happened(link, "disconnect"));
                self.republish(was_served);
            }
            (Task::Enter(_) | Task::Leave(_), Err(_)) => {}
        }
        job.viewer.map(|viewer| Finished { viewer, result })
    }

    /// Published ports follow when another network serves them now.
    fn republish(&self, was_served: Option<String>) {
        if self.outward().map(|link| link.network.id.clone()) != was_served {
            let _ = self.publish();
        }
    }

    /// Starts another anchor, or finds that of somebody who was faster.
    fn relink(&mut self, network: &str) {
        let Some(link) = self.links.iter().find(|link| link.network.id == network) else { return };
        let task = Task::Relink(network.to_owned());
        let work = |channel: &Channel| -> anyhow::Result<()> {
            let reached = anchor::reach(&self.store, &link.network)?;
            channel.send(&Done::Well, &[reached.connection.as_fd()])?;
            if let Some(birth) = reached.birth {
                birth.run(Some(link.gateway.try_clone()?));
            }
            Ok(())
        };
        let started = start(work);
        self.keep(started, None, task);
    }

    /// Changes the container's networks while it runs, one change after the other; `viewer` is told how
    /// it went. Those that could not even begin are returned.
    pub fn change(&mut self, change: Change, init: Pid, viewer: u64) -> Vec<Finished> {
        self.queue.push_back(Asked { change, init, viewer });
        self.begin()
    }

    /// Begins the next change unless one is under way.
    fn begin(&mut self) -> Vec<Finished> {
        let mut refused = Vec::new();
        while self.jobs.iter().all(|job| matches!(job.task, Task::Relink(_)))
            && let Some(Asked { change, init, viewer }) = self.queue.pop_front()
        {
            let begun = match change {
                Change::Enter(place) => self.enter(place, init, viewer),
                Change::Leave { network } => self.take_out(network, init, viewer),
            };
            refused.extend(begun.err().map(|text| Finished { viewer, result: Err(text) }));
        }
        refused
    }

    fn enter(&mut self, place: Box<(Network, Lease)>, init: Pid, viewer: u64) -> Result<(), String> {
        let (network, lease) = &*place;
        if self.links.iter().any(|link| link.network.id == network.id) {
            return Err(format!("endpoint with name {} already exists in network {}", lease.name, network.name));
        }
        let mut all: Vec<(&Network, &Lease)> = self.links.iter().map(|link| (&link.network, &link.lease)).collect();
        all.push((network, lease));
        let routes = change::Routes::by(&all);
        let started = start(|channel| {
            let (connection, gateway) = change::enter(&self.store, init, network, lease, &routes)?;
            Ok(channel.send(&Done::Well, &[connection.as_fd(), gateway.as_fd()])?)
        });
        self.keep(started, Some(viewer), Task::Enter(place));
        Ok(())
    }

    fn take_out(&mut self, network: String, init: Pid, viewer: u64) -> Result<(), String> {
        let left = self.links.iter().find(|link| link.network.id == network).ok_or(change::NOT_CONNECTED)?;
        let rest = self.links.iter().filter(|link| link.network.id != network);
        let all: Vec<(&Network, &Lease)> = rest.map(|link| (&link.network, &link.lease)).collect();
        let routes = change::Routes::by(&all);
        let (gateway, port) = (left.gateway.as_fd(), port_name(&left.lease));
        let started = start(|channel| {
            change::leave(init, gateway, &port, &routes)?;
            Ok(channel.send(&Done::Well, &[])?)
        });
        self.keep(started, Some(viewer), Task::Leave(network));
        Ok(())
    }

    fn keep(&mut self, started: io::Result<(Pid, Channel)>, viewer: Option<u64>, task: Task) {
        match started {
            Ok((child, channel)) => {
                self.children.push(child);
                self.jobs.push(Job { channel, viewer, task });
            }
            // A job whose other end is closed has failed, and is told so.
            Err(_) => {
                if let Ok((channel, _)) = Channel::pair() {
                    self.jobs.push(Job { channel, viewer, task });
                }
            }
        }
    }

    /// Takes the places back; what the supervisor does last of all.
    pub fn leave(&self) {
        for link in &self.links {
            let leases = self.store.leases(&link.network);
            let _ = leases.release_endpoint(&link.lease.container, &link.lease.endpoint_id);
            self.happened(link, "disconnect");
        }
    }

    fn happened(&self, link: &Link, action: &str) {
        let what = Happening::of_network(&link.network, action);
        self.store.happened(what.with("container", link.lease.container.as_str()));
    }

    /// Takes away what the end of the container's namespace does not: the rules of its veths. Of a network
    /// that others are still on; with the last one everything goes. Slow, and leaves this process in
    /// another network namespace.
    pub fn clear(mut self) {
        for link in &mut self.links {
            link.connection = None;
            if self.store.leases(&link.network).list().is_ok_and(|others| !others.is_empty()) {
                let _ = veth::detach(link.gateway.as_fd(), &port_name(&link.lease));
            } else {
                let deadline = Instant::now() + LAST_BREATH;
                // An anchor of our making dies with us, and is to have cleared up before.
                while anchor::sweep(&self.store, &link.network).is_ok_and(|swept| !swept)
                    && reap(&mut self.children) > 0
                    && Instant::now() < deadline
                {
                    std::thread::sleep(Duration::from_millis(1));
                }
            }
        }
    }
}

/// Lets go of those that have ended; how many are left.
fn reap(children: &mut Vec<Pid>) -> usize {
    children.retain(|child| matches!(waitpid(Some(*child), WaitOptions::NOHANG), Ok(None)));
    children.len()
}

/// Forks a child that works and reports.
fn start(work: impl FnOnce(&Channel) -> anyhow::Result<()>) -> io::Result<(Pid, Channel)> {
    let (ours, theirs) = Channel::pair()?;
    match process::clone(0)? {
        Some(child) => {
            rustix::io::ioctl_fionbio(&ours, true)?;
            Ok((child.pid, ours))
        }
        None => {
            drop(ours);
            if let Err(error) = work(&theirs) {
                let _ = theirs.send(&Done::Failed(format!("{error:#}")), &[]);
            }
            process::exit_now(0)
        }
    }
}

/// What an anchor is told of a container.
pub(super) fn member(lease: &Lease) -> Member {
    Member {
        container: lease.container.clone(),
        endpoint_id: lease.endpoint_id.clone(),
        addresses: lease.addresses(),
        host_loopback: lease.host_loopback,
    }
}

/// Why a container could not join its networks.
#[derive(Debug)]
pub enum JoinError {
    /// This kernel has no networks like ours.
    Unsupported {
        error: SetupError,
        members: Members,
    },
    Failed(SetupError),
}

/// What an anchor, or its end, says against a membership.
#[derive(Debug, thiserror::Error)]
#[error("{error}")]
pub(super) struct Refusal {
    error: SetupError,
    lacks_feature: bool,
}

impl From<SetupError> for Refusal {
    fn from(error: SetupError) -> Self {
        Self { error, lacks_feature: false }
    }
}

/// Waits until the network is up; its namespace.
pub(super) fn welcome(connection: &Channel, network: &str) -> Result<OwnedFd, Refusal> {
    let died = || SetupError::new(format!("the anchor of network {network} died"));
    let mut waiting = [PollFd::new(connection, PollFlags::IN)];
    let patience = Timespec::try_from(PATIENCE).doing("wait")?;
    if poll(&mut waiting, Some(&patience)).doing(format_args!("wait for network {network}"))? == 0 {
        let text = format!("network {network} did not come up within {} s", PATIENCE.as_secs());
        return Err(SetupError::new(text).into());
    }
    let Some(Received { message, descriptors }) =
        connection.receive::<Answer>().doing(format_args!("hear from the anchor of network {network}"))?
    else {
        return Err(died().into());
    };
    match message {
        Answer::Welcome => Ok(descriptors.into_iter().next().ok_or_else(died)?),
        Answer::Failed { text, missing } => Err(Refusal {
            error: SetupError::new(format!("network {network}: {text}")),
            lacks_feature: missing.is_some(),
        }),
    }
}

/// Whether the anchor is gone, or could not begin.
fn is_lost(connection: &Channel) -> bool {
    loop {
        match connection.try_receive::<Answer>() {
            Ok(Some(Received { message: Answer::Welcome, .. })) => {}
            Ok(None) => return false,
            Ok(Some(_)) | Err(_) => return true,
        }
    }
}
