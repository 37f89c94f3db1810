//! Plays a script: each command is done in the world, and what was said is its block's output.

use std::hash::{DefaultHasher, Hash as _, Hasher as _};

use prost::Message as _;
use scheduler_svc::state_machine::{
    command::*,
    failure::{Class, Failure},
    output::{Answer, Refusal},
    schedule::{Span, Verdict},
};

use crate::{
    parse::{Line, Script, choose},
    schedule::{self, NAMESPACE, key, labels, time},
    show,
    text::{parse_coming, parse_span, parse_time, span},
    world::World,
};

const CLASSES: [(&str, Class); 9] = [
    ("transient", Class::Transient),
    ("throttled", Class::Throttled),
    ("reauthorize", Class::Reauthorize),
    ("permanent", Class::Permanent),
    ("lost", Class::Lost),
    ("timeout", Class::Timeout),
    ("cancelled", Class::Cancelled),
    ("interrupted", Class::Interrupted),
    ("superseded", Class::Superseded),
];

pub fn play(script: &mut Script) -> Result<(), String> {
    let mut world = None;
    for block in &mut script.blocks {
        for line in &block.commands {
            play_line(&mut world, line.clone()).map_err(|why| format!("line {}: {why}", line.number))?;
        }
        let said = world.as_mut().map(|world| std::mem::take(&mut world.said)).unwrap_or_default();
        block.output = if said.is_empty() { vec!["(nothing happens)".into()] } else { said };
    }
    Ok(())
}

fn play_line(world: &mut Option<World>, mut line: Line) -> Result<(), String> {
    let verb = line.need("a command")?;
    let Some(world) = world else {
        if verb != "start" {
            return Err("the first command is `start`, as in `start 2026-03-02 08:00`".into());
        }
        let at = line.rest().join(" ");
        *world = Some(World::new(parse_time(&at, 0)?));
        return line.done();
    };
    let line = &mut line;
    match &*verb {
        "advance" | "stall" | "crash" | "clock" => world.pass(&verb, line)?,
        "worker" => world.worker(line)?,
        "report" => world.report(line)?,
        "upsert" => world.upsert(line)?,
        "limit" | "delete_limit" => world.limit(&verb, line)?,
        "pause" | "resume" | "delete" | "trigger" | "backfill" | "cancel" | "retry" => {
            world.act(&verb, line)?
        }
        "damage" | "fault" => world.break_something(&verb, line)?,
        "show" | "explain" | "history" | "times" | "limits" => world.read(&verb, line)?,
        _ => return Err(format!("unknown command `{verb}`")),
    }
    line.done()
}

/// A request id, with a digest of the rest of the command.
fn request(line: &mut Line) -> Option<Request> {
    let id = line.option("request")?;
    let mut hasher = DefaultHasher::new();
    line.text.hash(&mut hasher);
    let mut body = [0; 16];
    body[..8].copy_from_slice(&hasher.finish().to_be_bytes());
    Some(Request { id: id.into(), body })
}

impl World {
    /// Says what a command was answered.
    fn command(&mut self, command: &Command) {
        let reply = self.ask(command);
        let line = match reply {
            Ok(answer) => show::answer(self, &answer),
            Err(refusal) => show::refused(refusal),
        };
        self.say(line);
        self.advance(0);
    }

    // --- time ----------------------------------------------------------------------------------------------------

    fn pass(&mut self, verb: &str, line: &mut Line) -> Result<(), String> {
        let words = line.rest();
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        match (verb, &*words) {
            ("advance", ["to", at @ ..]) => {
                let at = parse_coming(&at.join(" "), self.now.wall)?;
                let wait = at - self.now.wall;
                if wait <= 0 {
                    return Err("this time has passed".into());
                }
                self.advance(wait);
            }
            ("advance", [for_]) => self.advance(parse_span(for_)?),
            ("stall", [for_]) => {
                let stalled = parse_span(for_)?;
                self.skip(stalled);
                self.say(format!("the scheduler goes on; it heard nothing for {}", span(stalled)));
                self.advance(0);
            }
            ("crash", []) => self.crash(0)?,
            ("crash", ["for", outage]) => self.crash(parse_span(outage)?)?,
            ("clock", [way, by]) => {
                let by = parse_span(by)?;
                self.now.wall += choose(way, &[("forward", by), ("back", -by)])?;
                self.advance(0);
            }
            _ => return Err(format!("`{}` is not understood", line.text)),
        }
        Ok(())
    }

