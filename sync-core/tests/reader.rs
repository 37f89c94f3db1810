//! Real reader processes that misbehave in every way we know: each must end alone, say why, and leave the
//! pool working. This program is its own child, so it has its own `main` instead of the test harness.

#[path = "bad_input/made.rs"]
mod made;

use std::fs::File;
use std::net::TcpStream;
use std::time::Duration;

use bytes::Bytes;
use sync_core::document::{FoundDocument, Kind, Limits, MessageHead, ReadMessage, State};
use sync_core::reader::{Bounds, Command, Death, Error, Pool, Reader, serve};

const CHILD: &str = "read-mail";

fn main() {
    if std::env::args().nth(1).as_deref() == Some(CHILD) {
        std::process::exit(serve(std::io::stdin(), std::io::stdout(), misbehave));
    }
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    runtime.block_on(async {
        every_death_ends_only_its_child().await;
        nothing_can_be_opened_and_nothing_is_inherited().await;
        a_panic_is_an_answer_and_the_child_is_replaced().await;
        children_are_reused_and_recycled().await;
        a_hanging_child_is_killed_by_the_wall_clock().await;
        a_cancelled_read_kills_its_child().await;
        children_work_side_by_side().await;
        the_largest_mail_fits_the_default_memory().await;
        bombs_hurt_their_child_at_most().await;
        a_program_that_cannot_start_is_no_messages_fault().await;
    });
}

fn pool(bounds: Bounds) -> Pool {
    let program = std::env::current_exe().expect("this program");
    Pool::new(Command { program, arguments: vec![CHILD.into()] }, 2, 64 << 20, bounds)
}

fn quick() -> Bounds {
    Bounds { cpu_seconds: 1, ..Bounds::default() }
}

async fn ask(pool: &Pool, raw: &str) -> Result<ReadMessage, Error> {
    pool.read(Bytes::copy_from_slice(raw.as_bytes())).await.map(|reading| reading.message)
}

/// What the child answers under `subject`.
async fn say(pool: &Pool, raw: &str) -> String {
    ask(pool, raw).await.expect(raw).head.subject
}

async fn death(pool: &Pool, raw: &str) -> Death {
    match ask(pool, raw).await {
        Err(Error::Died(death)) => death,
        other => panic!("{raw}: {other:?}"),
    }
}

async fn every_death_ends_only_its_child() {
    let pool = pool(quick());
    for (raw, expected) in [
        ("allocate", Death::Memory),
        ("spin", Death::Time),
        ("recurse", Death::Stack),
        ("exit", Death::Exit(7)),
        ("abort", Death::Signal(libc::SIGABRT)),
        ("kill", Death::Signal(libc::SIGKILL)),
        ("garbage", Death::Garbage),
        ("huge frame", Death::Garbage),
    ] {
        assert_eq!(death(&pool, raw).await, expected, "{raw}");
        assert_eq!(say(&pool, "hello").await, "hello", "after {raw}");
    }
    assert!(matches!(ask(&pool, "refuse").await, Err(Error::Refused(reason)) if reason == "not a mail"));
}

async fn nothing_can_be_opened_and_nothing_is_inherited() {
    let pool = pool(quick());
    assert!(say(&pool, "open file").await.contains("os error 24"), "no descriptor is left");
    assert!(say(&pool, "open socket").await.contains("os error 24"), "no descriptor is left");
    assert_eq!(say(&pool, "descriptors").await, "0,1,2");
    assert_eq!(say(&pool, "environment").await, "MALLOC_ARENA_MAX");
    // SAFETY: getpgrp has no preconditions.
    assert_ne!(say(&pool, "group").await, unsafe { libc::getpgrp() }.to_string());
}

async fn a_panic_is_an_answer_and_the_child_is_replaced() {
    let pool = pool(quick());
    let before = say(&pool, "pid").await;
    assert_eq!(death(&pool, "panic").await, Death::Panic);
    assert_ne!(say(&pool, "pid").await, before);
}

