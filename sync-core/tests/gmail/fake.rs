//! The fake Gmail that developers run by hand, within the tests.

#[path = "../../examples/fake_gmail/answer.rs"]
pub mod answer;
#[path = "../../examples/fake_gmail/api.rs"]
pub mod api;
#[path = "../../examples/fake_gmail/mailbox.rs"]
pub mod mailbox;
#[path = "../../examples/fake_gmail/server.rs"]
pub mod server;
#[path = "../../examples/fake_gmail/world.rs"]
pub mod world;
