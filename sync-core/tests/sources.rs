//! Folder sources: nothing is missed, nothing is named under two identities.

#[path = "sources/mbox.rs"]
mod mbox;

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use sync_core::source::folder::{Config, Format, open};
use sync_core::source::root::Root;
use sync_core::source::{Fetched, Item, Source};
use tempfile::TempDir;

struct Folder {
    dir: TempDir,
    /// Ahead of the files' times unless a test says otherwise.
    now: Arc<AtomicI64>,
    since: Option<i64>,
    folders: Vec<String>,
}

impl Folder {
    fn new() -> Self {
        let now = ms(SystemTime::now()) + 60_000;
        let now = Arc::new(AtomicI64::new(now));
        Self { dir: tempfile::tempdir().unwrap(), now, since: None, folders: vec![] }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn write(&self, name: &str, content: &str) {
        fs::create_dir_all(self.path(name).parent().unwrap()).unwrap();
        fs::write(self.path(name), content).unwrap();
    }

    fn source(&self, path: &str) -> impl Source + use<> {
        let config = Config { path: path.into(), format: Format::Detect };
        let now = self.now.clone();
        let clock = Arc::new(move || now.load(Ordering::Relaxed));
        open(&Root::new(self.dir.path()), &config, &self.folders, self.since, clock).unwrap()
    }

    /// A new process goes on from `cursor`; returns what is named, with the bytes, and the new cursor.
    async fn changes(&self, path: &str, cursor: &mut Option<String>) -> Vec<(Item, String)> {
        let source = self.source(path);
        let mut found = Vec::new();
        loop {
            let page = source.changes(cursor.as_deref()).await.unwrap();
            for item in page.items {
                let Fetched::Message(raw) = source.fetch(&item).await.unwrap() else { panic!("{item:?}") };
                found.push((item, String::from_utf8_lossy(&raw).into_owned()));
            }
            *cursor = Some(page.next);
            if !page.more {
                return found;
            }
        }
    }
}

fn ms(time: SystemTime) -> i64 {
    i64::try_from(time.duration_since(UNIX_EPOCH).unwrap().as_millis()).unwrap()
}

fn age(path: &Path, seconds: u64) {
    let file = fs::File::options().write(true).open(path).unwrap();
    file.set_modified(SystemTime::now() - Duration::from_secs(seconds)).unwrap();
}

fn ids(found: &[(Item, String)]) -> Vec<&str> {
    found.iter().map(|(item, _)| item.id.as_str()).collect()
}

#[tokio::test]
async fn a_maildir_message_keeps_its_identity_through_moves_and_flags() {
    let folder = Folder::new();
    for sub in ["cur", "new", "tmp", ".Archive/cur", ".Trash/cur"] {
        fs::create_dir_all(folder.path(&format!("m/{sub}"))).unwrap();
    }
    folder.write("m/new/1700000002.a.host", "second");
    folder.write("m/cur/1700000001.b.host:2,S", "first");
    folder.write("m/tmp/1700000003.c.host", "half");
    folder.write("m/.Trash/cur/1700000004.d.host:2,", "trash");
    let source = folder.source("m");
    let page = source.changes(None).await.unwrap();
    assert_eq!(page.items.len(), 2);
    assert_eq!(page.items[0].id, "maildir:1700000002.a.host", "newest first");

    // Moved between listing and fetching.
    fs::rename(folder.path("m/new/1700000002.a.host"), folder.path("m/cur/1700000002.a.host:2,FS")).unwrap();
    assert_eq!(source.fetch(&page.items[0]).await.unwrap(), Fetched::Message("second".into()));
    fs::rename(
        folder.path("m/cur/1700000001.b.host:2,S"),
        folder.path("m/.Archive/cur/1700000001.b.host:2,RS"),
    )
    .unwrap();
    let again = folder.changes("m", &mut Some(page.next)).await;
    assert_eq!(ids(&again), ["maildir:1700000002.a.host", "maildir:1700000001.b.host"]);
    fs::remove_file(folder.path("m/cur/1700000002.a.host:2,FS")).unwrap();
    assert_eq!(source.fetch(&again[0].0).await.unwrap(), Fetched::Gone);
}

#[tokio::test]
async fn maildir_folders_and_since_are_the_mailboxes_choice() {
    let mut folder = Folder::new();
    folder.write("m/cur/1700000001.a.host:2,", "inbox");
    folder.write("m/.Bills/cur/1700000002.b.host:2,", "bills");
    folder.write("m/.Trash/cur/1700000003.c.host:2,", "trash");
    folder.folders = vec!["Bills".into(), "Trash".into()];
    assert_eq!(folder.changes("m", &mut None).await.len(), 2);
    folder.since = Some(1_700_000_003_000);
    assert_eq!(ids(&folder.changes("m", &mut None).await), ["maildir:1700000003.c.host"]);
}

#[tokio::test]
async fn eml_files_arrive_late_in_pieces_and_in_folders() {
    let folder = Folder::new();
    folder.write("e/a.eml", "a");
    folder.write("e/deep/er/b.EML", "b");
    folder.write("e/.hidden.eml", "no");
    folder.write("e/c.eml.tmp", "no");
    folder.write("e/notes.txt", "no");
    std::os::unix::fs::symlink("/etc/hostname", folder.path("e/link.eml")).unwrap();
    let mut cursor = None;
    assert_eq!(folder.changes("e", &mut cursor).await.len(), 2);

    // A copy that keeps a time from long before everything that was seen.
    folder.write("e/late.eml", "late");
    age(&folder.path("e/late.eml"), 400 * 86_400);
    let found = folder.changes("e", &mut cursor).await;
    assert!(found.iter().any(|(_, raw)| raw == "late"));
    assert_eq!(found.len(), 3, "known ones are named again; the run skips them by id");

    // Still being written: its time is now.
    folder.write("e/fresh.eml", "hal");
    let modified = ms(fs::metadata(folder.path("e/fresh.eml")).unwrap().modified().unwrap());
    folder.now.store(modified + 500, Ordering::Relaxed);
    let found = folder.changes("e", &mut cursor).await;
    assert!(!found.iter().any(|(_, raw)| raw == "hal"));
    folder.now.store(modified + 2_000, Ordering::Relaxed);
    assert!(folder.changes("e", &mut cursor).await.iter().any(|(_, raw)| raw == "hal"));
}

#[tokio::test]
async fn an_overwritten_eml_file_is_a_new_message() {
    let folder = Folder::new();
    folder.write("e/scan.eml", "monday");
    let before = folder.changes("e", &mut None).await;
    folder.write("e/scan.eml", "tuesday");
    let after = folder.changes("e", &mut None).await;
    assert_ne!(before[0].0.id, after[0].0.id);
}

#[tokio::test]
async fn a_message_over_the_bound_is_not_read() {
    let folder = Folder::new();
    folder.write("e/big.eml", "");
    fs::File::options().write(true).open(folder.path("e/big.eml")).unwrap().set_len((50 << 20) + 1).unwrap();
    let source = folder.source("e");
    let page = source.changes(None).await.unwrap();
    let fetched = source.fetch(&page.items[0]).await.unwrap();
    assert_eq!(fetched, Fetched::TooLarge { size: (50 << 20) + 1 });
}

#[tokio::test]
async fn a_nonsense_cursor_begins_again() {
    let folder = Folder::new();
    folder.write("in.mbox", mbox::A);
    folder.write("e/a.eml", "a");
    for cursor in ["", "{}", "null", "{\"offset\":9999999,\"tail\":\"\"}", "\u{0}"] {
        assert_eq!(folder.changes("in.mbox", &mut Some(cursor.into())).await.len(), 1, "{cursor}");
        assert_eq!(folder.changes("e", &mut Some(cursor.into())).await.len(), 1, "{cursor}");
    }
}
