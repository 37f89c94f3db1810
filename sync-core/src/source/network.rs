//! Connections to hosts that users name.
//!
//! A name of a user's choice must not lead into the operator's own network. So it is resolved once, *every* address is
//! checked, and the connection goes to an address that was checked; the name stays for TLS only. Addresses that are not
//! of the public internet are refused unless the operator allows their network.
//!
//! Whoever asks learns nothing but "not reachable": refused, timed out, not allowed and not found look the same. The
//! operator's log has the reason.

use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::Fault;

/// Ports that may be asked for outside of allowed networks: IMAP's own.
pub const PORTS: [u16; 2] = [993, 143];
/// A name with more addresses than this is cut.
const ADDRESSES_MAX: usize = 16;
const RESOLVE: Duration = Duration::from_secs(10);
/// To one address, and to all of a name together.
const CONNECT: Duration = Duration::from_secs(10);
const CONNECT_ALL: Duration = Duration::from_secs(30);

/// A block of addresses, as in `10.0.0.0/8`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Network {
    /// IPv4 in its mapped form.
    first: u128,
    /// Of 128.
    prefix: u32,
}

impl Network {
    /// None unless `text` is `ADDRESS/BITS` or a single address.
    pub fn parse(text: &str) -> Option<Self> {
        let (address, bits) = match text.trim().split_once('/') {
            Some((address, bits)) => (address, Some(bits.parse::<u32>().ok()?)),
            None => (text.trim(), None),
        };
        let address: IpAddr = address.parse().ok()?;
        let (width, offset) = if address.is_ipv4() { (32, 96) } else { (128, 0) };
        let bits = bits.unwrap_or(width);
        (bits <= width).then(|| Self { first: number(address) & mask(bits + offset), prefix: bits + offset })
    }

    pub fn contains(&self, address: IpAddr) -> bool {
        number(address) & mask(self.prefix) == self.first
    }
}

fn mask(prefix: u32) -> u128 {
    if prefix == 0 { 0 } else { u128::MAX << (128 - prefix) }
}

/// An IPv4 address and its mapped form are one.
fn number(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(address) => address.to_ipv6_mapped().to_bits(),
        IpAddr::V6(address) => address.to_bits(),
    }
}

/// Whether `address` is one of the public internet. What is reserved or unknown is not.
pub fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => is_public_v4(address),
        IpAddr::V6(address) => is_public_v6(address),
    }
}

fn is_public_v4(address: Ipv4Addr) -> bool {
    let [a, b, c, _] = address.octets();
    let is_special = match a {
        0 | 10 | 127 => true,
        100 => b & 0xc0 == 64,
        169 => b == 254,
        172 => b & 0xf0 == 16,
        // Protocol assignments, documentation, the 6to4 relay's anycast, private.
        192 => (b == 0 && matches!(c, 0 | 2)) || (b == 88 && c == 99) || b == 168,
        198 => matches!(b, 18 | 19) || (b == 51 && c == 100),
        203 => b == 0 && c == 113,
        // Multicast and above.
        224.. => true,
        _ => false,
    };
    // The metadata service of a cloud, among public addresses.
    !is_special && address != Ipv4Addr::new(168, 63, 129, 16)
}

fn is_public_v6(address: Ipv6Addr) -> bool {
    if let Some(inner) = embedded(address) {
        return is_public_v4(inner);
    }
    let parts = address.segments();
    // Only 2000::/3 is given out; within it are Teredo, benchmarking, ORCHID (2001::/23) and documentation.
    let is_global = parts[0] & 0xe000 == 0x2000;
    let is_protocol = parts[0] == 0x2001 && parts[1] < 0x0200;
    let is_documentation =
        (parts[0] == 0x2001 && parts[1] == 0x0db8) || (parts[0] == 0x3fff && parts[1] < 0x1000);
    is_global && !is_protocol && !is_documentation
}

/// The IPv4 address that packets to this IPv6 address come to in the end.
fn embedded(address: Ipv6Addr) -> Option<Ipv4Addr> {
    let parts = address.segments();
    let of = |high: u16, low: u16| Some(Ipv4Addr::from((u32::from(high) << 16) | u32::from(low)));
    match parts {
        [0, 0, 0, 0, 0, 0xffff, high, low] => of(high, low),
        // NAT64; its local prefix 64:ff9b:1::/48 is not public at all.
        [0x64, 0xff9b, 0, 0, 0, 0, high, low] => of(high, low),
        // 6to4.
        [0x2002, high, low, ..] => of(high, low),
        _ => None,
    }
}

/// Addresses of a name.
pub trait Resolve: Send + Sync {
    fn resolve<'a>(&'a self, host: &'a str, port: u16) -> BoxFuture<'a, io::Result<Vec<IpAddr>>>;
}

