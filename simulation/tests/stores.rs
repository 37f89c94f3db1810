//! The simulation on real stores: the same seed has the same trace, whatever keeps the records.

#[path = "../../tests/harness/redis.rs"]
mod redis;

use std::{path::Path, sync::Arc, time::Duration};

use redis::Redis;
use scheduler_svc::store::{
    Store,
    embedded::EmbeddedStore,
    memory::MemoryStore,
    redis::{Options, RedisStore, connect::Address},
};
use simulation::{
    run::{simulate, simulate_on},
    store::Durable,
};

fn traces_are_equal(seeds: std::ops::Range<u64>, store: impl Fn(&Path) -> Arc<dyn Store>) {
    for seed in seeds {
        let folder = tempfile::tempdir().expect("a folder");
        let on = Durable::on(store(folder.path()));
        let (simulated, real) = (simulate(seed, true), simulate_on(seed, true, on));
        assert!(real.broken.is_none(), "seed {seed} broke {:?}", real.broken);
        for (line, other) in simulated.all.iter().zip(&real.all) {
            assert_eq!(line, other, "seed {seed}");
        }
        assert_eq!((simulated.lines, simulated.trace), (real.lines, real.trace), "seed {seed}");
    }
}

#[test]
fn the_same_on_a_memory_store() {
    traces_are_equal(1..41, |_| Arc::new(MemoryStore::default()));
}

#[test]
fn the_same_on_an_embedded_store() {
    traces_are_equal(1..9, |folder| Arc::new(EmbeddedStore::new(folder).expect("a store")));
}

#[test]
fn the_same_on_redis() {
    let folder = tempfile::tempdir().expect("a folder");
    let redis = Redis::start(folder.path());
    let seen = std::cell::Cell::new(0);
    traces_are_equal(1..21, |_| {
        seen.set(seen.get() + 1);
        let address = Address::parse(&redis.url()).expect("an address");
        let options = Options {
            prefix: format!("seed-{}", seen.get()),
            grant: Duration::ZERO,
            courtesy: Duration::ZERO,
            ..Options::new(address)
        };
        Arc::new(RedisStore::new(options).expect("a store"))
    });
}
