//! Seals and opens credentials.
//!
//! Each seal makes a data key of its own, so a nonce never meets the same data key twice. The data key is wrapped by
//! the active version of the key file. Both are AES-256-GCM; what they cover besides their content: what it is for,
//! namespace, mailbox, and for the data key the version. The key file is read again when it has changed.

use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};

use ring::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use ring::rand::{SecureRandom, SystemRandom};
use zeroize::Zeroizing;

use super::Credential;
use super::key_file::{self, Stamp};
use super::keyring::{KEY_BYTES, Key, Keyring, Version};
use crate::source::Fault;

const TAG_BYTES: usize = 16;
/// What a seal adds to its content.
pub const OVERHEAD: usize = NONCE_LEN + TAG_BYTES;

/// Whose credential it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place<'a> {
    pub namespace: &'a str,
    pub mailbox_id: &'a str,
}

/// A credential as the catalog keeps it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sealed {
    /// Of the key that wraps the data key.
    pub key_version: Version,
    pub wrapped_key: Vec<u8>,
    pub content: Vec<u8>,
}

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("no key file is configured; the operator sets DOCKET_CREDENTIALS__KEY_FILE")]
    NotConfigured,
    #[error("{0}")]
    KeyFile(#[from] key_file::Error),
    #[error("the key file has no version {0}, with which the mailbox's credential is sealed")]
    NoKey(Version),
    #[error(
        "the mailbox's credential does not open with version {0} of the key file: it is another key, or the row was changed"
    )]
    DoesNotOpen(Version),
    #[error("the system has no randomness to give")]
    Random,
}

impl From<ring::error::Unspecified> for Error {
    fn from(_: ring::error::Unspecified) -> Self {
        Self::Random
    }
}

impl From<Error> for Fault {
    fn from(error: Error) -> Self {
        let message = error.to_string();
        match error {
            Error::NotConfigured => Self::permanent("credentials-off", message),
            // Paths are the operator's business, not the mailbox owner's.
            Error::KeyFile(_) => {
                Self::transient("key-file-unreadable", "the key file cannot be read; see the log")
            }
            // Copies of the file on other machines may come late.
            Error::NoKey(_) => Self::transient("key-missing", message),
            Error::DoesNotOpen(_) => Self::permanent("credential-unreadable", message),
            Error::Random => Self::transient("no-randomness", message),
        }
    }
}

type Result<T> = std::result::Result<T, Error>;

#[derive(Debug)]
pub struct Vault {
    path: PathBuf,
    loaded: RwLock<(Arc<Keyring>, Stamp)>,
}

impl Vault {
    /// # Errors
    /// When the key file is not usable.
    pub fn open(path: &Path) -> Result<Self> {
        let (ring, stamp) = key_file::read(path)?;
        Ok(Self { path: path.to_owned(), loaded: RwLock::new((Arc::new(ring), stamp)) })
    }

    /// The keys as the file has them now. A file that is not usable at the moment changes nothing.
    pub fn keyring(&self) -> Arc<Keyring> {
        let (ring, known) = self.loaded.read().unwrap_or_else(PoisonError::into_inner).clone();
        if key_file::stamp(&self.path).is_ok_and(|now| now == known) {
            return ring;
        }
        match key_file::read(&self.path) {
            Ok((ring, stamp)) => {
                tracing::info!(active = ring.active(), "key file read again");
                let ring = Arc::new(ring);
                *self.loaded.write().unwrap_or_else(PoisonError::into_inner) = (ring.clone(), stamp);
                ring
            }
            Err(error) => {
                tracing::error!(%error, "the key file has changed and is not usable; the keys before stay in use");
                ring
            }
        }
    }

    /// # Errors
    /// [`Error::Random`].
    pub fn seal(&self, place: Place<'_>, credential: &Credential) -> Result<Sealed> {
        let data_key = Key::random()?;
        let mut content = credential.encode();
        let content = encrypt(&data_key, &covered(CONTENT, place, None), &mut content)?;
        let ring = self.keyring();
        let (key_version, wrapped_key) = wrap(&ring, place, &data_key)?;
        Ok(Sealed { key_version, wrapped_key, content })
    }

    /// # Errors
    /// [`Error::NoKey`], [`Error::DoesNotOpen`].
    pub fn unseal(&self, place: Place<'_>, sealed: &Sealed) -> Result<Credential> {
        let data_key = unwrap(&self.keyring(), place, sealed)?;
        let opened = decrypt(&data_key, &covered(CONTENT, place, None), &sealed.content);
        let credential = opened.and_then(|bytes| Credential::decode(&bytes));
        credential.ok_or(Error::DoesNotOpen(sealed.key_version))
    }

    /// The same credential, its data key wrapped by the active version. None if it is so already.
    ///
    /// # Errors
    /// As [`Self::unseal`].
    pub fn rewrap(&self, place: Place<'_>, sealed: &Sealed) -> Result<Option<Sealed>> {
        let ring = self.keyring();
        if sealed.key_version == ring.active() {
            return Ok(None);
        }
        let data_key = unwrap(&ring, place, sealed)?;
        let (key_version, wrapped_key) = wrap(&ring, place, &data_key)?;
        Ok(Some(Sealed { key_version, wrapped_key, content: sealed.content.clone() }))
    }
}

const CONTENT: &str = "docket credential 1";
const DATA_KEY: &str = "docket data key 1";

