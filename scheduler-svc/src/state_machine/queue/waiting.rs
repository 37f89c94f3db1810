//! The runs of one lane that wait, and which of them is next.
//!
//! Runs that a gate has refused wait in a *group* with all others of the lane that are known to need the same gates;
//! runs that met none wait in the group without gates. A group stands in the *line* before one gate that it needs. A
//! line is shut while its gate lets nobody pass. So what is looked at is one line, one group, one run: a blocked group
//! is set aside as a whole, however many runs it has, and a run changes groups at most once for each of its gates.
//!
//! Of all that is not shut, the tenant that was served longest ago is next, with its first run by priority and arrival.
//! A tenant's turn may have moved since it was noted down in a group; notes are put right when they come to the front.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use hashbrown::HashMap;
use slab::Slab;
use smallvec::SmallVec;

use super::{Doors, Place};
use crate::{
    planted::{Bug, planted},
    state_machine::{gate::GateKey, run::RunKey},
};

pub type TenantKey = usize;
type GroupKey = usize;
type LineKey = usize;
/// Ascending, without repeats.
type Gates = SmallVec<[GateKey; 2]>;

/// When a tenant was served last, and its first run. The smallest is next.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Turn {
    served: u64,
    place: Place,
}

#[derive(Clone, Debug, Default)]
pub struct Waiting {
    tenants: Slab<Tenant>,
    by_name: HashMap<Arc<str>, TenantKey>,
    served: u64,
    groups: Slab<Group>,
    /// The groups without gates, of ordinary runs and of suspects.
    free: [Option<GroupKey>; 2],
    by_gates: HashMap<(bool, Gates), GroupKey>,
    lines: Slab<Line>,
    by_gate: HashMap<(bool, Option<GateKey>), LineKey>,
    /// Lines that are not shut: of ordinary runs, and of suspects.
    open: [BTreeSet<(Turn, LineKey)>; 2],
    /// Of runs that a gate has refused.
    group_of: HashMap<RunKey, GroupKey>,
    /// Gates before which a line was formed, for the caller to take.
    pub lined: Vec<GateKey>,
}

#[derive(Clone, Debug)]
struct Tenant {
    name: Arc<str>,
    served: u64,
    runs: usize,
}

#[derive(Clone, Debug)]
struct Group {
    suspect: bool,
    gates: Gates,
    line: LineKey,
    tenants: HashMap<TenantKey, Share>,
    order: BTreeSet<(Turn, TenantKey)>,
    /// Where it is noted down in its line.
    front: Option<Turn>,
}

/// What one tenant has in a group.
#[derive(Clone, Debug, Default)]
struct Share {
    runs: BTreeMap<Place, RunKey>,
    turn: Option<Turn>,
}

#[derive(Clone, Debug)]
struct Line {
    suspect: bool,
    gate: Option<GateKey>,
    groups: BTreeSet<(Turn, GroupKey)>,
    shut: bool,
    /// Where it is noted down among the open ones.
    front: Option<Turn>,
}

impl Waiting {
    /// `gates` are those that keep the run back now; its group stands before the first.
    pub fn push(
        &mut self,
        tenant: &Arc<str>,
        place: Place,
        run: RunKey,
        suspect: bool,
        gates: &[GateKey],
    ) -> TenantKey {
        let tenant = self.tenant(tenant);
        self.tenants[tenant].runs += 1;
        let group = self.group(suspect, gates.iter().copied().collect(), gates.first().copied());
        self.insert(group, tenant, place, run);
        tenant
    }

    /// Runs that a gate has refused.
    pub fn refused(&self) -> usize {
        self.group_of.len()
    }

    /// Takes a run out, if it is still there.
    pub fn remove(&mut self, tenant: TenantKey, place: Place, run: RunKey, suspect: bool) {
        let apart = self.group_of.get(&run).copied();
        let Some(group) = apart.or(self.free[usize::from(suspect)]) else { return };
        let share = self.groups[group].tenants.get(&tenant);
        if share.is_some_and(|share| share.runs.get(&place) == Some(&run)) {
            self.take(group, tenant, place, run);
        }
    }

