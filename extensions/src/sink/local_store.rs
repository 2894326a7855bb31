//! The local file system as an [`UploadStore`].
//!
//! Invariant: a file under the target appears by one `rename`, whole and durable; before that its
//! bytes are in a staged file under the target's bookkeeping, which is on the same file system.
//!
//! A pending upload is the staged file `<folder>/_tidegate/<export id>/<writer>-<sequence>.staged`.
//! Its id is that path with the file's inode, which a rename keeps: so an object can be recognised
//! later as the upload it was.

use std::collections::HashMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind as IoErrorKind, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use bytes::Bytes;
use uuid::Uuid;

use super::bookkeeping::FOLDER;
use super::direct_file::DirectFile;
use super::store::{
    ContentHeaders, ObjectIdentity, PendingUpload, SentPart, StoreError, StoreErrorKind,
    UploadStore,
};
use super::target::Target;
use crate::error::{Error, ErrorKind};

/// The name of the folder that holds bookkeeping.
const BOOKKEEPING: &str = FOLDER.split_at(FOLDER.len() - 1).0;

/// The end of a staged file's name.
const STAGED: &str = ".staged";

/// How often a folder is created for a file that another export has just removed as empty.
const ATTEMPTS: u32 = 100;

/// Nothing here is left half changed by a thread that dies.
fn lock<T>(shared: &Mutex<T>) -> MutexGuard<'_, T> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The folder of a local target, and the file system around it.
#[derive(Debug, Clone)]
pub struct LocalUploadStore {
    /// The target's folder, as a key.
    folder: String,
    part_bytes: usize,
    open: Arc<Mutex<OpenUploads>>,
}

/// Parts are written one after the other: the file system would only let them spin for its lock.
type OpenStaged = Arc<Mutex<DirectFile>>;

#[derive(Debug, Default)]
struct OpenUploads {
    /// The staged files being written, by their upload's id.
    files: HashMap<String, OpenStaged>,
    /// The tags of files that this process has made appear, by key.
    completed: HashMap<String, String>,
    /// Their tags until then, by upload id.
    tags: HashMap<String, String>,
    /// The target's folder was not there before.
    created_folder: bool,
}

impl LocalUploadStore {
    /// A store for exports to `target`, whose files are written in parts of `part_bytes` bytes.
    pub fn new(target: &Target, part_bytes: usize) -> Self {
        Self {
            folder: target.folder().to_owned(),
            part_bytes,
            open: Arc::default(),
        }
    }

