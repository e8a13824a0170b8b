//! Ids that come twice.

use std::collections::hash_map::DefaultHasher;
use std::collections::{BTreeMap, HashMap};
use std::hash::Hasher;

/// The ids that were seen. A row is remembered by 128 bits of its id's hash: 24 bytes a row, whatever ids look like.
#[derive(Default)]
pub(super) struct SeenIds {
    rows: HashMap<u128, u64>,
    repeated: BTreeMap<u64, String>,
}

impl SeenIds {
    pub(super) fn see(&mut self, row: u64, id: &str) {
        let half = |start: u8| {
            let mut hasher = DefaultHasher::new();
            hasher.write_u8(start);
            hasher.write(id.as_bytes());
            u128::from(hasher.finish())
        };
        let first = *self.rows.entry(half(0) << 64 | half(1)).or_insert(row);
        if first != row {
            self.repeated.insert(row, format!("id: '{id}' is that of row {first} too"));
        }
    }

    /// Rows whose id is that of an earlier one, with the reason.
    pub(super) fn repeated(self) -> BTreeMap<u64, String> {
        self.repeated
    }
}
