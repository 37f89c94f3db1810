//! Stands between a client and a Redis, both on sockets of files, and does what networks do.

#![allow(dead_code)] // Each user of this module uses a part of it.

use std::{
    io::{Read as _, Write as _},
    net::Shutdown,
    os::unix::net::{UnixListener, UnixStream},
    path::{Path, PathBuf},
    sync::{Arc, Condvar, Mutex, MutexGuard},
    thread,
};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    None,
    /// Nobody gets through, and whoever was is cut off.
    Refuse,
    /// So many bytes of answers still come through; then that connection is reset, and all is well again.
    CutAfter(usize),
    /// Answers wait until the fault is over.
    Hold,
}

pub struct Proxy {
    socket: PathBuf,
    state: Arc<State>,
}

struct State {
    inner: Mutex<Inner>,
    changed: Condvar,
}

struct Inner {
    target: PathBuf,
    fault: Fault,
    /// Both ends of each connection.
    lines: Vec<UnixStream>,
    /// Connections that were asked for.
    knocks: u64,
    /// How many bytes of answers have come through.
    answered: usize,
}

impl State {
    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().expect("no panic in a proxy")
    }

    fn serve(self: Arc<Self>, client: UnixStream) {
        let server = {
            let mut inner = self.inner();
            inner.knocks += 1;
            self.changed.notify_all();
            let refused = inner.fault == Fault::Refuse;
            let Ok(server) = UnixStream::connect(&inner.target) else { return };
            if refused {
                return;
            }
            inner
                .lines
                .extend([client.try_clone().expect("a socket"), server.try_clone().expect("a socket")]);
            server
        };
        let (mut from, mut to) =
            (client.try_clone().expect("a socket"), server.try_clone().expect("a socket"));
        thread::spawn(move || {
            let _ = std::io::copy(&mut from, &mut to);
            let _ = to.shutdown(Shutdown::Both);
        });
        thread::spawn(move || {
            self.answer(server, &client);
            let _ = client.shutdown(Shutdown::Both);
        });
    }

    fn answer(&self, mut server: UnixStream, mut client: &UnixStream) {
        let mut bytes = [0; 16 << 10];
        while let Ok(count @ 1..) = server.read(&mut bytes) {
            let mut inner = self.inner();
            while inner.fault == Fault::Hold {
                inner = self.changed.wait(inner).expect("no panic in a proxy");
            }
            let (passes, cut) = match inner.fault {
                Fault::CutAfter(left) if left < count => (left, true),
                Fault::CutAfter(left) => {
                    inner.fault = Fault::CutAfter(left - count);
                    (count, false)
                }
                Fault::Refuse => return,
                Fault::None | Fault::Hold => (count, false),
            };
            if cut {
                inner.fault = Fault::None;
            }
            inner.answered += passes;
            drop(inner);
            if client.write_all(&bytes[..passes]).is_err() || cut {
                let _ = server.shutdown(Shutdown::Both);
                return;
            }
        }
    }
}

impl Proxy {
    /// `socket` is where clients connect, `target` the server's socket.
    pub fn start(socket: &Path, target: &Path) -> Self {
        let listener = UnixListener::bind(socket).expect("a socket");
        let inner =
            Inner { target: target.into(), fault: Fault::None, lines: Vec::new(), knocks: 0, answered: 0 };
        let state = Arc::new(State { inner: Mutex::new(inner), changed: Condvar::new() });
        let serving = state.clone();
        thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                serving.clone().serve(client);
            }
        });
        Self { socket: socket.into(), state }
    }

    pub fn url(&self) -> String {
        format!("redis+unix://{}", self.socket.display())
    }

    pub fn set(&self, fault: Fault) {
        let mut inner = self.state.inner();
        inner.fault = fault;
        if fault == Fault::Refuse {
            Self::cut_all(&mut inner);
        }
        self.state.changed.notify_all();
    }

    pub fn fault(&self) -> Fault {
        self.state.inner().fault
    }

    /// From now on another server is reached, as after a change of its address. Whoever was connected is cut off.
    pub fn lead_to(&self, target: &Path) {
        let mut inner = self.state.inner();
        inner.target = target.into();
        Self::cut_all(&mut inner);
    }

    fn cut_all(inner: &mut Inner) {
        for line in inner.lines.drain(..) {
            let _ = line.shutdown(Shutdown::Both);
        }
    }

    /// How many bytes of answers have come through so far.
    pub fn answered(&self) -> usize {
        self.state.inner().answered
    }

    /// How many connections have been asked for so far.
    pub fn knocks(&self) -> u64 {
        self.state.inner().knocks
    }

    /// Waits until so many connections have been asked for.
    pub fn until_knocks(&self, count: u64) {
        let mut inner = self.state.inner();
        while inner.knocks < count {
            inner = self.state.changed.wait(inner).expect("no panic in a proxy");
        }
    }
}
