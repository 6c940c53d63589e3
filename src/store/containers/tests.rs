use std::process::Command;

use rustix::time::{ClockId, clock_gettime};

use super::*;
use crate::store::gc;
use crate::store::staging::{self, Cleanup, Trash};
use crate::store::testing::{TestStore, config, image};

fn run(container: &mut Container) -> AliveLock {
    let alive = container.take_alive().unwrap().unwrap();
    let start = |state: &mut State| {
        state.status = Status::Running;
        state.boot_id = boot_id().to_owned();
        state.pid = 1;
    };
    container.update_state(start).unwrap();
    alive
}

fn names(store: &Store) -> Vec<String> {
    names::list(store).unwrap()
}

#[test]
fn a_container_is_found_by_id_name_and_prefix() {
    let store = TestStore::new();
    let containers = store.containers();
    let web = containers.create(config("web", "ab1")).unwrap();
    containers.create(config("db", "ab2")).unwrap();
    let id = web.id().clone();
    for text in [id.as_str(), id.short(), "web", "/web", "ab1"] {
        assert_eq!(containers.find(text).unwrap().config, web.config, "{text}");
    }
    let error = containers.find("ab").unwrap_err();
    let expected = format!(
        "multiple IDs found with provided prefix: ab ({}, {})",
        id.short(),
        containers.resolve("db").unwrap().short()
    );
    assert_eq!(error.to_string(), expected);
    for text in ["x", "we", "", "/", "../web", "ffffffffffff", "a b"] {
        assert_eq!(containers.find(text).unwrap_err().to_string(), format!("No such container: {text}"));
    }
    // A name goes before a prefix.
    let hex = containers.create(config("ab", "cd")).unwrap();
    assert_eq!(containers.resolve("ab").unwrap(), *hex.id());
}

#[test]
fn a_name_has_one_container() {
    let store = TestStore::new();
    let first = store.containers().create(config("web", "a")).unwrap();
    let error = store.containers().create(config("web", "b")).unwrap_err();
    let expected = format!(
        "Conflict. The container name \"/web\" is already in use by container \"{}\". You have to remove (or rename) \
         that container to be able to reuse that name.",
        first.id()
    );
    assert_eq!(error.to_string(), expected);
    assert_eq!(store.containers().list().unwrap().0.len(), 1);
    assert_eq!(staging::count_abandoned(&store).unwrap(), 0);
    for name in ["0123456789ab", "a b", "../x", ""] {
        assert!(matches!(store.containers().create(config(name, "c")), Err(CreateError::InvalidName(_))), "{name}");
    }
    assert_eq!(store.containers().remove(first.id()).unwrap(), Cleanup::Complete);
    assert!(names(&store).is_empty());
    store.containers().create(config("web", "b")).unwrap();
}

#[test]
fn of_many_who_want_a_name_exactly_one_gets_it() {
    let store = TestStore::new();
    let winners: usize = std::thread::scope(|scope| {
        let racers: Vec<_> = (0..8)
            .map(|n| {
                let store = &store;
                scope.spawn(move || match store.containers().create(config("web", &n.to_string())) {
                    Ok(_) => 1,
                    Err(CreateError::NameTaken { .. }) => 0,
                    Err(error) => panic!("{error}"),
                })
            })
            .collect();
        racers.into_iter().map(|racer| racer.join().unwrap()).sum()
    });
    assert_eq!((winners, store.containers().list().unwrap().0.len()), (1, 1));
}

#[test]
fn a_name_whose_container_is_gone_is_free() {
    let store = TestStore::new();
    let gone = config("web", "a");
    std::os::unix::fs::symlink(gone.id.as_str(), store.path("names/web")).unwrap();
    std::fs::write(store.path("names/db"), "damage").unwrap();
    assert!(store.containers().find("web").is_err());
    for name in ["web", "db"] {
        let made = store.containers().create(config(name, "b")).unwrap();
        assert_eq!(store.containers().resolve(name).unwrap(), *made.id());
    }
}

#[test]
fn a_lost_name_record_does_not_hide_the_container() {
    let store = TestStore::new();
    let web = store.containers().create(config("web", "a")).unwrap();
    std::fs::remove_file(store.path("names/web")).unwrap();
    assert_eq!(store.containers().resolve("web").unwrap(), *web.id());
}

#[test]
fn a_container_needs_its_layers() {
    let store = TestStore::new();
    let image = image(&store, &["a"], &["base", "top"]);
    let mut wanted = config("web", "a");
    wanted.root = RootSource::Image { id: image.config, layers: image.chains.clone() };
    std::fs::remove_dir_all(store.layers().diff_path(image.chains[1])).unwrap();
    let error = store.containers().create(wanted).unwrap_err();
    assert!(matches!(error, CreateError::LayerMissing(layer) if layer == image.chains[1]));
    assert!(names(&store).is_empty() && store.containers().ids().unwrap().is_empty());
}

