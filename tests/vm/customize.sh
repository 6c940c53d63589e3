#!/bin/sh
# Makes the user and adds the kernel to the root file system $1 of the virtual machine: run by
# mmdebstrap, as its root.
#
# The kernel is unpacked, not installed: its package wants a tool that makes an initial RAM disk, and
# scripts/vm.sh makes a better one in a moment.
set -eu

chroot "$1" useradd --create-home --shell /bin/bash someone
mkdir -p "$1/var/lib/systemd/linger" "$1/stage"
touch "$1/var/lib/systemd/linger/someone"

kernel=$(chroot "$1" apt-cache depends linux-image-cloud-amd64 | sed -n 's/.* \(linux-image-[0-9].*\)/\1/p')
mkdir "$1/kernel"
chroot "$1" sh -c "cd /kernel && apt-get -q -o APT::Sandbox::User=root download $kernel"
chroot "$1" sh -c 'dpkg-deb --fsys-tarfile /kernel/*.deb' |
    tar --extract --directory "$1" --keep-directory-symlink --exclude='./usr/share' ./boot ./lib
rm -r "$1/kernel"

# What the disks and the ports need, in the order in which it is loaded.
version=${kernel#linux-image-}
chroot "$1" depmod "$version"
chroot "$1" modprobe --all --set-version "$version" --show-depends virtio_pci virtio_blk virtio_console |
    sed -n 's/^insmod \([^ ]*\).*/\1/p' | awk '!seen[$0]++' >"$1/boot/modules"
