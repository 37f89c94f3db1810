//! delete_missing: what the stream did not name goes, once the stream has ended well.

use docket::errors::Violation;
use tonic::Status;

use super::{
    super::{call_error, export, mismatch},
    Machine,
    check::digest,
    tally::Tally,
};
use crate::state_machine::{
    command::Command,
    command::{DeleteNamed, ListSchedules},
    output::Answer,
    snapshot::Snapshot,
};

pub struct Missing {
    /// Of these only.
    pub filter: ListSchedules,
}

impl Machine {
    /// `begun`: when the call began, wall milliseconds. What was created later cannot be in the stream.
    pub async fn delete_missing(&self, begun: i64, tally: &mut Tally) -> Result<(), Status> {
        let Some(Missing { filter }) = &self.plan.missing else { return Ok(()) };
        let Some(named) = tally.named() else {
            let remedy = "would delete everything, since the stream names no schedule; if that is meant, call \
                          DeleteSchedule with a filter";
            return Err(Violation::new("options.delete_missing", remedy).into());
        };
        let mut page = ListSchedules { limit: export::PAGE, ..filter.clone() };
        loop {
            let Answer::Exported { snapshots, next } = self.ask(Command::Export(page.clone())).await? else {
                return Err(mismatch());
            };
            let is_missing = |snapshot: &Snapshot| {
                let id = digest(&snapshot.definition.key.id);
                snapshot.created <= begun && named.binary_search(&id).is_err()
            };
            let missing: Vec<Snapshot> = snapshots.into_iter().filter(is_missing).collect();
            self.delete(missing, tally).await?;
            let Some(last) = next else { return Ok(()) };
            page.after = Some(last);
        }
    }

    async fn delete(&self, missing: Vec<Snapshot>, tally: &mut Tally) -> Result<(), Status> {
        if self.plan.validate_only {
            missing.iter().for_each(|snapshot| tally.missing(&snapshot.definition.key.id));
            return Ok(());
        }
        if missing.is_empty() {
            return Ok(());
        }
        let name = |snapshot: &Snapshot| (snapshot.definition.key.clone(), snapshot.uid);
        let delete =
            DeleteNamed { schedules: missing.iter().map(name).collect(), actor: self.plan.actor.clone() };
        let Answer::Deleted(deleted) = self.ask(Command::DeleteNamed(Box::new(delete))).await? else {
            return Err(mismatch());
        };
        tally.deleted(deleted);
        Ok(())
    }

    async fn ask(&self, command: Command) -> Result<Answer, Status> {
        let pending = self.shard.enqueue(command, self.deadline).await.map_err(call_error)?;
        pending.answer().await.map_err(call_error)
    }
}
