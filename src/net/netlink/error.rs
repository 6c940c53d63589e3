//! Why the kernel did not do what a netlink message asked.

use std::io;

use rustix::io::Errno;

/// A part of the kernel that may be left out when it is built.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum KernelFeature {
    Bridge,
    Veth,
    Ipv6,
    PolicyRouting,
    Netfilter,
    NfTables,
    NfTablesInet,
    NfTablesNetdev,
    Ingress,
    Tproxy,
}

impl KernelFeature {
    /// The name of the option that builds it.
    pub fn option(self) -> &'static str {
        match self {
            Self::Bridge => "CONFIG_BRIDGE",
            Self::Veth => "CONFIG_VETH",
            Self::Ipv6 => "CONFIG_IPV6",
            Self::PolicyRouting => "CONFIG_IP_MULTIPLE_TABLES",
            Self::Netfilter => "CONFIG_NETFILTER_NETLINK",
            Self::NfTables => "CONFIG_NF_TABLES",
            Self::NfTablesInet => "CONFIG_NF_TABLES_INET",
            Self::NfTablesNetdev => "CONFIG_NF_TABLES_NETDEV",
            Self::Ingress => "CONFIG_NETFILTER_INGRESS",
            Self::Tproxy => "CONFIG_NFT_TPROXY",
        }
    }

    /// Whether `errno`, answered to a message that needs this feature, says that it is not there.
    fn denied_by(self, errno: Errno) -> bool {
        match self {
            // An unknown expression or chain type (nft_expr_type_get, nft_chain_type_lookup); without the ingress
            // hook, registering a chain on it is not supported.
            Self::Tproxy | Self::Ingress => matches!(errno, Errno::NOENT | Errno::OPNOTSUPP),
            _ => matches!(errno, Errno::OPNOTSUPP | Errno::AFNOSUPPORT | Errno::PROTONOSUPPORT),
        }
    }
}

impl std::fmt::Display for KernelFeature {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.option())
    }
}

/// A failure to set up a network. Functions of [`crate::net`] wrap it in an [`io::Error`]; see [`NetError::of`].
#[derive(Debug, thiserror::Error)]
pub enum NetError {
    /// Callers fall back to another kind of network on it.
    #[error("this kernel is built without {0}")]
    Missing(KernelFeature),
    /// The kernel refused one step; `detail` is what it said besides the number.
    #[error("cannot {operation}: {errno}{}", said(.detail))]
    Refused { operation: String, errno: Errno, detail: Option<String> },
    /// Answers that make no sense.
    #[error("cannot {operation}: netlink answered with {what}")]
    Protocol { operation: String, what: &'static str },
}

fn said(detail: &Option<String>) -> String {
    detail.as_ref().map(|text| format!(" ({text})")).unwrap_or_default()
}

impl NetError {
    /// The error for `operation`, which may need `feature`, and which the kernel answered with `errno`.
    pub(crate) fn answered(
        operation: &str,
        feature: Option<KernelFeature>,
        errno: Errno,
        detail: Option<String>,
    ) -> Self {
        match feature {
            Some(feature) if feature.denied_by(errno) => Self::Missing(feature),
            _ => Self::Refused { operation: operation.to_owned(), errno, detail },
        }
    }

    /// The error for a system call other than those that carry netlink messages.
    pub(crate) fn call(operation: impl Into<String>, errno: Errno) -> Self {
        Self::Refused { operation: operation.into(), errno, detail: None }
    }

    /// The typed error inside one that came from this module.
    pub fn of(error: &io::Error) -> Option<&NetError> {
        error.get_ref().and_then(|inner| inner.downcast_ref())
    }

    /// The kernel feature whose absence is the reason of `error`, if that is the reason.
    pub fn missing(error: &io::Error) -> Option<KernelFeature> {
        match Self::of(error) {
            Some(Self::Missing(feature)) => Some(*feature),
            _ => None,
        }
    }

    /// What the kernel answered.
    pub fn errno(&self) -> Option<Errno> {
        match self {
            Self::Refused { errno, .. } => Some(*errno),
            _ => None,
        }
    }
}

impl From<NetError> for io::Error {
    fn from(error: NetError) -> Self {
        let kind = match &error {
            NetError::Missing(_) => io::ErrorKind::Unsupported,
            NetError::Refused { errno, .. } => io::Error::from(*errno).kind(),
            NetError::Protocol { .. } => io::ErrorKind::InvalidData,
        };
        io::Error::new(kind, error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn missing_features_are_recognised_through_io_errors() {
        let error = NetError::answered("add a rule", Some(KernelFeature::Tproxy), Errno::NOENT, None);
        let error = io::Error::from(error);
        assert_eq!(NetError::missing(&error), Some(KernelFeature::Tproxy));
        assert_eq!(error.to_string(), "this kernel is built without CONFIG_NFT_TPROXY");
        assert_eq!(error.kind(), io::ErrorKind::Unsupported);
    }

    #[test]
    fn refusals_name_the_operation() {
        let detail = Some("Unknown qdisc".to_owned());
        let error = NetError::answered("create veth v1", Some(KernelFeature::Veth), Errno::EXIST, detail);
        assert_eq!(error.to_string(), "cannot create veth v1: File exists (os error 17) (Unknown qdisc)");
        assert_eq!(NetError::missing(&error.into()), None);
        assert_eq!(NetError::missing(&io::Error::from_raw_os_error(2)), None);
    }
}
