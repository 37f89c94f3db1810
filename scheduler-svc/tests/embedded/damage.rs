//! A journal that is cut, torn or flipped, and rot anywhere in the folder: all of it, or a clear refusal; never a part.

use std::{
    fs,
    path::{Path, PathBuf},
};

use rand::{RngExt as _, SeedableRng as _, rngs::StdRng};
use scheduler_svc::store::StoreError;

use super::model;

/// A folder that was closed after some commits, and where its journal's commits end.
struct Sample {
    folder: tempfile::TempDir,
    /// Sequence, and the length of the journal after it.
    ends: Vec<(u64, u64)>,
}

const JOURNAL: &str = "0.jnl";
const ACKNOWLEDGED: &str = "acknowledged";

impl Sample {
    fn new(commits: u64) -> Self {
        let folder = model::scratch();
        // A first life, after which the journal is as long as what it holds.
        drop(model::open(folder.path()).expect("a store"));
        let store = model::open(folder.path()).expect("a store");
        let opened = model::check(&store).expect("a new store");
        let journal = folder.path().join(JOURNAL);
        let mut ends = Vec::new();
        let length = || fs::metadata(&journal).expect("a journal").len();
        ends.push((0, length()));
        model::commit(&store, &opened, commits, |seq| ends.push((seq, length())));
        drop(store);
        Self { folder, ends }
    }

    /// A copy to damage.
    fn copy(&self) -> tempfile::TempDir {
        let copy = model::scratch();
        for file in files(self.folder.path()) {
            let to = copy.path().join(file.strip_prefix(self.folder.path()).expect("below"));
            fs::create_dir_all(to.parent().expect("a folder")).expect("a folder");
            fs::copy(file, to).expect("a copy");
        }
        copy
    }

    /// The last commit that lies wholly before this byte of the journal.
    fn seq_at(&self, at: u64) -> u64 {
        self.ends.iter().rev().find(|(_, end)| *end <= at).expect("the first is at the start").0
    }

    fn last(&self) -> (u64, u64) {
        *self.ends.last().expect("one")
    }
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        if path.is_dir() { found.extend(files(&path)) } else { found.push(path) }
    }
    found.sort();
    found
}

/// As if only commits up to this one had been acknowledged.
fn acknowledge(folder: &Path, seq: u64) {
    fs::write(folder.join(ACKNOWLEDGED), format!("epoch {:020} seq {seq:020}\n", 1)).expect("written");
}

fn why(opened: Result<impl Sized, StoreError>) -> String {
    match opened {
        Err(StoreError::Fatal(why)) => why,
        Err(other) => panic!("{other:?}"),
        Ok(_) => panic!("it opened"),
    }
}

#[test]
fn a_torn_last_commit_is_dropped_whole_wherever_it_is_torn() {
    let sample = Sample::new(12);
    let (last, length) = sample.last();
    let start = sample.ends[sample.ends.len() - 2].1;
    let mut random = StdRng::seed_from_u64(1);
    for n in 0..60 {
        let copy = sample.copy();
        let journal = copy.path().join(JOURNAL);
        acknowledge(copy.path(), last - 1);
        let mut bytes = fs::read(&journal).expect("a journal");
        let at = random.random_range(start..length) as usize;
        match n % 3 {
            0 => bytes.truncate(at),
            // Pages that never came to the disk.
            1 => bytes[at..].iter_mut().take(64).for_each(|byte| *byte ^= 0x5a),
            _ => bytes[at..].fill(0),
        }
        fs::write(&journal, &bytes).expect("written");
        let store = model::open(copy.path()).unwrap_or_else(|error| panic!("{n}, at {at}: {error}"));
        let opened = model::check(&store).expect("a prefix of whole commits");
        assert_eq!(opened.seq, last - 1, "{n}, at {at}");
        model::commit(&store, &opened, 3, |_| {});
        drop(store);
        let opened = model::check(&model::open(copy.path()).expect("a store")).expect("a sound store");
        assert_eq!(opened.seq, last + 2);
    }
}

