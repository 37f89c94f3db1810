//! `scheduler-svc copy`: which stores are meant, and what a person is told.

use std::{sync::Arc, time::Duration};

use anyhow::{Context as _, bail};
use clap::Args;
use scheduler_svc::{
    config::{Config, Store as StoreConfig, StoreUrl},
    copy::{self, Options},
    store::{
        Store,
        embedded::EmbeddedStore,
        redis::{self, RedisStore},
    },
};

#[derive(Args)]
pub struct Arguments {
    /// As store.url: embedded:FOLDER, redis://… . What is left out is the configured store.
    #[arg(long, value_name = "URL", required_unless_present = "to")]
    from: Option<String>,
    #[arg(long, value_name = "URL")]
    to: Option<String>,
    /// Of the keys in Redis, if it is not store.prefix.
    #[arg(long, value_name = "PREFIX")]
    from_prefix: Option<String>,
    #[arg(long, value_name = "PREFIX")]
    to_prefix: Option<String>,
    /// Give up what the target holds.
    #[arg(long)]
    replace: bool,
    /// Where an older backup is restored: the highest epoch that workers have seen (`GetStatus`). The target begins
    /// above it, so that they need not be restarted.
    #[arg(long, value_name = "EPOCH", default_value_t = 0)]
    above: u64,
}

#[allow(clippy::print_stdout)]
pub fn copy(config: &Config, ends: &Arguments) -> anyhow::Result<()> {
    let (from, to) = (end(config, &ends.from, &ends.from_prefix), end(config, &ends.to, &ends.to_prefix));
    if (&from.store.url, &from.store.prefix) == (&to.store.url, &to.store.prefix) {
        bail!("--from and --to are the same store; they may differ in URL or prefix");
    }
    let source = open(&from, "--from", true)?;
    let target = open(&to, "--to", false)?;
    println!("copies {} to {}", from.store.shown(), to.store.shown());
    let options = Options { replace: ends.replace, above: ends.above, source: from.store.shown() };
    let moved = copy::copy(&*source, &*target, &options)?;
    println!("moved and compared: {moved}");
    println!("the source is as it was: start schedulers on one of the two only");
    Ok(())
}

/// The configuration of one end.
fn end(config: &Config, url: &Option<String>, prefix: &Option<String>) -> Config {
    let store = StoreConfig {
        url: url.clone().unwrap_or_else(|| config.store.url.clone()),
        prefix: prefix.clone().unwrap_or_else(|| config.store.prefix.clone()),
        ..config.store.clone()
    };
    Config { store, ..config.clone() }
}

fn open(config: &Config, flag: &str, must_exist: bool) -> anyhow::Result<Arc<dyn Store>> {
    config.check().with_context(|| flag.to_owned())?;
    Ok(match config.store_url()? {
        StoreUrl::Memory => bail!("{flag}: a store in memory lives and ends with its process"),
        StoreUrl::Embedded(folder) if must_exist && !folder.is_dir() => {
            bail!("{flag}: there is no folder {}", folder.display())
        }
        StoreUrl::Embedded(folder) => Arc::new(EmbeddedStore::new(&folder).with_context(|| flag.to_owned())?),
        StoreUrl::Redis(address) => Arc::new(RedisStore::new(redis::Options {
            prefix: config.store.prefix.clone(),
            ca_pem: super::authority(&config.store.tls_ca_file)?,
            term: Duration::from_millis(config.store.lease_ms),
            ..redis::Options::new(address)
        })?),
    })
}
