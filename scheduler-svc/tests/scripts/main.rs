//! The rules as scripts, `docs/scripts/*.txt`: what is done, and below it what the scheduler answers, decides and says.
//!
//! A script is read ([`parse`]) and played ([`play`]) against a world of simulated time: the state machine as it is
//! shipped, its records, and workers that send heartbeats ([`world`], [`worker`]). What comes out is written for people
//! ([`show`], [`text`]) and compared with what was recorded.
//!
//! `UPDATE_SCRIPTS=1 cargo test -p scheduler-svc --test scripts` records anew; the diff is then to be read.
//! `docs/scripts/README.md` explains the language.

mod parse;
mod play;
mod read;
mod schedule;
mod show;
mod text;
mod worker;
mod world;

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use parse::Script;

/// Longer ones are hard to read.
const LINES_MAX: usize = 75;
const FORMAT: &str = "docs/scripts/README.md explains the language";

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/scripts")
}

fn scripts() -> BTreeMap<String, String> {
    let files = fs::read_dir(folder()).expect("docs/scripts").map(|entry| entry.expect("a file").path());
    let scripts = files.filter(|path| path.extension().is_some_and(|extension| extension == "txt"));
    let named = |path: PathBuf| {
        let name = path.file_name().expect("a name").to_string_lossy().into_owned();
        (name, fs::read_to_string(&path).expect("a text"))
    };
    scripts.map(named).collect()
}

/// The script with what comes out of it now.
fn played(text: &str) -> Result<String, String> {
    let mut script = Script::parse(text)?;
    play::play(&mut script)?;
    Ok(script.to_string())
}

/// What differs, from the first such line to the last, with a few lines before.
fn difference(recorded: &str, now: &str) -> String {
    const SHOWN: usize = 20;
    let (recorded, now): (Vec<&str>, Vec<&str>) = (recorded.lines().collect(), now.lines().collect());
    let same = recorded.iter().zip(&now).take_while(|(one, other)| one == other).count();
    let tails = recorded[same..].iter().rev().zip(now[same..].iter().rev());
    let tail = tails.take_while(|(one, other)| one == other).count();
    let mut text = String::new();
    for line in &now[same.saturating_sub(4)..same] {
        text += &format!("    {line}\n");
    }
    for (sign, lines) in [('-', &recorded), ('+', &now)] {
        for line in lines[same..lines.len() - tail].iter().take(SHOWN) {
            text += &format!("  {sign} {line}\n");
        }
    }
    text
}

#[test]
fn scripts_come_out_as_recorded() {
    let update = std::env::var_os("UPDATE_SCRIPTS").is_some();
    let mut wrong = String::new();
    for (name, recorded) in scripts() {
        match played(&recorded) {
            Err(error) => wrong += &format!("docs/scripts/{name}: {error}; {FORMAT}\n"),
            Ok(now) if now == recorded => {}
            Ok(now) if update => fs::write(folder().join(&name), now).expect("written"),
            Ok(now) => wrong += &format!("docs/scripts/{name}:\n{}", difference(&recorded, &now)),
        }
    }
    assert!(wrong.is_empty(), "\n{wrong}\nUPDATE_SCRIPTS=1 records anew.\n");
}

#[test]
fn every_script_begins_with_its_promise_and_is_short() {
    for (name, text) in scripts() {
        assert!(text.starts_with("# "), "{name}: begins with a comment that says what it shows");
        let lines = text.lines().count();
        assert!(lines <= LINES_MAX, "{name}: {lines} lines; split it");
        let long = text.lines().find(|line| line.starts_with('#') && line.chars().count() > 120);
        assert_eq!(long, None, "{name}: a comment of more than 120 columns");
    }
}

#[test]
fn the_index_lists_every_script_and_no_other() {
    let index = fs::read_to_string(folder().join("README.md")).expect("an index");
    let mut listed: Vec<&str> = index
        .split("](")
        .skip(1)
        .filter_map(|rest| rest.split(')').next())
        .filter(|link| link.ends_with(".txt"))
        .collect();
    listed.sort_unstable();
    let names: Vec<String> = scripts().into_keys().collect();
    assert_eq!(listed, names);
}

#[test]
fn a_mistake_in_a_script_is_named_with_its_line() {
    let wrong = |text: &str| played(text).expect_err("a mistake");
    let begin = "start 2026-03-02 08:00\n";
    assert_eq!(
        wrong("# a\nadvance 1h\n---\n"),
        "line 2: the first command is `start`, as in `start 2026-03-02 08:00`"
    );
    assert_eq!(wrong(&format!("{begin}jump 1h\n---\n")), "line 2: unknown command `jump`");
    assert_eq!(
        wrong(&format!("{begin}upsert a every=1h colour=red\n---\n")),
        "line 2: `colour=red` is not understood"
    );
    assert_eq!(
        wrong(&format!("{begin}upsert a every=soon\n---\n")),
        "line 2: `soon` is no duration such as 90s or 1h30m"
    );
    assert_eq!(wrong(&format!("{begin}report a success\n---\n")), "line 2: no worker has a job `a`");
    assert_eq!(wrong(begin), "line 1: commands without `---` below them");
}
