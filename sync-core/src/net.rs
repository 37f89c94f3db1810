//! What all connections to other machines share.

/// Chooses the implementation of cryptography for TLS, once per process: no crate below chooses one, and without it
/// the first connection would panic.
pub fn choose_cryptography() {
    // An earlier choice stands.
    let _ = rustls::crypto::ring::default_provider().install_default();
}
