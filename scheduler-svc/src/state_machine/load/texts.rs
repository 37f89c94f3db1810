//! Texts that many schedules share, while definitions are read on several processors: each part asks for what it has not
//! met yet, so that equal texts are one allocation over all parts.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;

use crate::{
    record::{self, Unreadable},
    state_machine::{
        definition::{Definition, Pool, Terms},
        timing::{Compiled, Cron, CronSource, Interner},
    },
};

type Names = hashbrown::HashSet<Arc<str>>;

/// What the whole machine knows.
#[derive(Default)]
pub struct Texts(Mutex<Known>);

#[derive(Default)]
pub struct Known {
    pub crons: Interner,
    pub terms: Pool,
    pub names: Names,
}

/// What one part has met.
#[derive(Default)]
pub struct Near {
    crons: hashbrown::HashMap<CronSource, Arc<Cron>>,
    terms: hashbrown::HashSet<Arc<Terms>>,
    names: Names,
}

impl Texts {
    pub fn new(known: Known) -> Self {
        Self(Mutex::new(known))
    }

    pub fn into_inner(self) -> Known {
        self.0.into_inner().unwrap_or_else(PoisonError::into_inner)
    }

    /// # Errors
    /// It cannot be read.
    pub fn definition(&self, near: &mut Near, value: Bytes) -> Result<Arc<Definition>, Unreadable> {
        let mut definition = record::read_definition(value, |source| self.cron(near, source))?;
        for name in [&mut definition.key.namespace, &mut definition.tenant] {
            *name = self.name(near, name);
        }
        definition.terms = self.terms(near, definition.terms);
        Ok(Arc::new(definition))
    }

    fn terms(&self, near: &mut Near, mut terms: Arc<Terms>) -> Arc<Terms> {
        if let Some(known) = near.terms.get(&terms) {
            return known.clone();
        }
        let task = &mut Arc::make_mut(&mut terms).task;
        task.kind = self.name(near, &task.kind);
        let terms = self.all().terms.share(terms);
        if !terms.is_singular() {
            near.terms.insert(terms.clone());
        }
        terms
    }

    fn cron(&self, near: &mut Near, source: CronSource) -> Compiled {
        if let Some(known) = near.crons.get(&source) {
            return Ok(known.clone());
        }
        let cron = self.all().crons.compile(source.clone())?;
        Ok(near.crons.entry(source).or_insert(cron).clone())
    }

    fn name(&self, near: &mut Near, name: &Arc<str>) -> Arc<str> {
        let known = near.names.get_or_insert_with(&**name, |_| {
            self.all().names.get_or_insert_with(&**name, |_| name.clone()).clone()
        });
        known.clone()
    }

    fn all(&self) -> MutexGuard<'_, Known> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
