//! Texts that many schedules share, while definitions are read on several processors: each part asks for what it has not
//! met yet, so that equal texts are one allocation over all parts.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;

use crate::{
    record::{self, Unreadable},
    state_machine::{
        definition::Definition,
        timing::{Compiled, Cron, CronSource, Interner},
    },
};

type Names = hashbrown::HashSet<Arc<str>>;

/// What the whole machine knows.
pub struct Texts(Mutex<(Interner, Names)>);

/// What one part has met.
#[derive(Default)]
pub struct Near {
    crons: hashbrown::HashMap<CronSource, Arc<Cron>>,
    names: Names,
}

impl Texts {
    pub fn new(crons: Interner, names: Names) -> Self {
        Self(Mutex::new((crons, names)))
    }

    pub fn into_inner(self) -> (Interner, Names) {
        self.0.into_inner().unwrap_or_else(PoisonError::into_inner)
    }

    /// # Errors
    /// It cannot be read.
    pub fn definition(&self, near: &mut Near, value: Bytes) -> Result<Arc<Definition>, Unreadable> {
        let mut definition = record::read_definition(value, |source| self.cron(near, source))?;
        for name in [&mut definition.key.namespace, &mut definition.task.kind, &mut definition.tenant] {
            *name = self.name(near, name);
        }
        Ok(Arc::new(definition))
    }

    fn cron(&self, near: &mut Near, source: CronSource) -> Compiled {
        if let Some(known) = near.crons.get(&source) {
            return Ok(known.clone());
        }
        let cron = self.all().0.compile(source.clone())?;
        Ok(near.crons.entry(source).or_insert(cron).clone())
    }

    fn name(&self, near: &mut Near, name: &Arc<str>) -> Arc<str> {
        let known = near.names.get_or_insert_with(&**name, |_| {
            self.all().1.get_or_insert_with(&**name, |_| name.clone()).clone()
        });
        known.clone()
    }

    fn all(&self) -> MutexGuard<'_, (Interner, Names)> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
