//! Chance from a seed: one stream per source, so that a change of one source leaves the others as they were.

/// A stream of numbers (splitmix64). Our own, so that a seed means the same for ever.
#[derive(Clone, Debug)]
pub struct Chance(u64);

impl Chance {
    pub fn new(seed: u64, source: &str) -> Self {
        let name = source.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
        });
        let mut chance = Self(seed ^ name);
        chance.draw();
        chance
    }

    pub fn draw(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// 0 to `sides` − 1.
    pub fn roll(&mut self, sides: u64) -> u64 {
        self.draw() % sides.max(1)
    }

    /// Both included.
    pub fn between(&mut self, low: u64, high: u64) -> u64 {
        low + self.roll(high - low + 1)
    }

    /// In `of` a thousand.
    pub fn happens(&mut self, of: u64) -> bool {
        self.roll(1_000) < of
    }

    pub fn pick<'a, T>(&mut self, from: &'a [T]) -> &'a T {
        &from[self.roll(from.len() as u64) as usize]
    }

    /// One of the weighted choices.
    pub fn weigh<T: Copy>(&mut self, from: &[(u64, T)]) -> T {
        let mut left = self.roll(from.iter().map(|(weight, _)| weight).sum());
        for (weight, choice) in from {
            if left < *weight {
                return *choice;
            }
            left -= weight;
        }
        from[0].1
    }
}

/// All sources of one world.
#[derive(Debug)]
pub struct Sources {
    pub faults: Chance,
    pub clocks: Chance,
    pub network: Chance,
    pub store: Chance,
    pub workers: Chance,
    pub jobs: Chance,
    pub lies: Chance,
    pub app: Chance,
    pub ids: Chance,
}

impl Sources {
    pub fn new(seed: u64) -> Self {
        let source = |name| Chance::new(seed, name);
        Self {
            faults: source("faults"),
            clocks: source("clocks"),
            network: source("network"),
            store: source("store"),
            workers: source("workers"),
            jobs: source("jobs"),
            lies: source("lies"),
            app: source("app"),
            ids: source("ids"),
        }
    }
}
