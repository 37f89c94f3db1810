//! Credentials and settings of mailboxes.

use sync_core::archive::claim::Holder;
use sync_core::archive::credentials::Exchange;
use sync_core::archive::mailboxes::Change;
use sync_core::archive::{Catalog, Error, MailboxSpec, MailboxState, Settings};
use sync_core::credential::vault::{Place, Sealed};

use crate::support::{NOW, NS, spec};

pub async fn a_credential_belongs_to_one_source(catalog: Catalog) {
    let place = Place { namespace: NS, mailbox_id: "mb" };
    let sealed = |n: u8| Sealed { key_version: 1, wrapped_key: vec![n; 60], content: vec![n, 0, 255] };
    let here = spec("mb", "alice", "a");
    let connect = async |spec: &MailboxSpec, credential: Option<&Sealed>| {
        catalog.connect_mailbox_with(spec, credential, None, NOW).await.unwrap().1
    };
    assert_eq!(connect(&here, Some(&sealed(1))).await, Change::Created);
    assert_eq!(connect(&here, None).await, Change::Unchanged);
    assert_eq!(catalog.credential(place).await.unwrap(), Some(sealed(1)));
    assert_eq!(connect(&here, Some(&sealed(2))).await, Change::Updated);
    // One trades; who connects anew takes the mark away.
    let begin = async |ticket: &str, now| {
        catalog.begin_exchange(place, None, ticket, (now, now + 100)).await.unwrap()
    };
    assert_eq!(begin("one", NOW).await, Exchange::Begun(sealed(2)));
    assert_eq!(begin("other", NOW + 99).await, Exchange::Busy);
    assert!(catalog.end_exchange(place, "one", Some(&sealed(3)), NOW).await.unwrap());
    assert_eq!(begin("other", NOW).await, Exchange::Begun(sealed(3)));
    connect(&here, Some(&sealed(4))).await;
    assert!(!catalog.end_exchange(place, "other", Some(&sealed(5)), NOW).await.unwrap());
    assert_eq!(catalog.credential(place).await.unwrap(), Some(sealed(4)));
    // Wrapped anew, unless it has changed meanwhile.
    let rewrapped = Sealed { key_version: 2, wrapped_key: vec![9; 60], ..sealed(4) };
    assert!(!catalog.rewrap(place, &sealed(3), &rewrapped).await.unwrap());
    assert!(catalog.rewrap(place, &sealed(4), &rewrapped).await.unwrap());
    assert_eq!(catalog.key_versions().await.unwrap(), [(2, 1)]);
    assert_eq!(catalog.wrapped_otherwise(1, None, 10).await.unwrap().len(), 1);
    assert!(catalog.wrapped_otherwise(1, Some(place), 10).await.unwrap().is_empty());
    assert!(catalog.wrapped_otherwise(2, None, 10).await.unwrap().is_empty());
    connect(&spec("mb", "alice", "b"), None).await;
    assert_eq!(catalog.credential(place).await.unwrap(), None);
    assert_eq!(begin("one", NOW).await, Exchange::Missing);
    connect(&here, Some(&sealed(6))).await;
    catalog.disconnect_mailbox(NS, "mb", None, false, NOW).await.unwrap();
    assert_eq!(catalog.credential(place).await.unwrap(), None);
}

pub async fn settings_change_without_source_and_state(catalog: Catalog) {
    let (first, _) = catalog.connect_mailbox(&spec("mb", "alice", "a"), None, NOW).await.unwrap();
    let running = catalog.claim(NS, "mb", &Holder { run_id: "run".into(), attempt: 1 }).await.unwrap();
    catalog.needs_reauthorization(&running, "why", NOW).await.unwrap();
    let settings = Settings {
        address: "new@mail.example".into(),
        since: None,
        folders: vec![],
        labels: Default::default(),
    };
    let update =
        async |settings: &Settings, expected| catalog.update_mailbox(NS, "mb", settings, expected, NOW).await;
    assert!(matches!(update(&settings, Some(first.version)).await, Err(Error::VersionMismatch)));
    let (changed, change) = update(&settings, Some(first.version + 1)).await.unwrap();
    assert_eq!(
        (change, changed.state, changed.state_reason.as_str()),
        (Change::Updated, MailboxState::Reauthorize, "why")
    );
    assert_eq!((changed.spec.source, changed.version), (first.spec.source, first.version + 2));
    assert_eq!(update(&settings, None).await.unwrap().1, Change::Unchanged);
    let missing = catalog.update_mailbox(NS, "no", &settings, None, NOW).await;
    assert!(matches!(missing, Err(Error::NotFound("mailbox"))));
}
