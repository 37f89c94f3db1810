//! Consent: refreshed, rotated, revoked, and for one account.

use sync_core::archive::{MailboxSpec, MailboxState};
use sync_core::sync::Class;

use super::fake::world::Then;
use super::support::world::{job, run};
use super::world::{ANNA, REFRESH, World, numbers};

#[tokio::test]
async fn access_tokens_that_end_in_mid_run_are_refreshed_once() {
    let world = World::new().await;
    (0..60).for_each(|n| drop(world.deliver(n)));
    world.run("first").await.unwrap();
    assert_eq!(world.calls()["token"], 1, "one for all calls of the run");
    (60..70).for_each(|n| drop(world.deliver(n)));
    let expired = Then { status: Some(401), reason: Some("authError".into()), ..Then::default() };
    for call in ["profile", "history", "batch"] {
        world.order(call, 1, expired.clone());
    }
    world.run("next").await.unwrap();
    assert_eq!(world.calls()["token"], 4);
    assert_eq!(world.documents().await, numbers(0..70));
}

/// A token that was just given and is refused all the same: the consent is of no use.
#[tokio::test]
async fn a_fresh_token_that_is_refused_asks_the_user() {
    let world = World::new().await;
    world.order("list", 10, Then { status: Some(401), reason: Some("authError".into()), ..Then::default() });
    let failure = world.run("run").await.unwrap_err();
    assert_eq!((failure.class, failure.code), (Class::Reauthorize, "gmail-unauthorized"));
    assert_eq!(world.mailbox().await.state, MailboxState::Reauthorize);
}

#[tokio::test]
async fn a_revoked_consent_asks_the_user_and_connecting_again_goes_on() {
    let world = World::new().await;
    (0..3).for_each(|n| drop(world.deliver(n)));
    world.run("first").await.unwrap();
    world.with(|fake| fake.refresh_tokens.clear());
    let failure = world.run("revoked").await.unwrap_err();
    assert_eq!((failure.class, failure.code), (Class::Reauthorize, "oauth-invalid-grant"));
    let mailbox = world.mailbox().await;
    assert_eq!(mailbox.state, MailboxState::Reauthorize);
    assert!(mailbox.state_reason.contains("connect again"), "{}", mailbox.state_reason);
    world.deliver(3);
    world.with(|fake| fake.refresh_tokens.insert(REFRESH.into(), ANNA.into()));
    world.connect(&world.spec()).await;
    world.calls();
    world.run("next").await.unwrap();
    assert_eq!(world.documents().await, numbers(0..4));
    assert_eq!(world.calls().get("list"), None, "the cursor was kept");
}

/// Whatever else the token endpoint does, the user is left alone.
#[tokio::test]
async fn trouble_at_the_token_endpoint_is_not_the_users() {
    let body = |text: &str| Then { status: Some(400), body: Some(text.into()), ..Then::default() };
    let table = [
        (Then { status: Some(500), ..Then::default() }, "oauth-unavailable"),
        (Then { status: Some(429), ..Then::default() }, "oauth-unavailable"),
        (Then { status: Some(200), ..Then::default() }, "oauth-unreadable"),
        (body("{\"error\":\"invalid_gr"), "oauth-unreadable"),
        (
            body(
                r#"{"error":"invalid_grant","error_description":"Invalid JWT: check your iat and exp values"}"#,
            ),
            "oauth-clock",
        ),
    ];
    for (then, code) in table {
        let world = World::new().await;
        world.order("token", 10, then);
        let failure = world.run("run").await.unwrap_err();
        assert_eq!((failure.class, failure.code), (Class::Transient, code));
        assert_eq!(world.mailbox().await.state, MailboxState::Connected, "{code}");
    }
    // A consent that has ended, says a server whose clock is not ours.
    let world = World::new().await;
    world.with(|fake| {
        fake.refresh_tokens.clear();
        fake.now = Some(super::support::NOW + 3_600_000);
    });
    let failure = world.run("run").await.unwrap_err();
    assert_eq!((failure.class, failure.code), (Class::Transient, "oauth-clock"));
    let world = World::new().await;
    world.order(
        "token",
        1,
        Then { status: Some(401), body: Some(r#"{"error":"invalid_client"}"#.into()), ..Then::default() },
    );
    let failure = world.run("run").await.unwrap_err();
    assert_eq!((failure.class, failure.code), (Class::Permanent, "oauth-client-refused"));
    assert_eq!(world.mailbox().await.state, MailboxState::Connected, "the operator's, not the user's");
}

/// Rule D1: a rotated refresh token is the only one that works, so it is kept before anything is done with the access
/// token. The run dies at its first call; the next one gets in.
#[tokio::test]
async fn d1_a_rotated_token_survives_the_run_that_got_it() {
    let world = World::new().await;
    (0..3).for_each(|n| drop(world.deliver(n)));
    world.with(|fake| fake.rotates = true);
    world.order("profile", 1, Then { hang: true, ..Then::default() });
    let syncer = world.syncer();
    let first = job("run", 1);
    tokio::select! {
        ended = run(&syncer, &first) => panic!("{ended:?}"),
        () = async {
            while !world.with(|fake| fake.stats.calls.contains_key("profile")) {
                tokio::task::yield_now().await;
            }
        } => {}
    }
    assert!(!world.with(|fake| fake.refresh_tokens.contains_key(REFRESH)), "the old one is worthless");
    run(&syncer, &job("run", 2)).await.unwrap();
    for n in 3..6 {
        world.deliver(n);
        world.run(&format!("run-{n}")).await.unwrap();
    }
    assert_eq!(world.documents().await, numbers(0..6));
    assert_eq!(world.with(|fake| fake.tokens_made), 5);
}

#[tokio::test]
async fn another_account_behind_the_same_consent_is_refused() {
    let world = World::new().await;
    (0..3).for_each(|n| drop(world.deliver(n)));
    world.run("first").await.unwrap();
    world.with(|fake| {
        fake.mailbox("mallory@gmail.test").add(
            super::world::invoice(9).into_bytes(),
            1,
            vec!["INBOX".into()],
            false,
        );
        fake.refresh_tokens.insert(REFRESH.into(), "mallory@gmail.test".into());
    });
    let failure = world.run("switched").await.unwrap_err();
    assert_eq!((failure.class, failure.code), (Class::Permanent, "gmail-other-account"));
    assert!(failure.message.contains("mallory@gmail.test"), "{}", failure.message);
    assert_eq!(world.documents().await, numbers(0..3));
    // The address is checked from the first run on where the app has named it.
    let named = MailboxSpec { address: "Anna@gmail.test".into(), ..world.spec() };
    world.connect(&named).await;
    assert_eq!(world.run("named").await.unwrap_err().code, "gmail-other-account");
    world.with(|fake| fake.refresh_tokens.insert(REFRESH.into(), ANNA.into()));
    world.run("back").await.unwrap();
}
