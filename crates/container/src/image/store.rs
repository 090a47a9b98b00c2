//! The images of this machine.

use super::archive::{Given, Source};
use super::books::{self, About, Books, ImageName, StoredImage};
use super::unpack::{self, Configuration};
use super::{Image, ImageError, Reference, hex};
use crate::program;
use std::collections::HashMap;
use std::fs;
use std::io;
use std::os::unix::fs::{DirBuilderExt, symlink};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Images below one directory, and the programs that make them.
#[derive(Debug)]
pub(crate) struct ImageStore {
    pub(super) dir: PathBuf,
    /// Where skopeo is told who asks a registry.
    pub(super) registry: PathBuf,
    pub(super) skopeo: String,
    umoci: String,
    books: Mutex<Books>,
    /// One lock per thing that is fetched: callers that want the same wait for the first one.
    turns: Mutex<HashMap<String, Arc<Mutex<()>>>>,
}

pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A directory that goes with its value.
pub(super) struct Scratch(pub(super) PathBuf);

impl std::fmt::Debug for Scratch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

/// An image that nobody finds any more. Its files are deleted when this is dropped, which may take a while.
#[derive(Debug)]
pub struct RemovedImage {
    _files: Scratch,
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Removes what a dead agent was fetching. Its programs end with it, but not in the same moment: one may still make a file
/// in there.
fn clear(directory: &Path) {
    /// Times that it is tried, and the pause between them.
    const PATIENCE: (u32, Duration) = (25, Duration::from_millis(20));
    for _ in 0..PATIENCE.0 {
        match fs::remove_dir_all(directory) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => std::thread::sleep(PATIENCE.1),
            _ => return,
        }
    }
}

impl ImageStore {
    pub(crate) fn new(dir: PathBuf, registry: PathBuf, skopeo: String, umoci: String) -> io::Result<Self> {
        fs::create_dir_all(&dir)?;
        // What an agent left half-made when it died.
        for entry in fs::read_dir(&dir)?.flatten() {
            if entry.file_name().to_string_lossy().starts_with("tmp-") {
                let _ = fs::remove_dir_all(entry.path());
            }
        }
        clear(&registry);
        let books = Mutex::new(Books::new(dir.clone()));
        Ok(Self { dir, registry, skopeo, umoci, books, turns: Mutex::default() })
    }

    /// A fresh directory for root's eyes only, below the store or the registry's directory.
    pub(super) fn scratch(&self, below: &Path) -> Result<Scratch, ImageError> {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let name = format!("tmp-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let path = below.join(name);
        let made = fs::DirBuilder::new().recursive(true).mode(0o700).create(&path);
        made.map_err(ImageError::file("create", &path))?;
        Ok(Scratch(path))
    }

    /// The image of a file, unpacked now if it was not before; or the one of a name or id, if it is here.
    pub(crate) fn load(&self, reference: &str) -> Result<Image, ImageError> {
        if !Given::is_meant(reference) {
            let found = lock(&self.books).find(reference)?;
            return found.and_then(|id| self.stored(&id)).ok_or_else(|| ImageError::NotHere(reference.into()));
        }
        let given = Given::parse(reference)?;
        if let Some(image) = self.known(&given.source) {
            return Ok(image);
        }
        self.in_turn(&format!("{:?}", given.source), || match self.known(&given.source) {
            Some(image) => Ok(image),
            None => self.unpack_file(reference, &given),
        })
    }

    /// Does something that is not to be done twice at the same time.
    pub(super) fn in_turn<T>(&self, what: &str, work: impl FnOnce() -> T) -> T {
        let turn = Arc::clone(lock(&self.turns).entry(what.into()).or_default());
        let made = {
            let _mine = lock(&turn);
            work()
        };
        // The last one clears up: two in the map and in this hand.
        let mut turns = lock(&self.turns);
        if Arc::strong_count(&turn) <= 2 {
            turns.remove(what);
        }
        made
    }

    /// What was unpacked before of the same unchanged file.
    fn known(&self, source: &Source) -> Option<Image> {
        let id = lock(&self.books).sources().into_iter().find(|(s, _)| s == source)?.1;
        self.stored(&id)
    }

    /// The image of an id.
    pub(crate) fn stored(&self, id: &str) -> Option<Image> {
        let dir = self.dir.join(hex(id)?);
        let config = books::read(&dir.join("config.json")).ok()??;
        Some(Image { digest: id.into(), config, rootfs: dir.join("rootfs") })
    }

    /// The name in full with what it stands for here.
    pub(super) fn named(&self, reference: &Reference) -> Option<ImageName> {
        let full = reference.to_string();
        lock(&self.books).names().into_iter().find(|n| n.reference == full && self.stored(&n.id).is_some())
    }

    fn unpack_file(&self, reference: &str, given: &Given) -> Result<Image, ImageError> {
        let work = self.scratch(&self.dir)?;
        self.copy_file(&work.0, reference, given)?;
        let image = self.unpack(&work.0, reference, &mut || true)?;
        let books = lock(&self.books);
        self.still_there(&image, reference)?;
        let mut all = books.sources();
        all.retain(|(s, _)| (&s.path, &s.reference) != (&given.source.path, &given.source.reference));
        all.push((given.source.clone(), image.digest.clone()));
        books.set_sources(all)?;
        Ok(image)
    }

    /// Gives an image a name; the image that had it before loses it.
    pub(super) fn name(&self, reference: &Reference, image: &Image, digest: &str) -> Result<(), ImageError> {
        let books = lock(&self.books);
        self.still_there(image, &reference.to_string())?;
        let reference = reference.to_string();
        let mut names = books.names();
        names.retain(|n| n.reference != reference);
        names.push(ImageName { reference, id: image.digest.clone(), digest: digest.into() });
        books.set_names(names)
    }

    /// Under the books' lock: nobody has removed it since it was unpacked.
    fn still_there(&self, image: &Image, reference: &str) -> Result<(), ImageError> {
        self.stored(&image.digest).map(drop).ok_or_else(|| ImageError::Removed(reference.into()))
    }

    /// Every image.
    pub(crate) fn list(&self) -> Result<Vec<StoredImage>, ImageError> {
        lock(&self.books).images()
    }

    /// The image that a name, an id or the beginning of an id stands for.
    pub(crate) fn find(&self, text: &str) -> Result<StoredImage, ImageError> {
        let books = lock(&self.books);
        let id = books.find(text)?.ok_or_else(|| ImageError::NotHere(text.into()))?;
        books.images()?.into_iter().find(|i| i.id == id).ok_or_else(|| ImageError::NotHere(text.into()))
    }

    /// Takes a name away.
    pub(crate) fn untag(&self, reference: &str) -> Result<(), ImageError> {
        let books = lock(&self.books);
        let mut names = books.names();
        names.retain(|n| n.reference != reference);
        books.set_names(names)
    }

    /// Removes an image with its names. Whether a task uses it is the caller's to know.
    pub(crate) fn remove(&self, id: &str) -> Result<RemovedImage, ImageError> {
        let Some(name) = hex(id) else { return Err(ImageError::NotHere(id.into())) };
        let gone = self.scratch(&self.dir)?;
        let books = lock(&self.books);
        // Names first: a name without an image is none, an image without a name is seen.
        books.set_names(books.names().into_iter().filter(|n| n.id != id).collect())?;
        books.set_sources(books.sources().into_iter().filter(|(_, of)| of != id).collect())?;
        let from = self.dir.join(name);
        match fs::rename(&from, gone.0.join("gone")) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => Err(ImageError::file("remove", &from)(e)),
            _ => Ok(RemovedImage { _files: gone }),
        }
    }