    // --- schedules -----------------------------------------------------------------------------------------------

    /// `upsert mb-1 mb-2 …`: several with the same options.
    fn upsert(&mut self, line: &mut Line) -> Result<(), String> {
        let (request, etag) = (request(line), line.option("etag"));
        let (validate_only, create_only) = (line.flag("validate_only"), line.flag("create_only"));
        let definition = schedule::definition(line, self.now.wall)?;
        for id in line.rest() {
            let uid = self.next_uid();
            let mut definition = definition.clone();
            definition.key = key(&id);
            let known = self.view(&id).is_ok();
            let etag = etag.clone();
            let request = request.clone();
            let actor = show::ACTOR.into();
            let upsert = Upsert { definition, uid, etag, create_only, request, validate_only, actor };
            if !known && !validate_only {
                self.know(uid, &id);
            }
            if validate_only {
                self.say("a dry run:");
            }
            self.command(&Command::Upsert(Box::new(upsert)));
        }
        Ok(())
    }

    fn act(&mut self, verb: &str, line: &mut Line) -> Result<(), String> {
        let request = request(line);
        let actor = std::sync::Arc::from(show::ACTOR);
        let note = line.option("note").unwrap_or_default().into_boxed_str();
        let until = time(line, "until", self.now.wall)?;
        let (catch_up, cancel_running) = (line.flag("catch_up"), line.flag("cancel_running"));
        let chosen = labels(line)?;
        if !chosen.is_empty() {
            let change = match verb {
                "pause" => BulkChange::Pause { note, until },
                "resume" => BulkChange::Resume { catch_up },
                "delete" => BulkChange::Delete { cancel_running },
                _ => return Err(format!("`{verb}` takes no labels")),
            };
            let filter = ListSchedules {
                namespace: NAMESPACE.into(),
                after: None,
                prefix: "".into(),
                labels: chosen,
                states: Vec::new(),
                pause_reasons: Vec::new(),
                limit: 0,
            };
            self.command(&Command::Bulk(Box::new(Bulk { filter, change, done: 0, request, actor })));
            return Ok(());
        }
        let span = time(line, "from", self.now.wall)?.zip(time(line, "to", self.now.wall)?);
        let etag = line.option("etag");
        for id in line.rest() {
            let (request, actor, note, key) = (request.clone(), actor.clone(), note.clone(), key(&id));
            let command = match verb {
                "pause" => Command::Pause(Pause { key, note, until, request, actor }),
                "resume" => Command::Resume(Resume { key, catch_up, request, actor }),
                "delete" => {
                    Command::Delete(Delete { key, cancel_running, etag: etag.clone(), request, actor })
                }
                "trigger" => Command::Trigger(TriggerNow { key, request, actor }),
                "retry" => self.retry(&id, request)?,
                "cancel" => {
                    let (namespace, id) = (NAMESPACE.into(), self.run(&id)?);
                    Command::CancelRun(CancelRun { namespace, id, note, request, actor })
                }
                _ => {
                    let (from, to) = span.ok_or("from= and to= are needed")?;
                    self.backfill(&id, Span { from, to }, request)?
                }
            };
            self.command(&command);
        }
        Ok(())
    }

