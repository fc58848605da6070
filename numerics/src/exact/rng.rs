//! Random numbers from a counter: Philox4x32-10 (Salmon et al. 2011, "Parallel random numbers: as
//! easy as 1, 2, 3").
//!
//! A [`Stream`] is named by (seed, purpose, epoch, step); draw `i` of a stream is a pure function
//! of its name and `i`. No global state exists, so that leaving out one use of randomness never
//! shifts another. Who draws what is the caller's business; a purpose once used must keep its
//! spelling, for it is part of the numbers.

use super::math;

/// Ten rounds of Philox4x32: a bijection of the counter for every key.
#[inline(always)]
pub fn philox4x32(mut counter: [u32; 4], mut key: [u32; 2]) -> [u32; 4] {
    for round in 0..10 {
        if round > 0 {
            key = [
                key[0].wrapping_add(0x9E37_79B9),
                key[1].wrapping_add(0xBB67_AE85),
            ];
        }
        let a = u64::from(counter[0]) * 0xD251_1F53;
        let b = u64::from(counter[2]) * 0xCD9E_8D57;
        counter = [
            (b >> 32) as u32 ^ counter[1] ^ key[0],
            b as u32,
            (a >> 32) as u32 ^ counter[3] ^ key[1],
            a as u32,
        ];
    }
    counter
}

