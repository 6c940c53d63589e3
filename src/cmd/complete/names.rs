//! Names and ids from the store.

use super::candidates::{Candidate, Completer};
use super::sources::Which;
use crate::cmd::inspect::network::driver;
use crate::spec::config::ContainerId;
use crate::store::Store;
use crate::store::containers::Status;

/// From so many digits on a word may be meant for an id. Fewer would bury the names.
const ID_DIGITS: usize = 2;

impl Completer<'_> {
    /// Containers by name, and by id when the word looks like one.
    pub fn containers(&self, word: &str, which: Which) -> Vec<Candidate> {
        let Some(store) = self.store else { return Vec::new() };
        let mut candidates = Vec::new();
        for (name, id) in store.containers().peek_names() {
            let by_name = self.wants(&name, word);
            let by_id = is_id_prefix(word) && id.as_str().starts_with(word);
            if !(by_name || by_id) || !is_one_of(store, &id, which) {
                continue;
            }
            let about = if self.describe { describe(store, &id) } else { String::new() };
            if by_id {
                let shown = if word.len() > id.short().len() { id.as_str() } else { id.short() };
                candidates.push(Candidate::new(shown, &about));
            }
            if by_name {
                candidates.push(Candidate::new(&name, &about));
            }
        }
        candidates
    }

    /// Networks by name, and by id when the word looks like one.
    pub fn networks(&self, word: &str) -> Vec<Candidate> {
        let Some(store) = self.store else { return Vec::new() };
        let Ok((networks, _)) = store.networks().list() else { return Vec::new() };
        let mut candidates = Vec::new();
        for network in networks {
            let subnets: Vec<String> = network.subnets.iter().map(|one| one.subnet.to_string()).collect();
            let about = if subnets.is_empty() { driver(network.driver).to_owned() } else { subnets.join(", ") };
            if is_id_prefix(word) && network.id.starts_with(word) {
                let shown = if word.len() > network.short_id().len() { &network.id } else { network.short_id() };
                candidates.push(Candidate::new(shown, &about));
            }
            if self.wants(&network.name, word) {
                candidates.push(Candidate::new(&network.name, &about));
            }
        }
        candidates
    }

    /// Secrets by name.
    pub fn secrets(&self, word: &str) -> Vec<Candidate> {
        let Some(Ok((secrets, _))) = self.store.map(|store| store.secrets().list()) else { return Vec::new() };
        let wanted = secrets.into_iter().filter(|secret| self.wants(&secret.name, word));
        wanted.map(|secret| Candidate::new(&secret.name, "")).collect()
    }

    /// Volumes by name.
    pub fn volumes(&self) -> Vec<Candidate> {
        let names = self.store.and_then(|store| store.volumes().names().ok()).unwrap_or_default();
        names.iter().map(|name| Candidate::new(name, "")).collect()
    }

    /// Manifest lists by name.
    pub fn lists(&self, word: &str) -> Vec<Candidate> {
        let Some(Ok((lists, _))) = self.store.map(|store| store.lists().list()) else { return Vec::new() };
        let named = lists.into_iter().map(|list| (list.name.familiar(), list.index.manifests.len()));
        let wanted = named.filter(|(name, _)| self.wants(name, word));
        wanted.map(|(name, count)| Candidate::new(&name, &format!("{count} manifests"))).collect()
    }

    /// Images by tag, by digest once an `@` was typed, and by id when the word looks like one.
    pub fn images(&self, word: &str) -> Vec<Candidate> {
        let Some(store) = self.store else { return Vec::new() };
        let hex = word.strip_prefix("sha256:").unwrap_or(word);
        let mut candidates = Vec::new();
        for record in store.images().peek_names() {
            let name = if record.is_untagged() { "untagged".to_owned() } else { record.name.familiar() };
            let (id, short) = (record.config.hex(), record.config.short());
            let by_name = !record.is_untagged() && (record.name.digest().is_none() || word.contains('@'));
            if by_name && self.wants(&name, word) {
                candidates.push(Candidate::new(&name, &short));
            }
            if is_id_prefix(hex) && id.starts_with(hex) {
                let shown = if hex.len() > short.len() || hex.len() < word.len() { &id } else { &short };
                candidates.push(Candidate::new(&format!("{}{shown}", &word[..word.len() - hex.len()]), &name));
            }
        }
        candidates.sort_by(|a, b| a.text.cmp(&b.text));
        candidates.dedup_by(|a, b| a.text == b.text);
        candidates
    }
}

fn is_id_prefix(word: &str) -> bool {
    word.len() >= ID_DIGITS && word.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

fn is_one_of(store: &Store, id: &ContainerId, which: Which) -> bool {
    let running = || store.containers().peek_state(id).map(|state| state.status == Status::Running);
    match which {
        Which::All => true,
        Which::Running => running() == Some(true),
        Which::Stopped => running() == Some(false),
    }
}

fn describe(store: &Store, id: &ContainerId) -> String {
    let image = store.containers().peek_image(id).unwrap_or_default();
    match store.containers().peek_state(id) {
        Some(state) => format!("{image}, {}", state.status),
        None => image,
    }
}
