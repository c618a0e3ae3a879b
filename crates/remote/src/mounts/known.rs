//! Which chunks need not be sent, and which packs are worth keeping for that.

use super::chunk::Chunk;
use super::memo::KnownPack;
use super::pack;
use kiln_digest::ContentDigest;
use std::collections::HashMap;
use std::collections::hash_map::Entry;

/// So many small packs are kept; one more, and all are made anew as one.
const MOST_SMALL: usize = 8;

/// The chunks that are at a place, or on their way there.
pub(crate) struct KnownChunks {
    packs: Vec<KnownPack>,
    /// The bytes of each pack that are in use.
    used: Vec<u64>,
    places: HashMap<ContentDigest, Place>,
}

struct Place {
    /// Nothing for those of packs that are being made.
    pack: Option<u32>,
    used: bool,
}

impl KnownChunks {
    pub(crate) fn new(packs: Vec<KnownPack>) -> Self {
        let mut places = HashMap::new();
        for (number, pack) in packs.iter().enumerate() {
            let number = u32::try_from(number).ok();
            for chunk in &pack.chunks {
                places.entry(chunk.id).or_insert(Place { pack: number, used: false });
            }
        }
        Self { used: vec![0; packs.len()], packs, places }
    }

    /// Whether a chunk need not be sent.
    pub(crate) fn has(&self, chunk: &Chunk) -> bool {
        self.places.contains_key(&chunk.id)
    }

    /// Notes that a chunk is needed, and says whether it must be sent: nobody is told so again.
    pub(crate) fn note_use(&mut self, chunk: &Chunk) -> bool {
        match self.places.entry(chunk.id) {
            Entry::Vacant(vacant) => {
                vacant.insert(Place { pack: None, used: true });
                true
            }
            Entry::Occupied(mut occupied) => {
                let place = occupied.get_mut();
                if let Some(pack) = place.pack
                    && !place.used
                {
                    self.used[pack as usize] += u64::from(chunk.size);
                }
                place.used = true;
                false
            }
        }
    }

    /// Forgets the packs that are in use by less than half, or small and one of many, and says whether there were any.
    pub(crate) fn give_up_sparse(&mut self) -> bool {
        let size = |pack: &KnownPack| pack::size(&pack.chunks);
        let in_use = || self.packs.iter().zip(&self.used).filter(|(_, used)| **used > 0);
        let many_small = in_use().filter(|(pack, _)| pack::is_small(size(pack))).count() > MOST_SMALL;
        let sparse: Vec<bool> = self
            .packs
            .iter()
            .zip(&self.used)
            .map(|(pack, &used)| {
                let size = size(pack);
                used > 0 && (used * 2 < size || (many_small && pack::is_small(size)))
            })
            .collect();
        self.forget(&sparse)
    }

    /// Has `verify` look at the packs that have something in use and are known on hearsay. Forgets those of which it says no, and says
    /// whether there were any.
    pub(crate) fn give_up_false<E>(
        &mut self,
        verify: impl FnOnce(&[&KnownPack]) -> Result<Vec<bool>, E>,
    ) -> Result<bool, E> {
        let doubtful: Vec<usize> =
            (0..self.packs.len()).filter(|&at| self.used[at] > 0 && self.packs[at].on_hearsay).collect();
        let verified = verify(&doubtful.iter().map(|&at| &self.packs[at]).collect::<Vec<_>>())?;
        let mut wrong = vec![false; self.packs.len()];
        for (at, verified) in doubtful.into_iter().zip(verified) {
            self.packs[at].on_hearsay = !verified;
            wrong[at] = !verified;
        }
        Ok(self.forget(&wrong))
    }

    /// Forgets packs, by their numbers, and says whether there were any.
    fn forget(&mut self, packs: &[bool]) -> bool {
        if !packs.contains(&true) {
            return false;
        }
        self.places.retain(|_, place| place.pack.is_none_or(|pack| !packs[pack as usize]));
        for (used, _) in self.used.iter_mut().zip(packs).filter(|(_, forgotten)| **forgotten) {
            *used = 0;
        }
        true
    }

    /// The packs that have something in use.
    pub(crate) fn in_use(self) -> Vec<KnownPack> {
        self.packs.into_iter().zip(self.used).filter(|(_, used)| *used > 0).map(|(pack, _)| pack).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::blob::BlobRef;
    use crate::mounts::memo::PackContent;

    fn chunk(number: u32, size: u32) -> Chunk {
        Chunk { id: ContentDigest::of_bytes(&number.to_le_bytes()), size }
    }

    fn pack(numbers: std::ops::Range<u32>, size: u32) -> KnownPack {
        let chunks = numbers.clone().map(|number| chunk(number, size)).collect();
        let blob = BlobRef::of_bytes(&numbers.start.to_le_bytes());
        KnownPack { blob, content: PackContent::Files, chunks, on_hearsay: false }
    }

    #[test]
    fn packs_of_little_use_are_given_up() {
        let size = 200_000;
        let mut known = KnownChunks::new(vec![pack(0..10, size), pack(10..20, size), pack(20..30, size)]);
        // Half of the first, two fifths of the second however often, and one of no pack.
        for number in (0..5).chain(10..14).chain([12, 12]) {
            assert!(!known.note_use(&chunk(number, size)));
        }
        assert!(known.note_use(&chunk(99, size)) && !known.note_use(&chunk(99, size)));
        assert!(known.give_up_sparse());
        assert!(!known.has(&chunk(10, size)) && known.has(&chunk(0, size)) && known.has(&chunk(99, size)));
        assert!(known.note_use(&chunk(10, size)), "it must be sent again");
        assert!(!known.give_up_sparse());
        assert_eq!(known.in_use(), [pack(0..10, size)]);
    }

    #[test]
    fn many_small_packs_become_one() {
        for count in [MOST_SMALL as u32, MOST_SMALL as u32 + 1] {
            let large = pack(1000..1010, 200_000);
            let packs = (0..count).map(|number| pack(number..number + 1, 1)).chain([large]).collect();
            let mut known = KnownChunks::new(packs);
            for number in (0..count).chain(1000..1010) {
                known.note_use(&chunk(number, if number < 1000 { 1 } else { 200_000 }));
            }
            assert_eq!(known.give_up_sparse(), count > MOST_SMALL as u32);
            assert_eq!(known.in_use().len(), if count > MOST_SMALL as u32 { 1 } else { 9 });
        }
    }
}
