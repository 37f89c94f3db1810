//! delete_missing: what the stream does not name goes, and nothing else ever does.

use docket::errors::{Reason, reason_of};
use prost::Message as _;

use super::*;

fn whole() -> pb::ImportOptions {
    pb::ImportOptions { delete_missing: true, ..upsert() }
}

fn many(from: usize, to: usize) -> Vec<pb::ScheduleRecord> {
    (from..to).map(|n| hourly(&format!("s{n:04}"))).collect()
}

#[tokio::test]
async fn what_the_stream_does_not_name_is_deleted() {
    let mut served = Served::start().await;
    served.import(upsert(), &many(0, 1_300)).await.expect("imported");
    let other = pb::ImportOptions { namespace: "shop".into(), ..upsert() };
    served.import(other, &many(0, 3)).await.expect("imported");
    let check = pb::ImportOptions { validate_only: true, ..whole() };
    let answer = served.import(check, &many(600, 610)).await.expect("checked");
    assert_eq!((counts(&answer), answer.differences.len()), ([0, 0, 10, 1_290, 0], 1_000));
    assert_eq!(answer.differences[0].change(), pb::Change::Deleted);
    assert_eq!(served.ids().await.len(), 1_300);
    let answer = served.import(whole(), &many(600, 610)).await.expect("imported");
    assert_eq!(counts(&answer), [0, 0, 10, 1_290, 0]);
    assert_eq!(served.ids().await, (600..610).map(|n| format!("s{n:04}")).collect::<Vec<_>>());
    let shop = pb::ExportSchedulesRequest { namespace: "shop".into(), filter: None };
    assert_eq!(served.export_messages(shop).await[0].schedules.len(), 3);
}

#[tokio::test]
async fn what_was_refused_was_named_too() {
    let mut served = Served::start().await;
    served.import(upsert(), &many(0, 4)).await.expect("imported");
    let mut records = many(1, 4);
    records[0].schedule.as_mut().expect("it").timing = None;
    records[2].schedule.as_mut().expect("it").namespace = "shop".into();
    let at = Timing::At(prost_types::Timestamp { seconds: 1_000, nanos: 0 });
    records[1].schedule.as_mut().expect("it").timing = Some(at);
    let answer = served.import(whole(), &records).await.expect("imported");
    assert_eq!(counts(&answer), [0, 0, 0, 1, 3]);
    assert_eq!(served.ids().await, ["s0001", "s0002", "s0003"]);
}

#[tokio::test]
async fn a_filter_says_whose_full_set_it_is() {
    let mut served = Served::start().await;
    let team = |id: &str, team: &str| {
        record(pb::Schedule { labels: [("team".into(), team.into())].into(), ..schedule(id, every(3600)) })
    };
    let all = [team("red-1", "red"), team("red-2", "red"), team("blue-1", "blue")];
    served.import(upsert(), &all).await.expect("imported");
    let filter = pb::ScheduleFilter { labels: [("team".into(), "red".into())].into(), ..Default::default() };
    let options = pb::ImportOptions { missing_filter: Some(filter), ..whole() };
    let answer = served.import(options, &all[1..2]).await.expect("imported");
    assert_eq!(counts(&answer), [0, 0, 1, 1, 0]);
    assert_eq!(served.ids().await, ["blue-1", "red-2"]);
}

#[tokio::test]
async fn a_stream_that_names_nothing_deletes_nothing() {
    let mut served = Served::start().await;
    served.import(upsert(), &many(0, 3)).await.expect("imported");
    let status = served.import(whole(), &[]).await.expect_err("empty");
    assert_eq!(reason_of(&status), Some(Reason::InvalidField));
    assert!(status.message().starts_with("options.delete_missing: "), "{}", status.message());
    assert_eq!(served.ids().await.len(), 3);
}

#[tokio::test]
async fn a_stream_with_a_message_that_does_not_decode_deletes_nothing() {
    let mut served = Served::start().await;
    served.upsert(schedule("old", every(3600))).await.expect("upsert");
    let good = super::messages(whole(), &[hourly("new")], 1);
    let mut pieces: Vec<_> = good.iter().map(|message| raw::frame(0, &message.encode_to_vec())).collect();
    pieces.push(raw::frame(0, &[0xff; 9]));
    let path = "/docket.schedule.v1.ScheduleService/ImportSchedules";
    let status = raw::send(&served, path, &[], pieces, false).await.expect("a status");
    assert_eq!(reason_of(&status), Some(Reason::MalformedMessage), "{status:?}");
    assert!(served.ids().await.contains(&"old".to_owned()));
}

/// To the server a cancelled call looks like a stream that has ended well.
#[tokio::test]
async fn a_stream_that_breaks_off_deletes_nothing() {
    let mut served = Served::start().await;
    served.upsert(schedule("old", every(3600))).await.expect("upsert");
    for round in 0..20 {
        let records: Vec<_> = (0..250).map(|n| hourly(&format!("r{round:02}-{n:03}"))).collect();
        let (messages, received) = tokio::sync::mpsc::channel(8);
        let mut client = served.schedules.clone();
        let call = tokio::spawn(async move {
            client.import_schedules(tokio_stream::wrappers::ReceiverStream::new(received)).await
        });
        for message in super::messages(whole(), &records, 250) {
            messages.send(message).await.expect("a stream");
        }
        // The server has taken what came.
        let get = pb::GetScheduleRequest { schedule_id: format!("r{round:02}-249"), ..Default::default() };
        while served.schedules.get_schedule(get.clone()).await.is_err() {}
        call.abort();
        assert!(call.await.expect_err("aborted").is_cancelled());
    }
    // What came is there, and nothing is gone: the calls that follow are later than whatever was left of those.
    let answer = served.import(upsert(), &[hourly("old")]).await.expect("imported");
    assert_eq!(counts(&answer), [0, 0, 1, 0, 0]);
    assert_eq!(served.ids().await.len(), 1 + 20 * 250);
}
