//! Cursors and their lives, and who is told what.

use std::{
    pin::pin,
    task::{Context, Poll, Waker},
};

use super::*;
use crate::state_machine::{
    definition::{Definition, Input},
    id::{SessionId, Uid},
    output::ScheduleChange,
    schedule::Schedule,
    tests::bench::{definition, every, with},
    view::ScheduleView,
};

fn saved(id: &str) -> Event {
    let large = |it: &mut Definition| it.input = Input::new(&[], &[0; 1_000]);
    let definition = with(definition(id, every(60_000)), large);
    let view = ScheduleView::of(&Schedule::new(Uid(1), Arc::new(definition), 0), Vec::new());
    Event::Schedule { change: ScheduleChange::Created, view: Box::new(view), actor: "t".into(), at: 0 }
}

fn internal() -> Event {
    Event::WorkerJoined { worker_id: "w".into(), session: SessionId(1), slots: 1 }
}

fn log(events: usize) -> EventLog {
    EventLog::new(Bounds { events, bytes: 1 << 20, watchers: 2 }, 1)
}

fn read(log: &EventLog, cursor: Cursor) -> Result<usize, Expired> {
    log.after(cursor).map(|slice| slice.iter().count())
}

#[test]
fn r8_a_reader_goes_on_from_its_cursor() {
    let log = log(100);
    assert_eq!((read(&log, log.now()), log.now()), (Ok(0), log.oldest()));
    let start = log.now();
    log.append(vec![saved("a"), internal(), saved("b")]);
    assert_eq!(read(&log, start), Ok(2), "what is the service's own is not kept");
    assert_eq!(read(&log, start.at(1)), Ok(1));
    assert_eq!(read(&log, log.now()), Ok(0));
    assert_eq!(read(&log, log.now().at(3)), Err(Expired), "an event that never was");
}

#[test]
fn r8_a_cursor_that_was_overwritten_is_told_so() {
    let log = log(16);
    let start = log.now();
    log.append((0..16).map(|_| saved("a")).collect());
    assert_eq!((read(&log, start), start), (Ok(16), log.oldest()));
    log.append(vec![saved("a")]);
    assert_eq!(read(&log, start), Err(Expired));
    assert!(read(&log, log.oldest()).is_ok());
}

#[test]
fn r8_cursors_of_another_life_are_unknown() {
    let (one, other) = (log(16), log(16));
    one.append(vec![saved("a")]);
    other.append(vec![saved("a")]);
    assert_eq!(read(&other, one.now()), Err(Expired), "of another process, though the epoch is the same");
    let before = one.now();
    one.begin(2);
    assert_eq!(read(&one, before), Err(Expired), "of an earlier epoch");
    assert_eq!(read(&one, one.oldest()), Ok(0), "nothing is left");
}

#[test]
fn r8_bytes_are_bounded_whatever_an_event_holds() {
    let log = log(1_000_000);
    let weight = Entry::of(saved("a")).expect("for apps").weight();
    assert!((1_000..3_000).contains(&weight), "{weight}");
    log.append((0..5_000).map(|_| saved("a")).collect());
    let (oldest, newest) = (log.oldest().seq, log.now().seq);
    let kept = usize::try_from(newest - oldest).expect("a number");
    assert!(kept * weight <= 1 << 20 && kept * weight > 1 << 19, "{kept} of {weight} bytes");
}

#[test]
fn a_watcher_hears_of_what_came_after_it_began_to_listen() {
    let log = log(16);
    let mut watcher = log.watch().expect("a place");
    let mut context = Context::from_waker(Waker::noop());
    let mut rung = |watcher: &mut Watcher| pin!(watcher.rung()).poll(&mut context) == Poll::Ready(());
    log.append(vec![saved("a")]);
    watcher.listen();
    assert!(!rung(&mut watcher), "that was before");
    log.append(vec![internal()]);
    assert!(!rung(&mut watcher), "nothing for apps");
    log.append(vec![saved("b")]);
    assert!(rung(&mut watcher));
    watcher.listen();
    log.begin(2);
    assert!(rung(&mut watcher), "it has to look, to hear that its cursor is void");
}

#[test]
fn places_of_watchers_are_bounded_and_come_free() {
    let log = log(16);
    let first = log.watch().expect("a place");
    let _second = log.watch().expect("a place");
    assert_eq!(log.watch().err(), Some(TooManyWatchers));
    drop(first);
    assert!(log.watch().is_ok());
}