#[test]
fn running_is_a_held_lock_and_a_dead_supervisor_an_exit() {
    let store = TestStore::new();
    let mut web = store.containers().create(config("web", "a")).unwrap();
    assert_eq!(web.status(), Status::Created);
    let alive = run(&mut web);
    assert!(store.containers().find("web").unwrap().is_running());
    assert!(web.take_alive().unwrap().is_none());
    drop(alive);
    let seen = store.containers().find("web").unwrap();
    assert_eq!((seen.status(), seen.state.exit_code, seen.state.pid), (Status::Exited, 137, 0));
    // Who saw it first recorded it, and told of it.
    let raw: State = record::read(&web.path("state.json")).unwrap();
    assert_eq!((raw.status, raw.exit_code), (Status::Exited, 137));
}

#[test]
fn a_reboot_ends_what_ran() {
    let store = TestStore::new();
    let mut web = store.containers().create(config("web", "a")).unwrap();
    let _alive = run(&mut web);
    web.update_state(|state| state.boot_id = "11111111-2222-3333-4444-555555555555".to_owned()).unwrap();
    let seen = store.containers().find("web").unwrap();
    assert_eq!((seen.status(), seen.state.exit_code), (Status::Exited, 137));
}

#[test]
fn a_killed_process_ends_its_container_at_once() {
    let store = TestStore::new();
    let mut web = store.containers().create(config("web", "a")).unwrap();
    let alive = run(&mut web);
    drop(alive);
    // Another process holds the lock, by an open file description of its own.
    let script = "import fcntl,struct,sys,time\nf=open(sys.argv[1],'r+')\n\
        fcntl.fcntl(f,37,struct.pack('hhlli',fcntl.F_WRLCK,0,0,0,0))\nprint(flush=True)\ntime.sleep(60)";
    let mut holder = Command::new("python3")
        .args(["-c", script])
        .arg(web.path("alive"))
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let mut ready = [0];
    std::io::Read::read_exact(holder.stdout.as_mut().unwrap(), &mut ready).unwrap();
    assert!(store.containers().find("web").unwrap().is_running());
    assert!(matches!(store.containers().remove(web.id()), Err(RemoveError::Running { name }) if name == "web"));
    holder.kill().unwrap();
    holder.wait().unwrap();
    assert_eq!(store.containers().find("web").unwrap().status(), Status::Exited);
}

#[test]
fn an_exit_recorded_while_we_look_is_not_a_crash() {
    let store = TestStore::new();
    let mut web = store.containers().create(config("web", "a")).unwrap();
    std::thread::scope(|scope| {
        let looker = scope.spawn(|| {
            for _ in 0..3000 {
                let seen = store.containers().find("web").unwrap();
                assert_ne!(seen.state.exit_code, 137);
            }
        });
        while !looker.is_finished() {
            let alive = run(&mut web);
            let exit = |state: &mut State| {
                state.status = Status::Exited;
                state.exit_code = 3;
            };
            web.update_state(exit).unwrap();
            drop(alive);
            web.update_state(|state| state.status = Status::Created).unwrap();
        }
        looker.join().unwrap();
    });
}

#[test]
fn state_updates_of_many_writers_are_not_lost() {
    let store = TestStore::new();
    let web = store.containers().create(config("web", "a")).unwrap();
    std::thread::scope(|scope| {
        for _ in 0..4 {
            let mut web = web.clone();
            scope.spawn(move || {
                for _ in 0..50 {
                    web.update_state(|state| state.exit_code += 1).unwrap();
                }
            });
        }
    });
    assert_eq!(store.containers().find("web").unwrap().state.exit_code, 200);
}

#[test]
fn damage_is_named_and_the_rest_works() {
    let store = TestStore::new();
    let containers = store.containers();
    containers.create(config("good", "a")).unwrap();
    let bad = containers.create(config("bad", "b")).unwrap();
    let whole = std::fs::read(bad.path("config.json")).unwrap();
    for file in ["config.json", "state.json"] {
        for damage in [&b""[..], b"{", &whole[..whole.len() / 2], b"\0\0\0", b"[1]", b"\"\x1b[31m\""] {
            std::fs::write(bad.path(file), damage).unwrap();
            let (listed, damaged) = containers.list().unwrap();
            assert_eq!((listed.len(), damaged.len()), (1, 1), "{file} {damage:?}");
            assert_eq!(damaged[0].id, bad.id().as_str());
            assert!(damaged[0].why.starts_with(&format!("{file} is damaged: ")), "{}", damaged[0].why);
            assert!(matches!(containers.find("bad"), Err(LookupError::Damaged { .. })));
        }
        std::fs::remove_file(bad.path(file)).unwrap();
        assert_eq!(containers.list().unwrap().1[0].why, format!("{file} is missing"));
        std::fs::write(bad.path("config.json"), &whole).unwrap();
    }
    // Removal needs no record, and frees the name.
    std::fs::write(bad.path("config.json"), "{").unwrap();
    let id = containers.resolve("bad").unwrap();
    assert_eq!(containers.remove(&id).unwrap(), Cleanup::Complete);
    assert_eq!((names(&store), containers.list().unwrap().1.len()), (vec!["good".to_owned()], 0));
    assert!(matches!(containers.remove(&id), Err(RemoveError::NotFound(_))));
}

