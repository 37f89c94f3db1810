//! When things happened, in true time: who was heard when, and when a scheduler could not hear.

use std::collections::BTreeMap;

use scheduler_svc::state_machine::{id::RunId, timer::Now};

use super::{Verdict, holds};

/// Milliseconds.
const RECONNECT_GRACE: u64 = 5_000;

/// The commit that is being judged.
#[derive(Clone, Copy, Debug, Default)]
pub struct Moment {
    pub epoch: u64,
    /// What its machine took for the time when the batch was closed.
    pub heard: Now,
    /// When its batch was closed, and the one before it of the same epoch. True time.
    pub sealed: u64,
    pub sealed_before: u64,
    /// True time at wall time 0 of its scheduler, while its clock stands as it does now.
    pub zero: i64,
    /// When its scheduler last came back from a second or more in which it did not run.
    pub heard_again: Option<u64>,
}

#[derive(Debug, Default)]
pub struct Moments {
    /// When an instance was last heard under a lease, by epoch.
    heard: BTreeMap<(u64, String), u64>,
    /// When it last said hello. A hello that a panic has interrupted is answered by the next epoch.
    hello: BTreeMap<String, u64>,
}

impl Moments {
    pub fn heard(&mut self, epoch: u64, instance: &str, at: u64) {
        self.heard.insert((epoch, instance.into()), at);
    }

    pub fn hello(&mut self, instance: &str, at: u64) {
        self.hello.insert(instance.into(), at);
    }

    /// A lease ended because its worker was not heard: then it was not, and could have been (W3, W4).
    pub fn lost(&self, moment: &Moment, id: RunId, instance: &str, end: i64) -> Verdict {
        // Its clock may have been set since: then the moment is not known.
        let Ok(at) = u64::try_from(end - moment.zero) else { return Ok(()) };
        if at > moment.sealed || at < moment.sealed_before {
            return Ok(());
        }
        let key = (moment.epoch, instance.to_owned());
        // A worker that says hello loses what it does not list.
        let hello = self.hello.get(instance).is_some_and(|hello| *hello + RECONNECT_GRACE >= at);
        let recent = |since: u64| since <= at && at < since + RECONNECT_GRACE;
        let heard = self.heard.get(&key).is_some_and(|heard| recent(*heard));
        holds("W3 a worker that is heard keeps its leases", hello || !heard, || {
            format!("{id}: {instance} was heard at {:?}, lost at {at}", self.heard.get(&key))
        })?;
        let deaf = moment.heard_again.is_some_and(recent);
        holds("W4 silence proves nothing while nobody listens", hello || !deaf, || {
            format!("{id}: lost at {at}, the scheduler came back at {:?}", moment.heard_again)
        })
    }
}
