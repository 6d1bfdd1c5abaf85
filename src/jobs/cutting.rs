//! Cuts a plan into pieces, and says which of them are done next. Pure.

use super::message::PieceId;

/// How large pieces are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sizes {
    /// Files, at most.
    pub files: usize,
    /// Bytes, at most, unless one file alone has more.
    pub bytes: u64,
}

impl Default for Sizes {
    /// 1,000 files, 2 GiB: some minutes of work for a server of ordinary speed.
    fn default() -> Self {
        Self { files: 1_000, bytes: 2 << 30 }
    }
}

/// Cuts `items` into runs of at most [`Sizes`] each, keeping their order. A size that is not known
/// counts as none.
pub fn cut<T>(items: Vec<T>, size_of: impl Fn(&T) -> u64, sizes: Sizes) -> Vec<Vec<T>> {
    let mut pieces: Vec<Vec<T>> = Vec::new();
    let mut bytes = u64::MAX;
    for item in items {
        let size = size_of(&item);
        let full = |piece: &Vec<T>| {
            piece.len() >= sizes.files.max(1) || bytes.saturating_add(size) > sizes.bytes
        };
        match pieces.last_mut().filter(|piece| !full(piece)) {
            Some(piece) => {
                piece.push(item);
                bytes = bytes.saturating_add(size);
            }
            None => {
                pieces.push(vec![item]);
                bytes = size;
            }
        }
    }
    pieces
}

/// How many pieces are done side by side, and by how many logins each, so that all of them together
/// keep to `connections`: pieces in lane `n` are those whose number leaves `n` when it is divided
/// by the lanes.
pub fn lanes(pieces: usize, connections: usize) -> (u32, usize) {
    let (pieces, connections) = (pieces.max(1), connections.max(1));
    let logins = (connections / pieces).max(1);
    let lanes = pieces.min(connections / logins);
    (u32::try_from(lanes).unwrap_or(u32::MAX), logins)
}

/// The piece that follows piece `done` in its lane.
pub fn next(done: PieceId, lanes: u32, pieces: u32) -> Option<PieceId> {
    let number = done.number.checked_add(lanes.max(1))?;
    (number < pieces).then(|| PieceId::first(number))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn pieces_are_bounded_by_files_and_by_bytes() {
        let sizes = Sizes { files: 3, bytes: 10 };
        let cut = |items: &[u64]| cut(items.to_vec(), |size| *size, sizes);
        assert_eq!(cut(&[]), Vec::<Vec<u64>>::new());
        assert_eq!(cut(&[1, 1, 1, 1]), [vec![1, 1, 1], vec![1]]);
        assert_eq!(cut(&[6, 4, 1, 99, 1]), [vec![6, 4], vec![1], vec![99], vec![1]]);
    }

    proptest! {
        #[test]
        fn nothing_is_lost_by_cutting(items in proptest::collection::vec(0u64..20, 0..200),
            files in 1usize..9, bytes in 1u64..50) {
            let pieces = cut(items.clone(), |size| *size, Sizes { files, bytes });
            prop_assert!(pieces.iter().all(|piece| piece.len() <= files));
            let mut many = pieces.iter().filter(|piece| piece.len() > 1);
            prop_assert!(many.all(|piece| piece.iter().sum::<u64>() <= bytes));
            prop_assert_eq!(pieces.concat(), items);
        }

        #[test]
        fn lanes_keep_to_the_logins_and_reach_every_piece(pieces in 1usize..300,
            connections in 1usize..65) {
            let (lanes, logins) = lanes(pieces, connections);
            prop_assert!(logins >= 1 && lanes as usize * logins <= connections && lanes >= 1);
            let mut reached = 0;
            for lane in 0..lanes {
                let first = Some(PieceId::first(lane));
                let mut piece = first.filter(|id| (id.number as usize) < pieces);
                while let Some(id) = piece {
                    reached += 1;
                    piece = next(id, lanes, u32::try_from(pieces).expect("few"));
                }
            }
            prop_assert_eq!(reached, pieces);
        }
    }
}