/// What a seal covers besides its content. Lengths keep the parts apart.
fn covered(purpose: &str, place: Place<'_>, version: Option<Version>) -> Vec<u8> {
    let version = version.map(Version::to_be_bytes);
    let version: &[u8] = version.as_ref().map_or(&[], |bytes| bytes);
    let parts = [purpose.as_bytes(), place.namespace.as_bytes(), place.mailbox_id.as_bytes(), version];
    let bytes = parts
        .iter()
        .flat_map(|part| (part.len() as u64).to_be_bytes().into_iter().chain(part.iter().copied()));
    bytes.collect()
}

fn wrap(ring: &Keyring, place: Place<'_>, data_key: &Key) -> Result<(Version, Vec<u8>)> {
    let version = ring.active();
    let key = ring.key(version).ok_or(Error::NoKey(version))?;
    let mut bytes = Zeroizing::new(Vec::with_capacity(KEY_BYTES + OVERHEAD));
    bytes.extend_from_slice(data_key.bytes());
    Ok((version, encrypt(key, &covered(DATA_KEY, place, Some(version)), &mut bytes)?))
}

fn unwrap(ring: &Keyring, place: Place<'_>, sealed: &Sealed) -> Result<Key> {
    let version = sealed.key_version;
    let key = ring.key(version).ok_or(Error::NoKey(version))?;
    let opened = decrypt(key, &covered(DATA_KEY, place, Some(version)), &sealed.wrapped_key);
    let data_key = opened.and_then(|bytes| <[u8; KEY_BYTES]>::try_from(bytes.as_slice()).ok());
    data_key.map(Key::new).ok_or(Error::DoesNotOpen(version))
}

fn cipher(key: &Key) -> Option<LessSafeKey> {
    UnboundKey::new(&AES_256_GCM, key.bytes()).ok().map(LessSafeKey::new)
}

/// Nonce, then content and tag.
fn encrypt(key: &Key, covered: &[u8], content: &mut Zeroizing<Vec<u8>>) -> Result<Vec<u8>> {
    let mut nonce = [0; NONCE_LEN];
    SystemRandom::new().fill(&mut nonce)?;
    let cipher = cipher(key).ok_or(Error::Random)?;
    let nonce_of = Nonce::assume_unique_for_key(nonce);
    cipher.seal_in_place_append_tag(nonce_of, Aad::from(covered), &mut **content)?;
    Ok(nonce.into_iter().chain(content.iter().copied()).collect())
}

fn decrypt(key: &Key, covered: &[u8], sealed: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
    let (nonce, content) = sealed.split_first_chunk::<NONCE_LEN>()?;
    let mut content = Zeroizing::new(content.to_vec());
    let nonce = Nonce::assume_unique_for_key(*nonce);
    let length = cipher(key)?.open_in_place(nonce, Aad::from(covered), &mut content).ok()?.len();
    content.truncate(length);
    Some(content)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::credential::Secret;

    const HOME: Place<'static> = Place { namespace: "default", mailbox_id: "mb-1" };

    fn vault(folder: &Path) -> (Vault, PathBuf) {
        let path = folder.join("keys");
        key_file::create(&path).unwrap();
        (Vault::open(&path).unwrap(), path)
    }

    fn password() -> Credential {
        Credential::Password(Secret::new("hunter2"))
    }

    #[test]
    fn a_sealed_credential_opens_in_its_place_only() {
        let folder = tempfile::tempdir().unwrap();
        let (vault, _) = vault(folder.path());
        let sealed = vault.seal(HOME, &password()).unwrap();
        assert_eq!(vault.unseal(HOME, &sealed).unwrap(), password());
        assert!(!sealed.content.windows(7).any(|bytes| bytes == b"hunter2"));
        for place in [
            Place { mailbox_id: "mb-2", ..HOME },
            Place { namespace: "other", ..HOME },
            Place { namespace: "defaultm", mailbox_id: "b-1" },
        ] {
            assert!(matches!(vault.unseal(place, &sealed), Err(Error::DoesNotOpen(1))));
        }
        let again = vault.seal(HOME, &password()).unwrap();
        assert_ne!((again.content, again.wrapped_key), (sealed.content, sealed.wrapped_key));
    }

    #[test]
    fn every_changed_bit_is_noticed() {
        let folder = tempfile::tempdir().unwrap();
        let (vault, _) = vault(folder.path());
        let sealed = vault.seal(HOME, &password()).unwrap();
        for at in 0..sealed.content.len() {
            let mut changed = sealed.clone();
            changed.content[at] ^= 1;
            assert!(vault.unseal(HOME, &changed).is_err());
        }
        for at in 0..sealed.wrapped_key.len() {
            let mut changed = sealed.clone();
            changed.wrapped_key[at] ^= 1;
            assert!(vault.unseal(HOME, &changed).is_err());
        }
        let short = Sealed { content: vec![1, 2], ..sealed.clone() };
        assert!(vault.unseal(HOME, &short).is_err());
    }

    #[test]
    fn keys_change_while_credentials_stay_readable() {
        let folder = tempfile::tempdir().unwrap();
        let (vault, path) = vault(folder.path());
        let old = vault.seal(HOME, &password()).unwrap();
        assert_eq!(vault.rewrap(HOME, &old).unwrap(), None);
        key_file::add(&path, true).unwrap();
        assert_eq!(vault.unseal(HOME, &old).unwrap(), password(), "the version before is still there");
        let new = vault.rewrap(HOME, &old).unwrap().unwrap();
        assert_eq!((new.key_version, &new.content), (2, &old.content), "the content is not touched");
        key_file::remove(&path, 1).unwrap();
        assert_eq!(vault.unseal(HOME, &new).unwrap(), password());
        assert!(matches!(vault.unseal(HOME, &old), Err(Error::NoKey(1))));
        std::fs::remove_file(&path).unwrap();
        assert_eq!(vault.unseal(HOME, &new).unwrap(), password(), "what is known stays in use");
    }
}
