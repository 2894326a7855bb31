//! The local file system as an [`UploadStore`].
//!
//! Invariant: a file under the target appears by one `rename`, complete and durable. Before that,
//! its bytes are in a staged file in the target's bookkeeping folder, which is on the same file
//! system. Exception: without sync, a power failure can damage files and bookkeeping.
//!
//! A pending upload is the staged file `<folder>/_tidegate/<export id>/<writer>-<sequence>.staged`.
//! Its id is that path plus the file's inode. A rename keeps the inode, so an object can later be
//! matched with its upload.

use std::collections::HashMap;
use std::fs::{self, OpenOptions};
use std::io::{self, ErrorKind as IoErrorKind, Read, Seek, SeekFrom};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use bytes::Bytes;

use rustix::fs::XattrFlags;

use super::direct_file::DirectFile;
use super::durability::{BOOKKEEPING, Durability, being_written, is_gone, remove_if_there};
use super::{
    ContentHeaders, CreatedUpload, ListedObject, ObjectIdentity, Peek, PendingUpload, SentPart,
    StoreError, StoreErrorKind, UploadStore,
};
use crate::error::{Error, ErrorKind};
use crate::media_type::{ATTRIBUTE, read_attribute, says_header};
use crate::sink::target::{FOLDER, Target};

/// The end of a staged file's name.
const STAGED: &str = ".staged";

/// A small file that was not completed for this long belongs to a process that died.
const ABANDONED_AFTER: Duration = Duration::from_secs(60);

/// Ignores poisoning: a thread that panics leaves nothing half changed here.
fn lock<T>(shared: &Mutex<T>) -> MutexGuard<'_, T> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The local file system, for exports to one target.
#[derive(Debug, Clone)]
pub struct LocalUploadStore {
    /// The target's folder, as a key.
    folder: String,
    part_bytes: usize,
    durability: Durability,
    open: Arc<Mutex<OpenUploads>>,
}

/// Parts of a file are written one at a time: concurrent writes would only spin on the file
/// system's lock.
type OpenStaged = Arc<Mutex<DirectFile>>;

#[derive(Debug, Default)]
struct OpenUploads {
    /// The staged files being written, by their upload's id.
    files: HashMap<String, OpenStaged>,
    /// The tags of files that this process has completed, by key.
    completed: HashMap<String, String>,
    /// The tags of uploads that are not completed yet, by upload id.
    tags: HashMap<String, String>,
    /// This store creates the target's folder.
    created_folder: bool,
}

impl LocalUploadStore {
    /// A store for exports to `target`, whose files are written in parts of `part_bytes` bytes.
    pub fn new(target: &Target, part_bytes: usize) -> Self {
        Self {
            folder: target.folder().to_owned(),
            part_bytes,
            durability: Durability::Synced,
            open: Arc::default(),
        }
    }

    /// The store, which leaves it to the system when files reach the disk.
    pub fn without_sync(self) -> Self {
        Self {
            durability: Durability::LeftToTheSystem,
            ..self
        }
    }

