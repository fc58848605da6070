"""The random numbers of `repro_stages::exact::rng` in plain Python: BLAKE3 of one block names a stream, Philox4x32-10
numbers it, Marsaglia's polar method makes normal numbers."""

import math
import struct

WORD = 0xFFFFFFFF
IV = [0x6A09E667, 0xBB67AE85, 0x3C6EF372, 0xA54FF53A, 0x510E527F, 0x9B05688C, 0x1F83D9AB, 0x5BE0CD19]
PERMUTATION = [2, 6, 3, 10, 7, 0, 4, 13, 1, 11, 12, 5, 9, 14, 15, 8]
COLUMNS_AND_DIAGONALS = [
    (0, 4, 8, 12), (1, 5, 9, 13), (2, 6, 10, 14), (3, 7, 11, 15),
    (0, 5, 10, 15), (1, 6, 11, 12), (2, 7, 8, 13), (3, 4, 9, 14),
]


def rotated(word, by):
    return (word >> by | word << 32 - by) & WORD


def blake3_of_one_block(key, data, mode):
    """Eight words: the root of at most 64 bytes."""
    assert len(data) <= 64
    first, last, root = 1, 2, 8
    m = list(struct.unpack("<16I", data.ljust(64, b"\0")))
    v = list(key) + IV[:4] + [0, 0, len(data), mode | first | last | root]
    for _ in range(7):
        for i, (a, b, c, d) in enumerate(COLUMNS_AND_DIAGONALS):
            for word, by_d, by_b in [(m[2 * i], 16, 12), (m[2 * i + 1], 8, 7)]:
                v[a] = (v[a] + v[b] + word) & WORD
                v[d] = rotated(v[d] ^ v[a], by_d)
                v[c] = (v[c] + v[d]) & WORD
                v[b] = rotated(v[b] ^ v[c], by_b)
        m = [m[i] for i in PERMUTATION]
    return [v[i] ^ v[i + 8] for i in range(8)]


def philox(counter, key):
    (a, b, c, d), (k, l) = counter, key
    for _ in range(10):
        x, y = a * 0xD2511F53, c * 0xCD9E8D57
        a, b, c, d = y >> 32 ^ b ^ k, y & WORD, x >> 32 ^ d ^ l, x & WORD
        k, l = (k + 0x9E3779B9) & WORD, (l + 0xBB67AE85) & WORD
    return [a, b, c, d]


class Stream:
    def __init__(self, seed, purpose, epoch, step):
        context, material = 32, 64
        key = blake3_of_one_block(IV, b"repro 2026-11 random stream v1", context)
        name = struct.pack("<3Q", seed, epoch, step) + purpose.encode()
        words = blake3_of_one_block(key, name, material)
        self.key, self.lane = words[:2], words[2:4]
        self.position = 0

    def u32(self):
        block, within = divmod(self.position, 4)
        self.position += 1
        return philox([block & WORD, block >> 32, *self.lane], self.key)[within]

    def uniform(self):
        low = self.u32()
        return ((self.u32() << 32 | low) >> 11) / 2**53

    def normal(self):
        """Rounded to f32, the second of a pair dropped."""
        while True:
            u = self.uniform() * 2 - 1
            v = self.uniform() * 2 - 1
            s = u * u + v * v
            if 0 < s < 1:
                return f32(u * math.sqrt(-2 * math.log(s) / s))


def f32(x):
    return struct.unpack("<f", struct.pack("<f", x))[0]
