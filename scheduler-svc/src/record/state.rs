//! Records of what schedules are at, and of what was decided.

use std::sync::Arc;

use bytes::Bytes;
use docket::stored::v1 as stored;
use prost::Message as _;
use smallvec::SmallVec;

use super::{Unreadable, bytes, read_trigger};
use crate::state_machine::{
    definition::Definition,
    history::{Rings, Sizes},
    id::Uid,
    schedule::{Decision, LastRun, Past, Pause, PauseReason, Rare, Schedule, Span, Status, Verdict},
};

pub fn state(schedule: &Schedule) -> Bytes {
    bytes(&stored::State {
        generation: schedule.generation,
        revision: schedule.revision,
        created: schedule.created,
        updated: schedule.updated,
        anchor: schedule.anchor,
        status: schedule.status as u32,
        pause: schedule.pause().map(|pause| stored::Pause {
            reason: pause.reason as u32,
            note: pause.note.to_string(),
            actor: pause.actor.to_string(),
            time: pause.time,
            until: pause.until,
        }),
        decided_through: schedule.decided_through,
        decision: schedule.past().decision.as_ref().map(store_decision),
        decisions: schedule.past().rings.decisions,
        succeeded: schedule.past().rings.succeeded,
        unsucceeded: schedule.past().rings.unsucceeded,
        last_manual: schedule.rare().last_manual,
        runs: schedule.past().runs,
        failures: schedule.past().failures,
        catch_up: schedule.rare().catch_up,
        backfill: schedule.rare().backfill.iter().flat_map(|range| [range.from, range.to]).collect(),
        acted: schedule.acted,
        quarantine: schedule.rare().quarantine.as_deref().unwrap_or_default().into(),
        next: schedule.next,
        numbered: !schedule.past().rings.former,
        kept_decisions: schedule.past().rings.kept_decisions.into(),
        kept_succeeded: schedule.past().rings.kept_succeeded.into(),
        sizes: Bytes::copy_from_slice(schedule.past().sizes.as_bytes()),
        last_run: schedule.past().last_run.map(|last| stored::LastRun {
            trigger: last.trigger as u32,
            nominal: last.nominal,
            token: last.token,
            succeeded: last.succeeded,
            slot: last.slot,
        }),
    })
}

/// `definition` knows those of the schedule by generation.
pub fn read_state(
    uid: Uid,
    value: Bytes,
    definition: impl FnOnce(u32) -> Option<Arc<Definition>>,
) -> Result<Schedule, Unreadable> {
    let stored = stored::State::decode(&*value)?;
    let definition = definition(stored.generation).ok_or("a schedule without its definition")?;
    let statuses = [Status::Active, Status::Paused, Status::Ended, Status::Quarantined, Status::Deleted];
    let rings = read_rings(&stored)?;
    let mut schedule = Schedule {
        generation: stored.generation,
        revision: stored.revision,
        updated: stored.updated,
        anchor: stored.anchor,
        status: statuses.into_iter().find(|s| *s as u32 == stored.status).ok_or("an unknown status")?,
        decided_through: stored.decided_through,
        next: stored.next,
        acted: stored.acted,
        ..Schedule::new(uid, definition, stored.created)
    };
    schedule.set_past(Past {
        live: SmallVec::new(),
        decision: stored.decision.map(load_decision).transpose()?,
        last_run: stored.last_run.map(read_last_run).transpose()?,
        rings,
        sizes: Sizes::from_bytes(&stored.sizes),
        runs: stored.runs,
        failures: stored.failures,
    });
    let pause = stored.pause.map(read_pause).transpose()?;
    schedule.set_rare(|rare| {
        *rare = Rare {
            pause,
            quarantine: Some(stored.quarantine).filter(|why| !why.is_empty()).map(Into::into),
            catch_up: stored.catch_up,
            backfill: stored
                .backfill
                .chunks_exact(2)
                .map(|pair| Span { from: pair[0], to: pair[1] })
                .collect(),
            last_manual: stored.last_manual,
        };
    });
    Ok(schedule)
}

fn read_rings(stored: &stored::State) -> Result<Rings, Unreadable> {
    let kept = |number: usize| u8::try_from(number).map_err(|_| "more history than can be kept");
    let written = [stored.decisions, stored.succeeded, stored.unsucceeded];
    let kept_succeeded = stored.kept_succeeded as usize;
    let unsucceeded = stored.sizes.len().checked_sub(kept_succeeded).ok_or("ends without their sizes")?;
    Ok(Rings {
        decisions: stored.decisions,
        succeeded: stored.succeeded,
        unsucceeded: stored.unsucceeded,
        kept_decisions: kept(stored.kept_decisions as usize)?,
        kept_succeeded: kept(kept_succeeded)?,
        kept_unsucceeded: kept(unsucceeded)?,
        former: !stored.numbered && written != [0; 3],
    })
}

fn read_pause(pause: stored::Pause) -> Result<Pause, Unreadable> {
    let reasons = [PauseReason::Requested, PauseReason::Reauthorize, PauseReason::Failures];
    Ok(Pause {
        reason: reasons.into_iter().find(|r| *r as u32 == pause.reason).ok_or("an unknown pause reason")?,
        note: pause.note.into(),
        actor: pause.actor.into(),
        time: pause.time,
        until: pause.until,
    })
}

fn read_last_run(last: stored::LastRun) -> Result<LastRun, Unreadable> {
    let stored::LastRun { trigger, nominal, token, succeeded, slot } = last;
    Ok(LastRun { trigger: read_trigger(trigger)?, nominal, token, succeeded, slot })
}

pub fn decision(decision: &Decision) -> Bytes {
    bytes(&store_decision(decision))
}

fn store_decision(decision: &Decision) -> stored::Decision {
    let (trigger, nominal) = decision.run.map_or((0, 0), |(trigger, nominal)| (trigger as u32, nominal));
    stored::Decision {
        verdict: decision.verdict as u32,
        first: decision.first,
        last: decision.last,
        count: decision.count.unwrap_or(0),
        time: decision.time,
        trigger,
        nominal,
    }
}

pub fn read_decision(value: Bytes) -> Result<Decision, Unreadable> {
    load_decision(stored::Decision::decode(&*value)?)
}

fn load_decision(stored: stored::Decision) -> Result<Decision, Unreadable> {
    let run =
        (stored.trigger != 0).then(|| read_trigger(stored.trigger).map(|trigger| (trigger, stored.nominal)));
    Ok(Decision {
        verdict: Verdict::from_number(stored.verdict).ok_or("an unknown verdict")?,
        first: stored.first,
        last: stored.last,
        count: Some(stored.count).filter(|count| *count > 0),
        time: stored.time,
        run: run.transpose()?,
    })
}
