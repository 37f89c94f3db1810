//! The sequential model of an app that owns several schedules under one label, and changes them with one call.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use scheduler_svc::state_machine::{
    id::{RunId, Uid},
    output::{Answer, Reply},
};

use super::{Verdict, app, broken, holds};
use crate::workload::{Ask, Mass, Op};

const MODEL: &str = "calls about many schedules change each of them once";

#[derive(Debug, Default)]
pub struct Known {
    pub schedules: BTreeMap<Arc<str>, app::Known>,
    /// Why they are paused.
    notes: BTreeMap<Arc<str>, String>,
}

impl Known {
    pub fn answered(
        &mut self,
        ask: &Ask,
        uids: &[Uid],
        reply: &Reply,
        lived: &dyn Fn(RunId) -> bool,
    ) -> Verdict {
        match (&ask.op, reply) {
            (Op::Mass { change, .. }, Ok(Answer::Progress { done, .. })) => self.changed(change, *done),
            (Op::ListOwned, Ok(Answer::Schedules { schedules, .. })) => {
                let shown: BTreeSet<&Arc<str>> =
                    schedules.iter().map(|view| &view.definition.key.id).collect();
                let known: BTreeSet<&Arc<str>> = self.saved().map(|(id, _)| id).collect();
                holds("nothing acknowledged is lost", shown == known, || {
                    format!("known {known:?}, shown {shown:?}")
                })?;
                for view in schedules {
                    let known = self.schedules.get_mut(&view.definition.key.id);
                    known.map_or(Ok(()), |known| known.seen(view))?;
                }
                Ok(())
            }
            (Op::Upsert { .. } | Op::Get, _) => {
                let known = self.schedules.entry(ask.key.id.clone()).or_default();
                known.answered(ask, uids, reply, lived)
            }
            (op, other) => broken(MODEL, format!("{op:?} was answered {other:?}")),
        }
    }

    fn saved(&self) -> impl Iterator<Item = (&Arc<str>, &app::Known)> {
        self.schedules.iter().filter(|(_, known)| known.schedule.is_some())
    }

    /// A call has come to its end: what it counted over all pages, whatever was lost between them.
    fn changed(&mut self, change: &Mass, done: u64) -> Verdict {
        let paused = |known: &app::Known| known.schedule.as_ref().is_some_and(|it| it.paused.is_some());
        let expected = match change {
            Mass::Pause { note } => {
                self.saved().filter(|(id, known)| !paused(known) || self.notes.get(*id) != Some(note)).count()
            }
            Mass::Resume => self.saved().filter(|(_, known)| paused(known)).count(),
            Mass::Delete => self.saved().count(),
        };
        holds(MODEL, done == expected as u64, || format!("{change:?} counted {done} instead of {expected}"))?;
        for (id, known) in &mut self.schedules {
            match change {
                Mass::Delete => known.schedule = None,
                Mass::Pause { note } => {
                    self.notes.insert(id.clone(), note.clone());
                    known.schedule.as_mut().map(|saved| saved.paused = Some(None)).unwrap_or_default();
                }
                Mass::Resume => known.schedule.as_mut().map(|saved| saved.paused = None).unwrap_or_default(),
            }
        }
        Ok(())
    }
}
