//! Numbers of system calls that Debian 12's libseccomp (2.5.4) has no names for. From 424 on all
//! architectures we run on share them (include/uapi/asm-generic/unistd.h).

/// The number of `name` in the native ABI.
pub fn number(name: &str) -> Option<i32> {
    let everywhere = [
        ("set_mempolicy_home_node", 450),
        ("cachestat", 451),
        ("fchmodat2", 452),
        ("map_shadow_stack", 453),
        ("futex_wake", 454),
        ("futex_wait", 455),
        ("futex_requeue", 456),
        ("statmount", 457),
        ("listmount", 458),
        ("lsm_get_self_attr", 459),
        ("lsm_set_self_attr", 460),
        ("lsm_list_modules", 461),
        ("mseal", 462),
        ("setxattrat", 463),
        ("getxattrat", 464),
        ("listxattrat", 465),
        ("removexattrat", 466),
        ("open_tree_attr", 467),
        ("file_getattr", 468),
        ("file_setattr", 469),
    ];
    let native: &[(&str, i32)] = match std::env::consts::ARCH {
        "x86_64" => &[("uretprobe", 335), ("uprobe", 336)],
        "riscv64" => &[("riscv_hwprobe", 258)],
        _ => &[],
    };
    everywhere.iter().chain(native).find(|(known, _)| *known == name).map(|(_, number)| *number)
}