#[test]
fn what_a_power_loss_left_of_a_container_that_was_to_go_counts_as_nothing() {
    let store = TestStore::new();
    let containers = store.containers();
    let before_this_boot = std::time::UNIX_EPOCH + std::time::Duration::from_secs(1_000_000_000);
    let lose = |web: &Container, file: &str| {
        let file = std::fs::File::create(web.path(file)).unwrap();
        file.set_modified(before_this_boot).unwrap();
    };
    let make =
        |name: &str, id: &str| containers.create(ContainerConfig { auto_remove: true, ..config(name, id) }).unwrap();
    let lost = [make("a", "a"), make("b", "b")];
    lose(&lost[0], "config.json");
    lose(&lost[1], "state.json");
    let kept = containers.create(config("kept", "c")).unwrap();
    lose(&kept, "state.json");
    // This boot's: somebody else emptied it.
    let emptied = make("emptied", "d");
    std::fs::write(emptied.path("config.json"), "").unwrap();
    let (listed, damaged) = containers.list().unwrap();
    let mut damaged: Vec<&str> = damaged.iter().map(|record| record.id.as_str()).collect();
    damaged.sort_unstable();
    assert_eq!((listed.len(), damaged), (0, vec![kept.id().as_str(), emptied.id().as_str()]));
    let long_ago = std::time::SystemTime::now() - std::time::Duration::from_secs(2 * 3600);
    std::fs::File::open(store.path("gc.lock")).unwrap().set_modified(long_ago).unwrap();
    gc::tidy(&store).unwrap();
    assert!(lost.iter().all(|web| !web.directory().exists()) && kept.directory().exists());
    assert_eq!(names(&store), ["emptied", "kept"]);
}

#[test]
fn a_removal_that_was_killed_is_finished_by_the_next_command() {
    let store = TestStore::new();
    let web = store.containers().create(config("web", "a")).unwrap();
    // Killed after the rename: the trash and the name are left.
    std::fs::rename(web.directory(), store.path("staging/0123456789abcdef")).unwrap();
    assert!(store.containers().find("web").is_err() && store.containers().list().unwrap().0.is_empty());
    store.containers().create(config("web", "b")).unwrap();
    assert_eq!(staging::sweep(&store).unwrap(), Cleanup::Complete);
    assert_eq!(std::fs::read_dir(store.path("staging")).unwrap().count(), 0);
}

#[test]
fn a_creation_that_was_killed_is_invisible() {
    let store = TestStore::new();
    let web = store.containers().create(config("web", "a")).unwrap();
    // Killed between the name and the rename.
    std::fs::rename(web.directory(), store.path("staging/0123456789abcdef")).unwrap();
    assert_eq!(store.containers().list().unwrap().0.len(), 0);
    let again = store.containers().create(config("web", "a")).unwrap();
    assert_eq!(store.containers().find("web").unwrap().config, again.config);
}

#[test]
fn a_supervisor_removes_its_own_container() {
    let store = TestStore::new();
    let mut wanted = config("web", "a");
    wanted.auto_remove = true;
    let mut web = store.containers().create(wanted).unwrap();
    assert_eq!(web.durability(), Durability::Volatile);
    let alive = run(&mut web);
    assert_eq!(store.containers().supervisors().unwrap(), []);
    let own = ProcessIdentity::of(rustix::process::getpid()).unwrap();
    web.update_state(|state| {
        state.supervisor_pid = own.pid.as_raw_nonzero().get();
        state.supervisor_start = own.start;
    })
    .unwrap();
    assert_eq!(store.containers().supervisors().unwrap(), [own]);
    assert_eq!(store.containers().retire(web.id(), &alive).unwrap().delete().unwrap(), Cleanup::Complete);
    assert!(store.containers().find("web").is_err());
    assert!(web.update_state(|_| {}).is_err());
    // A starter that was too late must not get a lock on what is gone.
    assert_eq!(web.take_alive().unwrap_err().kind(), io::ErrorKind::NotFound);
}

