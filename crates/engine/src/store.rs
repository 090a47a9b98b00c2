//! Records on disk: plain JSON that anyone can read.
//!
//! Endpoints describe things that die with the machine: they live on tmpfs and are renamed into place
//! without a sync. Networks and tasks outlive a reboot: file and directory are synced.

use serde::Serialize;
use serde::de::DeserializeOwned;
use std::fs::{self, File, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// What kind of thing a record describes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// An attachment; on tmpfs.
    Endpoint,
    /// A network; durable.
    Network,
    /// A subnet of the VPC; durable.
    Subnet,
    /// A security group; durable.
    Group,
    /// A prefix list; durable.
    PrefixList,
    /// A task of one container; durable.
    Task,
    /// A task of a task definition; durable.
    EcsTask,
    /// What this host is to be as a container instance; durable.
    Instance,
    /// A service; durable.
    Service,
    /// A flow log; durable.
    FlowLog,
    /// What a CNI plugin has made; on tmpfs.
    Attachment,
}

impl Kind {
    /// All of them.
    pub const ALL: [Self; 11] = [
        Self::Endpoint,
        Self::Network,
        Self::Subnet,
        Self::Group,
        Self::PrefixList,
        Self::Task,
        Self::EcsTask,
        Self::Instance,
        Self::Service,
        Self::FlowLog,
        Self::Attachment,
    ];

    /// The directory of its records, below the run directory or the state directory.
    pub fn within(self, run_dir: &Path, state_dir: &Path) -> PathBuf {
        let outlives = |name| state_dir.join(name);
        match self {
            Self::Endpoint => run_dir.join("endpoints"),
            Self::Attachment => run_dir.join("attachments"),
            Self::Network => outlives("networks"),
            Self::Subnet => outlives("subnets"),
            Self::Group => outlives("groups"),
            Self::PrefixList => outlives("prefix-lists"),
            Self::Task => outlives("tasks"),
            Self::EcsTask => outlives("ecs-tasks"),
            Self::Instance => outlives("instance"),
            Self::Service => outlives("services"),
            Self::FlowLog => outlives("flow-logs"),
        }
    }
}

/// A record could not be read or written.
#[derive(Debug, thiserror::Error)]
#[error("cannot {what} the record {}: {source}", path.display())]
pub struct StoreError {
    /// `read`, `write`, …
    pub what: &'static str,
    /// The file.
    pub path: PathBuf,
    /// Why.
    #[source]
    pub source: io::Error,
}

/// All records of a kind.
#[derive(Debug)]
pub struct Listing<T> {
    /// Those that could be read.
    pub records: Vec<T>,
    /// Sentences about those that could not: they are set aside, not guessed.
    pub set_aside: Vec<String>,
}

/// Where records are kept. Four methods, so that another engine can take its place.
pub trait Store: Send + Sync {
    /// Writes a record, in place of an older one.
    ///
    /// # Errors
    /// The old record, if any, is still there then.
    fn put_bytes(&self, kind: Kind, key: &str, bytes: &[u8]) -> Result<(), StoreError>;
    /// Removes a record; one that is not there is no error.
    ///
    /// # Errors
    /// The record is still there.
    fn remove(&self, kind: Kind, key: &str) -> Result<(), StoreError>;
    /// Reads every record of a kind, by key.
    ///
    /// # Errors
    /// The directory cannot be read.
    fn list_bytes(&self, kind: Kind) -> Result<Vec<(String, Vec<u8>)>, StoreError>;
    /// Takes a record that cannot be understood out of the way and says where it is now.
    ///
    /// # Errors
    /// It is still in the way.
    fn set_aside(&self, kind: Kind, key: &str) -> Result<String, StoreError>;
}

/// Writes a value as JSON.
///
/// # Errors
/// The old record, if any, is still there then.
pub fn put<T: Serialize>(store: &dyn Store, kind: Kind, key: &str, value: &T) -> Result<(), StoreError> {
    let bytes = serde_json::to_vec(value).map_err(|e| StoreError {
        what: "write",
        path: key.into(),
        source: io::Error::other(e),
    })?;
    store.put_bytes(kind, key, &bytes)
}

/// Reads every record of a kind. A torn one is set aside and named; one of a newer version is refused.
///
/// # Errors
/// The directory cannot be read, or a record is of a version that this agent does not know.
pub fn list<T: DeserializeOwned>(store: &dyn Store, kind: Kind, newest: u64) -> Result<Listing<T>, StoreError> {
    let mut listing = Listing { records: Vec::new(), set_aside: Vec::new() };
    for (key, bytes) in store.list_bytes(kind)? {
        let value = serde_json::from_slice::<serde_json::Value>(&bytes);
        let version = value.as_ref().ok().and_then(|v| v.get("v")).and_then(serde_json::Value::as_u64);
        if let Some(v) = version.filter(|v| *v > newest) {
            let why = format!("it has version {v}, this netmode knows {newest}: install a newer netmode");
            return Err(StoreError { what: "read", path: key.into(), source: io::Error::other(why) });
        }
        match value.and_then(serde_json::from_value::<T>) {
            Ok(record) => listing.records.push(record),
            Err(why) => {
                let place = store.set_aside(kind, &key)?;
                listing.set_aside.push(format!("the record {key} cannot be read ({why}); it is kept as {place}"));
            }
        }
    }
    Ok(listing)
}