#[test]
fn a_journal_that_ends_before_what_was_acknowledged_is_refused_and_left_as_it_is() {
    let sample = Sample::new(12);
    let mut random = StdRng::seed_from_u64(2);
    let boundaries = sample.ends.iter().map(|(_, end)| *end).filter(|end| *end < sample.last().1);
    let cuts: Vec<_> = boundaries.chain((0..20).map(|_| random.random_range(0..sample.last().1))).collect();
    for cut in cuts {
        let copy = sample.copy();
        let journal = copy.path().join(JOURNAL);
        fs::File::options().write(true).open(&journal).and_then(|file| file.set_len(cut)).expect("cut");
        let why = why(model::open(copy.path()));
        assert!(why.contains("acknowledged") && why.contains("restore the folder from a backup"), "{why}");
        assert_eq!(fs::metadata(&journal).expect("a journal").len(), cut, "nothing is changed");
        // Whoever removes the file says that the loss is known.
        fs::remove_file(copy.path().join(ACKNOWLEDGED)).expect("removed");
        let opened = model::check(&model::open(copy.path()).expect("a store")).expect("a prefix");
        assert_eq!(opened.seq, sample.seq_at(cut), "cut at {cut}");
    }
}

#[test]
fn rot_in_the_middle_of_a_journal_is_refused_and_left_as_it_is() {
    let sample = Sample::new(12);
    let before_last = sample.ends[sample.ends.len() - 2].1;
    let mut random = StdRng::seed_from_u64(3);
    for n in 0..60 {
        let copy = sample.copy();
        let journal = copy.path().join(JOURNAL);
        let mut bytes = fs::read(&journal).expect("a journal");
        // Whatever was acknowledged: what follows shows that it is not a torn end.
        acknowledge(copy.path(), 0);
        let at = random.random_range(sample.ends[0].1..before_last) as usize;
        bytes[at] ^= 1 << (n % 8);
        fs::write(&journal, &bytes).expect("written");
        let why = why(model::open(copy.path()));
        assert!(
            why.contains("0.jnl is damaged: at byte") && why.contains("backup"),
            "bit {n} at {at}: {why}"
        );
        assert_eq!(fs::read(&journal).expect("a journal"), bytes, "nothing is changed");
    }
}

#[test]
fn rot_in_any_file_is_found_or_harmless() {
    // Long enough for tables of all keyspaces.
    let sample = Sample::new(400);
    let names: Vec<_> = files(sample.folder.path())
        .into_iter()
        .map(|file| file.strip_prefix(sample.folder.path()).expect("below").to_owned())
        .collect();
    assert!(names.iter().filter(|name| name.to_string_lossy().contains("/tables/")).count() > 3, "{names:?}");
    let mut random = StdRng::seed_from_u64(4);
    let (mut found, mut harmless) = (0, 0);
    for n in 0..80 {
        let copy = sample.copy();
        let name = &names[n % names.len()];
        let file = copy.path().join(name);
        let mut bytes = fs::read(&file).expect("a file");
        if bytes.is_empty() {
            continue;
        }
        let at = random.random_range(0..bytes.len());
        bytes[at] ^= 1 << random.random_range(0..8);
        fs::write(&file, bytes).expect("written");
        let opened =
            std::panic::catch_unwind(|| model::open(copy.path()).and_then(|store| model::check(&store)));
        match opened {
            Ok(Ok(opened)) => {
                assert_eq!(opened.seq, sample.last().0, "byte {at} of {}", name.display());
                harmless += 1;
            }
            Ok(Err(StoreError::Fatal(why))) => {
                assert!(why.contains(&copy.path().display().to_string()), "{why}");
                found += 1;
            }
            other => panic!("byte {at} of {}: {other:?}", name.display()),
        }
    }
    assert!(found > 20 && harmless > 0, "{found} found, {harmless} harmless");
}