/// The machine's own resolver.
#[derive(Debug)]
pub struct System;

impl Resolve for System {
    fn resolve<'a>(&'a self, host: &'a str, port: u16) -> BoxFuture<'a, io::Result<Vec<IpAddr>>> {
        Box::pin(async move {
            let found = tokio::net::lookup_host((host, port)).await?;
            Ok(found.map(|address| address.ip()).take(ADDRESSES_MAX).collect())
        })
    }
}

/// Opens connections to hosts that users name.
#[derive(Clone)]
pub struct Dialer {
    allowed: Vec<Network>,
    resolver: Arc<dyn Resolve>,
}

impl fmt::Debug for Dialer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Dialer").field("allowed", &self.allowed).finish_non_exhaustive()
    }
}

/// For the operator's log.
#[derive(Debug, thiserror::Error)]
enum Why {
    #[error("the name does not resolve: {0}")]
    Unresolved(io::Error),
    #[error("the name resolves to nothing")]
    Nothing,
    #[error("the address {0} is not allowed; sources.allow_networks may allow it")]
    Forbidden(IpAddr),
    #[error(
        "port {0} is not one of IMAP; sources.allow_networks allows other ports in networks that it names"
    )]
    Port(u16),
    #[error("its addresses do not answer")]
    Slow,
    #[error("no connection to {0}: {1}")]
    Failed(SocketAddr, io::Error),
}

impl Dialer {
    /// `allowed`: networks that are not public and may be reached nevertheless, on any port.
    pub fn new(allowed: Vec<Network>) -> Self {
        Self::with_resolver(allowed, Arc::new(System))
    }

    pub fn with_resolver(allowed: Vec<Network>, resolver: Arc<dyn Resolve>) -> Self {
        Self { allowed, resolver }
    }

    /// # Errors
    /// One fault, whatever the reason.
    pub async fn connect(&self, host: &str, port: u16) -> Result<TcpStream, Fault> {
        self.dial(host, port).await.map_err(|why| {
            let host = crate::text::clean(host, 253);
            tracing::warn!(host, port, %why, "a mail server was not reached");
            unreachable()
        })
    }

    async fn dial(&self, host: &str, port: u16) -> Result<TcpStream, Why> {
        let addresses = self.addresses(host, port).await?;
        if let Some(forbidden) = addresses.iter().find(|address| !self.may_reach(**address)) {
            return Err(Why::Forbidden(*forbidden));
        }
        if !PORTS.contains(&port) && !addresses.iter().all(|address| self.is_allowed(*address)) {
            return Err(Why::Port(port));
        }
        timeout(CONNECT_ALL, first_that_answers(addresses, port)).await.unwrap_or(Err(Why::Slow))
    }
    async fn addresses(&self, host: &str, port: u16) -> Result<Vec<IpAddr>, Why> {
        if let Ok(address) = host.parse() {
            return Ok(vec![address]);
        }
        let resolved = timeout(RESOLVE, self.resolver.resolve(host, port)).await;
        resolved.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into())).map_err(Why::Unresolved)
    }

    fn may_reach(&self, address: IpAddr) -> bool {
        is_public(address) || self.is_allowed(address)
    }

    fn is_allowed(&self, address: IpAddr) -> bool {
        self.allowed.iter().any(|network| network.contains(address))
    }
}

async fn first_that_answers(addresses: Vec<IpAddr>, port: u16) -> Result<TcpStream, Why> {
    let mut last = Why::Nothing;
    for address in addresses {
        let address = SocketAddr::new(address, port);
        let connected = timeout(CONNECT, TcpStream::connect(address)).await;
        match connected.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into())) {
            Ok(stream) => {
                let _ = stream.set_nodelay(true);
                return Ok(stream);
            }
            Err(error) => last = Why::Failed(address, error),
        }
    }
    Err(last)
}