    fn open(&self) -> MutexGuard<'_, OpenUploads> {
        lock(&self.open)
    }

    /// Runs blocking file system work on the thread pool for blocking tasks.
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

    /// Removes empty folders of bookkeeping and empty folders below the target's folder. Removes
    /// the target's folder only if this store created it.
    fn remove_empty_folders(&self, file: &Path) {
        let target = path_of(&self.folder);
        for folder in file.ancestors().skip(1) {
            let is_bookkeeping = folder.iter().any(|name| name == BOOKKEEPING);
            if is_bookkeeping {
                remove_unfinished(folder);
            }
            let is_below = folder.starts_with(&target) && folder != target;
            let was_new = folder == target && self.open().created_folder;
            let may_go = is_bookkeeping || is_below || was_new;
            if !may_go || fs::remove_dir(folder).is_err() {
                break;
            }
        }
    }

    /// Remembers that this store creates the target's folder, if the folder does not exist yet.
    fn look_at_folder(&self) {
        if !path_of(&self.folder).exists() {
            self.open().created_folder = true;
        }
    }

    fn create_staged(&self, path: &Path, media_type: &str) -> io::Result<u64> {
        self.look_at_folder();
        let file = self.durability.in_folder(path, || {
            OpenOptions::new().write(true).create_new(true).open(path)
        })?;
        if says_header(media_type).is_some() {
            // Not every file system keeps attributes. Reading then finds out about the header.
            let attribute = media_type.as_bytes();
            let _ = rustix::fs::fsetxattr(&file, ATTRIBUTE, attribute, XattrFlags::empty());
        }
        let inode = file.metadata()?.ino();
        let id = upload_id(path, inode);
        let file = self.durability.write_to(file);
        self.open().files.insert(id, Arc::new(Mutex::new(file)));
        Ok(inode)
    }

    /// The staged file of an upload. Opens it if this process does not have it open.
    fn staged_file(&self, upload_id: &str) -> io::Result<OpenStaged> {
        if let Some(file) = self.open().files.get(upload_id) {
            return Ok(Arc::clone(file));
        }
        let (path, _) = split_upload_id(upload_id)?;
        let file = OpenOptions::new().write(true).open(path)?;
        Ok(Arc::new(Mutex::new(self.durability.write_to(file))))
    }

    fn complete(&self, upload_id: &str, key: &str, path: &Path) -> io::Result<()> {
        let (staged, inode) = split_upload_id(upload_id)?;
        let renamed = self
            .durability
            .in_folder(path, || fs::rename(&staged, path));
        match renamed {
            Ok(()) => {}
            // A process that died may have renamed it already.
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
        // The last of this process's uploads leaves an empty folder.
        let is_last = open.tags.is_empty();
        drop(open);
        self.durability.sync_folder(path)?;
        if is_last {
            self.remove_empty_folders(&staged);
        }
        Ok(())
    }

    fn find(&self, prefix: &str, limit: usize) -> io::Result<Vec<String>> {
        let mut found = Vec::new();
        let exact = path_of(prefix);
        if !prefix.ends_with('/') && !prefix.is_empty() {
            // The key of one object, or the name of a folder.
            let Ok(there) = fs::metadata(&exact) else {
                return Ok(found);
            };
            let is_link = fs::symlink_metadata(&exact).is_ok_and(|meta| meta.is_symlink());
            if there.is_file() && !is_link {
                found.push(prefix.to_owned());
                return Ok(found);
            }
            if !there.is_dir() {
                // A rename would replace a device or a link by a file.
                let why = "it is not a regular file";
                return Err(io::Error::new(IoErrorKind::InvalidInput, why));
            }
        }
        // Bookkeeping first: an export whose bookkeeping is gone has all its data.
        let bookkeeping = exact.join(BOOKKEEPING);
        let mut folders = vec![exact, bookkeeping.clone()];
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
                        if path != bookkeeping {
                            folders.push(path);
                        }
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

/// Removes files that a process which died was writing in a bookkeeping folder, up to the first
/// other file: with it the folder is not empty anyway. Reading all of the folder for each of
/// thousands of files would take quadratic time.
fn remove_unfinished(folder: &Path) {
    let is_abandoned = |entry: &fs::DirEntry| {
        let written = entry.metadata().and_then(|found| found.modified()).ok();
        let age = written.and_then(|written| SystemTime::now().duration_since(written).ok());
        age.is_some_and(|age| age > ABANDONED_AFTER)
    };
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    for entry in entries {
        let is_new = entry.path().extension().is_some_and(|end| end == "new");
        if !is_new {
            return;
        }
        if is_abandoned(&entry) {
            let _ = fs::remove_file(entry.path());
        }
    }
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
        // The file system has answered.
        maybe_executed: false,
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

    /// Without a look at each file for its size.
    async fn list(&self, prefix: &str, limit: usize) -> Result<Vec<String>, StoreError> {
        let wanted = prefix.to_owned();
        self.run("list", prefix, move |store, _| store.find(&wanted, limit))
            .await
    }

    async fn list_objects(
        &self,
        prefix: &str,
        limit: usize,
    ) -> Result<Vec<ListedObject>, StoreError> {
        let wanted = prefix.to_owned();
        self.run("list", prefix, move |store, _| {
            let keys = store.find(&wanted, limit)?;
            let sized = keys.into_iter().map(|key| {
                let found = fs::symlink_metadata(path_of(&key));
                let bytes = found.map_or(0, |found| found.len());
                ListedObject { key, bytes }
            });
            Ok(sized.collect())
        })
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
            let folder = path_of(&store.folder);
            store
                .durability
                .write_whole(&folder, path, &body, only_new)?;
            store.remove_empty_folders(&being_written(&path_of(&store.folder), path));
            Ok(())
        })
        .await?;
        Ok(None)
    }

    async fn beat(&self, key: &str, body: Bytes, content_type: &str) -> Result<(), StoreError> {
        self.put(key, body, content_type, false).await.map(drop)
    }

    async fn get(&self, key: &str) -> Result<Option<Bytes>, StoreError> {
        self.run("read", key, |_, path| match fs::read(path) {
            Ok(content) => Ok(Some(Bytes::from(content))),
            Err(error) if is_gone(&error) => Ok(None),
            Err(error) => Err(error),
        })
        .await
    }

    async fn peek(
        &self,
        key: &str,
        limit: usize,
        at_end: bool,
    ) -> Result<Option<Peek>, StoreError> {
        let limit = u64::try_from(limit).unwrap_or(u64::MAX);
        self.run("read", key, move |_, path| {
            let mut file = match fs::File::open(path) {
                Err(error) if is_gone(&error) => return Ok(None),
                opened => opened?,
            };
            if at_end {
                let start = file.metadata()?.len().saturating_sub(limit);
                file.seek(SeekFrom::Start(start))?;
            }
            let content_type = read_attribute(&file);
            let mut bytes = Vec::new();
            file.take(limit).read_to_end(&mut bytes)?;
            Ok(Some(Peek {
                bytes: bytes.into(),
                content_type,
            }))
        })
        .await
    }

    async fn delete(&self, key: &str) -> Result<(), StoreError> {
        self.run("delete", key, |store, path| {
            remove_if_there(path)?;
            // A process that died between writing and renaming leaves this file.
            remove_if_there(&being_written(&path_of(&store.folder), path))?;
            store.remove_empty_folders(path);
            Ok(())
        })
        .await
    }

    /// Uses this machine's clock. It is also the file system's clock, except for a network file
    /// system.
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
                bytes: Some(found.len()),
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
        content: ContentHeaders,
        file_tag: &str,
    ) -> Result<CreatedUpload, StoreError> {
        // The tag begins with the export's id: `<export id>/<writer>/<sequence>`.
        let (export_id, file) = file_tag.split_once('/').unwrap_or((file_tag, "0"));
        let file = file.replace('/', "-");
        let staged = format!("{}{FOLDER}{export_id}/{file}{STAGED}", self.folder);
        let inode = self
            .run("create", &staged, move |store, path| {
                store.create_staged(path, content.content_type)
            })
            .await?;
        let upload_id = upload_id(&path_of(&staged), inode);
        let tag = file_tag.to_owned();
        self.open().tags.insert(upload_id.clone(), tag);
        let upload = PendingUpload {
            key: key.to_owned(),
            upload_id,
        };
        Ok(CreatedUpload {
            upload,
            maybe_another: false,
        })
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
            receipt: String::new(),
            retries: 0,
        })
    }

    async fn seal_upload(&self, upload: &PendingUpload) -> Result<(), StoreError> {
        let id = upload.upload_id.clone();
        self.run("write", &upload.key, move |store, _| {
            let file = store.staged_file(&id)?;
            store.open().files.remove(&id);
            match store.durability {
                Durability::Synced => lock(&file).sync(),
                Durability::LeftToTheSystem => Ok(()),
            }
        })
        .await
    }

    async fn complete_upload(
        &self,
        upload: &PendingUpload,
        _receipts: &[String],
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

    /// The staged files in the bookkeeping of the folder `prefix`, or of the folder that contains the
    /// object `prefix`. The keys of these objects are not known, so `key` is the key of the staged
    /// file, which also contains the export's id. If `prefix` is the key of bookkeeping, only the
    /// staged file of that object.
    async fn list_uploads(&self, prefix: &str) -> Result<Vec<PendingUpload>, StoreError> {
        let folder = prefix.rfind('/').map_or("", |end| &prefix[..=end]);
        let (bookkeeping, wanted) = match folder.contains(FOLDER) {
            true => (folder.to_owned(), prefix.to_owned()),
            false => (format!("{folder}{FOLDER}"), folder.to_owned()),
        };
        let listed = bookkeeping.clone();
        self.run("list", &bookkeeping, move |store, _| {
            let mut staged = store.find(&listed, usize::MAX)?;
            staged.retain(|key| key.ends_with(STAGED) && key.starts_with(&wanted));
            let staged = staged.into_iter();
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

    /// Aborting all uploads of `COMMIT` must not abort the uploads of data.
    #[tokio::test]
    async fn uploads_of_bookkeeping_are_listed_alone() {
        let root = tempfile::tempdir().unwrap();
        let target = Target::parse(&root.path().join("t").display().to_string()).unwrap();
        let store = LocalUploadStore::new(&target, 1 << 20);
        let commit = format!("{}{FOLDER}id/COMMIT", target.folder());
        let data = format!("{}part-id.csv", target.folder());
        let headers = ContentHeaders::BOOKKEEPING;
        for (key, tag) in [(&commit, "id/COMMIT"), (&data, "id/0/0")] {
            store.create_upload(key, headers, tag).await.unwrap();
        }
        let listed = async |key: &str| {
            let mut names = Vec::new();
            for upload in store.list_uploads(key).await.unwrap() {
                names.extend(upload.key.rsplit('/').next().map(str::to_owned));
            }
            names
        };
        assert_eq!(listed(&commit).await, ["COMMIT.staged"]);
        assert_eq!(listed(&data).await, ["0-0.staged", "COMMIT.staged"]);
    }
}
