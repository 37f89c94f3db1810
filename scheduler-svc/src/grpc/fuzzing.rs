//! A way into the conversion of messages for `fuzz/`: what a client can send, from its bytes on.

use docket::{errors::Violation, identity::Identity, schedule::v1 as pb};
use prost::Message;

use super::{event, field, validate, worker::message};
use crate::{
    record,
    state_machine::definition::Definition,
    state_machine::timing::{Interner, expression::HORIZON},
};

/// 2026-11-24.
const NOW: i64 = 1_795_478_400_000;
const EPOCH: u64 = 3;

/// The first byte says which message the others are.
pub fn message(bytes: &[u8]) {
    let Some((kind, bytes)) = bytes.split_first() else { return };
    match kind % 5 {
        0 => on(bytes, |schedule: pb::Schedule| {
            valid(validate::schedule("shop", &schedule, 60_000));
        }),
        1 => on(bytes, |record: pb::ScheduleRecord| {
            let Some(schedule) = &record.schedule else { return };
            let Ok(definition) = validate::schedule("shop", schedule, 0) else { return };
            let _ = validate::record::snapshot(&record, schedule, definition, NOW).map_err(told);
        }),
        2 => on(bytes, |body: pb::HeartbeatRequest| {
            let _ = message::heartbeat(&Identity::local(), EPOCH, &body);
        }),
        3 => on(bytes, |body: pb::ReportResultsRequest| {
            let _ = message::reports(&Identity::local(), EPOCH, &body);
        }),
        _ => on(bytes, |body: pb::WatchEventsRequest| {
            let _ = event::filter::Filter::new("shop", body.filter.as_ref()).map_err(told);
            let _ = field::page_size(body.encoded_len() as i32).map_err(told);
        }),
    }
}

fn on<M: Message + Default>(bytes: &[u8], work: impl FnOnce(M)) {
    if let Ok(message) = M::decode(bytes) {
        work(message);
    }
}

/// A definition that was accepted is stored, read again as it was, and names its times in order.
fn valid(checked: Result<Definition, Violation>) {
    let Ok(definition) = checked.map_err(told) else { return };
    let stored = record::definition(&definition);
    let read = record::read_definition(stored.clone(), |source| Interner::default().compile(source))
        .expect("what was stored can be read");
    assert_eq!(record::definition(&read), stored);
    let times = definition.times(NOW);
    let mut last = NOW;
    for _ in 0..4 {
        let Some(next) = times.next(last) else { return };
        assert!(next > last && next <= HORIZON * 1000, "{next} after {last}: {definition:?}");
        assert!(times.names(next), "{next}: {definition:?}");
        last = next;
    }
    let offset = definition.spread_offset();
    assert!((0..=i64::from(definition.spread)).contains(&offset), "{offset}: {definition:?}");
}

/// An error names the field and says something, in clean text of a bounded length.
fn told(violation: Violation) {
    assert!(!violation.field.is_empty() && !violation.message.is_empty(), "{violation:?}");
    assert!(violation.message.len() < 2_000 && super::text::is_clean(&violation.message), "{violation:?}");
    assert!(violation.field.len() < 1_000 && super::text::is_clean(&violation.field), "{violation:?}");
}