async fn children_are_reused_and_recycled() {
    let pool = pool(Bounds { messages: 3, ..quick() });
    let mut pids = Vec::new();
    for _ in 0..6 {
        pids.push(say(&pool, "pid").await);
    }
    assert!(pids[..3].iter().all(|pid| *pid == pids[0]));
    assert!(pids[3..].iter().all(|pid| *pid == pids[3] && *pid != pids[0]));
    assert_eq!(pool.idle(), 0, "the sixth message was the child's last");

    let grown = self::pool(Bounds { recycle_memory: 64 << 20, ..quick() });
    say(&grown, "grow").await;
    assert_eq!(grown.idle(), 0, "a child that grew is not used again");
}

async fn a_hanging_child_is_killed_by_the_wall_clock() {
    let pool = pool(Bounds { wall: Duration::from_millis(300), ..Bounds::default() });
    assert_eq!(death(&pool, "hang").await, Death::Time);
    assert_eq!(pool.idle(), 0);
}

async fn a_cancelled_read_kills_its_child() {
    let pool = pool(quick());
    let pid: i32 = say(&pool, "pid").await.parse().expect("a pid");
    let hanging = pool.read(Bytes::from_static(b"hang"));
    assert!(tokio::time::timeout(Duration::from_millis(50), hanging).await.is_err());
    // SAFETY: waitpid may be called with any pid; WNOHANG keeps it from blocking.
    while unsafe { libc::kill(pid, 0) } == 0 {
        tokio::task::yield_now().await;
    }
}

async fn children_work_side_by_side() {
    let pool = pool(quick());
    let pids = tokio::join!(say(&pool, "pid"), say(&pool, "pid"));
    assert_ne!(pids.0, pids.1);
    let many = (0..50).map(|n| {
        let pool = &pool;
        async move { assert_eq!(say(pool, &format!("n{n}")).await, format!("n{n}")) }
    });
    futures_util::future::join_all(many).await;
    assert_eq!(pool.idle(), 2);
}

/// 50 MiB with one attachment, really parsed and its content copied out.
async fn the_largest_mail_fits_the_default_memory() {
    let head =
        "From: a@b.example\r\nContent-Type: application/pdf\r\nContent-Transfer-Encoding: base64\r\n\r\n";
    let line = format!("{}\r\n", "QUJD".repeat(19));
    let size = Limits::default().message_bytes;
    let mut raw = String::with_capacity(size);
    raw.push_str(head);
    while raw.len() + line.len() <= size {
        raw.push_str(&line);
    }
    let pool = pool(Bounds::default());
    let reading = pool.read(Bytes::from(raw)).await.expect("a large mail");
    assert!(reading.message.documents[0].content.len() > 35 << 20);
    assert!(reading.held.is_some());
}

/// Bad inputs 44 and 46, as they are really read: what stands behind them is read as if they had not been.
async fn bombs_hurt_their_child_at_most() {
    let pool = pool(Bounds { cpu_seconds: 5, ..Bounds::default() });
    let text = "Nordwind Ltd\nInvoice 2026-17\nDate: 4 March 2026\nTotal 120.00 EUR";
    let mut layers = vec![0; 400 << 20];
    for _ in 0..5 {
        layers = made::deflated(&layers);
    }
    let filters = "/Filter[/FlateDecode/FlateDecode/FlateDecode/FlateDecode/FlateDecode]";
    let flood = made::with(text, "", &[made::stream(filters, &layers)]);
    let flood = replaced(&flood, b"/Contents 4", b"/Contents 6");
    let deep = made::with(text, "/X 6 0 R", &["[".repeat(1 << 20).into_bytes()]);
    for bomb in [flood, deep] {
        let outcome = pool.read(attached(&bomb)).await.map(|reading| reading.message);
        assert!(
            matches!(&outcome, Err(Error::Died(_)))
                || outcome.as_ref().is_ok_and(|it| it
                    .documents
                    .iter()
                    .all(|it| it.state != State::Filed || it.fields.total.value.is_some())),
            "{outcome:?}"
        );
        let good = pool.read(attached(&made::of_text(text))).await.expect("a good mail").message;
        assert_eq!(good.documents[0].fields.total.value.as_deref(), Some("120.00"));
    }
}

/// A mail that is really read.
fn attached(pdf: &[u8]) -> Bytes {
    let head = "X-Real: yes\nSubject: Invoice\nContent-Type: application/pdf; name=invoice.pdf\n\
                Content-Disposition: attachment; filename=invoice.pdf\nContent-Transfer-Encoding: binary\n\n";
    [head.as_bytes(), pdf].concat().into()
}

