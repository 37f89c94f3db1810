//! A client of the app: asks one thing at a time, and asks again until there is an answer.
//!
//! What it asks for depends on its role: an app client owns one schedule (`app`), the operator sets limits
//! (`operator`), and an owner changes several schedules with one call (`owner`).

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
    judge::{Verdict, app, holds, operator, owner, said},
    workload::{Ask, NAMESPACE, Op},
};

#[derive(Debug)]
pub struct Client {
    pub id: String,
    pub role: Role,
    asking: Option<Asking>,
    requests: u64,
    /// The request id of the last call that was done, for tries to use it again.
    pub(super) done: Option<String>,
    pub(super) last_note: u64,
    /// Requests that were refused. Refusals are not remembered by the scheduler, so a try of such a request that is
    /// still on its way could be applied after all: the app's connection cancels it.
    refused: BTreeSet<String>,
}

/// Each keeps a sequential model of what is its own.
#[derive(Debug)]
pub enum Role {
    App(app::Known),
    Operator(operator::Known),
    Owner(owner::Known),
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
    pub fn new(id: impl Into<String>, role: Role) -> Self {
        Self {
            id: id.into(),
            role,
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
        let own = ScheduleKey::new(NAMESPACE, &self.clients[index].id);
        let asked = match self.clients[index].role {
            Role::App(_) if self.calm => self.calm_app_op(index).map(|op| (op, own)),
            Role::App(_) => self.app_op(index).map(|op| (op, own)),
            Role::Operator(_) => self.operator_op(index).map(|op| (op, own)),
            Role::Owner(_) => self.owner_op(index),
        };
        let Some((op, key)) = asked else { return };
        let client = &mut self.clients[index];
        let request = match op {
            Op::Reuse => client.done.take(),
            _ => op.is_mutation().then(|| {
                client.requests += 1;
                format!("{}-{}", client.id, client.requests)
            }),
        };
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
        let Some(mut asking) = self.clients[index].asking.take_if(|asking| asking.call == call) else {
            return Ok(());
        };
        let Answered::App(reply) = answer else {
            if let Op::Mass { after, done, .. } = &mut asking.ask.op {
                // Whoever calls again begins with the first page, and is told where the call stands.
                (*after, *done) = (None, 0);
            }
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
        if let (Op::Mass { after, done, .. }, Ok(Answer::Progress { done: so_far, next: Some(next), .. })) =
            (&mut asking.ask.op, &reply)
        {
            self.judge.compared.pages += 1;
            (*after, *done) = (Some(next.clone()).filter(|next| !next.is_empty()), *so_far);
            self.clients[index].asking = Some(asking);
            self.after(1, Event::ClientTurn(index));
            return Ok(());
        }
        if let (Op::CancelRun(id), Ok(_)) = (&asking.ask.op, &reply) {
            self.judge.runs.cancelled.insert(*id);
        }
        if let (Op::Backfill(span), Ok(Answer::Backfilled { accepted, existing })) = (&asking.ask.op, &reply)
            && let Some(schedule) = self.judge.durable.named(&asking.ask.key)
            // With its state an interval loses its phase, and so the times that it named.
            && !self.judge.runs.anew.contains(&schedule.uid)
        {
            let named = self.judge.decisions.named(schedule.uid, span.from - 1, span.to - 1).len() as u64;
            holds("a backfill counts each time once", accepted + existing <= named, || {
                format!("{accepted} and {existing} of {named}")
            })?;
        }
        let (runs, durable, since) = (&self.judge.runs, &self.judge.durable, asking.since);
        let lived = |id| runs.lived(id, since) || durable.may_not_show(id);
        let client = &mut self.clients[index];
        match &mut client.role {
            Role::App(known) => {
                if let (Op::Delete { cancel_running: true }, Ok(Answer::Deleted(_)), Some(known)) =
                    (&asking.ask.op, &reply, &known.schedule)
                {
                    said::cancelled(known.uid, &self.judge.durable)?;
                }
                known.answered(&asking.ask, &asking.uids, &reply, &lived)?;
            }
            Role::Operator(known) => known.answered(&asking.ask.op, &reply)?,
            Role::Owner(known) => known.answered(&asking.ask, &asking.uids, &reply, &lived)?,
        }
        if let (Err(_), Some(request)) = (&reply, &asking.ask.request) {
            client.refused.insert(request.clone());
        }
        let kept = reply.is_ok() && asking.ask.request.is_some() && !matches!(asking.ask.op, Op::Reuse);
        client.done = asking.ask.request.filter(|_| kept);
        let overloaded = matches!(reply, Err(Refusal::TooManySchedules { .. }));
        debug_assert!(!overloaded);
        let pause = match self.calm {
            true => self.sources.app.between(3_000, 10_000),
            false => self.sources.app.between(100, self.profile.idle),
        };
        self.after(pause, Event::ClientTurn(index));
        Ok(())
    }

    /// Whether nobody waits for a call any more that was refused when it was tried again.
    pub(crate) fn is_cancelled(&self, ask: &Ask) -> bool {
        let refused = |request| self.clients.iter().any(|client| client.refused.contains(request));
        ask.request.as_ref().is_some_and(refused)
    }

    pub(crate) fn clients_settled(&self) -> Verdict {
        for client in self.clients.iter().filter(|client| client.asking.is_none()) {
            match &client.role {
                Role::App(known) => {
                    app::is_settled(known, &self.judge.durable, &self.judge.runs, &client.id)?;
                }
                Role::Owner(known) => {
                    for (id, known) in &known.schedules {
                        app::is_settled(known, &self.judge.durable, &self.judge.runs, id)?;
                    }
                }
                Role::Operator(known) => known.is_settled(&self.judge.limits)?,
            }
        }
        Ok(())
    }
}
