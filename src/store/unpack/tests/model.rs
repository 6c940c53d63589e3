//! Random layers against a naive tree in memory that knows nothing of descriptors and caches.

use std::collections::{BTreeMap, VecDeque};
use std::os::unix::fs::FileTypeExt;

use proptest::prelude::*;

use super::archive::Archive;
use super::bench::Bench;

#[derive(Clone, Debug)]
enum Step {
    File(String, u8),
    Directory(String),
    Symlink(String, &'static str),
    HardLink(String, String),
    Whiteout(String),
    Opaque(String),
}

#[derive(Clone, Debug)]
enum Node {
    Directory(BTreeMap<String, usize>, bool),
    File(u8),
    Symlink(String),
    Whiteout,
}

/// Refused by the model.
#[derive(Debug)]
struct Refused;

/// How a walk treats what is not there.
#[derive(Clone, Copy, PartialEq)]
enum Missing {
    Make,
    MakeUnlessDeleted,
    Refuse,
}

struct Model(Vec<Node>);

impl Model {
    fn children(&mut self, directory: usize) -> &mut BTreeMap<String, usize> {
        match &mut self.0[directory] {
            Node::Directory(children, _) => children,
            other => panic!("{other:?} is no directory"),
        }
    }

    fn add(&mut self, directory: usize, name: &str, node: Node) -> usize {
        self.0.push(node);
        let index = self.0.len() - 1;
        self.children(directory).insert(name.to_owned(), index);
        index
    }

    fn walk(&mut self, path: &str, missing: Missing) -> Result<Option<usize>, Refused> {
        let mut left: VecDeque<String> = path.split('/').map(str::to_owned).collect();
        let (mut way, mut links) = (vec![0], 0);
        while let Some(component) = left.pop_front() {
            let at = *way.last().unwrap();
            match component.as_str() {
                "" | "." => continue,
                ".." => way.truncate((way.len() - 1).max(1)),
                name => match self.children(at).get(name).copied().map(|child| (child, self.0[child].clone())) {
                    Some((child, Node::Directory(..))) => way.push(child),
                    Some((_, Node::File(_))) => return Err(Refused),
                    Some((_, Node::Symlink(target))) => {
                        links += 1;
                        if links > 40 {
                            return Err(Refused);
                        }
                        if target.starts_with('/') {
                            way.truncate(1);
                        }
                        target.rsplit('/').for_each(|component| left.push_front(component.to_owned()));
                    }
                    _ if missing == Missing::Refuse => return Err(Refused),
                    Some((_, Node::Whiteout)) if missing == Missing::MakeUnlessDeleted => return Ok(None),
                    found => way.push(self.add(at, name, Node::Directory(BTreeMap::new(), found.is_some()))),
                },
            }
        }
        Ok(way.last().copied())
    }

    fn parent<'a>(&mut self, path: &'a str, missing: Missing) -> Result<Option<(usize, &'a str)>, Refused> {
        let (parent, name) = path.rsplit_once('/').unwrap_or(("", path));
        Ok(self.walk(parent, missing)?.map(|parent| (parent, name)))
    }

    fn put(&mut self, path: &str, node: Node) -> Result<(), Refused> {
        let (parent, name) = self.parent(path, Missing::Make)?.unwrap();
        let occupant = self.children(parent).get(name).copied().map(|index| self.0[index].clone());
        match (&node, occupant) {
            (Node::Directory(..), Some(Node::Directory(..))) => {}
            (Node::Directory(..), Some(Node::Whiteout)) => {
                self.add(parent, name, Node::Directory(BTreeMap::new(), true));
            }
            (_, occupant) => {
                self.free(path, parent, name, occupant)?;
                self.add(parent, name, node);
            }
        }
        Ok(())
    }

    /// Removes what has the name, unless the name itself leads through it.
    fn free(&mut self, path: &str, parent: usize, name: &str, occupant: Option<Node>) -> Result<(), Refused> {
        self.children(parent).remove(name);
        match occupant {
            Some(Node::Directory(..) | Node::Symlink(_)) => match self.parent(path, Missing::Refuse)? {
                Some((again, _)) if again == parent => Ok(()),
                _ => Err(Refused),
            },
            _ => Ok(()),
        }
    }

    fn link(&mut self, path: &str, source: &str) -> Result<(), Refused> {
        let find = |model: &mut Self| {
            let (parent, name) = model.parent(source, Missing::Refuse)?.unwrap();
            model.children(parent).get(name).copied().ok_or(Refused)
        };
        let (parent, name) = self.parent(path, Missing::Make)?.unwrap();
        let node = find(self)?;
        if self.children(parent).get(name) == Some(&node) && !matches!(self.0[node], Node::Directory(..)) {
            return Ok(());
        }
        let occupant = self.children(parent).get(name).copied().map(|index| self.0[index].clone());
        self.free(path, parent, name, occupant)?;
        let node = find(self)?;
        if matches!(self.0[node], Node::Directory(..)) {
            return Err(Refused);
        }
        self.children(parent).insert(name.to_owned(), node);
        Ok(())
    }