fn replaced(bytes: &[u8], from: &[u8], to: &[u8]) -> Vec<u8> {
    let at = bytes.windows(from.len()).position(|it| it == from).expect("it is there");
    [&bytes[..at], to, &bytes[at + from.len()..]].concat()
}

async fn a_program_that_cannot_start_is_no_messages_fault() {
    let nothing = Command { program: "/nonexistent/reader".into(), arguments: vec![] };
    let pool = Pool::new(nothing, 1, 1, quick());
    assert!(matches!(ask(&pool, "hello").await, Err(Error::Unavailable(_))));
}

/// The child's reader: does what the message tells it to.
fn misbehave(raw: &[u8], limits: &Limits) -> Result<ReadMessage, String> {
    if raw.starts_with(b"X-Real") {
        return sync_core::read::read_message(raw, limits);
    }
    let text = std::str::from_utf8(raw).unwrap_or_default();
    let mut message = ReadMessage::default();
    message.head.subject = match text {
        "allocate" => allocate(),
        "spin" => spin(),
        "recurse" => recurse(0).to_string(),
        "exit" => std::process::exit(7),
        "abort" => std::process::abort(),
        "kill" => signal_self(),
        "garbage" => answer(b"\x05\0\0\0what?"),
        "huge frame" => answer(b"\xff\xff\xff\xff"),
        "refuse" => return Err("not a mail".into()),
        "panic" => panic!("as told"),
        "hang" => loop {
            std::thread::park();
        },
        "grow" => (vec![1_u8; 100 << 20].iter().map(|byte| u64::from(*byte)).sum::<u64>()).to_string(),
        "open file" => format!("{:?}", File::open("/etc/hostname").map_err(|error| error.to_string())),
        "open socket" => {
            format!("{:?}", TcpStream::connect(("127.0.0.1", 1)).map_err(|error| error.to_string()))
        }
        "descriptors" => descriptors(),
        "environment" => std::env::vars().map(|(name, _)| name).collect::<Vec<_>>().join(","),
        // SAFETY: getpgrp has no preconditions.
        "group" => unsafe { libc::getpgrp() }.to_string(),
        "pid" => std::process::id().to_string(),
        _ if raw.len() > 1 << 20 => return Ok(parse(raw)),
        other => other.into(),
    };
    Ok(message)
}

fn allocate() -> String {
    let mut hoard = Vec::new();
    loop {
        hoard.push(vec![1_u8; 1 << 20]);
    }
}

fn spin() -> String {
    loop {
        std::hint::spin_loop();
    }
}

#[allow(unconditional_recursion)]
fn recurse(depth: u64) -> u64 {
    let here = std::hint::black_box([depth; 64]);
    recurse(depth + 1) + here[0]
}

fn signal_self() -> String {
    // SAFETY: raise has no preconditions.
    unsafe { libc::raise(libc::SIGKILL) };
    String::new()
}

/// Writes past the protocol and waits for the verdict.
fn answer(bytes: &[u8]) -> String {
    // SAFETY: the pointer and length are those of a live slice.
    unsafe { libc::write(1, bytes.as_ptr().cast(), bytes.len()) };
    loop {
        std::thread::park();
    }
}

fn descriptors() -> String {
    // SAFETY: F_GETFD only asks.
    let open = (0..1024).filter(|fd| unsafe { libc::fcntl(*fd, libc::F_GETFD) } != -1);
    open.map(|fd| fd.to_string()).collect::<Vec<_>>().join(",")
}

fn parse(raw: &[u8]) -> ReadMessage {
    use mail_parser::{MessageParser, MimeHeaders};
    let mail = MessageParser::default().parse(raw).expect("a mail");
    let part = mail.parts.first().expect("a part");
    let document = FoundDocument {
        kind: Kind::Invoice,
        state: State::Filed,
        confidence: 1.0,
        fields: Default::default(),
        part: "1".into(),
        file_name: part.attachment_name().map(str::to_owned),
        media_type: "application/pdf".into(),
        flags: vec![],
        content: part.contents().to_vec(),
    };
    ReadMessage { head: MessageHead::default(), documents: vec![document], reason: String::new() }
}
