//! The sequential model of the limits that an operator has set.

use std::collections::BTreeMap;

use scheduler_svc::state_machine::{
    gate::limit::Limit,
    output::{Answer, Refusal, Reply},
    view::LimitView,
};

use super::{Verdict, broken, holds, limits::Limits};
use crate::workload::Op;

const MODEL: &str = "replies match a sequential model";

#[derive(Debug, Default)]
pub struct Known {
    pub limits: BTreeMap<String, Limit>,
}

impl Known {
    pub fn answered(&mut self, op: &Op, reply: &Reply) -> Verdict {
        match (op, reply) {
            (Op::SetLimit { key, limit }, Ok(Answer::Limit(view))) => {
                self.limits.insert(key.clone(), *limit);
                holds(MODEL, view.limit == Some(*limit) && *view.key == **key, || {
                    format!("set {key} to {limit:?}, shown {view:?}")
                })
            }
            // A key that throttling has closed is opened by it, whether it has a limit or not.
            (Op::DeleteLimit { key }, Ok(Answer::LimitDeleted)) => {
                self.limits.remove(key);
                Ok(())
            }
            (Op::DeleteLimit { key }, Err(Refusal::LimitNotFound)) => {
                holds(MODEL, !self.limits.contains_key(key), || format!("{key} is not found"))
            }
            (Op::ListLimits, Ok(Answer::Limits { limits, .. })) => {
                let set = limits.iter().filter_map(|view| Some((view.key.to_string(), view.limit?)));
                let set: BTreeMap<String, Limit> = set.collect();
                holds("nothing acknowledged is lost", set == self.limits, || {
                    format!("set {:?}, shown {set:?}", self.limits)
                })?;
                // After a closing it goes on slowly for a while.
                let plain = |view: &&LimitView| view.closed_until.is_none() && view.reason.is_empty();
                let stray = limits.iter().filter(plain).find(|view| view.limit.is_none());
                holds(MODEL, stray.is_none(), || format!("{stray:?} is neither set nor closed"))
            }
            (op, other) => broken(MODEL, format!("{op:?} was answered {other:?}")),
        }
    }

    /// Long after the last fault: the records say what the operator was told.
    pub fn is_settled(&self, stored: &Limits) -> Verdict {
        holds("nothing acknowledged is lost", self.limits == stored.set, || {
            format!("known {:?}, stored {:?}", self.limits, stored.set)
        })
    }
}
