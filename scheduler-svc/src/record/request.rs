//! Records of requests that were answered.

use bytes::Bytes;
use docket::stored::v1 as stored;
use prost::Message as _;

use super::{Unreadable, bytes, read_trigger};
use crate::state_machine::{
    id::{RunId, Uid},
    request::Seen,
};

pub fn request(seen: &Seen) -> Bytes {
    let uid = seen.run.map(|run| run.uid).or(seen.schedule).map_or(0, |uid| uid.0);
    bytes(&stored::Request {
        body: Bytes::copy_from_slice(&seen.body),
        time: seen.time,
        change: seen.change.map_or(0, |change| change as u32),
        trigger: seen.run.map_or(0, |run| run.trigger as u32),
        nominal: seen.run.map_or(0, |run| run.nominal),
        uid_high: (uid >> 64) as u64,
        uid_low: uid as u64,
        created: seen.created,
        count: seen.count,
        skipped: seen.skipped,
        after: seen.after.to_string(),
        complete: seen.complete,
    })
}

pub fn read_request(value: Bytes) -> Result<Seen, Unreadable> {
    use crate::state_machine::output::Change;
    let stored = stored::Request::decode(&*value)?;
    let uid = Uid(u128::from(stored.uid_high) << 64 | u128::from(stored.uid_low));
    let run = (stored.trigger != 0).then(|| {
        Ok::<_, Unreadable>(RunId { uid, trigger: read_trigger(stored.trigger)?, nominal: stored.nominal })
    });
    Ok(Seen {
        body: stored.body.as_ref().try_into().map_err(|_| "a digest that is not 16 bytes")?,
        time: stored.time,
        change: Change::from_number(stored.change),
        schedule: Some(uid).filter(|uid| uid.0 != 0 && stored.trigger == 0),
        run: run.transpose()?,
        created: stored.created,
        count: stored.count,
        skipped: stored.skipped,
        after: stored.after.into(),
        complete: stored.complete,
    })
}
