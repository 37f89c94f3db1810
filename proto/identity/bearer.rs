//! The other side: a token that a service presents, from a file that may change.

use std::{
    fmt, fs,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use tonic::{
    Request, Status,
    metadata::{Ascii, MetadataValue},
    service::Interceptor,
};

use super::tokens::Stamp;

/// Between two looks at the file.
const PERIOD: Duration = Duration::from_secs(3);

/// Adds the token to each call. Cheap to clone.
#[derive(Clone, Default)]
pub struct Bearer(Option<Arc<Inner>>);

struct Inner {
    path: PathBuf,
    state: Mutex<State>,
}

struct State {
    looked: Instant,
    stamp: Stamp,
    value: MetadataValue<Ascii>,
}

impl fmt::Debug for Bearer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Bearer").field(&self.0.as_ref().map(|inner| &inner.path)).finish()
    }
}

impl Bearer {
    /// Nothing is added where `path` is empty.
    ///
    /// # Errors
    /// When the file is not there, or holds anything but one token.
    pub fn open(path: &Path) -> Result<Self, String> {
        if path.as_os_str().is_empty() {
            return Ok(Self::default());
        }
        let (stamp, value) = read(path)?;
        let state = State { looked: Instant::now(), stamp, value };
        Ok(Self(Some(Arc::new(Inner { path: path.into(), state: Mutex::new(state) }))))
    }

    /// Whether there is a token to keep secret.
    pub fn is_some(&self) -> bool {
        self.0.is_some()
    }
}

impl Inner {
    fn value(&self) -> MetadataValue<Ascii> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if state.looked.elapsed() >= PERIOD {
            state.looked = Instant::now();
            if Stamp::of(&self.path).is_ok_and(|now| now != state.stamp) {
                match read(&self.path) {
                    Ok((stamp, value)) => (state.stamp, state.value) = (stamp, value),
                    Err(error) => tracing::error!(error, "the new token is not taken; the old one stays"),
                }
            }
        }
        state.value.clone()
    }
}

fn read(path: &Path) -> Result<(Stamp, MetadataValue<Ascii>), String> {
    let about = |why: &dyn fmt::Display| format!("{}: {why}", path.display());
    let stamp = Stamp::of(path).map_err(|error| about(&error))?;
    let text = fs::read_to_string(path).map_err(|error| about(&error))?;
    let token = text.trim();
    if token.is_empty() || !token.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(about(&"must hold one token and nothing else"));
    }
    let value = MetadataValue::try_from(format!("Bearer {token}"));
    let mut value = value.map_err(|_| about(&"must hold one token and nothing else"))?;
    value.set_sensitive(true);
    Ok((stamp, value))
}

impl Interceptor for Bearer {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        if let Some(inner) = &self.0 {
            request.metadata_mut().insert("authorization", inner.value());
        }
        Ok(request)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_sent_and_not_shown() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("token");
        fs::write(&path, "docket_abc\n").unwrap();
        let mut bearer = Bearer::open(&path).unwrap();
        let request = bearer.call(Request::new(())).unwrap();
        assert_eq!(request.metadata().get("authorization").unwrap(), "Bearer docket_abc");
        assert!(!format!("{bearer:?} {request:?}").contains("docket_abc"));
    }

    #[test]
    fn a_file_that_holds_no_token_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        for text in ["", " \n", "two words", "a\nb"] {
            let path = folder.path().join("token");
            fs::write(&path, text).unwrap();
            assert!(Bearer::open(&path).is_err(), "{text:?}");
        }
        assert!(!Bearer::open(Path::new("")).unwrap().is_some());
    }
}
