//! Files made from others by small damage: the same ones in every run.

/// What JSON and HTTP are made of, and what breaks them.
const WORDS: [&[u8]; 24] = [
    b"\"",
    b"{",
    b"}",
    b"[",
    b"]",
    b",",
    b":",
    b"null",
    b"true",
    b"-",
    b"\\u0000",
    b"\\ud800",
    b"\n",
    b"\0",
    b"\xFF",
    b"\x1B[2J",
    b"{}",
    b"[]",
    b"\"\"",
    b"\"a\":",
    b"\n=== ",
    b"\r\n\r\n",
    b"1e999",
    b"\xEF\xBB\xBF",
];

/// What numbers are replaced by.
const NUMBERS: [&str; 18] = [
    "0",
    "1",
    "-1",
    "2",
    "255",
    "65536",
    "2147483648",
    "4294967295",
    "4294967296",
    "9007199254740993",
    "9223372036854775807",
    "18446744073709551615",
    "18446744073709551616",
    "1e39",
    "-1e-320",
    "0.1",
    "1e400",
    "00",
];

/// An endless sequence of damaged files.
pub(crate) struct Mutator<'a> {
    corpus: &'a [Vec<u8>],
    state: u64,
}

impl<'a> Mutator<'a> {
    pub(crate) fn new(corpus: &'a [Vec<u8>]) -> Self {
        Mutator { corpus, state: 1 }
    }

    /// The next file: one of the corpus with one to four kinds of damage.
    pub(crate) fn next(&mut self) -> Vec<u8> {
        let mut bytes = self.one_of_the_corpus().to_vec();
        for _ in 0..1 + self.below(4) {
            self.damage(&mut bytes);
        }
        bytes
    }

    fn damage(&mut self, bytes: &mut Vec<u8>) {
        let at = self.below(bytes.len() + 1);
        let end = (at + 1 + self.below(16)).min(bytes.len());
        match self.below(8) {
            0 if at < bytes.len() => bytes[at] ^= 1 << self.below(8),
            1 if at < bytes.len() => bytes[at] = self.below(256) as u8,
            2 => bytes.truncate(at),
            3 if at < end => drop(bytes.drain(at..end)),
            4 => {
                let again = bytes[at..end].repeat(1 + self.below(64));
                bytes.splice(at..at, again);
            }
            5 => {
                let word = WORDS[self.below(WORDS.len())];
                bytes.splice(at..at, word.iter().copied());
            }
            6 => {
                let other = self.one_of_the_corpus();
                let from = self.below(other.len() + 1);
                let until = (from + self.below(200)).min(other.len());
                bytes.splice(at..end.max(at), other[from..until].iter().copied());
            }
            _ => self.replace_a_number(bytes, at),
        }
    }

    /// The first number after a place.
    fn replace_a_number(&mut self, bytes: &mut Vec<u8>, at: usize) {
        let Some(start) = bytes[at..].iter().position(u8::is_ascii_digit).map(|n| at + n) else { return };
        let digits = bytes[start..].iter().take_while(|byte| byte.is_ascii_digit()).count();
        let number = NUMBERS[self.below(NUMBERS.len())];
        bytes.splice(start..start + digits, number.bytes());
    }

    fn one_of_the_corpus(&mut self) -> &'a [u8] {
        &self.corpus[self.below(self.corpus.len())]
    }

    /// A number from 0 to `count` − 1 (SplitMix64, Steele et al. 2014).
    fn below(&mut self, count: usize) -> usize {
        self.state = self.state.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.state;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        ((z ^ (z >> 31)) % count.max(1) as u64) as usize
    }
}