    fn delete(&mut self, path: &str) -> Result<(), Refused> {
        let Some((parent, name)) = self.parent(path, Missing::MakeUnlessDeleted)? else { return Ok(()) };
        match self.children(parent).get(name).copied() {
            None => {
                self.add(parent, name, Node::Whiteout);
            }
            Some(index) => self.hide(index),
        }
        Ok(())
    }

    fn hide(&mut self, index: usize) {
        if let Node::Directory(_, opaque) = &mut self.0[index] {
            *opaque = true;
        }
    }

    fn apply(&mut self, step: &Step) -> Result<(), Refused> {
        match step {
            Step::File(path, content) => self.put(path, Node::File(*content)),
            Step::Directory(path) => self.put(path, Node::Directory(BTreeMap::new(), false)),
            Step::Symlink(path, target) => self.put(path, Node::Symlink((*target).to_owned())),
            Step::HardLink(path, source) => self.link(path, source),
            Step::Whiteout(path) => self.delete(path),
            Step::Opaque(path) => {
                let directory = self.walk(path, Missing::MakeUnlessDeleted)?;
                directory.into_iter().for_each(|directory| self.hide(directory));
                Ok(())
            }
        }
    }

    fn list(&self, at: usize, path: &str, into: &mut BTreeMap<String, String>) {
        let text = match &self.0[at] {
            Node::Directory(_, opaque) => format!("directory {opaque}"),
            Node::File(content) => format!("file {content}"),
            Node::Symlink(target) => format!("link {target}"),
            Node::Whiteout => "whiteout".to_owned(),
        };
        into.insert(path.to_owned(), text);
        if let Node::Directory(children, _) = &self.0[at] {
            for (name, &child) in children {
                self.list(child, format!("{path}/{name}").trim_start_matches('/'), into);
            }
        }
    }
}

fn found(bench: &Bench) -> BTreeMap<String, String> {
    let describe = |path: &str| {
        let stat = std::fs::symlink_metadata(bench.diff(path)).unwrap();
        match stat.file_type() {
            kind if kind.is_dir() => format!("directory {}", bench.is_opaque(path)),
            kind if kind.is_file() => format!("file {}", std::fs::read(bench.diff(path)).unwrap()[0]),
            kind if kind.is_symlink() => format!("link {}", std::fs::read_link(bench.diff(path)).unwrap().display()),
            kind if kind.is_char_device() => "whiteout".to_owned(),
            kind => panic!("{kind:?}"),
        }
    };
    bench.tree().keys().map(|path| path.to_str().unwrap()).map(|path| (path.to_owned(), describe(path))).collect()
}

fn archive(steps: &[Step]) -> Vec<u8> {
    let whiteout = |path: &str| match path.rsplit_once('/') {
        Some((parent, name)) => format!("{parent}/.wh.{name}"),
        None => format!(".wh.{path}"),
    };
    let add = |archive: Archive, step: &Step| match step {
        Step::File(path, content) => archive.file(path, &[*content]),
        Step::Directory(path) => archive.directory(path),
        Step::Symlink(path, target) => archive.symlink(path, target),
        Step::HardLink(path, source) => archive.hard_link(path, source),
        Step::Whiteout(path) => archive.file(&whiteout(path), b""),
        Step::Opaque(path) => archive.file(&format!("{path}/.wh..wh..opq"), b""),
    };
    steps.iter().fold(Archive::new(), add).end()
}

fn path() -> impl Strategy<Value = String> {
    prop::collection::vec(prop::sample::select(vec!["a", "b", "c"]), 1..4).prop_map(|components| components.join("/"))
}

fn step() -> impl Strategy<Value = Step> {
    let target = prop::sample::select(vec!["a", "/a", "b/c", "/c/a", "../b", "../../c", "..", "/", "new/../b", "."]);
    prop_oneof![
        4 => (path(), any::<u8>()).prop_map(|(path, content)| Step::File(path, content)),
        3 => path().prop_map(Step::Directory),
        2 => (path(), target).prop_map(|(path, target)| Step::Symlink(path, target)),
        2 => (path(), path()).prop_map(|(path, source)| Step::HardLink(path, source)),
        2 => path().prop_map(Step::Whiteout),
        1 => path().prop_map(Step::Opaque),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 600, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn random_layers_equal_the_model(steps in prop::collection::vec(step(), 1..24)) {
        let mut model = Model(vec![Node::Directory(BTreeMap::new(), false)]);
        // The longest run of steps that the model takes must come out the same.
        let taken = steps.iter().take_while(|step| model_takes(&mut model, step)).count();
        let bench = Bench::new();
        prop_assert!(bench.unpack(archive(&steps[..taken])).is_ok());
        let mut expected = BTreeMap::new();
        model.list(0, "", &mut expected);
        prop_assert_eq!(found(&bench), expected);
        if taken < steps.len() {
            let bench = Bench::new();
            prop_assert!(bench.unpack(archive(&steps[..=taken])).is_err());
        }
    }
}

/// Applies a step; a refused one leaves the model as it was.
fn model_takes(model: &mut Model, step: &Step) -> bool {
    let before = model.0.clone();
    let taken = model.apply(step).is_ok();
    if !taken {
        model.0 = before;
    }
    taken
}
