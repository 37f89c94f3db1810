//! Which events a client wants.

use std::collections::{BTreeMap, BTreeSet};

use docket::{errors::Violation, schedule::v1 as pb};

use crate::{
    event_log::Entry,
    grpc::{field, validate},
    state_machine::id::RunId,
};

const RUN_IDS_MAX: usize = 100;

/// Meets all that is set.
#[derive(Debug)]
pub struct Filter {
    namespace: Box<str>,
    /// A bit per number of a type; 0 = all.
    types: u32,
    /// Empty = all.
    schedule_id: Box<str>,
    /// Empty = all; else events of schedules do not match.
    run_ids: BTreeSet<RunId>,
    labels: BTreeMap<String, String>,
}

impl Filter {
    pub fn new(namespace: &str, filter: Option<&pb::EventFilter>) -> Result<Self, Violation> {
        let none = pb::EventFilter::default();
        let filter = filter.unwrap_or(&none);
        Ok(Self {
            namespace: namespace.into(),
            types: types(&filter.types)?,
            schedule_id: field::optional_id("filter.schedule_id", &filter.schedule_id)?.into(),
            run_ids: run_ids(&filter.run_ids)?,
            labels: validate::labels("filter.labels", &filter.labels)?,
        })
    }

    pub fn matches(&self, entry: &Entry) -> bool {
        let definition = entry.definition();
        *definition.key.namespace == *self.namespace
            && (self.types == 0 || self.types & 1 << super::event_type(entry.kind) as u32 != 0)
            && (self.schedule_id.is_empty() || *definition.key.id == *self.schedule_id)
            && (self.run_ids.is_empty() || entry.run_id().is_some_and(|id| self.run_ids.contains(&id)))
            && definition.has_labels(&self.labels)
    }
}

fn types(types: &[i32]) -> Result<u32, Violation> {
    let mut bits = 0;
    for (index, number) in types.iter().enumerate() {
        match pb::EventType::try_from(*number) {
            Ok(known) if known != pb::EventType::Unspecified => bits |= 1 << known as u32,
            _ => {
                let remedy = "is no type of event: see EventType, or leave types empty for all";
                return Err(Violation::new(format!("filter.types[{index}]"), remedy));
            }
        }
    }
    Ok(bits)
}

fn run_ids(run_ids: &[String]) -> Result<BTreeSet<RunId>, Violation> {
    field::count("filter.run_ids", run_ids.len(), RUN_IDS_MAX)?;
    let parse = |(index, id): (usize, &String)| {
        let field = format!("filter.run_ids[{index}]");
        field::id(&field, id)?;
        RunId::parse(id).ok_or_else(|| Violation::new(&*field, "is no run id"))
    };
    run_ids.iter().enumerate().map(parse).collect()
}