    fn open(&self) -> MutexGuard<'_, OpenUploads> {
        lock(&self.open)
    }

    /// Runs blocking work on the file system where it may block.
    async fn run<T: Send + 'static>(
        &self,
        what: &'static str,
        key: &str,
        work: impl FnOnce(&Self, &Path) -> io::Result<T> + Send + 'static,
    ) -> Result<T, StoreError> {
        let store = self.clone();
        let path = path_of(key);
        let shown = path.clone();
        let done = tokio::task::spawn_blocking(move || work(&store, &path)).await;
        done.unwrap_or_else(|error| Err(io::Error::other(error)))
            .map_err(|error| describe(what, &shown, error))
    }

    /// Removes folders of bookkeeping that have become empty, and those below the target's, which
    /// goes only if it was new.
    fn remove_empty_folders(&self, file: &Path) {
        let target = path_of(&self.folder);
        for folder in file.ancestors().skip(1) {
            let is_bookkeeping = folder.iter().any(|name| name == BOOKKEEPING);
            let is_below = folder.starts_with(&target) && folder != target;
            let was_new = folder == target && self.open().created_folder;
            let may_go = is_bookkeeping || is_below || was_new;
            if !may_go || fs::remove_dir(folder).is_err() {
                break;
            }
        }
    }

    /// Remembers whether the target's folder will have been created by this store.
    fn look_at_folder(&self) {
        if !path_of(&self.folder).exists() {
            self.open().created_folder = true;
        }
    }

    fn create_staged(&self, path: &Path) -> io::Result<u64> {
        self.look_at_folder();
        let file = in_folder(path, || {
            OpenOptions::new().write(true).create_new(true).open(path)
        })?;
        let inode = file.metadata()?.ino();
        let id = upload_id(path, inode);
        let file = DirectFile::new(file);
        self.open().files.insert(id, Arc::new(Mutex::new(file)));
        Ok(inode)
    }

    /// The staged file of an upload, opened again if another process had created it.
    fn staged_file(&self, upload_id: &str) -> io::Result<OpenStaged> {
        if let Some(file) = self.open().files.get(upload_id) {
            return Ok(Arc::clone(file));
        }
        let (path, _) = split_upload_id(upload_id)?;
        let file = OpenOptions::new().write(true).open(path)?;
        Ok(Arc::new(Mutex::new(DirectFile::new(file))))
    }

    fn complete(&self, upload_id: &str, key: &str, path: &Path) -> io::Result<()> {
        let (staged, inode) = split_upload_id(upload_id)?;
        match in_folder(path, || fs::rename(&staged, path)) {
            Ok(()) => {}
            // It may have been renamed by the process that died.
            Err(error) if error.kind() == IoErrorKind::NotFound => {
                let there = fs::metadata(path).is_ok_and(|found| found.ino() == inode);
                if !there {
                    return Err(error);
                }
            }
            Err(error) => return Err(error),
        }
        let mut open = self.open();
        if let Some(tag) = open.tags.remove(upload_id) {
            open.completed.insert(key.to_owned(), tag);
        }
        drop(open);
        sync_folder(path)?;
        self.remove_empty_folders(&staged);
        Ok(())
    }

    fn find(&self, prefix: &str, limit: usize) -> io::Result<Vec<String>> {
        let mut found = Vec::new();
        let exact = path_of(prefix);
        if !prefix.ends_with('/') && !prefix.is_empty() {
            // An object is looked for by its name; a folder of that name holds other keys.
            let Ok(there) = fs::metadata(&exact) else {
                return Ok(found);
            };
            let is_link = fs::symlink_metadata(&exact).is_ok_and(|meta| meta.is_symlink());
            if there.is_file() && !is_link {
                found.push(prefix.to_owned());
            } else if !there.is_dir() {
                // A rename would put a file in the place of a device or a link.
                let why = "it is not a regular file";
                return Err(io::Error::new(IoErrorKind::InvalidInput, why));
            }
            return Ok(found);
        }
        let mut folders = vec![exact];
        while let Some(folder) = folders.pop() {
            let entries = match fs::read_dir(&folder) {
                Ok(entries) => entries,
                Err(error) if is_gone(&error) => continue,
                Err(error) => return Err(error),
            };
            for entry in entries {
                let entry = entry?;
                let path = entry.path();
                match entry.file_type() {
                    Ok(kind) if kind.is_dir() => {
                        folders.push(path);
                        continue;
                    }
                    Err(error) if is_gone(&error) => continue,
                    kind => kind?,
                };
                found.push(key_of(&path)?);
                if found.len() == limit {
                    return Ok(found);
                }
            }
        }
        found.sort();
        Ok(found)
    }
}

fn path_of(key: &str) -> PathBuf {
    PathBuf::from(format!("/{key}"))
}

fn key_of(path: &Path) -> io::Result<String> {
    let key = path.to_str().map(|path| path.trim_start_matches('/'));
    key.map(str::to_owned).ok_or_else(|| {
        let why = format!("{} is not valid text", path.display());
        io::Error::new(IoErrorKind::InvalidData, why)
    })
}

fn upload_id(staged: &Path, inode: u64) -> String {
    format!("{}#{inode}", staged.display())
}

fn split_upload_id(id: &str) -> io::Result<(PathBuf, u64)> {
    let parts = id
        .rsplit_once('#')
        .and_then(|(path, inode)| Some((PathBuf::from(path), inode.parse().ok()?)));
    parts.ok_or_else(|| io::Error::new(IoErrorKind::InvalidInput, "not the id of an upload"))
}

fn is_gone(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        IoErrorKind::NotFound | IoErrorKind::NotADirectory
    )
}

/// Does `work` on a file in its folder, which is created if need be. Others remove folders that are
/// empty: one above this may be missing again, or this one was there and is gone a moment later.
fn in_folder<T>(file: &Path, work: impl Fn() -> io::Result<T>) -> io::Result<T> {
    for _ in 1..ATTEMPTS {
        match create_folders(file) {
            Err(error) if is_missing_or_there(&error) => continue,
            created => created?,
        }
        match work() {
            Err(error) if error.kind() == IoErrorKind::NotFound => {}
            done => return done,
        }
    }
    create_folders(file)?;
    work()
}

fn is_missing_or_there(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        IoErrorKind::NotFound | IoErrorKind::AlreadyExists
    )
}

/// Creates the folders above a file, durably.
fn create_folders(file: &Path) -> io::Result<()> {
    let missing: Vec<&Path> = file
        .ancestors()
        .skip(1)
        .take_while(|folder| !folder.exists())
        .collect();
    let Some(folder) = missing.first() else {
        return Ok(());
    };
    fs::create_dir_all(folder)?;
    missing.iter().try_for_each(|folder| sync_folder(folder))
}

/// Makes a rename durable.
fn sync_folder(path: &Path) -> io::Result<()> {
    match path.parent() {
        Some(folder) => File::open(folder)?.sync_all(),
        None => Ok(()),
    }
}

