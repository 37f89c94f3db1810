//! An app client: owns one schedule, asks one thing at a time, and asks again until there is an answer.

use std::collections::BTreeSet;

use scheduler_svc::state_machine::{
    definition::ScheduleKey,
    id::Uid,
    output::{Answer, Refusal},
};

use super::{
    Event, Millis, World,
    network::{Answered, CallId, Caller, Party, Request},
    trace,
};
use crate::{
    judge::{Verdict, app, said},
    workload::{self, Ask, NAMESPACE, NO_ETAG, Op},
};

#[derive(Debug)]
pub struct Client {
    pub id: String,
    pub known: app::Known,
    asking: Option<Asking>,
    requests: u64,
    /// The request id of the last call that was done, for tries to use it again.
    done: Option<String>,
    last_note: u64,
    /// Requests that were refused. Refusals are not remembered by the scheduler, so a try of such a request that is
    /// still on its way could be applied after all: the app's connection cancels it.
    refused: BTreeSet<String>,
}

#[derive(Debug)]
struct Asking {
    ask: Ask,
    call: CallId,
    /// Of each try.
    uids: Vec<Uid>,
    since: Millis,
}

impl Client {
    pub fn new(index: usize) -> Self {
        Self {
            id: format!("s{index}"),
            known: app::Known::default(),
            asking: None,
            requests: 0,
            done: None,
            last_note: 0,
            refused: BTreeSet::new(),
        }
    }
}

impl World {
    pub(crate) fn client_turn(&mut self, index: usize) {
        if self.clients[index].asking.is_some() {
            return self.ask(index);
        }
        let op = if self.calm { self.calm_op(index) } else { self.op(index) };
        let Some(op) = op else { return };
        let mutation = !matches!(op, Op::Get | Op::List | Op::GetRun(_));
        let client = &mut self.clients[index];
        let trial = matches!(op, Op::Upsert { trial: true, .. });
        let request = match op {
            Op::Reuse => client.done.take(),
            _ => (mutation && !trial).then(|| {
                client.requests += 1;
                format!("{}-{}", client.id, client.requests)
            }),
        };
        let key = ScheduleKey::new(NAMESPACE, &client.id);
        let ask = Ask { op, key, request, uid: Uid(0) };
        client.asking = Some(Asking { ask, call: 0, uids: Vec::new(), since: self.now });
        self.ask(index);
    }

    /// One try: a new uid, as the edge makes one for each call that it sees.
    fn ask(&mut self, index: usize) {
        let uid = Uid(u128::from(self.sources.ids.draw()) << 64 | u128::from(self.sources.ids.draw()));
        let patience = self.sources.app.between(2_000, 8_000);
        let Some(asking) = &mut self.clients[index].asking else { return };
        asking.uids.push(uid);
        asking.ask.uid = uid;
        let ask = asking.ask.clone();
        trace!(self, "client {index} asks {} as {:?}", ask.op, ask.request);
        let caller = Caller::Client { index, uid };
        let call = self.call(Party::Client(index), caller, Request::App(ask), patience);
        if let Some(asking) = &mut self.clients[index].asking {
            asking.call = call;
        }
    }

    pub(crate) fn client_answered(&mut self, index: usize, call: CallId, answer: Answered) -> Verdict {
        let Some(asking) = self.clients[index].asking.take_if(|asking| asking.call == call) else {
            return Ok(());
        };
        let Answered::App(reply) = answer else {
            self.clients[index].asking = Some(asking);
            let pause = self.sources.app.between(50, 2_000);
            self.after(pause, Event::ClientTurn(index));
            return Ok(());
        };
        let shown = match &reply {
            Ok(Answer::Upserted { change, .. }) => format!("{change:?}"),
            Ok(Answer::Triggered { created, .. }) => format!("triggered, created: {created}"),
            Ok(_) => "done".into(),
            Err(refusal) => format!("{refusal:?}"),
        };
        trace!(self, "client {index} is answered {shown}");
        self.judge.compared.replies += 1;
        let (runs, since) = (&self.judge.runs, asking.since);
        let lived = |id| runs.lived(id, since);
        let client = &mut self.clients[index];
        if let (Op::Delete { cancel_running: true }, Ok(Answer::Deleted(_)), Some(known)) =
            (&asking.ask.op, &reply, &client.known.schedule)
        {
            said::cancelled(known.uid, &self.judge.durable)?;
        }
        client.known.answered(&asking.ask, &asking.uids, &reply, &lived)?;
        if let (Err(_), Some(request)) = (&reply, &asking.ask.request) {
            client.refused.insert(request.clone());
        }
        let kept = reply.is_ok() && asking.ask.request.is_some() && !matches!(asking.ask.op, Op::Reuse);
        client.done = asking.ask.request.filter(|_| kept);
        let overloaded = matches!(reply, Err(Refusal::TooManySchedules { .. }));
        debug_assert!(!overloaded);
        let pause = match self.calm {
            true => 10_000,
            false => self.sources.app.between(100, self.profile.idle),
        };
        self.after(pause, Event::ClientTurn(index));
        Ok(())
    }

    fn op(&mut self, index: usize) -> Option<Op> {
        // The app's clock is right; the scheduler's may not be.
        let now = super::START + self.now as i64;
        let chance = &mut self.sources.app;
        let client = &mut self.clients[index];
        let Some(saved) = &client.known.schedule else {
            let definition = Box::new(workload::definition(chance, &client.id, now));
            return Some(match chance.roll(10) {
                0 => Op::Get,
                1 => Op::Delete { cancel_running: true },
                2 => Op::Upsert { definition, trial: true, etag: None },
                _ => Op::Upsert { definition, trial: false, etag: None },
            });
        };
        Some(match chance.roll(24) {
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
            17 | 18 if !client.known.triggered.is_empty() => {
                Op::GetRun(*chance.pick(&client.known.triggered))
            }
            19 if client.done.is_some() => Op::Reuse,
            _ => Op::Get,
        })
    }

    /// The faults are over: nothing stays paused, and what was acknowledged is asked for again and again.
    fn calm_op(&mut self, index: usize) -> Option<Op> {
        let client = &self.clients[index];
        let known = client.known.schedule.as_ref();
        Some(match self.sources.app.roll(4) {
            0 if known.is_some() => Op::Resume { catch_up: false },
            1 if !client.known.triggered.is_empty() => {
                Op::GetRun(*self.sources.app.pick(&client.known.triggered))
            }
            2 => Op::List,
            _ => Op::Get,
        })
    }

    /// Whether nobody waits for a call any more that was refused when it was tried again.
    pub(crate) fn is_cancelled(&self, ask: &Ask) -> bool {
        let owner = self.clients.iter().find(|client| *client.id == *ask.key.id);
        owner.zip(ask.request.as_ref()).is_some_and(|(client, request)| client.refused.contains(request))
    }

    pub(crate) fn clients_settled(&self) -> Verdict {
        for client in self.clients.iter().filter(|client| client.asking.is_none()) {
            app::is_settled(&client.known, &self.judge.durable, &client.id)?;
        }
        Ok(())
    }
}