/// A named sequence of random numbers with a position.
///
/// Draws taken in order ([`Stream::next_u32`] and all that is built on it) advance the position;
/// draws by index ([`Stream::u32_at`]) do not. Both read the same sequence of 2^66 draws.
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
    /// Key and upper counter half are the first 16 bytes of BLAKE3 (derive-key mode) over seed,
    /// epoch, step (u64, little endian) and the purpose's UTF-8 bytes.
    pub fn new(seed: u64, purpose: &str, epoch: u64, step: u64) -> Stream {
        let mut hasher = blake3::Hasher::new_derive_key("repro 2026-11 random stream v1");
        for number in [seed, epoch, step] {
            hasher.update(&number.to_le_bytes());
        }
        hasher.update(purpose.as_bytes());
        let digest = hasher.finalize();
        let mut words = digest
            .as_bytes()
            .as_chunks::<4>()
            .0
            .iter()
            .map(|b| u32::from_le_bytes(*b));
        let mut word = || words.next().unwrap_or_default();
        Stream {
            key: [word(), word()],
            lane: [word(), word()],
            position: 0,
            block: [0; 4],
        }
    }

    /// Its name as numbers: key, and the upper half of the counter.
    pub fn name(&self) -> ([u32; 2], [u32; 2]) {
        (self.key, self.lane)
    }

    /// Draw `index`, whatever the position.
    #[inline(always)]
    pub fn u32_at(&self, index: u64) -> u32 {
        self.block_at(index / 4)[(index % 4) as usize]
    }

    /// Draws `4·index .. 4·index + 4`, whatever the position.
    #[inline(always)]
    pub fn block_at(&self, index: u64) -> [u32; 4] {
        philox4x32(
            [
                index as u32,
                (index >> 32) as u32,
                self.lane[0],
                self.lane[1],
            ],
            self.key,
        )
    }

    /// Draws `4·index .. 4·(index + BLOCKS)`, whatever the position; `DRAWS` is `4·BLOCKS`. Block
    /// by block the same as [`Stream::block_at`], in a form that fills vectors.
    #[inline(always)]
    pub fn draws_at<const BLOCKS: usize, const DRAWS: usize>(&self, index: u64) -> [u32; DRAWS] {
        const { assert!(DRAWS == 4 * BLOCKS) };
        let (mut c0, mut c1) = ([0; BLOCKS], [0; BLOCKS]);
        let (mut c2, mut c3) = ([self.lane[0]; BLOCKS], [self.lane[1]; BLOCKS]);
        for i in 0..BLOCKS {
            let block = index.wrapping_add(i as u64);
            (c0[i], c1[i]) = (block as u32, (block >> 32) as u32);
        }
        let mut key = self.key;
        for _ in 0..10 {
            for i in 0..BLOCKS {
                let a = u64::from(c0[i]) * 0xD251_1F53;
                let b = u64::from(c2[i]) * 0xCD9E_8D57;
                (c0[i], c2[i]) = (
                    (b >> 32) as u32 ^ c1[i] ^ key[0],
                    (a >> 32) as u32 ^ c3[i] ^ key[1],
                );
                (c1[i], c3[i]) = (b as u32, a as u32);
            }
            key = [
                key[0].wrapping_add(0x9E37_79B9),
                key[1].wrapping_add(0xBB67_AE85),
            ];
        }
        let mut draws = [0; DRAWS];
        for i in 0..BLOCKS {
            draws[4 * i] = c0[i];
            draws[4 * i + 1] = c1[i];
            draws[4 * i + 2] = c2[i];
            draws[4 * i + 3] = c3[i];
        }
        draws
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

    /// Standard normal: Marsaglia's polar method in f64, rounded once; the second number of a pair
    /// is dropped, so that the number of draws behind the stream's position is all its state.
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_draws_are_those_of_their_blocks() {
        let stream = Stream::new(5, "test", 1, 2);
        for index in [0, 7, u64::from(u32::MAX) - 3, u64::MAX - 1] {
            let draws = stream.draws_at::<16, 64>(index);
            for (i, four) in draws.chunks(4).enumerate() {
                assert_eq!(four, stream.block_at(index.wrapping_add(i as u64)));
            }
        }
    }

    /// From `kat_vectors` of the Random123 distribution: `philox4x32 10`.
    #[test]
    fn known_answers() {
        assert_eq!(
            philox4x32([0; 4], [0; 2]),
            [0x6627_e8d5, 0xe169_c58d, 0xbc57_ac4c, 0x9b00_dbd8]
        );
        assert_eq!(
            philox4x32([u32::MAX; 4], [u32::MAX; 2]),
            [0x408f_276d, 0x41c8_3b0e, 0xa20b_c7c6, 0x6d54_51fd]
        );
        assert_eq!(
            philox4x32(
                [0x243f_6a88, 0x85a3_08d3, 0x1319_8a2e, 0x0370_7344],
                [0xa409_3822, 0x299f_31d0]
            ),
            [0xd16c_fe09, 0x94fd_cceb, 0x5001_e420, 0x2412_6ea1]
        );
    }

    #[test]
    fn index_and_order_are_one_sequence() {
        let mut stream = Stream::new(7, "test", 1, 2);
        let by_index: Vec<u32> = (0..37).map(|i| stream.u32_at(i)).collect();
        let in_order: Vec<u32> = (0..37).map(|_| stream.next_u32()).collect();
        assert_eq!(by_index, in_order);
    }

    #[test]
    fn every_part_of_the_name_counts() {
        let first = |seed, purpose, epoch, step| Stream::new(seed, purpose, epoch, step).next_u64();
        let base = first(0, "a", 0, 0);
        for other in [
            first(1, "a", 0, 0),
            first(0, "b", 0, 0),
            first(0, "a", 1, 0),
            first(0, "a", 0, 1),
            first(0, "aa", 0, 0),
        ] {
            assert_ne!(base, other);
        }
    }

    #[test]
    fn moments_and_ranges() {
        let mut stream = Stream::new(3, "moments", 0, 0);
        let n = 200_000;
        let (mut sum, mut squares, mut fourth) = (0.0, 0.0, 0.0);
        for _ in 0..n {
            let z = f64::from(stream.normal());
            (sum, squares, fourth) = (sum + z, squares + z * z, fourth + z.powi(4));
        }
        let n = f64::from(n);
        assert!(
            (sum / n).abs() < 0.01
                && (squares / n - 1.0).abs() < 0.015
                && (fourth / n - 3.0).abs() < 0.1
        );
        let mut counts = [0u32; 7];
        for _ in 0..70_000 {
            counts[stream.below(7) as usize] += 1;
            let u = stream.uniform();
            assert!((0.0..1.0).contains(&u));
        }
        assert!(
            counts.iter().all(|c| c.abs_diff(10_000) < 500),
            "{counts:?}"
        );
        assert_eq!(unit_f32(u32::MAX), 1.0 - f32::EPSILON / 2.0);
        assert_eq!(stream.below(1), 0);
    }

    #[test]
    fn a_permutation_holds_everything_once() {
        let mut order = Stream::new(5, "order", 0, 0).permutation(1000);
        assert_ne!(order[..5], [0, 1, 2, 3, 4]);
        order.sort_unstable();
        assert!(order.iter().enumerate().all(|(i, v)| i as u32 == *v));
        assert!(Stream::new(5, "order", 0, 0).permutation(0).is_empty());
    }

    fn ten<T>(mut draw: impl FnMut(&mut Stream) -> T) -> Vec<T> {
        let mut stream = Stream::new(42, "frozen", 3, 9);
        (0..10).map(|_| draw(&mut stream)).collect()
    }

    #[test]
    fn numbers_are_frozen() {
        assert_eq!(ten(Stream::next_u32), U32);
        assert_eq!(ten(Stream::next_u64), U64);
        assert_eq!(ten(|s| s.uniform().to_bits()), UNIFORM);
        assert_eq!(ten(|s| s.below(1_000_003)), BELOW);
        assert_eq!(ten(|s| s.normal().to_bits()), NORMAL);
        assert_eq!(Stream::new(42, "frozen", 3, 9).permutation(10), PERMUTATION);
    }

    const U32: [u32; 10] = [
        3_326_899_746,
        784_050_808,
        1_132_005_602,
        3_995_430_918,
        2_913_001_979,
        556_235_087,
        1_254_002_734,
        1_951_305_639,
        1_592_906_115,
        2_451_261_591,
    ];
    const U64: [u64; 10] = [
        3_367_472_582_089_274_914,
        17_160_245_127_369_263_330,
        2_389_011_510_465_716_731,
        8_380_793_905_259_384_878,
        10_528_088_368_878_834_051,
        7_731_510_096_389_406_426,
        3_050_746_896_179_471_411,
        17_149_952_273_976_460_374,
        4_876_505_541_160_207_543,
        15_706_982_519_041_663_479,
    ];
    const UNIFORM: [u32; 10] = [
        1_061_571_702,
        1_044_049_576,
        1_049_031_184,
        1_064_183_152,
        1_059_954_913,
        1_040_489_956,
        1_049_984_288,
        1_055_431_966,
        1_052_631_970,
        1_058_151_240,
    ];
    const BELOW: [u32; 10] = [
        774_606, 182_551, 263_566, 930_261, 678_238, 129_508, 291_971, 454_325, 370_878, 570_730,
    ];
    const NORMAL: [u32; 10] = [
        3_213_449_667,
        1_070_660_403,
        3_202_936_329,
        1_054_031_971,
        3_203_564_131,
        1_068_631_362,
        3_216_755_635,
        1_067_007_248,
        1_058_297_676,
        1_051_760_588,
    ];
    const PERMUTATION: [u32; 10] = [9, 5, 3, 8, 0, 4, 6, 2, 1, 7];
}
