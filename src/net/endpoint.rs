//! The endpoints of a network: a veth pair from the gateway's bridge into a container's namespace.

use std::io;
use std::net::IpAddr;
use std::os::fd::{AsFd, BorrowedFd};

use rustix::io::Errno;
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use crate::net::gateway::{await_addresses, interface_index};
use crate::net::netlink::{
    Batch, Socket, Veth, add_address, add_neighbour, add_veth, delete_default_route, delete_link, isolate_port,
    replace_default_route, set_up, without_link_local,
};
use crate::net::{Cidr, NetError, link_local, nft, sysctl, wait_until};
use crate::sys::net_netlink::is_running;

/// One container's place in a network.
#[derive(Clone, Debug)]
pub struct EndpointPlan {
    /// The interface in the container.
    pub interface: String,
    /// Its other end, a port of the gateway's bridge; its name is the container's alone.
    pub port: String,
    pub bridge: String,
    pub mac: [u8; 6],
    /// The container's addresses, with their subnets' prefixes. Of each family there may be none or several.
    pub addresses: Vec<Cidr>,
    /// At most one a family.
    pub default_routes: Vec<IpAddr>,
    pub mtu: u32,
    /// Whether other isolated endpoints of the network are out of reach.
    pub isolated: bool,
}

/// Joins a container to a network. `gateway` and `container` are network namespaces over which the calling process
/// has CAP_SYS_ADMIN and CAP_NET_ADMIN; it must have one thread. What an earlier endpoint of the same port name left
/// behind is replaced.
///
/// Packets pass when this returns. The process is in the container's namespace afterwards (after an error in either).
/// Nothing is left of an attempt that fails.
pub fn attach(gateway: BorrowedFd<'_>, container: BorrowedFd<'_>, plan: &EndpointPlan) -> io::Result<()> {
    let mut outside = Outside::enter(gateway)?;
    let made = outside.create(container, plan).and_then(|()| outside.guard(plan));
    let made = made.map_err(io::Error::from).and_then(|()| inside(container, plan));
    match made {
        Ok(()) => outside.settle([&plan.port, &plan.bridge]),
        // The reason for the failure says more than a failure to clean up.
        Err(_) => drop(outside.remove(&plan.port)),
    }
    made
}

/// Removes an endpoint; absent is as good. The calling process, which must have one thread, is in the gateway's
/// namespace afterwards. The kernel takes its time over it (tens of milliseconds, most of them asleep).
pub fn detach(gateway: BorrowedFd<'_>, port: &str) -> io::Result<()> {
    Ok(Outside::enter(gateway)?.remove(port)?)
}

/// Replaces the default routes of a container by `routes`, at most one a family; a family without loses its own. The
/// calling process, which must have one thread, is in the container's namespace afterwards.
pub fn set_default_routes(container: BorrowedFd<'_>, routes: &[IpAddr]) -> io::Result<()> {
    enter(container)?;
    let mut batch = Batch::new();
    for v6 in [false, true] {
        match routes.iter().find(|route| route.is_ipv6() == v6) {
            Some(route) => replace_default_route(&mut batch, *route, None),
            None => delete_default_route(&mut batch, v6),
        }
    }
    Ok(Socket::route()?.run(batch)?)
}

fn enter(namespace: BorrowedFd<'_>) -> Result<(), NetError> {
    move_into_link_name_space(namespace, Some(LinkNameSpaceType::Network))
        .map_err(|errno| NetError::call("enter a network namespace", errno))
}

/// Sets what interfaces to come inherit in the namespace of the calling thread, a container's, while its /proc/sys
/// can be written. [`attach`] does the same where it can.
pub fn prepare() -> io::Result<()> {
    sysctl::set(&[("ipv6/conf/default/accept_ra", "0")])
}

/// The gateway's side of an endpoint.
struct Outside {
    links: Socket,
    rules: Socket,
}

impl Outside {
    fn enter(gateway: BorrowedFd<'_>) -> Result<Self, NetError> {
        enter(gateway)?;
        Ok(Outside { links: Socket::route()?, rules: Socket::netfilter()? })
    }

    /// Makes the pair of interfaces, and tells the gateway who is at its other end.
    fn create(&mut self, container: BorrowedFd<'_>, plan: &EndpointPlan) -> Result<(), NetError> {
        let veth = Veth {
            port: &plan.port,
            bridge: interface_index(&self.links, &plan.bridge)?,
            interface: &plan.interface,
            namespace: container,
            mac: plan.mac,
            mtu: plan.mtu,
        };
        let request = || {
            let mut batch = Batch::new();
            add_veth(&mut batch, &veth);
            if plan.isolated {
                isolate_port(&mut batch, &plan.port);
            }
            for cidr in &plan.addresses {
                add_neighbour(&mut batch, veth.bridge, cidr.address, plan.mac);
            }
            batch
        };
        match self.links.run(request()) {
            Err(error) if error.errno() == Some(Errno::EXIST) && interface_index(&self.links, &plan.port).is_ok() => {
                self.remove(&plan.port)?;
                self.links.run(request())
            }
            result => result,
        }
    }

    /// Restricts what the container may send.
    fn guard(&mut self, plan: &EndpointPlan) -> Result<(), NetError> {
        let addresses: Vec<IpAddr> = plan.addresses.iter().map(|cidr| cidr.address).collect();
        nft::add_chain(&mut self.rules, &plan.port, plan.mac, &addresses)
    }

    /// Waits until the port passes packets, and the bridge, which does not without ports. The kernel sees to that
    /// some time after both ends are up; a packet before is lost and repeated after a second.
    fn settle(&self, interfaces: [&str; 2]) {
        for interface in interfaces {
            wait_until(|| is_running(self.links.as_fd(), interface).unwrap_or(true));
        }
    }

    fn remove(&mut self, port: &str) -> Result<(), NetError> {
        let mut batch = Batch::new();
        delete_link(&mut batch, port);
        self.links.run(batch)?;
        nft::delete_chain(&mut self.rules, port)
    }
}

/// Configures the container's side of an endpoint, whose interface is there.
fn inside(container: BorrowedFd<'_>, plan: &EndpointPlan) -> io::Result<()> {
    enter(container)?;
    let mut socket = Socket::route()?;
    let name = &plan.interface;
    let index = interface_index(&socket, name)?;
    let v6 = plan.addresses.iter().any(|cidr| cidr.address.is_ipv6());
    let mut batch = Batch::new();
    without_link_local(&mut batch, index, name);
    set_up(&mut batch, index, name);
    for cidr in &plan.addresses {
        add_address(&mut batch, index, name, *cidr);
    }
    if v6 {
        let setting = |setting| format!("ipv6/conf/{name}/{setting}");
        sysctl::set(&[(&setting("disable_ipv6"), "0"), (&setting("accept_ra"), "0")])?;
        let address = IpAddr::V6(link_local(plan.mac));
        add_address(&mut batch, index, name, Cidr { address, prefix: 64 });
    }
    for gateway in &plan.default_routes {
        replace_default_route(&mut batch, *gateway, Some(index));
    }
    socket.run(batch)?;
    await_addresses(&mut socket, &plan.addresses);
    Ok(())
}
