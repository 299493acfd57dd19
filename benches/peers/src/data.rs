//! Keys and values that need no table to be checked: a key says which record it belongs to, a value says which record
//! and which writing of it. So any read, in any order, after any number of overwrites, is verified in a few nanoseconds.

use crate::engine::Fail;
use serde::{Deserialize, Serialize};

/// Spreads numbers over all 64 bits; [`unmix`] takes it back. (The finalizer of MurmurHash3.)
#[inline]
pub fn mix(mut n: u64) -> u64 {
    n ^= n >> 33;
    n = n.wrapping_mul(0xff51_afd7_ed55_8ccd);
    n ^= n >> 33;
    n = n.wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    n ^ n >> 33
}

/// The inverse of [`mix`].
#[inline]
pub fn unmix(mut n: u64) -> u64 {
    n ^= n >> 33;
    n = n.wrapping_mul(0x9cb4_b2f8_1293_37db);
    n ^= n >> 33;
    n = n.wrapping_mul(0x4f74_430c_22a5_4005);
    n ^ n >> 33
}

/// The form of the keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Keys {
    /// 24 bytes that look random (redb's table).
    Random24,
    /// 8 bytes, big-endian, dense, so that neighbours in number are neighbours in order (LeanStore's test).
    Dense8,
}

const SALTS: [u64; 3] = [0x243f_6a88_85a3_08d3, 0x1319_8a2e_0370_7344, 0xa409_3822_299f_31d0];

/// A key of up to 32 bytes, in place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Key {
    len: u8,
    bytes: [u8; 32],
}

impl std::ops::Deref for Key {
    type Target = [u8];
    #[inline]
    fn deref(&self) -> &[u8] {
        &self.bytes[..usize::from(self.len)]
    }
}

impl AsRef<[u8]> for Key {
    #[inline]
    fn as_ref(&self) -> &[u8] {
        self
    }
}

impl Keys {
    /// The bytes of a key.
    pub fn len(self) -> usize {
        match self {
            Keys::Random24 => 24,
            Keys::Dense8 => 8,
        }
    }

    /// The key of record `id`.
    #[inline]
    pub fn key(self, id: u64) -> Key {
        let mut bytes = [0; 32];
        match self {
            Keys::Random24 => {
                for (i, salt) in SALTS.iter().enumerate() {
                    bytes[i * 8..][..8].copy_from_slice(&mix(id ^ salt).to_be_bytes());
                }
            }
            Keys::Dense8 => bytes[..8].copy_from_slice(&id.to_be_bytes()),
        }
        Key { len: self.len() as u8, bytes }
    }

    /// A key behind all others of the form, the `n`th of its kind, 8 bytes longer than those.
    pub fn behind_all(self, n: u64) -> Key {
        let mut bytes = [0xff; 32];
        let at = self.len();
        bytes[at..at + 8].copy_from_slice(&n.to_be_bytes());
        Key { len: (at + 8) as u8, bytes }
    }

    /// The record that `key` belongs to; nothing if no record has that key.
    #[inline]
    pub fn id(self, key: &[u8]) -> Option<u64> {
        let word = u64::from_be_bytes(key.get(..8)?.try_into().ok()?);
        let id = match self {
            Keys::Random24 => unmix(word) ^ SALTS[0],
            Keys::Dense8 => word,
        };
        (*self.key(id) == *key).then_some(id)
    }

    /// The ids `0..records` in the order of their keys.
    pub fn sorted(self, records: u64) -> Vec<u64> {
        let mut ids: Vec<u64> = (0..records).collect();
        if self == Keys::Random24 {
            // The first eight bytes differ: `mix` is a bijection.
            ids.sort_unstable_by_key(|&id| mix(id ^ SALTS[0]));
        }
        ids
    }
}

/// The records of a workload.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Data {
    /// The form of the keys.
    pub keys: Keys,
    /// Bytes of a value, at least 8.
    pub value_len: usize,
}

impl Data {
    /// Fills `out` with the value of record `id` at its writing `nonce`: no two alike, and none that compresses.
    #[inline]
    pub fn value(self, id: u64, nonce: u64, out: &mut Vec<u8>) {
        out.clear();
        out.resize(self.value_len, 0);
        let head = mix(nonce.wrapping_add(1));
        let base = mix(id ^ head);
        let mut chunks = out.chunks_exact_mut(8);
        if let Some(first) = chunks.next() {
            first.copy_from_slice(&head.to_le_bytes());
        }
        let mut word = base;
        for chunk in &mut chunks {
            chunk.copy_from_slice(&word.to_le_bytes());
            word = next(word);
        }
        let rest = chunks.into_remainder();
        let n = rest.len();
        rest.copy_from_slice(&word.to_le_bytes()[..n]);
    }

    /// Whether `value` is a value of record `id`, every byte of it; which writing it is.
    #[inline]
    pub fn check(self, id: u64, value: &[u8]) -> Result<u64, Fail> {
        let (Some(head), true) = (value.get(..8), value.len() == self.value_len) else {
            return Err(Fail::wrong(format!(
                "record {id}: {} bytes where {} were written",
                value.len(),
                self.value_len
            )));
        };
        let head = u64::from_le_bytes(head.try_into().unwrap_or_default());
        let mut word = mix(id ^ head);
        let mut chunks = value[8..].chunks_exact(8);
        let mut differ = 0;
        for chunk in &mut chunks {
            differ |= u64::from_le_bytes(chunk.try_into().unwrap_or_default()) ^ word;
            word = next(word);
        }
        let rest = chunks.remainder();
        if differ != 0 || *rest != word.to_le_bytes()[..rest.len()] {
            return Err(Fail::wrong(format!("record {id}: wrong bytes")));
        }
        Ok(unmix(head).wrapping_sub(1))
    }

    /// Raw bytes of one record.
    pub fn record_len(self) -> u64 {
        (self.keys.len() + self.value_len) as u64
    }
}

/// One step of a generator that is cheap (a multiplication and an addition) and never repeats within a value.
#[inline]
fn next(word: u64) -> u64 {
    word.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(0x1405_7b7e_f767_814f)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_name_their_record() {
        for keys in [Keys::Random24, Keys::Dense8] {
            for id in (0..100_000).chain([u64::MAX, 1 << 40]) {
                assert_eq!(keys.id(&keys.key(id)), Some(id));
            }
            assert_eq!(keys.id(b"something else entirely."), None);
            let sorted = keys.sorted(10_000);
            assert!(sorted.windows(2).all(|pair| *keys.key(pair[0]) < *keys.key(pair[1])));
            assert!(*keys.behind_all(1) > *keys.key(sorted[9_999]));
        }
    }

    #[test]
    fn values_are_checked_to_the_last_byte() {
        for value_len in [8, 9, 100, 150, 2048] {
            let data = Data { keys: Keys::Random24, value_len };
            let mut value = Vec::new();
            data.value(7, 3, &mut value);
            assert_eq!(data.check(7, &value).ok(), Some(3));
            if value_len > 8 {
                assert!(data.check(8, &value).is_err());
                value[value_len - 1] ^= 1;
                assert!(data.check(7, &value).is_err());
            }
        }
    }
}
