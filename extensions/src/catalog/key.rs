//! The key that secrets are sealed with.
//!
//! Invariant: a key file is written once, with mode 0600, and never replaced. A sealed value opens
//! only with the same key and the same `place`, a text that names the value's place in the catalog.
//!
//! XChaCha20-Poly1305: <https://datatracker.ietf.org/doc/html/draft-irtf-cfrg-xchacha>. Its nonces
//! are long enough to be random.

use std::fs::{File, OpenOptions};
use std::io::{ErrorKind as IoErrorKind, Read, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use chacha20poly1305::aead::{Aead, KeyInit, Payload};
use chacha20poly1305::{XChaCha20Poly1305, XNonce};
use rand::TryRngCore;
use zeroize::Zeroizing;

use crate::error::{Error, ErrorKind, Result};
use crate::secret::SecretValue;

const KEY_BYTES: usize = 32;
const NONCE_BYTES: usize = 24;

/// The first characters of a key file.
const HEADER: &str = "tidegate-key-1 ";

/// The file that holds the key.
#[derive(Debug, Clone)]
pub struct KeyFile {
    path: PathBuf,
}

/// The key itself.
pub(super) struct Key(XChaCha20Poly1305);

impl KeyFile {
    /// A key file at `path`. Sealing the first secret creates it if it does not exist.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into() }
    }

    /// The path of the file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The key, or `None` if there is no such file.
    ///
    /// # Errors
    /// [`ErrorKind::Io`] if it can't be read, others can read it, or it holds no key.
    pub(super) fn read(&self) -> Result<Option<Key>> {
        let mut file = match File::open(&self.path) {
            Ok(file) => file,
            Err(error) if error.kind() == IoErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(self.error("can't be read").with_source(error)),
        };
        let metadata = file.metadata();
        let metadata = metadata.map_err(|error| self.error("can't be read").with_source(error))?;
        if metadata.permissions().mode() & 0o077 != 0 {
            let hint = format!("chmod 600 {}", self.path.display());
            return Err(self.error("can be read by others").with_hint(hint));
        }
        let mut text = Zeroizing::new(String::new());
        file.read_to_string(&mut text)
            .map_err(|error| self.error("can't be read").with_source(error))?;
        let key = text.trim().strip_prefix(HEADER);
        let key = key.and_then(|key| BASE64_STANDARD.decode(key).ok().map(Zeroizing::new));
        let key = key.and_then(|key| Key::new(&key));
        key.map(Some).ok_or_else(|| self.error("holds no key"))
    }

    /// The key. Creates the file with a new key if there is none.
    ///
    /// # Errors
    /// As [`Self::read`], and [`ErrorKind::Io`] if it can't be written.
    pub(super) fn read_or_create(&self) -> Result<Key> {
        if let Some(key) = self.read()? {
            return Ok(key);
        }
        let mut bytes = Zeroizing::new([0; KEY_BYTES]);
        fill_randomly(bytes.as_mut_slice())?;
        let text = Zeroizing::new(format!(
            "{HEADER}{}\n",
            BASE64_STANDARD.encode(bytes.as_slice())
        ));
        self.write(text.as_bytes())
            .map_err(|error| self.error("can't be written").with_source(error))?;
        // Another process may have created the file first. In that case its key is used.
        self.read()?.ok_or_else(|| self.error("has vanished"))
    }

    /// Creates the file atomically with its complete content. An existing file is kept.
    fn write(&self, content: &[u8]) -> std::io::Result<()> {
        let folder = self.path.parent().unwrap_or(Path::new("."));
        std::fs::create_dir_all(folder)?;
        let mut name = self.path.file_name().unwrap_or_default().to_owned();
        name.push(format!(".{}", uuid::Uuid::now_v7().simple()));
        let partial = folder.join(name);
        let mut options = OpenOptions::new();
        options.write(true).create_new(true).mode(0o600);
        let mut file = options.open(&partial)?;
        let written = file
            .write_all(content)
            .and_then(|()| file.sync_all())
            .and_then(|()| std::fs::hard_link(&partial, &self.path));
        std::fs::remove_file(&partial)?;
        match written {
            Err(error) if error.kind() == IoErrorKind::AlreadyExists => Ok(()),
            other => other,
        }
    }

    pub(super) fn error(&self, why: &str) -> Error {
        let path = self.path.display();
        Error::new(ErrorKind::Io, format!("the key file {path} {why}"))
    }
}

fn fill_randomly(bytes: &mut [u8]) -> Result<()> {
    rand::rngs::OsRng.try_fill_bytes(bytes).map_err(|error| {
        Error::new(ErrorKind::Internal, "the system has no random numbers").with_source(error)
    })
}

impl Key {
    fn new(bytes: &[u8]) -> Option<Self> {
        XChaCha20Poly1305::new_from_slice(bytes).ok().map(Self)
    }

    /// Seals a value. Only this key can open it, and only for the same `place`.
    pub(super) fn seal(&self, value: &[u8], place: &str) -> Result<Vec<u8>> {
        let mut nonce = [0; NONCE_BYTES];
        fill_randomly(&mut nonce)?;
        let payload = Payload {
            msg: value,
            aad: place.as_bytes(),
        };
        let sealed = self.0.encrypt(&XNonce::from(nonce), payload);
        let sealed =
            sealed.map_err(|_| Error::new(ErrorKind::Internal, "the value can't be sealed"))?;
        Ok([nonce.as_slice(), &sealed].concat())
    }

    /// Opens a sealed value. `None` unless it was sealed with this key and for this `place`.
    pub(super) fn open(&self, sealed: &[u8], place: &str) -> Option<SecretValue> {
        let (nonce, sealed) = sealed.split_first_chunk::<NONCE_BYTES>()?;
        let payload = Payload {
            msg: sealed,
            aad: place.as_bytes(),
        };
        let value = self.0.decrypt(&XNonce::from(*nonce), payload).ok()?;
        Some(SecretValue::new(value))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_sealed_opens_in_its_place_only() {
        let folder = std::env::temp_dir().join(format!("tidegate-{}", uuid::Uuid::now_v7()));
        let file = KeyFile::new(folder.join("deep/key"));
        assert!(file.read().unwrap().is_none());
        let key = file.read_or_create().unwrap();
        let mode = std::fs::metadata(file.path()).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        let sealed = key.seal(b"hunter2", "a|1").unwrap();
        assert!(!sealed.windows(7).any(|bytes| bytes == b"hunter2"));
        let again = file.read_or_create().unwrap();
        assert_eq!(again.open(&sealed, "a|1").unwrap().expose(), b"hunter2");
        assert!(again.open(&sealed, "a|2").is_none());
        assert!(again.open(&sealed[1..], "a|1").is_none());
        assert!(again.open(b"", "a|1").is_none());

        let open = std::fs::Permissions::from_mode(0o644);
        std::fs::set_permissions(file.path(), open).unwrap();
        let error = file.read().err().unwrap().to_string();
        assert!(error.contains("can be read by others"), "{error}");
        std::fs::remove_dir_all(folder).unwrap();
    }
}