/// What a small file is called until it is whole: a name in the bookkeeping of `folder`, where no
/// file of the user's is.
fn being_written(folder: &Path, path: &Path) -> PathBuf {
    let mut name = path.file_name().unwrap_or_default().to_os_string();
    name.push(".new");
    if path.iter().any(|part| part == BOOKKEEPING) {
        return path.with_file_name(name);
    }
    folder.join(BOOKKEEPING).join(name)
}

fn remove_if_there(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if !is_gone(&error) => Err(error),
        _ => Ok(()),
    }
}

/// Writes a small file so that a reader sees all of it or none.
fn write_whole(folder: &Path, path: &Path, body: &[u8], only_new: bool) -> io::Result<()> {
    let new = being_written(folder, path);
    let new = match only_new {
        // Others may be writing the same file; each writes its own.
        true => new.with_extension(format!("{}.new", Uuid::now_v7().simple())),
        false => new,
    };
    let mut file = in_folder(&new, || File::create(&new))?;
    file.write_all(body)?;
    file.sync_all()?;
    if only_new {
        // A second name is made only where there is none; renaming would replace.
        match fs::hard_link(&new, path) {
            Ok(()) => remove_if_there(&new)?,
            Err(error) if error.kind() == IoErrorKind::AlreadyExists || path.exists() => {
                remove_if_there(&new)?;
                return Err(IoErrorKind::AlreadyExists.into());
            }
            // A file system without second names.
            Err(_) => fs::rename(&new, path)?,
        }
    } else {
        in_folder(path, || fs::rename(&new, path))?;
    }
    sync_folder(path)
}

fn describe(what: &'static str, path: &Path, error: io::Error) -> StoreError {
    let (kind, error_kind) = match error.kind() {
        IoErrorKind::AlreadyExists => (StoreErrorKind::AlreadyExists, ErrorKind::TargetInUse),
        IoErrorKind::NotFound => (StoreErrorKind::NoSuchUpload, ErrorKind::Io),
        IoErrorKind::PermissionDenied | IoErrorKind::ReadOnlyFilesystem => {
            (StoreErrorKind::Other, ErrorKind::InsufficientPrivilege)
        }
        _ => (StoreErrorKind::Other, ErrorKind::Io),
    };
    let message = format!("can't {what} {}: {error}", path.display());
    StoreError {
        kind,
        error: Error::new(error_kind, message).with_source(error),
    }
}