    /// Copies an image in a file into `work/layout` as an OCI layout with the tag `image`.
    fn copy_file(&self, work: &Path, reference: &str, given: &Given) -> Result<(), ImageError> {
        // A link of a fixed name, so that no character of the user's path means anything to skopeo.
        let link = work.join("source");
        symlink(&given.source.path, &link).map_err(ImageError::file("create", &link))?;
        let mut source = given.kind.transport().to_owned() + &link.to_string_lossy();
        if !given.source.reference.is_empty() {
            source = source + ":" + &given.source.reference;
        }
        let mut command = program::command(&program::find(&self.skopeo)?);
        // Large blobs go where the image goes, not into a small /var/tmp. The layers are compressed on the way:
        // skopeo 1.9 can leave it out, but calls them gzip all the same, and umoci believes it.
        command.env("TMPDIR", work).args(["--insecure-policy", "copy", "--quiet"]).arg(source);
        command.arg(format!("oci:{}:image", work.join("layout").display()));
        let output = program::run(command, &[], unpack::LIMIT)?;
        if output.status.success() {
            return Ok(());
        }
        Err(unpack::other_platforms(reference, &output.text())
            .or_else(|| self.full(reference, &output.text()))
            .unwrap_or_else(|| ImageError::not(reference, unpack::last_line(&output.text()))))
    }

    /// A full disk, in the words of the programs.
    pub(super) fn full(&self, reference: &str, text: &str) -> Option<ImageError> {
        let is_full = text.contains("no space left on device") || text.contains("disk quota exceeded");
        is_full.then(|| ImageError::Full { reference: reference.into(), dir: self.dir.clone() })
    }

    /// Unpacks `work/layout` into the store. `go_on` is asked again and again whether somebody still waits for it.
    pub(super) fn unpack(
        &self,
        work: &Path,
        reference: &str,
        go_on: &mut dyn FnMut() -> bool,
    ) -> Result<Image, ImageError> {
        let layout = work.join("layout");
        let (id, configuration) = unpack::configuration(&layout).map_err(|why| ImageError::not(reference, why))?;
        let platform = unpack::check_platform(reference, &configuration)?;
        if let Some(image) = self.stored(&id) {
            return Ok(image);
        }
        let name = hex(&id).ok_or_else(|| ImageError::not(reference, "its digest is malformed"))?;
        let new = work.join("new");
        fs::create_dir(&new).map_err(ImageError::file("create", &new))?;
        let umoci = program::find(&self.umoci)?;
        let mut command = program::command(&umoci);
        let mut image = layout.into_os_string();
        image.push(":image");
        command.args(["raw", "unpack", "--image"]).arg(image).arg(new.join("rootfs"));
        let output = program::run_watched(command, &[], unpack::LIMIT, go_on)?;
        if !output.status.success() {
            let why = unpack::last_line(&output.text());
            let bad = || ImageError::BadLayer { reference: reference.into(), why };
            return Err(self.full(reference, &output.text()).unwrap_or_else(bad));
        }
        self.keep(&new, configuration, platform)?;
        let target = self.dir.join(name);
        match fs::rename(&new, &target) {
            // Another process was faster with the same content.
            Err(e) if !target.join("config.json").exists() => return Err(ImageError::file("create", &target)(e)),
            _ => {}
        }
        self.stored(&id).ok_or_else(|| ImageError::not(reference, "it cannot be read back"))
    }

    /// Writes what an image says beside its files.
    fn keep(&self, new: &Path, configuration: Configuration, platform: String) -> Result<(), ImageError> {
        let about = About { v: 1, created: configuration.created, size: books::size_of(&new.join("rootfs")), platform };
        books::write(&new.join("about.json"), &about)?;
        books::write(&new.join("config.json"), &configuration.config.unwrap_or_default())
    }
}