    /// The run that is next, taken out. `suspects`: whether it may be one. Each look costs one of `steps`.
    pub fn pick(&mut self, suspects: bool, doors: &mut impl Doors, steps: &mut usize) -> Option<RunKey> {
        while *steps > 0 {
            let sets = if suspects { &self.open[..] } else { &self.open[..1] };
            let (_, line) = *sets.iter().filter_map(BTreeSet::first).min()?;
            *steps -= 1;
            if self.lines[line].gate.is_some_and(|gate| doors.is_shut(gate)) {
                self.set_shut(line, true);
                continue;
            }
            let (_, group) = *self.lines[line].groups.first()?;
            let (turn, tenant) = *self.groups[group].order.first()?;
            if turn.served != self.tenants[tenant].served {
                self.note(group, tenant);
                continue;
            }
            let (_, run) = self.groups[group].tenants.get(&tenant)?.runs.first_key_value()?;
            let run = *run;
            let Some(gate) = doors.refuses(run) else {
                self.served += 1;
                if !planted(Bug::TenantsInOrder) {
                    self.tenants[tenant].served = self.served;
                }
                self.take(group, tenant, turn.place, run);
                return Some(run);
            };
            if self.groups[group].gates.contains(&gate) {
                self.move_group(group, gate);
            } else {
                self.move_run(group, tenant, turn.place, gate);
            }
        }
        None
    }

    /// The gate lets runs pass again. Returns whether any wait before it.
    pub fn open(&mut self, gate: GateKey) -> bool {
        let lines = [false, true].map(|suspect| self.by_gate.get(&(suspect, Some(gate))).copied());
        lines.into_iter().flatten().for_each(|line| self.set_shut(line, false));
        lines.iter().any(Option::is_some)
    }

    pub fn waits_at(&self, gate: GateKey) -> bool {
        [false, true].iter().any(|suspect| self.by_gate.contains_key(&(*suspect, Some(gate))))
    }

    /// Whether some line is open.
    pub fn has_open(&self) -> bool {
        self.open.iter().any(|lines| !lines.is_empty())
    }

    pub fn runs(&self) -> impl Iterator<Item = RunKey> {
        let shares = self.groups.iter().flat_map(|(_, group)| group.tenants.values());
        shares.flat_map(|share| share.runs.values().copied())
    }

    /// Gates with a line that is shut, and the runs whose group needs a gate.
    pub fn shut(&self) -> impl Iterator<Item = GateKey> {
        self.lines.iter().filter(|(_, line)| line.shut).filter_map(|(_, line)| line.gate)
    }

    pub fn grouped(&self) -> impl Iterator<Item = (RunKey, &[GateKey])> {
        self.group_of.iter().map(|(run, group)| (*run, &self.groups[*group].gates[..]))
    }

    // --- moving ----------------------------------------------------------------------------------------------

    fn take(&mut self, group: GroupKey, tenant: TenantKey, place: Place, run: RunKey) {
        if !self.groups[group].gates.is_empty() {
            self.group_of.remove(&run);
        }
        self.extract(group, tenant, place);
        self.tenants[tenant].runs -= 1;
        if self.tenants[tenant].runs == 0 {
            let tenant = self.tenants.remove(tenant);
            self.by_name.remove(&tenant.name);
        }
    }

    /// The group needs `gate`, which is shut: it waits there, as a whole.
    fn move_group(&mut self, group: GroupKey, gate: GateKey) {
        let Group { suspect, line: former, front, .. } = self.groups[group];
        let line = self.line(suspect, Some(gate));
        self.groups[group].line = line;
        if let Some(front) = front {
            self.lines[former].groups.remove(&(front, group));
            self.lines[line].groups.insert((front, group));
        }
        // The run has just been refused there.
        self.set_shut(line, true);
        self.note_line(former);
    }

    /// The run needs one gate more than is known of its group.
    fn move_run(&mut self, from: GroupKey, tenant: TenantKey, place: Place, gate: GateKey) {
        let mut gates = self.groups[from].gates.clone();
        gates.push(gate);
        let suspect = self.groups[from].suspect;
        let Some(run) = self.extract(from, tenant, place) else { return };
        let to = self.group(suspect, gates, Some(gate));
        self.insert(to, tenant, place, run);
    }

    fn insert(&mut self, group: GroupKey, tenant: TenantKey, place: Place, run: RunKey) {
        let found = &mut self.groups[group];
        if !found.gates.is_empty() {
            self.group_of.insert(run, group);
        }
        found.tenants.entry(tenant).or_default().runs.insert(place, run);
        self.note(group, tenant);
    }

