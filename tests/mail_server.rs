//! Both services and a real mail server as real processes: a first sync that is killed again and again.

#[path = "../sync-core/tests/imap/certificates.rs"]
mod certificates;
#[allow(dead_code)]
#[path = "../sync-core/tests/imap/dovecot.rs"]
mod dovecot;
mod harness;

use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};

use docket::{library::v1 as lib, schedule::v1 as pb};
use dovecot::Dovecot;
use harness::{Library, Plan, Scheduler, Service};
use prost_types::{Struct, Value, value::Kind};

const PATIENCE: Duration = Duration::from_secs(180);
const MAILS: usize = 600;

fn mail(n: usize) -> String {
    format!(
        "From: Dana Reyes Design <hello@danareyes-design.example>\r\nTo: ap@buyer.example\r\n\
         Subject: Invoice {n} - logo work\r\nDate: Wed, 15 Apr 2026 08:{:02}:{:02} +0000\r\n\
         Message-ID: <{n}@mail.example>\r\nMIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\n\r\n\
         INVOICE {n}\r\nDate: 14 April 2026\r\nFrom: Dana Reyes Design\r\nTo: Example Buyer Ltd\r\n\r\n\
         Logo revision, 6 hours at 65.00 ......... 390.00\r\nTOTAL EUR ............................... 390.00\r\n",
        n / 60 % 60,
        n % 60
    )
}

fn keys(plan: &Plan, arguments: &[&str]) -> String {
    let mut command = harness::command("worker-svc", &[&["keys"], arguments].concat()).expect("worker-svc");
    command.current_dir(&plan.folder).envs(plan.settings.iter().map(|(key, value)| (key, value)));
    let output = command.output().expect("keys");
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));
    said
}

async fn connect(library: &Library, port: u16) {
    let imap = lib::ImapSource {
        host: "127.0.0.1".into(),
        port: port.into(),
        user: "alice".into(),
        ..Default::default()
    };
    let mailbox = lib::Mailbox {
        mailbox_id: "mb".into(),
        owner: "alice".into(),
        source: Some(lib::mailbox::Source::Imap(imap)),
        ..Default::default()
    };
    let password = lib::credential::Credential::Password("secret".into());
    let credential = Some(lib::Credential { credential: Some(password) });
    let request = lib::ConnectMailboxRequest { mailbox: Some(mailbox), credential };
    library.mailboxes.clone().connect_mailbox(request).await.expect("a mailbox");
    let request = lib::TestMailboxRequest { mailbox_id: "mb".into(), ..Default::default() };
    let tested = library.mailboxes.clone().test_mailbox(request).await.expect("a test").into_inner();
    assert_eq!((tested.ok, tested.folders.as_slice()), (true, ["INBOX".to_owned()].as_slice()), "{tested:?}");
}

async fn trigger(scheduler: &Scheduler) -> String {
    let request = pb::TriggerScheduleRequest { schedule_id: "mb".into(), ..Default::default() };
    let answer = scheduler.schedules.clone().trigger_schedule(request).await.expect("a trigger");
    answer.into_inner().run.expect("a run").run_id
}

async fn save(scheduler: &Scheduler) {
    let id = Value { kind: Some(Kind::StringValue("mb".into())) };
    let cron =
        pb::Cron { expressions: vec!["0 2 * * *".into()], time_zone: "UTC".into(), ..Default::default() };
    let schedule = pb::Schedule {
        schedule_id: "mb".into(),
        timing: Some(pb::schedule::Timing::Cron(cron)),
        task: Some(pb::Task {
            kind: "document-sync".into(),
            args: Some(Struct { fields: [("mailbox_id".into(), id)].into() }),
            ..Default::default()
        }),
        ..Default::default()
    };
    let request = pb::UpsertScheduleRequest { schedule: Some(schedule), ..Default::default() };
    scheduler.schedules.clone().upsert_schedule(request).await.expect("an upsert");
}

/// Messages that are recorded, as soon as there are `wanted`.
async fn until_read(library: &Library, wanted: i64) -> i64 {
    let begin = Instant::now();
    loop {
        let request = lib::GetMailboxRequest { mailbox_id: "mb".into(), ..Default::default() };
        // The worker may be on its way up again.
        if let Ok(answer) = library.mailboxes.clone().get_mailbox(request).await {
            let read = answer.into_inner().mailbox.expect("a mailbox").messages;
            if read >= wanted {
                return read;
            }
        }
        assert!(begin.elapsed() < PATIENCE, "no progress to {wanted} messages");
        tokio::task::yield_now().await;
    }
}

