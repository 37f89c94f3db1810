//! What an app client asks for: it owns one schedule.

use scheduler_svc::state_machine::{id::RunId, schedule::Span};

use super::{World, client::Role};
use crate::workload::{self, NO_ETAG, Op};

impl World {
    pub(super) fn app_op(&mut self, index: usize) -> Option<Op> {
        // The app's clock is right; the scheduler's may not be.
        let now = super::START + self.now as i64;
        let chance = &mut self.sources.app;
        let client = &mut self.clients[index];
        let Role::App(known) = &client.role else { return None };
        if known.doubt.is_some() {
            return Some(Op::Get);
        }
        let Some(saved) = &known.schedule else {
            let definition = Box::new(workload::definition(chance, &client.id, now));
            return Some(match chance.roll(10) {
                0 => Op::Get,
                1 => Op::Delete { cancel_running: true },
                2 => Op::Upsert { definition, trial: true, etag: None },
                _ => Op::Upsert { definition, trial: false, etag: None },
            });
        };
        Some(match chance.roll(27) {
            0 | 1 => {
                let definition = Box::new(workload::definition(chance, &client.id, now));
                let etag = chance.happens(300).then(|| saved.etag.clone());
                Op::Upsert { definition, trial: chance.happens(100), etag }
            }
            2 => {
                // Only what does not move its times.
                let mut definition = (*saved.definition).clone();
                definition.priority = *chance.pick(&[1, 5, 9]);
                definition.max_runs += definition.max_runs.min(1);
                Op::Upsert { definition: Box::new(definition), trial: false, etag: None }
            }
            3 => Op::Upsert { definition: Box::new((*saved.definition).clone()), trial: false, etag: None },
            4 => Op::Upsert {
                definition: Box::new((*saved.definition).clone()),
                trial: false,
                etag: Some(NO_ETAG.into()),
            },
            5 => Op::Delete { cancel_running: chance.happens(500) },
            6..=8 => {
                client.last_note += chance.roll(2);
                let until = chance.happens(500).then(|| now + chance.between(1, 90) as i64 * 1_000);
                Op::Pause { note: format!("n{}", client.last_note), until }
            }
            9..=12 => Op::Resume { catch_up: chance.happens(500) },
            13..=15 => Op::Trigger,
            16 => Op::List,
            17 | 18 if !known.triggered.is_empty() => Op::GetRun(*chance.pick(&known.triggered)),
            19 if client.done.is_some() => Op::Reuse,
            20 => {
                let named = known.triggered.iter().chain(&known.active).copied();
                let own: Vec<RunId> = named.filter(|id| id.uid == saved.uid).rev().take(3).collect();
                if own.is_empty() { Op::Get } else { Op::CancelRun(*chance.pick(&own)) }
            }
            21 => {
                let ended: Vec<RunId> = self.judge.durable.ended(saved.uid).map(|(id, _)| id).collect();
                let some = chance.between(1, 4) as usize;
                Op::RetryRuns(ended.into_iter().rev().take(some).collect())
            }
            22 => {
                let to = now - chance.between(0, 20_000) as i64;
                Op::Backfill(Span { from: to - chance.between(1, 90_000) as i64, to })
            }
            _ => Op::Get,
        })
    }

    /// The faults are over: nothing stays paused, and what was acknowledged is asked for again and again.
    pub(super) fn calm_app_op(&mut self, index: usize) -> Option<Op> {
        let Role::App(known) = &self.clients[index].role else { return None };
        if known.doubt.is_some() {
            return Some(Op::Get);
        }
        Some(match self.sources.app.roll(4) {
            // What was set aside is saved again.
            0 if known.poisoned && self.sources.app.happens(500) => match &known.schedule {
                Some(saved) => {
                    let definition = Box::new((*saved.definition).clone());
                    Op::Upsert { definition, trial: false, etag: None }
                }
                None => Op::Get,
            },
            0 if known.schedule.is_some() => Op::Resume { catch_up: false },
            1 if !known.triggered.is_empty() => Op::GetRun(*self.sources.app.pick(&known.triggered)),
            2 => Op::List,
            _ => Op::Get,
        })
    }
}
