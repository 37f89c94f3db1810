//! What a script asks to see: a schedule, what was decided, what has run, what comes next, which limits there are.

use scheduler_svc::{
    record,
    state_machine::{
        command::{Command, GetRun, ListLimits},
        history::Ring,
        id::{RunId, Uid},
        output::Answer,
        run::{Finished, Outcome},
        view::RunView,
    },
    store::{Key, key::Name},
};

use crate::{parse::Line, schedule::NAMESPACE, show, world::World};

impl World {
    pub fn read(&mut self, verb: &str, line: &mut Line) -> Result<(), String> {
        let words = line.rest();
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        match (verb, &*words) {
            ("limits", []) => self.show_limits(),
            ("times", [id, count]) => self.show_times(id, count.parse().map_err(|_| "times ID COUNT")?),
            ("show", ids) => ids.iter().for_each(|id| self.show(id)),
            ("explain", [id]) => self.explain(id),
            ("history", [id]) => self.show_history(id),
            _ => return Err(format!("`{}` is not understood", line.text)),
        }
        Ok(())
    }

    fn show(&mut self, id: &str) {
        let view = match self.view(id) {
            Ok(view) => view,
            Err(refusal) => return self.list(format!("{id}: {}", show::refused(refusal))),
        };
        let line = format!("{id}: {} (etag {})", show::status(self, &view), view.etag);
        self.list(line);
        for id in view.active {
            let get = GetRun { namespace: NAMESPACE.into(), id, wait: false };
            if let Ok(Answer::Run(run)) = self.ask(&Command::GetRun(get))
                && let RunView::Live(live) = *run
            {
                let line = format!("  {}: {}", self.run_name(id), show::live_state(self, &live));
                self.list(line);
            }
        }
    }

    fn explain(&mut self, id: &str) {
        let Ok(view) = self.view(id) else { return self.list(format!("{id}: there is none")) };
        for (_, decision) in self.decisions(&view) {
            let line = show::decision(self, id, &decision);
            self.list(format!("  {line}"));
        }
    }

    /// Both rings of ends, oldest first.
    fn ends(&mut self, id: &str) -> Result<Vec<Finished>, String> {
        let view = self.view(id).map_err(show::refused)?;
        let keys =
            |ring: Ring| view.rings.numbers(ring).map(move |number| Key::new(&ring.name(view.uid, number)));
        let keys = keys(Ring::Succeeded).chain(keys(Ring::Unsucceeded));
        let read = |key| record::read_finished(view.uid, self.records[&key].clone()).expect("an end");
        let mut ends: Vec<Finished> = keys.map(read).collect();
        ends.sort_by_key(|end| (end.finish, end.id));
        Ok(ends)
    }

    fn show_history(&mut self, id: &str) {
        for end in self.ends(id).unwrap_or_default() {
            for line in show::history(self, &end) {
                self.list(format!("  {line}"));
            }
        }
    }

    /// Runs of a schedule that failed, as far as history knows.
    pub fn failed(&mut self, id: &str) -> Result<Vec<RunId>, String> {
        let ends = self.ends(id)?.into_iter();
        Ok(ends.filter(|end| end.outcome == Outcome::Failed).map(|end| end.id).collect())
    }

    /// The run that a script names by its schedule or its time.
    pub fn run(&mut self, name: &str) -> Result<RunId, String> {
        let schedule = name.split('@').next().unwrap_or(name);
        let view = self.view(schedule).map_err(show::refused)?;
        let live: Vec<RunId> =
            view.active.into_iter().filter(|id| name == schedule || self.run_name(*id) == name).collect();
        match &*live {
            [id] => Ok(*id),
            [] => {
                let ended = self.ends(schedule)?.into_iter().rev().map(|end| end.id);
                let mut named = ended.filter(|id| name == schedule || self.run_name(*id) == name);
                named.next().ok_or_else(|| format!("there is no run `{name}`"))
            }
            _ => Err(format!("several live runs are `{name}`: name the time")),
        }
    }

    fn show_times(&mut self, id: &str, count: usize) {
        let Ok(view) = self.view(id) else { return self.list(format!("{id}: there is none")) };
        let times = view.definition.times(view.anchor);
        let named = std::iter::successors(times.next(view.decided_through), |at| times.next(*at));
        for at in named.take(count).collect::<Vec<_>>() {
            let line = show::next(self, &view.definition, Some(at));
            self.list(format!("  {line}"));
        }
    }

    fn show_limits(&mut self) {
        let list = ListLimits { namespace: NAMESPACE.into(), prefix: "".into(), after: None, limit: 100 };
        if let Ok(Answer::Limits { limits, .. }) = self.ask(&Command::ListLimits(list)) {
            if limits.is_empty() {
                self.list("  none");
            }
            for limit in &limits {
                let line = show::limit(self, limit);
                self.list(format!("  {line}"));
            }
        }
    }

    /// Makes what the store holds of a schedule's state unreadable.
    pub fn damage(&mut self, uid: Uid) {
        self.records.insert(Key::new(&Name::State(uid)), "rubbish".into());
    }
}