    fn extract(&mut self, group: GroupKey, tenant: TenantKey, place: Place) -> Option<RunKey> {
        let run = self.groups[group].tenants.get_mut(&tenant)?.runs.remove(&place);
        self.note(group, tenant);
        run
    }

    // --- finding and making ----------------------------------------------------------------------------------

    /// One that comes anew stands behind all that are there.
    fn tenant(&mut self, name: &Arc<str>) -> TenantKey {
        if let Some(tenant) = self.by_name.get(name) {
            return *tenant;
        }
        self.served += 1;
        let tenant = self.tenants.insert(Tenant { name: name.clone(), served: self.served, runs: 0 });
        self.by_name.insert(name.clone(), tenant);
        tenant
    }

    fn group(&mut self, suspect: bool, mut gates: Gates, before: Option<GateKey>) -> GroupKey {
        if gates.is_empty()
            && let Some(group) = self.free[usize::from(suspect)]
        {
            return group;
        }
        gates.sort_unstable();
        gates.dedup();
        if let Some(group) = self.by_gates.get(&(suspect, gates.clone())) {
            return *group;
        }
        let line = self.line(suspect, before);
        let group = Group {
            suspect,
            gates: gates.clone(),
            line,
            tenants: HashMap::new(),
            order: BTreeSet::new(),
            front: None,
        };
        let key = self.groups.insert(group);
        if gates.is_empty() {
            self.free[usize::from(suspect)] = Some(key);
        } else {
            self.by_gates.insert((suspect, gates), key);
        }
        key
    }

    fn line(&mut self, suspect: bool, gate: Option<GateKey>) -> LineKey {
        if let Some(line) = self.by_gate.get(&(suspect, gate)) {
            return *line;
        }
        let line = Line { suspect, gate, groups: BTreeSet::new(), shut: gate.is_some(), front: None };
        let key = self.lines.insert(line);
        self.by_gate.insert((suspect, gate), key);
        self.lined.extend(gate);
        key
    }

    // --- noting down -----------------------------------------------------------------------------------------

    /// Brings up to date where a tenant stands in a group, the group in its line, the line in the lane.
    fn note(&mut self, key: GroupKey, tenant: TenantKey) {
        let group = &mut self.groups[key];
        let Some(share) = group.tenants.get_mut(&tenant) else { return };
        let served = self.tenants[tenant].served;
        let turn = share.runs.first_key_value().map(|(place, _)| Turn { served, place: *place });
        if share.turn == turn {
            return;
        }
        let former = std::mem::replace(&mut share.turn, turn);
        renote(&mut group.order, former, turn, tenant);
        if turn.is_none() {
            group.tenants.remove(&tenant);
        }
        self.note_group(key);
    }

    fn note_group(&mut self, key: GroupKey) {
        let group = &mut self.groups[key];
        let front = group.order.first().map(|(turn, _)| *turn);
        let line = group.line;
        if front == group.front {
            return;
        }
        let former = std::mem::replace(&mut group.front, front);
        renote(&mut self.lines[line].groups, former, front, key);
        if front.is_none() && !group.gates.is_empty() {
            let group = self.groups.remove(key);
            self.by_gates.remove(&(group.suspect, group.gates));
        }
        self.note_line(line);
    }

    fn note_line(&mut self, key: LineKey) {
        let line = &mut self.lines[key];
        let first = line.groups.first().map(|(turn, _)| *turn);
        let front = first.filter(|_| !line.shut);
        if front != line.front {
            let former = std::mem::replace(&mut line.front, front);
            renote(&mut self.open[usize::from(line.suspect)], former, front, key);
        }
        if first.is_none() && line.gate.is_some() {
            let line = self.lines.remove(key);
            self.by_gate.remove(&(line.suspect, line.gate));
        }
    }

    fn set_shut(&mut self, line: LineKey, shut: bool) {
        self.lines[line].shut = shut;
        self.note_line(line);
    }
}

/// Moves an entry. The new place comes first: a set of one would be freed and allocated anew.
fn renote(set: &mut BTreeSet<(Turn, usize)>, former: Option<Turn>, current: Option<Turn>, key: usize) {
    set.extend(current.map(|turn| (turn, key)));
    if let Some(former) = former {
        set.remove(&(former, key));
    }
}