/// The one thing that is said about a server that does not answer as a mail server would.
pub fn unreachable() -> Fault {
    Fault::transient(
        "mail-server-unreachable",
        "the mail server cannot be reached over TLS: check host, port and security",
    )
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    fn public(text: &str) -> bool {
        is_public(text.parse().unwrap())
    }

    #[test]
    fn only_the_public_internet_is_public() {
        for text in [
            "8.8.8.8",
            "1.1.1.1",
            "100.63.255.255",
            "100.128.0.1",
            "172.15.0.1",
            "172.32.0.1",
            "192.0.1.1",
            "169.253.0.1",
            "2606:4700::1111",
            "2a00:1450::1",
            "::ffff:8.8.8.8",
            "64:ff9b::808:808",
            "2002:808:808::1",
        ] {
            assert!(public(text), "{text}");
        }
        for text in [
            "127.0.0.1",
            "127.255.255.255",
            "10.0.0.1",
            "172.16.0.1",
            "172.31.255.255",
            "192.168.1.1",
            "0.0.0.0",
            "169.254.169.254",
            "100.64.0.1",
            "100.100.100.200",
            "192.0.0.192",
            "192.0.2.1",
            "198.51.100.1",
            "203.0.113.1",
            "198.18.0.1",
            "224.0.0.1",
            "239.1.1.1",
            "240.0.0.1",
            "255.255.255.255",
            "168.63.129.16",
            "::",
            "::1",
            "::ffff:10.0.0.1",
            "::ffff:127.0.0.1",
            "::10.0.0.1",
            "fe80::1",
            "fec0::1",
            "fc00::1",
            "fd00:ec2::254",
            "ff02::1",
            "2001:db8::1",
            "3fff::1",
            "2001::1",
            "2001:10::1",
            "100::1",
            "64:ff9b::a00:1",
            "64:ff9b::a9fe:a9fe",
            "64:ff9b:1::808:808",
            "2002:7f00:1::",
            "2002:a9fe:a9fe::1",
        ] {
            assert!(!public(text), "{text}");
        }
    }

    #[test]
    fn networks() {
        let contains = |network: &str, address: &str| {
            Network::parse(network).unwrap().contains(address.parse().unwrap())
        };
        assert!(contains("10.0.0.0/8", "10.255.0.1") && !contains("10.0.0.0/8", "11.0.0.1"));
        assert!(contains("10.1.2.3/8", "10.0.0.1"), "bits behind the prefix do not matter");
        assert!(contains("127.0.0.1", "127.0.0.1") && !contains("127.0.0.1", "127.0.0.2"));
        assert!(contains("127.0.0.1", "::ffff:127.0.0.1"), "the mapped form is the same host");
        assert!(contains("fd00::/8", "fd12::1") && !contains("fd00::/8", "fe80::1"));
        assert!(contains("0.0.0.0/0", "8.8.8.8") && !contains("0.0.0.0/0", "::1"));
        for bad in ["", "10.0.0.0/33", "fd00::/129", "10/8", "x", "10.0.0.0/-1", "10.0.0.0/8/8"] {
            assert_eq!(Network::parse(bad), None, "{bad}");
        }
    }

    /// Another address at each question.
    struct Flips(Vec<Vec<&'static str>>, AtomicUsize);

    impl Resolve for Flips {
        fn resolve<'a>(&'a self, _: &'a str, _: u16) -> BoxFuture<'a, io::Result<Vec<IpAddr>>> {
            let at = self.1.fetch_add(1, Ordering::SeqCst);
            let found = self.0[at.min(self.0.len() - 1)].iter().map(|text| text.parse().unwrap()).collect();
            Box::pin(std::future::ready(Ok(found)))
        }
    }

    async fn dial(
        allowed: &str,
        answers: Vec<Vec<&'static str>>,
        port: u16,
    ) -> (Result<TcpStream, Why>, usize) {
        let flips = Arc::new(Flips(answers, AtomicUsize::new(0)));
        let allowed = Network::parse(allowed).into_iter().collect();
        let dialer = Dialer::with_resolver(allowed, flips.clone());
        let dialed = dialer.dial("mail.example", port).await;
        (dialed, flips.1.load(Ordering::SeqCst))
    }

    #[tokio::test]
    async fn a_name_is_resolved_once_and_all_of_it_is_checked() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let (refused, _) = dial("", vec![vec!["127.0.0.1"]], port).await;
        assert!(matches!(refused, Err(Why::Forbidden(_))));
        let (connected, asked) = dial("127.0.0.1", vec![vec!["127.0.0.1"], vec!["10.0.0.1"]], port).await;
        assert_eq!((connected.unwrap().peer_addr().unwrap().port(), asked), (port, 1));
        // One bad address spoils the name, wherever it stands.
        let (mixed, _) = dial("127.0.0.1", vec![vec!["127.0.0.1", "169.254.169.254"]], port).await;
        assert!(matches!(mixed, Err(Why::Forbidden(_))));
        let (nothing, _) = dial("", vec![vec![]], 993).await;
        assert!(matches!(nothing, Err(Why::Nothing)));
        let (port, _) = dial("", vec![vec!["8.8.8.8"]], 22).await;
        assert!(matches!(port, Err(Why::Port(22))));
        let dialer = Dialer::new(vec![]);
        for host in ["127.0.0.1", "::1", "169.254.169.254", "::ffff:10.0.0.1", "100.64.0.1", "localhost"] {
            assert_eq!(dialer.connect(host, 993).await.unwrap_err(), unreachable(), "{host}");
        }
    }
}
