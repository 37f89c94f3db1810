//! Definitions by uid and generation, while a load needs them.

use std::sync::Arc;

use crate::state_machine::{definition::Definition, id::Uid};

/// Ascending.
pub struct Definitions(Vec<((Uid, u32), Arc<Definition>)>);

/// Whoever asks in ascending order finds the next one close to the last.
const NEAR: usize = 8;

impl Definitions {
    /// Of keys that ascend.
    pub fn new(all: Vec<((Uid, u32), Arc<Definition>)>) -> Self {
        debug_assert!(all.is_sorted_by_key(|(key, _)| *key));
        Self(all)
    }

    /// `near` is where the last one was found.
    pub fn get(&self, uid: Uid, generation: u32, near: &mut usize) -> Option<Arc<Definition>> {
        let key = (uid, generation);
        let ahead = self.0.get(*near..).filter(|ahead| ahead.first().is_some_and(|(first, _)| *first <= key));
        let step = ahead.and_then(|ahead| ahead.iter().take(NEAR).position(|(known, _)| *known >= key));
        *near = step.map_or_else(|| self.0.partition_point(|(known, _)| *known < key), |step| *near + step);
        self.0.get(*near).filter(|(known, _)| *known == key).map(|(_, definition)| definition.clone())
    }

    /// The latest of a schedule, and its generation.
    pub fn last_of(&self, uid: Uid) -> Option<(u32, &Arc<Definition>)> {
        let end = self.0.partition_point(|((of, _), _)| *of <= uid);
        let ((of, generation), definition) = self.0[..end].last()?;
        (*of == uid).then_some((*generation, definition))
    }
}
