//! Commands and flags of docker and podman, to tell who types one that rbox lacks from who made a
//! slip. What rbox has too does no harm here: nobody asks about it.

/// Commands; the second words of the nouns are in [`NOUNS`].
const COMMANDS: &str = "attach auto-update build builder buildx checkpoint commit compose config container context cp \
create diff events exec export farm generate healthcheck history image images import info init inspect kill kube load \
login logout logs machine manifest mount network node pause play plugin pod port ps pull push rename restart rm rmi run \
save scout search secret service stack start stats stop swarm system tag top trust umount unmount unpause unshare \
untag update version volume wait";

const NOUNS: &[(&str, &str)] = &[
    (
        "container",
        "attach checkpoint cleanup clone commit cp create diff exec exists export init inspect kill list logs ls mount \
         pause port prune ps rename restart restore rm run runlabel start stats stop top umount unpause update wait",
    ),
    (
        "image",
        "build diff exists history import inspect list load ls mount prune pull push rm save scp sign tag tree trust \
         unmount untag",
    ),
    ("network", "connect create disconnect exists inspect ls prune reload rm update"),
    ("volume", "create exists export import inspect ls mount prune reload rm unmount update"),
    ("system", "connection df dial-stdio events info migrate prune renumber reset service"),
];

/// Flags by command.
const FLAGS: &[(&[&str], &str)] = &[
    (
        &["run", "create"],
        "--annotation --arch --attach -a --authfile --blkio-weight --blkio-weight-device --cert-dir --cgroup-conf \
         --cgroup-parent --cgroupns --cgroups --chrootdirs --conmon-pidfile --cpu-period --cpu-quota --cpu-rt-period \
         --cpu-rt-runtime --cpu-shares -c --cpus --cpuset-cpus --cpuset-mems --creds --decryption-key --detach \
         --detach-keys --device --device-cgroup-rule --device-read-bps --device-read-iops --device-write-bps \
         --device-write-iops --disable-content-trust --dns --dns-opt --dns-option --dns-search --domainname --env-host \
         --env-merge --expose --gidmap --gpus --group-add --group-entry --health-cmd --health-interval \
         --health-log-destination --health-max-log-count --health-max-log-size --health-on-failure --health-retries \
         --health-start-interval --health-start-period --health-startup-cmd --health-startup-interval \
         --health-startup-retries --health-startup-success --health-startup-timeout --health-timeout --hosts-file \
         --hostuser --http-proxy --image-volume --init-ctr --init-path --ip --ip6 --isolation --link --link-local-ip \
         --log-driver --log-opt --mac-address --memory -m --memory-reservation --memory-swap --memory-swappiness \
         --net-alias --network-alias --no-healthcheck --no-hostname --no-hosts --oom-kill-disable --oom-score-adj --os \
         --passwd --passwd-entry --personality --pidfile --pids-limit --pod --pod-id-file --preserve-fd --preserve-fds \
         --publish -p --publish-all -P --rdt-class --read-only-tmpfs --replace --requires --restart --retry \
         --retry-delay --rmi --rootfs --runtime --sdnotify --seccomp-policy --secret --shm-size-systemd --storage-opt \
         --subgidname --subuidname --sysctl --systemd --timeout --tz --uidmap --umask --unsetenv --unsetenv-all \
         --use-api-socket --variant --volume-driver --volumes-from",
    ),
    (&["attach"], "--detach-keys --latest -l --no-stdin --sig-proxy"),
    (&["exec"], "--cidfile --detach-keys --latest -l --no-session --preserve-fd --preserve-fds"),
    (&["images"], "--history --noheading -n --sort --tree"),
    (&["inspect"], "--latest -l -t"),
    (&["kill"], "--all -a --cidfile --latest -l"),
    (&["logs"], "--color --latest -l --names"),
    (&["ps"], "--external --namespace --noheading --ns --pod -p --sort --sync --watch -w"),
    (
        &["pull"],
        "--all-tags -a --arch --authfile --creds --decryption-key --disable-content-trust --os --policy --retry \
         --retry-delay --variant",
    ),
    (&["restart"], "--all -a --cidfile --filter --latest -l --running"),
    (&["rm"], "--all -a --cidfile --depend --filter --ignore -i --latest -l --link --time -t"),
    (&["rmi"], "--all -a --ignore -i --no-prune --platform"),
    (&["start"], "--all --checkpoint --checkpoint-dir --detach-keys --filter -f --latest -l --sig-proxy"),
    (&["stop"], "--all -a --cidfile --filter -f --ignore -i --latest -l"),
    (&["wait"], "--condition --exit-first-match --ignore --interval -i --latest -l"),
    (
        &["rbox"],
        "--cgroup-manager --config --conmon --connection --context -c --debug -D --events-backend --host -H --hooks-dir \
         --identity --imagestore --log-level -l --module --network-config-dir --out --remote -r --runtime --ssh \
         --storage-driver --storage-opt --syslog --tls --tlscacert --tlscert --tlskey --tlsverify --tmpdir \
         --transient-store --url --volumepath",
    ),
];

/// Whether docker or podman has a command, of one word or two.
pub fn has_command(words: &str) -> bool {
    match words.split_once(' ') {
        Some((noun, verb)) => NOUNS.iter().any(|(known, verbs)| *known == noun && contains(verbs, verb)),
        None => contains(COMMANDS, words),
    }
}

/// Whether docker or podman has a flag for a command, whose last word is enough.
pub fn has_flag(command: &str, flag: &str) -> bool {
    let short = match command {
        "ls" | "list" => "ps",
        "remove" => "rm",
        name => name,
    };
    FLAGS.iter().any(|(commands, flags)| commands.contains(&short) && contains(flags, flag))
}

fn contains(list: &str, word: &str) -> bool {
    list.split_whitespace().any(|known| known == word)
}