#[async_trait]
impl UploadStore for LocalUploadStore {
    fn name(&self) -> &'static str {
        "local disk"
    }

    fn max_parts(&self) -> usize {
        usize::MAX
    }

    fn url(&self, key: &str) -> String {
        format!("/{key}")
    }

    async fn list(&self, prefix: &str, limit: usize) -> Result<Vec<String>, StoreError> {
        let wanted = prefix.to_owned();
        self.run("list", prefix, move |store, _| store.find(&wanted, limit))
            .await
    }

    async fn put(
        &self,
        key: &str,
        body: Bytes,
        _content_type: &str,
        only_new: bool,
    ) -> Result<Option<String>, StoreError> {
        self.run("write", key, move |store, path| {
            store.look_at_folder();
            write_whole(&path_of(&store.folder), path, &body, only_new)?;
            store.remove_empty_folders(&being_written(&path_of(&store.folder), path));
            Ok(())
        })
        .await?;
        Ok(None)
    }

    async fn get(&self, key: &str) -> Result<Option<Bytes>, StoreError> {
        self.run("read", key, |_, path| match fs::read(path) {
            Ok(content) => Ok(Some(Bytes::from(content))),
            Err(error) if is_gone(&error) => Ok(None),
            Err(error) => Err(error),
        })
        .await
    }

    async fn delete(&self, key: &str) -> Result<(), StoreError> {
        self.run("delete", key, |store, path| {
            remove_if_there(path)?;
            // Left where a process died between writing and renaming.
            remove_if_there(&being_written(&path_of(&store.folder), path))?;
            store.remove_empty_folders(path);
            Ok(())
        })
        .await
    }

    /// By this machine's clock, which is the file system's, but for a network file system.
    async fn age(&self, key: &str) -> Result<Option<Duration>, StoreError> {
        self.run("look at", key, |_, path| match fs::metadata(path) {
            Ok(found) => {
                let age = SystemTime::now().duration_since(found.modified()?);
                Ok(Some(age.unwrap_or_default()))
            }
            Err(error) if is_gone(&error) => Ok(None),
            Err(error) => Err(error),
        })
        .await
    }

    async fn identify(&self, key: &str) -> Result<Option<ObjectIdentity>, StoreError> {
        let file_tag = self.open().completed.get(key).cloned();
        self.run("look at", key, move |_, path| match fs::metadata(path) {
            Ok(found) => Ok(Some(ObjectIdentity {
                bytes: found.len(),
                file_tag,
                etag: None,
            })),
            Err(error) if is_gone(&error) => Ok(None),
            Err(error) => Err(error),
        })
        .await
    }

    async fn create_upload(
        &self,
        key: &str,
        _content: ContentHeaders,
        file_tag: &str,
    ) -> Result<(PendingUpload, bool), StoreError> {
        // The tag begins with the export's id: `<export id>/<writer>/<sequence>`.
        let (export_id, file) = file_tag.split_once('/').unwrap_or((file_tag, "0"));
        let file = file.replace('/', "-");
        let staged = format!("{}{FOLDER}{export_id}/{file}{STAGED}", self.folder);
        let inode = self
            .run("create", &staged, |store, path| store.create_staged(path))
            .await?;
        let upload_id = upload_id(&path_of(&staged), inode);
        let tag = file_tag.to_owned();
        self.open().tags.insert(upload_id.clone(), tag);
        let upload = PendingUpload {
            key: key.to_owned(),
            upload_id,
        };
        Ok((upload, false))
    }

    async fn put_part(
        &self,
        upload: &PendingUpload,
        number: usize,
        body: Bytes,
    ) -> Result<SentPart, StoreError> {
        let id = upload.upload_id.clone();
        self.run("write", &upload.key, move |store, _| {
            let start = (number - 1) as u64 * store.part_bytes as u64;
            let file = store.staged_file(&id)?;
            lock(&file).write_at(&body, start)
        })
        .await?;
        Ok(SentPart {
            etag: String::new(),
            retries: 0,
        })
    }

    async fn seal_upload(&self, upload: &PendingUpload) -> Result<(), StoreError> {
        let id = upload.upload_id.clone();
        self.run("write", &upload.key, move |store, _| {
            let file = store.staged_file(&id)?;
            store.open().files.remove(&id);
            lock(&file).sync()
        })
        .await
    }

    async fn complete_upload(
        &self,
        upload: &PendingUpload,
        _etags: &[String],
    ) -> Result<Option<String>, StoreError> {
        let PendingUpload { key, upload_id } = upload.clone();
        self.run("create", &upload.key, move |store, path| {
            store.complete(&upload_id, &key, path)
        })
        .await?;
        Ok(None)
    }

    async fn abort_upload(&self, upload: &PendingUpload) -> Result<(), StoreError> {
        let id = upload.upload_id.clone();
        self.run("delete", &upload.key, move |store, _| {
            store.open().files.remove(&id);
            let (staged, _) = split_upload_id(&id)?;
            remove_if_there(&staged)?;
            store.remove_empty_folders(&staged);
            Ok(())
        })
        .await
    }

    /// Every staged file under the bookkeeping of the folder that `prefix` is, or is in. The key that
    /// one would get is not known; the staged file's own has the export's id in it, too.
    async fn list_uploads(&self, prefix: &str) -> Result<Vec<PendingUpload>, StoreError> {
        let folder = prefix.rfind('/').map_or("", |end| &prefix[..=end]);
        let bookkeeping = format!("{folder}{FOLDER}");
        let wanted = bookkeeping.clone();
        self.run("list", &bookkeeping, move |store, _| {
            let staged = store.find(&wanted, usize::MAX)?;
            let staged = staged.into_iter().filter(|key| key.ends_with(STAGED));
            let uploads = staged.map(|key| PendingUpload {
                upload_id: upload_id(&path_of(&key), 0),
                key,
            });
            Ok(uploads.collect())
        })
        .await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_upload_id_names_its_file() {
        let id = upload_id(Path::new("/a b#c/x.staged"), 7);
        let (path, inode) = split_upload_id(&id).unwrap();
        assert_eq!((path.as_path(), inode), (Path::new("/a b#c/x.staged"), 7));
        assert!(split_upload_id("no inode").is_err());
    }

    #[test]
    fn a_file_is_created_where_others_remove_its_folders() {
        let root = tempfile::tempdir().unwrap();
        let folder = root.path().join("target/_tidegate");
        let create_and_remove = |thread: i32| {
            let path = folder.join(thread.to_string());
            for _ in 0..2000 {
                in_folder(&path, || File::create(&path)).unwrap();
                fs::remove_file(&path).unwrap();
                let _ = fs::remove_dir(&folder)
                    .and_then(|()| fs::remove_dir(root.path().join("target")));
            }
        };
        std::thread::scope(|threads| {
            for thread in 0..4 {
                let create_and_remove = &create_and_remove;
                threads.spawn(move || create_and_remove(thread));
            }
        });
    }
}
