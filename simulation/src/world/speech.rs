//! What a scheduler process says: replies, messages and events of a batch that is durable, each held against the judge.

use docket::schedule::v1::{self as pb, stream_due_jobs_response::Message as Sent};
use scheduler_svc::{
    grpc::worker::{
        message::{self, Terms},
        stream,
    },
    state_machine::{
        id::SessionId,
        output::{Answer, Output, Reply},
    },
};

use super::{
    Event, Millis, World,
    network::{Answered, CallId, Request},
    scheduler::Lives,
};
use crate::judge::{Broken, Verdict, holds, said};

impl World {
    /// Says everything, unless it dies in between. `committed`: it follows a commit.
    pub(super) fn release(&mut self, index: usize, output: Output, committed: bool) -> Result<Lives, Broken> {
        // Another owner has opened the store; this one does not know it yet.
        let deposed = self.schedulers[index].epoch != self.store.epoch;
        for event in &output.events {
            let judge = &mut self.judge;
            judge.said.event(event, &judge.durable, &judge.runs, &mut judge.compared)?;
        }
        for (to, reply) in output.replies {
            if !self.lives(index) {
                return Ok(false);
            }
            if let Some((call, request, applied)) = self.schedulers[index].waiting.remove(&to.0) {
                self.note_heard(index, &request, &reply, applied);
                self.say(index, call, &request, reply, deposed, committed)?;
            }
        }
        for (session, message) in output.messages {
            if !self.lives(index) {
                return Ok(false);
            }
            let judge = &mut self.judge;
            judge.said.message(session, message.sequence, &message.body, &judge.runs, &mut judge.compared)?;
            if let Some(line) = self.schedulers[index].streams.get(&session).copied() {
                self.stream_send(line, stream::convert_message(message, 1.0));
            }
        }
        for session in output.closed {
            if let Some(stream) = self.schedulers[index].streams.remove(&session) {
                self.end_stream(stream);
                // However a stream ends, the machine hears of it.
                self.after(1, Event::Closes { scheduler: index, session });
            }
        }
        Ok(self.lives(index))
    }

    fn note_heard(&mut self, index: usize, request: &Request, reply: &Reply, applied: Millis) {
        let (epoch, moments) = (self.schedulers[index].epoch, &mut self.judge.runs.moments);
        if let (Request::Heartbeat { instance, .. }, Ok(Answer::Heard { reopen: false, .. })) =
            (request, reply)
        {
            moments.heard(epoch, instance, applied);
        }
    }

    fn say(
        &mut self,
        index: usize,
        call: CallId,
        request: &Request,
        reply: Reply,
        deposed: bool,
        committed: bool,
    ) -> Verdict {
        self.judge.compared.replies += 1;
        let epoch = self.schedulers[index].epoch;
        let answer = match (request, reply) {
            (Request::App(_), _) if deposed && !committed => {
                // On a shared store the trust window (O5) keeps an owner from saying what it cannot know.
                Answered::Failed
            }
            (Request::App(ask), reply) => {
                // A trial shows what would be.
                if !deposed && !ask.is_trial() {
                    said::answered(&reply, &self.judge.durable, &self.judge.runs)?;
                }
                Answered::App(reply)
            }
            (Request::Heartbeat { beat, instance }, Ok(Answer::Heard { orders, reopen, assigned, .. })) => {
                if !deposed {
                    said::orders(&beat.held, instance, &orders, &self.judge.durable)?;
                    if !reopen {
                        self.judge.said.unlisted(beat, &self.judge.durable)?;
                    }
                }
                Answered::Heard(message::heard(epoch, orders, reopen, assigned, self.config.heartbeat))
            }
            (Request::Report(request), Ok(Answer::Reported(receipts))) => {
                if !deposed {
                    let judge = &mut self.judge;
                    let compared = &mut judge.compared;
                    said::receipts(request, &receipts, &judge.durable, &judge.runs, compared)?;
                }
                Answered::Receipts(receipts.into_iter().map(message::receipt).collect())
            }
            (Request::Open { open, stream }, Ok(Answer::Opened { orders, .. })) => {
                if !deposed {
                    said::orders(&open.held, &open.instance, &orders, &self.judge.durable)?;
                }
                let session = self.network.streams[*stream].session.unwrap_or(SessionId(0));
                let terms = Terms {
                    lease: self.config.lease,
                    heartbeat: self.config.heartbeat,
                    max_batch: self.config.max_batch,
                };
                let welcome = terms.welcome(session, epoch, orders);
                let first: pb::StreamDueJobsResponse = stream::sent(1, Sent::Welcome(welcome));
                self.stream_send(*stream, first);
                Answered::Opened
            }
            (_, Err(_)) => Answered::Failed,
            (request, Ok(answer)) => {
                return holds("answers fit their calls", false, || format!("{request:?}: {answer:?}"));
            }
        };
        self.reply(call, answer);
        Ok(())
    }
}
