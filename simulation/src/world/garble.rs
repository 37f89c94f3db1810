//! Records that become unreadable while nobody has the store open (P4): what they held is set aside and shown, and
//! nothing else is.

use std::{collections::BTreeMap, sync::Arc};

use bytes::Bytes;
use scheduler_svc::{
    state_machine::{
        StateMachine,
        id::{RunId, Uid},
        output::Answer,
        schedule::Status,
        timer::Now,
    },
    store::{Key, Opened, Write, key::Name},
};

use super::{World, client::Role, reload, trace};
use crate::{
    judge::{Broken, Verdict, broken, holds},
    store::Arrived,
};

/// Nothing that anybody wrote.
const GARBAGE: &[u8] = b"\xff\xff\xff\xff";

impl World {
    /// Called before the store is opened: one record of an app client's schedule is garbage from now on.
    pub(super) fn garble(&mut self) {
        if !std::mem::take(&mut self.garbles) {
            return;
        }
        let names = self.readable();
        if names.is_empty() {
            return;
        }
        let name = self.sources.faults.pick(&names).clone();
        trace!(self, "record {name:?} becomes unreadable");
        // As if its last owner had written that, before another one opens the store.
        let garbage = Write { key: Key::new(&name), value: Some(Bytes::from_static(GARBAGE)) };
        let (epoch, seq) = (self.store.epoch, self.store.seq + 1);
        if self.store.commit(epoch, seq, &Arc::new(vec![garbage])) != Arrived::Written {
            return;
        }
        self.judge.compared.unreadable_records += 1;
        let (uid, runs) = match name {
            Name::State(uid) => {
                self.judge.begins_anew(uid);
                (uid, Vec::new())
            }
            Name::Run(id) => (id.uid, vec![id]),
            Name::Definition(uid, generation) => {
                let pinned = self.judge.durable.live(uid).filter(|run| run.generation == generation);
                (uid, pinned.map(|run| run.id).collect())
            }
            _ => return,
        };
        runs.into_iter().for_each(|id| self.judge.forget_run(id));
        self.note_garbled(uid);
    }

    /// Records of which the judge knows what must follow.
    fn readable(&self) -> Vec<Name> {
        let durable = &self.judge.durable;
        let whole = |uid: &Uid| {
            let schedule = durable.schedules.get(uid).filter(|it| it.status != Status::Deleted);
            let id = schedule.map(|schedule| &schedule.definition.key.id);
            let app = |client: &super::client::Client| matches!(client.role, Role::App(_));
            id.is_some_and(|id| self.clients.iter().any(|client| app(client) && *client.id == **id))
        };
        let states = durable.schedules.keys().filter(|uid| whole(uid)).copied();
        let states = states.filter(|uid| !self.judge.unknown.contains(uid)).map(Name::State);
        let runs = durable.runs.values().filter(|run| whole(&run.id.uid));
        let runs = runs.flat_map(|run| {
            let current = durable.schedules.get(&run.id.uid).map(|schedule| schedule.generation);
            // That of the current generation alone names the schedule.
            let pinned = Name::Definition(run.id.uid, run.generation);
            [Some(Name::Run(run.id)), Some(pinned).filter(|_| current != Some(run.generation))]
        });
        states.chain(runs.flatten()).collect()
    }

    fn note_garbled(&mut self, uid: Uid) {
        let Some(schedule) = self.judge.durable.schedules.get(&uid) else { return };
        let id = schedule.definition.key.id.clone();
        self.judge.garbled.insert(uid);
        self.judge.runs.poisoned.insert(id.to_string());
        for client in self.clients.iter_mut().filter(|client| *client.id == *id) {
            if let Role::App(known) = &mut client.role {
                known.poisoned = true;
            }
        }
    }

    /// A machine has been loaded from this: what is garbage is set aside, and all else is as it was.
    pub(super) fn judge_load(&mut self, opened: &Opened, now: Now) -> Verdict {
        self.judge.stand_in(now.wall);
        let mut machine = StateMachine::load(self.config, opened.epoch, now, opened.hot.clone())
            .map_err(|error| Broken { rule: "what was written can be loaded", how: error.to_string() })?;
        let (to, question) = reload::schedules_question();
        machine.apply(now, to, &question);
        let mut replies = machine.seal().replies.into_iter();
        let Some((_, Ok(Answer::Schedules { schedules, .. }))) = replies.find(|(of, _)| *of == to) else {
            return broken("answers fit their calls", "a list of schedules");
        };
        let shown: BTreeMap<Uid, Status> = schedules.iter().map(|view| (view.uid, view.status)).collect();
        let known = self.judge.durable.schedules.values().filter(|it| it.status != Status::Deleted);
        for schedule in known {
            let (uid, id) = (schedule.uid, &schedule.definition.key.id);
            let aside = self.judge.garbled.contains(&uid);
            let expected = if aside { Status::Quarantined } else { schedule.status };
            let status = shown.get(&uid).copied();
            holds("P4 what cannot be read is set aside, and nothing else", status == Some(expected), || {
                format!("{id} {uid}: {status:?} after a load instead of {expected:?}")
            })?;
        }
        Ok(())
    }
}

impl crate::judge::Judge {
    /// What was known of a run is not to be had any more.
    fn forget_run(&mut self, id: RunId) {
        if let Some(run) = self.durable.runs.remove(&id).filter(|run| !run.decided) {
            self.decisions.forget(run.id);
        }
        self.runs.forget(id);
    }

    /// The state of a schedule is not to be had any more.
    fn begins_anew(&mut self, uid: Uid) {
        self.unknown.insert(uid);
        self.runs.anew.insert(uid);
    }

    /// What stands for schedules whose state cannot be read: as of this load, and without a past.
    fn stand_in(&mut self, wall: i64) {
        for uid in self.unknown.clone() {
            let Some(schedule) = self.durable.stand_in(uid, wall) else { continue };
            let waits = self.durable.undecided(uid);
            self.decisions.begin_anew(&schedule, waits);
        }
    }
}