#[test]
fn removal_waits_for_a_supervisor_that_is_leaving() {
    let store = TestStore::new();
    let mut web = store.containers().create(config("web", "a")).unwrap();
    let alive = run(&mut web);
    // A failed start leaves it created.
    web.update_state(|state| state.status = Status::Created).unwrap();
    let leaving = std::thread::spawn(move || {
        std::thread::sleep(std::time::Duration::from_millis(50));
        drop(alive);
    });
    assert_eq!(store.containers().remove(web.id()).unwrap(), Cleanup::Complete);
    leaving.join().unwrap();
}

#[test]
fn a_removal_beside_the_supervisors_own_ends_without_delay() {
    let store = TestStore::new();
    let started = std::time::Instant::now();
    for n in 0..50 {
        let mut web = store.containers().create(config("web", "a")).unwrap();
        let id = web.id().clone();
        let alive = run(&mut web);
        std::thread::scope(|scope| {
            let remover = scope.spawn(|| store.containers().remove(&id));
            web.update_state(|state| state.status = Status::Exited).unwrap();
            if n % 2 == 0 {
                let _ = store.containers().retire(&id, &alive).map(Trash::delete);
            }
            drop(alive);
            match remover.join().unwrap() {
                Ok(Cleanup::Complete) | Err(RemoveError::NotFound(_)) => {}
                // It looked before the exit was recorded.
                Err(RemoveError::Running { .. }) => drop(store.containers().remove(&id)),
                other => panic!("{other:?}"),
            }
        });
        assert!(store.containers().find("web").is_err());
    }
    assert!(started.elapsed() < remove::PARTING);
}

#[test]
fn a_renaming_that_was_killed_leaves_no_name_taken() {
    let store = TestStore::new();
    let web = store.containers().create(config("web", "a")).unwrap();
    // Killed after the new name was claimed.
    names::lock(&store).unwrap().claim("next", web.id()).unwrap().unwrap();
    let next = store.containers().create(config("next", "b")).unwrap();
    assert_eq!(store.containers().resolve("next").unwrap(), *next.id());
    names::lock(&store).unwrap().claim("more", web.id()).unwrap().unwrap();
    store.containers().free_dangling_names().unwrap();
    assert_eq!(names(&store), ["next", "web"]);
    // Killed after the record was changed.
    store.containers().rename(web.id(), "new").unwrap();
    std::os::unix::fs::symlink(web.id().as_str(), store.path("names/web")).unwrap();
    store.containers().create(config("web", "c")).unwrap();
    assert_eq!(store.containers().find("new").unwrap().id(), web.id());
    assert_eq!(names(&store), ["new", "next", "web"]);
}

#[test]
fn renaming_keeps_the_names_true() {
    let store = TestStore::new();
    let containers = store.containers();
    let web = containers.create(config("web", "a")).unwrap();
    containers.create(config("db", "b")).unwrap();
    let rename = |to: &str| containers.rename(web.id(), to).map_err(|error| error.to_string());
    assert!(rename("db").unwrap_err().starts_with("Conflict. The container name \"/db\""));
    assert!(rename("web").unwrap_err().contains("same name"));
    assert!(rename("a b").unwrap_err().starts_with("Invalid container name (a b)"));
    assert_eq!(names(&store), ["db", "web"]);
    rename("/front").unwrap();
    assert_eq!(names(&store), ["db", "front"]);
    let renamed = containers.find("front").unwrap();
    assert_eq!((renamed.config.name.as_str(), renamed.id()), ("front", web.id()));
    assert!(containers.find("web").is_err());
    assert_eq!(containers.remove(web.id()).unwrap(), Cleanup::Complete);
    assert!(matches!(rename("x"), Err(text) if text.contains(web.id().short())));
    assert_eq!(names(&store), ["db"]);
}

#[test]
fn listing_takes_no_longer_for_each_container_when_there_are_many() {
    let store = TestStore::in_memory();
    let fill = |numbers: std::ops::Range<u32>| {
        for n in numbers {
            let mut config = config(&format!("c{n}"), &format!("{n:04x}"));
            config.auto_remove = true;
            config.created = format!("2026-01-02T03:04:05.{n:09}Z");
            store.containers().create(config).unwrap();
        }
    };
    // The thread's own time: other tests share the processors.
    let cpu_time = || std::time::Duration::try_from(clock_gettime(ClockId::ThreadCPUTime)).unwrap();
    let listing = |count: usize| {
        let times = (0..5).map(|_| {
            let start = cpu_time();
            let (containers, damaged) = store.containers().list().unwrap();
            let elapsed = cpu_time() - start;
            assert_eq!((containers.len(), damaged.len()), (count, 0));
            assert_eq!(containers[0].config.name, format!("c{}", count - 1));
            elapsed
        });
        times.min().unwrap()
    };
    fill(0..100);
    let few = listing(100);
    fill(100..1000);
    let many = listing(1000);
    // Ten times as many; what grew with their square would take a hundred times as long.
    assert!(many < few * 30, "{few:?} for 100, {many:?} for 1000");
}
