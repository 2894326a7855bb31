//! How files get their names on the local disk.
//!
//! Invariant: a small file appears complete. If synced, it and the folders above it are on the disk
//! when a call returns.

use std::fs::{self, File};
use std::io::{self, ErrorKind as IoErrorKind, Write};
use std::path::{Path, PathBuf};

use uuid::Uuid;

use super::direct_file::DirectFile;
use crate::sink::target::FOLDER;

/// The name of the folder that holds bookkeeping.
pub(super) const BOOKKEEPING: &str = FOLDER.split_at(FOLDER.len() - 1).0;

/// How often creating a folder is tried, if other exports keep removing it as empty.
const ATTEMPTS: u32 = 100;

/// Whether files and names are on the disk before the next step of an export.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Durability {
    Synced,
    LeftToTheSystem,
}

impl Durability {
    /// Opens a file for writing.
    pub(super) fn write_to(self, file: File) -> DirectFile {
        match self {
            Self::Synced => DirectFile::new(file),
            Self::LeftToTheSystem => DirectFile::cached(file),
        }
    }

    /// Makes the names in the folder of a file durable.
    pub(super) fn sync_folder(self, file: &Path) -> io::Result<()> {
        match (self, file.parent()) {
            (Self::Synced, Some(folder)) => File::open(folder)?.sync_all(),
            _ => Ok(()),
        }
    }

    /// Runs `work` on a file after creating its folder. Retries if a folder is missing, because
    /// other exports remove empty folders at the same time.
    pub(super) fn in_folder<T>(
        self,
        file: &Path,
        work: impl Fn() -> io::Result<T>,
    ) -> io::Result<T> {
        for _ in 1..ATTEMPTS {
            match self.create_folders(file) {
                Err(error) if is_missing_or_there(&error) => continue,
                created => created?,
            }
            match work() {
                Err(error) if error.kind() == IoErrorKind::NotFound => {}
                done => return done,
            }
        }
        self.create_folders(file)?;
        work()
    }

    /// Creates the folders above a file.
    fn create_folders(self, file: &Path) -> io::Result<()> {
        let missing: Vec<&Path> = file
            .ancestors()
            .skip(1)
            .take_while(|folder| !folder.exists())
            .collect();
        let Some(folder) = missing.first() else {
            return Ok(());
        };
        fs::create_dir_all(folder)?;
        missing
            .iter()
            .try_for_each(|folder| self.sync_folder(folder))
    }

    /// Writes a small file so that a reader sees all of it or none. Until then it is in the
    /// bookkeeping of `folder`.
    pub(super) fn write_whole(
        self,
        folder: &Path,
        path: &Path,
        body: &[u8],
        only_new: bool,
    ) -> io::Result<()> {
        let new = being_written(folder, path);
        let new = match only_new {
            // Other exports may write the same file, so each one uses its own temporary name.
            true => new.with_extension(format!("{}.new", Uuid::now_v7().simple())),
            false => new,
        };
        let mut file = self.in_folder(&new, || File::create(&new))?;
        file.write_all(body)?;
        if self == Self::Synced {
            file.sync_all()?;
        }
        if only_new {
            // A hard link fails if the name exists; a rename would replace the file.
            match fs::hard_link(&new, path) {
                Ok(()) => remove_if_there(&new)?,
                Err(error) if error.kind() == IoErrorKind::AlreadyExists || path.exists() => {
                    remove_if_there(&new)?;
                    return Err(IoErrorKind::AlreadyExists.into());
                }
                // The file system has no hard links.
                Err(_) => fs::rename(&new, path)?,
            }
        } else {
            self.in_folder(path, || fs::rename(&new, path))?;
        }
        self.sync_folder(path)
    }
}

fn is_missing_or_there(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        IoErrorKind::NotFound | IoErrorKind::AlreadyExists
    )
}

/// The path of a small file until it is completely written: in the bookkeeping of `folder`, where
/// the user has no files.
pub(super) fn being_written(folder: &Path, path: &Path) -> PathBuf {
    let mut name = path.file_name().unwrap_or_default().to_os_string();
    name.push(".new");
    if path.iter().any(|part| part == BOOKKEEPING) {
        return path.with_file_name(name);
    }
    folder.join(BOOKKEEPING).join(name)
}

pub(super) fn remove_if_there(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if !is_gone(&error) => Err(error),
        _ => Ok(()),
    }
}

pub(super) fn is_gone(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        IoErrorKind::NotFound | IoErrorKind::NotADirectory
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_created_where_others_remove_its_folders() {
        let root = tempfile::tempdir().unwrap();
        let folder = root.path().join("target/_tidegate");
        let create_and_remove = |thread: i32| {
            let path = folder.join(thread.to_string());
            for _ in 0..2000 {
                let created = Durability::Synced.in_folder(&path, || File::create(&path));
                created.unwrap();
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
