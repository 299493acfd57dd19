//! Keys to search for: drawn deterministically, some of them present, some absent.

/// What the keys are like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Big-endian integers in a row; one in sixteen is absent.
    Dense,
    /// Big-endian integers spread over 64 bits.
    Ints,
    /// 24 random bytes.
    Random,
    /// URLs: few hosts with many pages, long common prefixes.
    Urls,
    /// Words as English builds them, endings and all.
    Words,
}

pub const KINDS: [Kind; 5] = [Kind::Dense, Kind::Ints, Kind::Random, Kind::Urls, Kind::Words];

impl Kind {
    pub fn name(self) -> &'static str {
        match self {
            Kind::Dense => "dense",
            Kind::Ints => "ints",
            Kind::Random => "random24",
            Kind::Urls => "urls",
            Kind::Words => "words",
        }
    }

    fn draw(self, i: usize, n: usize, rng: &mut Rng) -> Vec<u8> {
        match self {
            Kind::Dense => (1_000_000 + i as u64).to_be_bytes().to_vec(),
            Kind::Ints => rng.next().to_be_bytes().to_vec(),
            Kind::Random => (0..3).flat_map(|_| rng.next().to_be_bytes()).collect(),
            Kind::Urls => url(n, rng).into_bytes(),
            Kind::Words => word(n, rng).into_bytes(),
        }
    }

    /// One key in so many is absent.
    fn absent_share(self) -> u64 {
        if self == Kind::Dense { 16 } else { 6 }
    }
}

/// SplitMix64.
#[derive(Clone, Debug)]
pub struct Rng(pub u64);

impl Rng {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub fn below(&mut self, n: usize) -> usize {
        ((u128::from(self.next()) * n as u128) >> 64) as usize
    }

    /// Below `n`, the small ones far more often: a stand-in for Zipf's law.
    fn skewed(&mut self, n: usize) -> usize {
        let x = self.next() as f64 / u64::MAX as f64;
        ((x * x * x * n as f64) as usize).min(n - 1)
    }

    fn pick<'a>(&mut self, of: &[&'a str]) -> &'a str {
        of[self.skewed(of.len())]
    }
}

const ONSETS: [&str; 32] = [
    "", "s", "c", "p", "d", "r", "m", "t", "b", "f", "st", "h", "l", "g", "pr", "n", "w", "tr", "v", "ch", "gr", "sp",
    "cr", "br", "th", "sh", "pl", "cl", "fl", "qu", "j", "k",
];
const NUCLEI: [&str; 12] = ["e", "a", "i", "o", "u", "ea", "io", "ou", "ee", "ai", "y", "oo"];
const CODAS: [&str; 24] = [
    "", "n", "r", "t", "l", "s", "d", "m", "nt", "c", "st", "ck", "ll", "ng", "p", "ss", "rt", "nd", "x", "ch", "sh",
    "rm", "g", "b",
];
const FRONTS: [&str; 12] = ["", "", "", "un", "re", "in", "de", "over", "dis", "inter", "non", "counter"];
const ENDINGS: [&str; 20] = [
    "", "s", "ed", "ing", "er", "ly", "ation", "ness", "able", "ers", "al", "ity", "ment", "ive", "ations", "ous",
    "ically", "ism", "less", "'s",
];

fn stem(rng: &mut Rng) -> String {
    let mut out = String::new();
    for _ in 0..1 + rng.skewed(3) {
        out += rng.pick(&ONSETS);
        out += rng.pick(&NUCLEI);
        out += rng.pick(&CODAS);
    }
    out
}

/// One of `n` words.
fn word(n: usize, rng: &mut Rng) -> String {
    // Few stems with many endings each: neighbours in a dictionary share most of their letters.
    let mut own = Rng(rng.skewed(n / 16 + 1) as u64 * 0x1234_5677);
    format!("{}{}{}", rng.pick(&FRONTS), stem(&mut own), rng.pick(&ENDINGS))
}

/// One of `n` URLs. The number of hosts goes with `n`: what leaves have in common does not depend on it.
fn url(n: usize, rng: &mut Rng) -> String {
    const WORDS: usize = 400_000;
    const TOPS: [&str; 8] = ["com", "org", "net", "de", "io", "co.uk", "fr", "info"];
    const SECTIONS: [&str; 10] =
        ["articles", "products", "blog", "user", "wiki", "news/world", "category", "docs/api", "images", "archive"];
    let host = rng.skewed(n / 300 + 1);
    let mut own = Rng(host as u64 * 0x5851_f42d);
    let name = format!("{}{}", stem(&mut own), word(WORDS, &mut own).replace('\'', ""));
    let top = own.pick(&TOPS);
    let www = if own.below(2) == 0 { "www." } else { "" };
    let section = rng.pick(&SECTIONS);
    let mut path = match rng.below(4) {
        0 => format!("{:04}/{:02}/", 2026 - rng.skewed(20), 1 + rng.below(12)),
        1 => format!("{}/", rng.skewed(100_000)),
        _ => String::new(),
    };
    for i in 0..1 + rng.below(4) {
        path += if i > 0 { "-" } else { "" };
        path += &word(WORDS, rng).replace('\'', "");
    }
    path += match rng.below(4) {
        0 => ".html",
        1 => "?page=2",
        _ => "",
    };
    format!("https://{www}{name}.{top}/{section}/{path}")
}

/// Sorted keys: those in the tree, and others between them.
pub struct Keys {
    pub present: Vec<Vec<u8>>,
    pub absent: Vec<Vec<u8>>,
}

/// Draws about `n` keys of a kind.
pub fn draw(kind: Kind, n: usize) -> Keys {
    let mut rng = Rng(42);
    let mut all: Vec<_> = (0..n).map(|i| kind.draw(i, n, &mut rng)).filter(|key| !key.is_empty()).collect();
    all.sort_unstable();
    all.dedup();
    let (mut present, mut absent) = (Vec::new(), Vec::new());
    for key in all {
        let share = kind.absent_share();
        if rng.next().is_multiple_of(share) { absent.push(key) } else { present.push(key) }
    }
    Keys { present, absent }
}
