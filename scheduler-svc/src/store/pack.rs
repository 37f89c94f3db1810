//! Many small values in few allocations, while a store is loaded: what a million records leave free when they have been
//! read is whole blocks then, that go back to the system.
//!
//! An allocator may keep smaller blocks for later use (glibc those of up to 32 MiB, once it has freed a few); what is
//! never written of a block takes no memory.

use bytes::{Bytes, BytesMut};

const BLOCK: usize = 33 << 20;

#[derive(Default)]
pub struct Packer(BytesMut);

impl Packer {
    /// A copy. It keeps its whole block in memory.
    pub fn pack(&mut self, value: &[u8]) -> Bytes {
        if self.0.capacity() < value.len() {
            self.0 = BytesMut::with_capacity(value.len().max(BLOCK));
        }
        self.0.extend_from_slice(value);
        self.0.split().freeze()
    }
}
