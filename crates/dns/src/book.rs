//! Who has which names and addresses: a snapshot that stays whole while the next one is made.

use arc_swap::{ArcSwap, Guard};
use netmode_model::Id;
use rpds::HashTrieMapSync;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};

/// Names that something has in a zone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The zone: the name of a network, or a domain.
    pub zone: Arc<str>,
    /// Its names there, in any case; the first is what its addresses are called.
    pub names: Vec<String>,
    /// Its addresses there.
    pub addresses: Vec<IpAddr>,
}

/// What a name stands for: whose it is, and an address.
type Owned = (Id, IpAddr);

/// Names in lower case, without the dot of the root.
type Zone = HashTrieMapSync<Box<str>, Arc<[Owned]>>;

/// What an address is called: by whom, in which zone, and the name.
type Pointer = (Id, Arc<str>, Box<str>);

/// One state of all names. A clone costs nothing, and a change copies what leads to it alone.
#[derive(Debug, Clone, Default)]
pub struct Zones {
    zones: HashTrieMapSync<Arc<str>, Zone>,
    pointers: HashTrieMapSync<IpAddr, Arc<[Pointer]>>,
    entries: HashTrieMapSync<Id, Arc<[Entry]>>,
}

impl Zones {
    /// The addresses of a name in a zone, the name in lower case.
    pub fn addresses(&self, zone: &str, name: &str) -> Option<&[Owned]> {
        self.zones.get(zone)?.get(name).map(|owned| &**owned)
    }

    /// What an address is called, and the zones where it is.
    pub fn pointers(&self, ip: IpAddr) -> impl Iterator<Item = (&str, &str)> {
        self.pointers.get(&ip).into_iter().flat_map(|all| all.iter().map(|(_, zone, name)| (&**zone, &**name)))
    }

    fn put(&mut self, owner: Id, entries: Vec<Entry>) {
        self.take(owner);
        for entry in &entries {
            let mut zone = self.zones.get(&entry.zone).cloned().unwrap_or_default();
            for name in &entry.names {
                let key: Box<str> = name.to_ascii_lowercase().into();
                let mut all: Vec<Owned> = zone.get(&key).map(|all| all.to_vec()).unwrap_or_default();
                for own in entry.addresses.iter().map(|ip| (owner, *ip)) {
                    // One that has a name twice has it once.
                    if !all.iter().rev().take_while(|(of, _)| *of == owner).any(|there| *there == own) {
                        all.push(own);
                    }
                }
                zone.insert_mut(key, all.into());
            }
            self.zones.insert_mut(entry.zone.clone(), zone);
            for (ip, name) in entry.addresses.iter().zip(std::iter::repeat(entry.names.first())) {
                let Some(name) = name else { continue };
                let mut all = self.pointers.get(ip).map(|all| all.to_vec()).unwrap_or_default();
                all.push((owner, entry.zone.clone(), name.to_ascii_lowercase().into()));
                self.pointers.insert_mut(*ip, all.into());
            }
        }
        self.entries.insert_mut(owner, entries.into());
    }

    fn take(&mut self, owner: Id) {
        let Some(entries) = self.entries.get(&owner).cloned() else { return };
        self.entries.remove_mut(&owner);
        for entry in entries.iter() {
            let Some(mut zone) = self.zones.get(&entry.zone).cloned() else { continue };
            for name in &entry.names {
                let key = name.to_ascii_lowercase();
                let left = zone.get(key.as_str()).map(|all| without(all, |(of, _)| *of != owner)).unwrap_or_default();
                match left.is_empty() {
                    true => _ = zone.remove_mut(key.as_str()),
                    false => zone.insert_mut(key.into(), left),
                }
            }
            match zone.is_empty() {
                true => _ = self.zones.remove_mut(&entry.zone),
                false => self.zones.insert_mut(entry.zone.clone(), zone),
            }
            for ip in &entry.addresses {
                let left = self.pointers.get(ip).map(|all| without(all, |(of, ..)| *of != owner)).unwrap_or_default();
                match left.is_empty() {
                    true => _ = self.pointers.remove_mut(ip),
                    false => self.pointers.insert_mut(*ip, left),
                }
            }
        }
    }
}

fn without<T: Clone>(all: &[T], keep: impl Fn(&T) -> bool) -> Arc<[T]> {
    all.iter().filter(|one| keep(one)).cloned().collect()
}

/// The names of everything. Readers take the state of now and wait for nobody.
#[derive(Debug, Default)]
pub struct Book {
    now: ArcSwap<Zones>,
    changing: Mutex<()>,
}

impl Book {
    /// The state of now.
    pub fn now(&self) -> Guard<Arc<Zones>> {
        self.now.load()
    }

    /// The owner has these names, whatever it had.
    pub fn put(&self, owner: Id, entries: Vec<Entry>) {
        self.change(|zones| zones.put(owner, entries));
    }

    /// The owner has no names any more.
    pub fn take(&self, owner: Id) {
        self.change(|zones| zones.take(owner));
    }

    fn change(&self, change: impl FnOnce(&mut Zones)) {
        let _alone = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        let mut next = (**self.now.load()).clone();
        change(&mut next);
        self.now.store(Arc::new(next));
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn entry(zone: &str, names: &[&str], ip: &str) -> Entry {
        Entry {
            zone: zone.into(),
            names: names.iter().map(|n| (*n).to_owned()).collect(),
            addresses: vec![ip.parse().unwrap()],
        }
    }

    #[test]
    fn a_name_of_two_stays_with_one_when_the_other_goes() {
        let (book, a, b) = (Book::default(), Id::from_bytes([1; 16]), Id::from_bytes([2; 16]));
        book.put(a, vec![entry("shop", &["Web-1", "web"], "10.1.0.2")]);
        book.put(b, vec![entry("shop", &["web-2", "web"], "10.1.0.3"), entry("back", &["web"], "10.2.0.2")]);
        let before = book.now();
        let of = |zones: &Zones, zone, name| zones.addresses(zone, name).map(<[Owned]>::len);
        assert_eq!(of(&before, "shop", "web"), Some(2));
        book.take(b);
        assert_eq!(of(&before, "shop", "web"), Some(2), "whoever looks sees one state");
        let after = book.now();
        assert_eq!(of(&after, "shop", "web"), Some(1));
        assert_eq!(of(&after, "shop", "web-1"), Some(1));
        assert_eq!(of(&after, "shop", "web-2"), None);
        assert!(!after.zones.contains_key("back"), "a zone goes with its last name");
        assert_eq!(after.pointers("10.1.0.2".parse().unwrap()).collect::<Vec<_>>(), [("shop", "web-1")]);
        assert_eq!(after.pointers("10.1.0.3".parse().unwrap()).count(), 0);
        book.take(a);
        assert!(book.now().zones.is_empty() && book.now().entries.is_empty() && book.now().pointers.is_empty());
    }
}