async fn end_of(scheduler: &Scheduler, run_id: &str) -> pb::Run {
    let begin = Instant::now();
    while begin.elapsed() < PATIENCE {
        let wait = Some(prost_types::Duration { seconds: 20, nanos: 0 });
        let request = pb::GetRunRequest { run_id: run_id.into(), wait, ..Default::default() };
        let Ok(answer) = scheduler.runs.clone().get_run(request).await else { continue };
        let run = answer.into_inner().run.expect("a run");
        if run.finish_time.is_some() {
            return run;
        }
    }
    panic!("run {run_id} did not end");
}

async fn messages(library: &Library) -> Vec<lib::Message> {
    let request =
        lib::ListMessagesRequest { mailbox_id: "mb".into(), page_size: 1_000, ..Default::default() };
    library.mailboxes.clone().list_messages(request).await.expect("messages").into_inner().messages
}

async fn documents(library: &Library) -> Vec<lib::Document> {
    let request = lib::ListDocumentsRequest { page_size: 1_000, ..Default::default() };
    library.documents.clone().list_documents(request).await.expect("documents").into_inner().documents
}

/// The worker is killed with -9 in the middle of its work, the key is changed, and the worker is killed again: every mail
/// is looked at once, every document is there once.
#[tokio::test(flavor = "multi_thread")]
async fn d2_killing_the_worker_in_a_first_sync_loses_and_doubles_nothing() {
    let mut mail_server = Dovecot::start();
    (0..MAILS).for_each(|n| drop(mail_server.deliver("alice", "", &mail(n))));
    mail_server.hand_over();
    let folder = tempfile::tempdir().expect("a folder");
    let scheduler_service = Plan::new("scheduler-svc", folder.path()).start().expect("scheduler-svc");
    let scheduler = Scheduler::connect(&scheduler_service).expect("clients");
    let plan = Plan::new("worker-svc", folder.path())
        .set("DOCKET_SCHEDULER__URL", format!("http://{}", scheduler_service.grpc))
        .set("DOCKET_WORKER__ID", "w1")
        .set("DOCKET_CREDENTIALS__KEY_FILE", folder.path().join("keys").display())
        .set("DOCKET_SOURCES__ALLOW_NETWORKS", "127.0.0.0/8")
        .set("DOCKET_SOURCES__CA_FILE", mail_server.ca().display());
    std::fs::create_dir_all(&plan.folder).expect("a folder");
    keys(&plan, &["create"]);
    let mut worker: Service = plan.start().expect("worker-svc");
    let plan = plan.set("DOCKET_GRPC__LISTEN", worker.grpc).set("DOCKET_HTTP__LISTEN", worker.http);
    let library = Library::connect(&worker).expect("clients");
    connect(&library, mail_server.tls_port).await;
    save(&scheduler).await;

    let run_id = trigger(&scheduler).await;
    let mut read = 0;
    // A third loss would be taken for the run's own fault.
    for kill in 0..2 {
        read = until_read(&library, read + 100).await;
        if kill == 1 {
            keys(&plan, &["add"]);
            assert!(keys(&plan, &["rotate"]).contains("1 credentials are sealed with version 2 now"));
            keys(&plan, &["remove", "1"]);
        }
        worker.kill();
        worker = plan.start().expect("a restart");
    }
    assert!(read < MAILS as i64, "it was killed in the middle");
    let run = end_of(&scheduler, &run_id).await;
    assert_eq!(run.state(), pb::RunState::Succeeded, "{run:?}");
    let found = messages(&library).await;
    let distinct: BTreeSet<_> = found.iter().map(|message| &message.source_id).collect();
    assert_eq!((found.len(), distinct.len()), (MAILS, MAILS));
    let filed = documents(&library).await;
    let numbers: BTreeSet<_> = filed.iter().filter_map(|it| it.number.as_ref()?.value.clone()).collect();
    assert_eq!((filed.len(), numbers.len()), (MAILS, MAILS));

    // All of the folder's UIDs are new, and one mail: one document.
    mail_server.forget_uids("alice", 4_711);
    mail_server.deliver("alice", "", &mail(MAILS));
    mail_server.hand_over();
    let run = end_of(&scheduler, &trigger(&scheduler).await).await;
    assert_eq!(run.state(), pb::RunState::Succeeded, "{run:?}");
    assert_eq!((messages(&library).await.len(), documents(&library).await.len()), (MAILS + 1, MAILS + 1));
}