    /// As the edge does it: with the times that history knows to have run.
    fn backfill(&mut self, id: &str, span: Span, request: Option<Request>) -> Result<Command, String> {
        let view = self.view(id).map_err(show::refused)?;
        let log = self.decisions(&view).into_iter().map(|(_, decision)| decision);
        let fired = log.filter(|decision| decision.verdict == Verdict::Fired);
        let known = fired.map(|decision| Span { from: decision.first, to: decision.last + 1 }).collect();
        let actor = show::ACTOR.into();
        Ok(Command::Backfill(Box::new(Backfill {
            key: key(id),
            span,
            known,
            as_of: view.rings,
            request,
            actor,
        })))
    }

    fn retry(&mut self, id: &str, request: Option<Request>) -> Result<Command, String> {
        let ids = self.failed(id)?;
        let page = Page { through: "\u{7f}".into(), last: true, ..Page::default() };
        let (namespace, actor) = (NAMESPACE.into(), show::ACTOR.into());
        Ok(Command::RetryRuns(Box::new(RetryRuns { namespace, ids, page, request, actor })))
    }

    fn limit(&mut self, verb: &str, line: &mut Line) -> Result<(), String> {
        let request = request(line);
        let (namespace, key) = (NAMESPACE.into(), line.need("a key")?.into());
        let command = if verb == "limit" {
            Command::SetLimit(Box::new(SetLimit { namespace, key, limit: schedule::limit(line)?, request }))
        } else {
            Command::DeleteLimit(DeleteLimit { namespace, key, request })
        };
        self.command(&command);
        Ok(())
    }

    // --- workers -------------------------------------------------------------------------------------------------

    /// `report mb-1 success result=messages:5`, `report mb-1 failure class=transient`
    fn report(&mut self, line: &mut Line) -> Result<(), String> {
        let again = line.flag("again");
        let (name, outcome) = (line.need("the run")?, line.need("success or failure")?);
        let (worker, job) = self.job(&name, line.option("by").as_deref(), again)?;
        let reported = match &*outcome {
            "success" => Reported::Success { result: numbers(line, "result")? },
            "failure" => {
                let class = line.choice("class", &CLASSES)?.ok_or("class= is needed")?;
                let code = line.option("code").unwrap_or_default();
                let message = line.option("message").unwrap_or_default();
                let mut failure = Failure::new(class, &code, message);
                failure.retry_after = schedule::span(line, "retry_after")?.unwrap_or(0) as u32;
                failure.limit = line.option("limit").unwrap_or_default().into();
                let checkpoint = line.option("checkpoint").map(Into::into);
                let partial = numbers(line, "partial")?;
                Reported::Failure { failure: Box::new(failure), partial, checkpoint }
            }
            _ => return Err("a report is success or failure".into()),
        };
        self.send_report(&worker, job, reported);
        self.advance(0);
        Ok(())
    }

    // --- accidents -----------------------------------------------------------------------------------------------

    fn break_something(&mut self, verb: &str, line: &mut Line) -> Result<(), String> {
        let id = line.need("a schedule")?;
        let uid = self.view(&id).map_err(|_: Refusal| format!("there is no `{id}`"))?.uid;
        if verb == "damage" {
            self.damage(uid);
            return Ok(());
        }
        let why = line.rest().join(" ").into();
        match self.ask(&Command::SetAside { uid, why }) {
            Ok(Answer::Closed) => Ok(()),
            other => Err(format!("{other:?}")),
        }
    }
}

/// `messages:5`, as an encoded struct.
fn numbers(line: &mut Line, name: &str) -> Result<bytes::Bytes, String> {
    let Some(text) = line.option(name) else { return Ok(Default::default()) };
    let (field, number) = text.split_once(':').ok_or_else(|| format!("{name} is name:number"))?;
    let number = number.parse().map_err(|_| format!("`{number}` is no number"))?;
    let value = prost_types::Value { kind: Some(prost_types::value::Kind::NumberValue(number)) };
    Ok(prost_types::Struct { fields: [(field.into(), value)].into() }.encode_to_vec().into())
}