/// A directory that nobody but its owner looks into, also one of an agent that was less careful.
fn make_private(dir: &Path) -> io::Result<()> {
    if let Some(parent) = dir.parent() {
        fs::create_dir_all(parent)?;
    }
    match fs::DirBuilder::new().mode(0o700).create(dir) {
        Err(e) if e.kind() == io::ErrorKind::AlreadyExists => fs::set_permissions(dir, Permissions::from_mode(0o700)),
        made => made,
    }
}

/// Records as files below two directories.
#[derive(Debug)]
pub struct FileStore {
    run_dir: PathBuf,
    state_dir: PathBuf,
}

impl FileStore {
    /// Reads what is in the directories, which may be missing: nothing is made.
    pub fn at(run_dir: &Path, state_dir: &Path) -> Self {
        Self { run_dir: run_dir.into(), state_dir: state_dir.into() }
    }

    /// Opens the directories and makes those that are missing. What an agent that was killed had not written to the end
    /// is removed: the record before it is there.
    ///
    /// # Errors
    /// A directory cannot be made.
    pub fn open(run_dir: &Path, state_dir: &Path) -> Result<Self, StoreError> {
        let store = Self::at(run_dir, state_dir);
        for kind in Kind::ALL {
            let dir = store.dir(kind);
            make_private(&dir).map_err(|source| StoreError {
                what: "make the directory of",
                path: dir.clone(),
                source,
            })?;
            let entries = fs::read_dir(&dir).into_iter().flatten().flatten().map(|entry| entry.path());
            for unfinished in entries.filter(|path| path.extension().is_some_and(|e| e == "new")) {
                let _ = fs::remove_file(unfinished);
            }
        }
        Ok(store)
    }

    fn dir(&self, kind: Kind) -> PathBuf {
        kind.within(&self.run_dir, &self.state_dir)
    }

    fn path(&self, kind: Kind, key: &str) -> PathBuf {
        self.dir(kind).join(format!("{key}.json"))
    }

    fn write(&self, kind: Kind, path: &Path, bytes: &[u8]) -> io::Result<()> {
        let durable = !matches!(kind, Kind::Endpoint | Kind::Attachment);
        let fresh = path.with_extension("new");
        // Environment and arguments of a task have secrets among them.
        let mut file = File::options().write(true).create(true).truncate(true).mode(0o600).open(&fresh)?;
        file.write_all(bytes)?;
        if durable {
            file.sync_all()?;
        }
        fs::rename(&fresh, path)?;
        if durable { File::open(self.dir(kind))?.sync_all() } else { Ok(()) }
    }
}

impl Store for FileStore {
    fn put_bytes(&self, kind: Kind, key: &str, bytes: &[u8]) -> Result<(), StoreError> {
        let path = self.path(kind, key);
        self.write(kind, &path, bytes).map_err(|source| {
            let _ = fs::remove_file(path.with_extension("new"));
            StoreError { what: "write", path, source }
        })
    }

    fn remove(&self, kind: Kind, key: &str) -> Result<(), StoreError> {
        let path = self.path(kind, key);
        match fs::remove_file(&path) {
            Err(source) if source.kind() != io::ErrorKind::NotFound => Err(StoreError { what: "remove", path, source }),
            _ => Ok(()),
        }
    }

    fn list_bytes(&self, kind: Kind) -> Result<Vec<(String, Vec<u8>)>, StoreError> {
        let dir = self.dir(kind);
        let failed = |path: &Path, source| StoreError { what: "read", path: path.into(), source };
        let mut found = Vec::new();
        for entry in fs::read_dir(&dir).map_err(|e| failed(&dir, e))? {
            let path = entry.map_err(|e| failed(&dir, e))?.path();
            if path.extension().is_some_and(|e| e == "json") {
                let key = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
                found.push((key, fs::read(&path).map_err(|e| failed(&path, e))?));
            }
        }
        found.sort();
        Ok(found)
    }

    fn set_aside(&self, kind: Kind, key: &str) -> Result<String, StoreError> {
        let path = self.path(kind, key);
        let place = path.with_extension("torn");
        match fs::rename(&path, &place) {
            Ok(()) => Ok(place.display().to_string()),
            Err(source) => Err(StoreError { what: "set aside", path, source }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_not_written_to_the_end_is_removed_at_the_next_start() {
        let dir = std::env::temp_dir().join(format!("nm-store-{}", std::process::id()));
        let open = || FileStore::open(&dir.join("run"), &dir.join("state")).unwrap();
        let store = open();
        store.put_bytes(Kind::Attachment, "one", b"{}").unwrap();
        let unfinished = store.path(Kind::Attachment, "one").with_extension("new");
        fs::write(&unfinished, b"").unwrap();
        let found = open().list_bytes(Kind::Attachment).unwrap();
        assert_eq!(found, [("one".to_owned(), b"{}".to_vec())]);
        assert!(!unfinished.exists());
        fs::remove_dir_all(dir).unwrap();
    }
}
