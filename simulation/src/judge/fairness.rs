//! R7: within a tenant priority orders; tenants share by round robin over what they may start.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use scheduler_svc::state_machine::{id::RunId, run::Run};

use super::{
    Compared, Verdict,
    durable::{Changes, Durable},
    holds,
    runs::waits,
};

/// A tenant may be this far ahead of one that waits: one turn, and one for a queue that was built anew.
const AHEAD_MAX: i64 = 2;

type Lane = (Arc<str>, Arc<str>);

#[derive(Debug, Default)]
pub struct Fairness {
    /// Runs that wait, as of the last commit.
    waiting: BTreeMap<RunId, (Lane, Arc<str>, u8)>,
    /// How many more starts the second tenant has had than the first while the first waited.
    ahead: BTreeMap<(Lane, Arc<str>, Arc<str>), i64>,
    epoch: u64,
}

/// A run that was handed out.
#[derive(Debug)]
struct Start {
    lane: Lane,
    tenant: Arc<str>,
    priority: u8,
    id: RunId,
    /// It was on a worker that was lost.
    suspect: bool,
}

fn place(run: &Run) -> (Lane, Arc<str>, u8) {
    let definition = &run.definition;
    let lane = (definition.key.namespace.clone(), definition.task.kind.clone());
    (lane, definition.tenant.clone(), definition.priority)
}

impl Fairness {
    pub fn judge(
        &mut self,
        epoch: u64,
        changes: &Changes,
        after: &Durable,
        compared: &mut Compared,
    ) -> Verdict {
        if epoch != self.epoch {
            self.ahead.clear();
            self.epoch = epoch;
        }
        let started: Vec<Start> = changes
            .runs
            .iter()
            .filter_map(|(id, before, now)| {
                let now = now.as_ref().filter(|now| now.lease().is_some())?;
                let began = now.attempt > before.as_ref().map_or(0, |before| before.attempt);
                let (lane, tenant, priority) = place(now);
                let suspect = before.as_ref().is_some_and(|before| before.suspect);
                began.then_some(Start { lane, tenant, priority, id: *id, suspect })
            })
            .collect();
        let still: BTreeMap<RunId, (Lane, Arc<str>, u8)> = after
            .runs
            .values()
            // A suspect waits for a worker without one (W7), a run with limits perhaps for its keys (R6).
            .filter(|run| waits(run, &after.schedules) && !run.suspect && run.definition.limits.is_empty())
            .map(|run| (run.id, place(run)))
            .collect();
        let touched: BTreeSet<RunId> = changes.runs.iter().map(|(id, ..)| *id).collect();
        // A run counts as passed over if it waited before this commit, through it, and untouched by it.
        for (id, (lane, tenant, priority)) in self.waiting.iter().filter(|(id, _)| still.contains_key(id)) {
            if touched.contains(id) {
                continue;
            }
            for start in started.iter().filter(|it| it.lane == *lane && it.tenant == *tenant) {
                compared.waits += 1;
                let other = start.priority;
                holds("R7 priority orders within a tenant", other <= *priority, || {
                    format!("{} (priority {other}) began while {id} (priority {priority}) waited", start.id)
                })?;
            }
        }
        self.share(&started, &still, compared)?;
        self.waiting = still;
        Ok(())
    }

    fn share(
        &mut self,
        started: &[Start],
        still: &BTreeMap<RunId, (Lane, Arc<str>, u8)>,
        compared: &mut Compared,
    ) -> Verdict {
        let both: BTreeSet<(Lane, Arc<str>)> = self
            .waiting
            .iter()
            .filter(|(id, _)| still.contains_key(id))
            .map(|(_, (lane, tenant, _))| (lane.clone(), tenant.clone()))
            .collect();
        self.ahead.retain(|(lane, tenant, _), _| both.contains(&(lane.clone(), tenant.clone())));
        let starts = |lane: &Lane, tenant: &Arc<str>| {
            started.iter().filter(|it| it.lane == *lane && it.tenant == *tenant).count() as i64
        };
        // A suspect goes when a worker is free of others, whoever's turn it is (W7).
        let in_turn = |lane: &Lane, tenant: &Arc<str>| {
            let started = started.iter().filter(|it| it.lane == *lane && it.tenant == *tenant);
            started.filter(|it| !it.suspect).count() as i64
        };
        let others: BTreeSet<(Lane, Arc<str>)> =
            started.iter().map(|it| (it.lane.clone(), it.tenant.clone())).collect();
        // What was served in one commit is taken together: its order cannot be seen.
        for ((lane, tenant, other), ahead) in &mut self.ahead {
            if !others.contains(&(lane.clone(), other.clone())) {
                *ahead = (*ahead - starts(lane, tenant)).max(0);
            }
        }
        for (lane, tenant) in &both {
            for (_, other) in others.iter().filter(|(l, other)| l == lane && other != tenant) {
                let key = (lane.clone(), tenant.clone(), other.clone());
                let ahead = self.ahead.entry(key).or_default();
                *ahead = (*ahead + in_turn(lane, other) - starts(lane, tenant)).max(0);
                compared.waits += 1;
                holds("R7 tenants take turns", *ahead <= AHEAD_MAX, || {
                    format!("tenant {other:?} began {ahead} more runs than {tenant:?}, which waited")
                })?;
            }
        }
        Ok(())
    }
}
