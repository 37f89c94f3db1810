//! The outbox: outcomes wait in it until each has a receipt.

use docket::schedule::v1 as pb;
use prost::Message as _;

use super::{Agent, Effect, Link};
use crate::planted::{Bug, planted};

/// Reports in one call.
const REPORTS_MAX: usize = 1_000;
/// Their bytes: a message has at most 4 MiB.
const CALL_BYTES: usize = 2 << 20;
/// Reports under way at once.
pub(super) const CALLS_MAX: usize = 4;

impl Agent {
    /// A run that is handed back before the scheduler knows of the drain could be given to this worker again.
    pub(super) fn can_report(&self) -> bool {
        if self.drain_until.is_some() && !self.drain_heard {
            return false;
        }
        self.reporting.len() < CALLS_MAX && !self.outbox.is_empty() && matches!(self.link, Link::Up)
    }

    /// A few calls at a time: outcomes gather while they are under way, and no commit waits for the one before it.
    pub(super) fn report(&mut self, now: u64) {
        if !self.can_report() || self.next_report > now {
            return;
        }
        let (mut reports, mut keys, mut bytes) = (Vec::new(), Vec::new(), 0);
        while let Some(key) = self.outbox.pop_front() {
            // What was dropped meanwhile is not reported.
            let Some(report) = self.attempts.get(&key).and_then(|attempt| attempt.outcome.as_deref()) else {
                continue;
            };
            bytes += report.encoded_len();
            if !reports.is_empty() && bytes > CALL_BYTES {
                self.outbox.push_front(key);
                break;
            }
            reports.push(report.clone());
            keys.push(key);
            if reports.len() == REPORTS_MAX {
                break;
            }
        }
        if reports.is_empty() {
            return;
        }
        self.calls += 1;
        self.reporting.insert(self.calls, keys);
        let request = pb::ReportResultsRequest {
            worker_id: self.profile.worker_id.clone(),
            session_id: self.session_id.clone(),
            epoch: self.epoch,
            reports,
        };
        self.effects.push(Effect::Report { call: self.calls, request });
    }

    /// Any receipt ends a report; no answer means: again.
    pub fn report_answered(&mut self, now: u64, call: u64, answer: Option<Vec<pb::Receipt>>) {
        let Some(reported) = self.reporting.remove(&call) else { return };
        match answer {
            Some(receipts) if receipts.len() == reported.len() => {
                self.report_tries = 0;
                for (key, receipt) in reported.into_iter().zip(receipts) {
                    match receipt.status() {
                        pb::ReceiptStatus::Accepted | pb::ReceiptStatus::Repeated => self.remember(now, key),
                        _ => drop(self.attempts.remove(&key)),
                    }
                }
                self.next_report = now;
            }
            Some(_) | None if planted(Bug::ReportsOnce) => {}
            Some(_) | None => {
                for key in reported.into_iter().rev() {
                    self.outbox.push_front(key);
                }
                self.next_report = now + self.pause(self.report_tries);
                self.report_tries += 1;
            }
        }
        self.report(now);
    }
}
