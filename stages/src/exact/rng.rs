//! Random numbers from a counter: Philox4x32-10 (Salmon et al. 2011, "Parallel random numbers: as easy as 1, 2, 3").
//!
//! A [`Stream`] is named by (seed, purpose, epoch, step); draw `i` of a stream is a pure function of its name and `i`.
//! No global state exists, so that leaving out one use of randomness never shifts another. Who draws what is the
//! caller's business; a purpose once used must keep its spelling, for it is part of the numbers.

use super::math;

/// Ten rounds of Philox4x32: a bijection of the counter for every key.
#[inline(always)]
pub fn philox4x32(mut counter: [u32; 4], mut key: [u32; 2]) -> [u32; 4] {
    for round in 0..10 {
        if round > 0 {
            key = [key[0].wrapping_add(0x9E37_79B9), key[1].wrapping_add(0xBB67_AE85)];
        }
        let a = u64::from(counter[0]) * 0xD251_1F53;
        let b = u64::from(counter[2]) * 0xCD9E_8D57;
        counter = [(b >> 32) as u32 ^ counter[1] ^ key[0], b as u32, (a >> 32) as u32 ^ counter[3] ^ key[1], a as u32];
    }
    counter
}

/// A named sequence of random numbers with a position.
///
/// Draws taken in order ([`Stream::next_u32`] and all that is built on it) advance the position; draws by index
/// ([`Stream::u32_at`]) do not. Both read the same sequence of 2^66 draws.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stream {
    key: [u32; 2],
    /// The upper half of the counter.
    lane: [u32; 2],
    /// Draws taken.
    position: u64,
    /// The block that holds draw `position`, once it was asked for.
    block: [u32; 4],
}

impl Stream {
    /// The stream of this name, at its start.
    ///
    /// Key and upper counter half are the first 16 bytes of BLAKE3 (derive-key mode) over seed, epoch, step (u64, little
    /// endian) and the purpose's UTF-8 bytes.
    pub fn new(seed: u64, purpose: &str, epoch: u64, step: u64) -> Stream {
        let mut hasher = blake3::Hasher::new_derive_key("repro 2026-11 random stream v1");
        for number in [seed, epoch, step] {
            hasher.update(&number.to_le_bytes());
        }
        hasher.update(purpose.as_bytes());
        let digest = hasher.finalize();
        let mut words = digest.as_bytes().as_chunks::<4>().0.iter().map(|b| u32::from_le_bytes(*b));
        let mut word = || words.next().unwrap_or_default();
        Stream { key: [word(), word()], lane: [word(), word()], position: 0, block: [0; 4] }
    }

    /// Draw `index`, whatever the position.
    #[inline(always)]
    pub fn u32_at(&self, index: u64) -> u32 {
        self.block_at(index / 4)[(index % 4) as usize]
    }

    /// Draws `4·index .. 4·index + 4`, whatever the position.
    #[inline(always)]
    pub fn block_at(&self, index: u64) -> [u32; 4] {
        philox4x32([index as u32, (index >> 32) as u32, self.lane[0], self.lane[1]], self.key)
    }

    /// The next draw: 32 random bits.
    pub fn next_u32(&mut self) -> u32 {
        let within = (self.position % 4) as usize;
        if within == 0 {
            self.block = self.block_at(self.position / 4);
        }
        self.position = self.position.wrapping_add(1);
        self.block[within]
    }

    /// 64 random bits: two draws, the first one low.
    pub fn next_u64(&mut self) -> u64 {
        let low = u64::from(self.next_u32());
        u64::from(self.next_u32()) << 32 | low
    }

    /// Uniform in `[0, 1)`, a multiple of 2^-24.
    pub fn uniform(&mut self) -> f32 {
        unit_f32(self.next_u32())
    }

    /// Uniform in `[0, 1)`, a multiple of 2^-53.
    pub fn uniform_f64(&mut self) -> f64 {
        (self.next_u64() >> 11) as f64 * (1.0 / (1u64 << 53) as f64)
    }

    /// Uniform in `0..n`, without bias (Lemire 2019).
    ///
    /// # Panics
    /// `n` is 0.
    pub fn below(&mut self, n: u32) -> u32 {
        assert!(n > 0, "a number below 0 was asked for");
        let mut product = u64::from(self.next_u32()) * u64::from(n);
        if (product as u32) < n {
            let threshold = n.wrapping_neg() % n;
            while (product as u32) < threshold {
                product = u64::from(self.next_u32()) * u64::from(n);
            }
        }
        (product >> 32) as u32
    }

    /// Standard normal: Marsaglia's polar method in f64, rounded once; the second number of a pair is dropped, so that
    /// the number of draws behind the stream's position is all its state.
    pub fn normal(&mut self) -> f32 {
        loop {
            let u = self.uniform_f64() * 2.0 - 1.0;
            let v = self.uniform_f64() * 2.0 - 1.0;
            let s = u * u + v * v;
            if s > 0.0 && s < 1.0 {
                return (u * (-2.0 * math::ln_f64(s) / s).sqrt()) as f32;
            }
        }
    }

    /// Shuffles in place (Fisher-Yates from the end).
    pub fn shuffle(&mut self, items: &mut [u32]) {
        debug_assert!(u32::try_from(items.len()).is_ok());
        for i in (1..items.len()).rev() {
            items.swap(i, self.below(i as u32 + 1) as usize);
        }
    }

    /// A random order of `0..n`.
    pub fn permutation(&mut self, n: u32) -> Vec<u32> {
        let mut items: Vec<u32> = (0..n).collect();
        self.shuffle(&mut items);
        items
    }
}

/// The upper 24 bits as a number in `[0, 1)`.
#[inline(always)]
pub fn unit_f32(bits: u32) -> f32 {
    (bits >> 8) as f32 * (1.0 / (1 << 24) as f32)
}
