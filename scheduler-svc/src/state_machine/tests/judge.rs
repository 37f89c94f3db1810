//! Knows nothing of the machine's insides: it hears what is said and holds it against the promises.

use std::collections::{BTreeMap, BTreeSet};

use crate::state_machine::{
    id::{RunId, Uid},
    output::{Body, Event, Output, ScheduleChange},
    schedule::Status,
    timer::Now,
};

#[derive(Default)]
pub struct Judge {
    /// Per run, how often it fired: a run id names one occurrence.
    fired: BTreeSet<RunId>,
    finished: BTreeSet<RunId>,
    leased: BTreeSet<RunId>,
    token: u64,
    /// Until when; None = until resumed.
    paused: BTreeMap<Uid, Option<i64>>,
    pub deleted: BTreeSet<Uid>,
    /// Jobs that were compared with the rules, for tests that want to know whether anything happened at all.
    pub jobs: usize,
}

impl Judge {
    pub fn hear(&mut self, now: Now, output: &Output) {
        // What a resume lets go is in the same batch, and so is what a pause still let through.
        for event in &output.events {
            let Event::Schedule { change, view, .. } = event else { continue };
            let lets_go = match change {
                ScheduleChange::Resumed | ScheduleChange::Deleted => true,
                // A restored one is as its record says.
                ScheduleChange::Created | ScheduleChange::Updated => view.pause.is_none(),
                ScheduleChange::Paused | ScheduleChange::Ended | ScheduleChange::Quarantined => false,
            };
            if lets_go {
                self.paused.remove(&view.uid);
            }
        }
        for event in &output.events {
            self.event(now, event);
        }
        self.messages(output);
        // A pause that is over stays over when the clock is set back.
        self.paused.retain(|_, until| until.is_none_or(|until| until > now.wall));
    }

    fn event(&mut self, now: Now, event: &Event) {
        match event {
            Event::Fired { id, .. } => assert!(self.fired.insert(*id), "{id} fired twice"),
            Event::Started { run, .. } => {
                let id = &run.id;
                assert!(self.leased.insert(*id), "{id} has two live leases");
                assert!(!self.finished.contains(id), "{id} starts after its end");
                assert!(!self.deleted.contains(&id.uid), "{id} starts after its schedule was deleted");
                let paused = self.paused.get(&id.uid);
                let over = paused.is_none_or(|until| until.is_some_and(|until| until <= now.wall));
                assert!(over, "{id} starts while its schedule is paused");
            }
            Event::AttemptEnded { id, .. } => assert!(self.leased.remove(id), "{id} ends without a lease"),
            Event::Finished { finished, .. } => {
                let id = finished.id;
                assert!(self.finished.insert(id), "{id} finished twice");
                assert!(!self.leased.contains(&id), "{id} finished while it is leased");
            }
            Event::Schedule { view, .. } if view.status == Status::Paused => {
                let until = view.pause.as_ref().and_then(|pause| pause.until);
                self.paused.insert(view.uid, until);
            }
            _ => {}
        }
    }

    /// Tokens are larger than all of earlier batches, and no two are equal.
    fn messages(&mut self, output: &Output) {
        let jobs = output.messages.iter().flat_map(|(_, message)| match &message.body {
            Body::Jobs(jobs) => jobs.as_slice(),
            Body::Cancel { .. } => &[],
        });
        let tokens: Vec<u64> = jobs.map(|job| job.token).collect();
        let distinct: BTreeSet<u64> = tokens.iter().copied().collect();
        assert_eq!(distinct.len(), tokens.len());
        assert!(distinct.first().is_none_or(|first| *first > self.token), "tokens only grow");
        self.token = distinct.last().copied().unwrap_or(self.token);
        self.jobs += tokens.len();
    }
}
