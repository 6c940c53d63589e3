//! Which distribution this is, as far as the lines that mend things differ.

use std::path::Path;

use super::facts;

/// A family of distributions with one package manager.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Distribution {
    /// Debian, Ubuntu and theirs.
    Debian,
    /// Fedora, RHEL and theirs.
    Fedora,
    Arch,
    Alpine,
    Suse,
    /// Anything else.
    Other,
}

/// What may be missing, by what it is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Package {
    /// newuidmap and newgidmap.
    IdMapHelpers,
    FuseOverlayfs,
}

impl Distribution {
    /// That of this machine, by os-release(5).
    pub fn here() -> Self {
        ["/etc/os-release", "/usr/lib/os-release"]
            .iter()
            .find_map(|path| facts::text(Path::new(path)))
            .map_or(Self::Other, |text| Self::parse(&text))
    }

    /// By the content of os-release: ID first, then what it says it is like.
    pub fn parse(text: &str) -> Self {
        let field = |name: &str| {
            let value = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix('=')).unwrap_or_default();
            value.trim().trim_matches(['"', '\'']).to_lowercase()
        };
        let words = format!("{} {}", field("ID"), field("ID_LIKE"));
        let known = words.split_whitespace().find_map(|word| match word {
            "debian" | "ubuntu" => Some(Self::Debian),
            "fedora" | "rhel" | "centos" => Some(Self::Fedora),
            "arch" | "archlinux" => Some(Self::Arch),
            "alpine" => Some(Self::Alpine),
            "suse" | "opensuse" | "sles" => Some(Self::Suse),
            _ => None,
        });
        known.unwrap_or(Self::Other)
    }

    /// The line that installs `package`.
    pub fn install(self, package: Package) -> Option<String> {
        let name = match (package, self) {
            (_, Self::Other) => return None,
            (Package::FuseOverlayfs, _) => "fuse-overlayfs",
            (Package::IdMapHelpers, Self::Debian) => "uidmap",
            (Package::IdMapHelpers, Self::Fedora) => "shadow-utils",
            (Package::IdMapHelpers, Self::Arch | Self::Suse) => "shadow",
            (Package::IdMapHelpers, Self::Alpine) => "shadow-uidmap",
        };
        let manager = match self {
            Self::Debian => "apt-get install",
            Self::Fedora => "dnf install",
            Self::Arch => "pacman -S",
            Self::Alpine => "apk add",
            Self::Suse => "zypper install",
            Self::Other => return None,
        };
        Some(format!("{manager} {name}"))
    }
}

/// The lines that set a sysctl, now and at every boot.
pub fn sysctl(name: &str, value: &str) -> [String; 2] {
    let quoted = super::shell_word(&format!("{name}={value}"));
    [format!("sysctl -w {quoted}"), format!("echo {quoted} >>/etc/sysctl.d/90-rbox.conf")]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn families_are_told_by_id_and_likeness() {
        for (text, expected, line) in [
            ("NAME=\"Debian GNU/Linux\"\nID=debian\n", Distribution::Debian, Some("apt-get install uidmap")),
            ("ID=linuxmint\nID_LIKE=\"ubuntu debian\"\n", Distribution::Debian, Some("apt-get install uidmap")),
            ("ID=\"rocky\"\nID_LIKE=\"rhel centos fedora\"\n", Distribution::Fedora, Some("dnf install shadow-utils")),
            ("ID=manjaro\nID_LIKE=arch\n", Distribution::Arch, Some("pacman -S shadow")),
            ("ID=alpine\n", Distribution::Alpine, Some("apk add shadow-uidmap")),
            ("ID='opensuse-leap'\nID_LIKE='suse opensuse'\n", Distribution::Suse, Some("zypper install shadow")),
            ("ID=nixos\n", Distribution::Other, None),
            ("", Distribution::Other, None),
        ] {
            let found = Distribution::parse(text);
            assert_eq!((found, found.install(Package::IdMapHelpers).as_deref()), (expected, line), "{text:?}");
        }
    }

    #[test]
    fn sysctls_are_set_now_and_for_good() {
        assert_eq!(
            sysctl("net.ipv4.ping_group_range", "0 2147483647"),
            [
                "sysctl -w 'net.ipv4.ping_group_range=0 2147483647'",
                "echo 'net.ipv4.ping_group_range=0 2147483647' >>/etc/sysctl.d/90-rbox.conf"
            ]
        );
    }
}
