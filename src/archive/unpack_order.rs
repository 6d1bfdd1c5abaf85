//! What several threads have read of one archive, brought into the order of its members.

use crate::archive::checked_members::CheckedMembers;

/// What one thread has read.
pub(super) struct UnpackFound {
    /// Members of the outermost archive, in order, and how many came of each.
    pub(super) places: Vec<(usize, usize)>,
    /// What came of them.
    pub(super) members: CheckedMembers,
}

/// What all threads have read, in the order of the `count` members of the outermost archive, and
/// where what came of each begins.
pub(super) fn in_order(mut found: Vec<UnpackFound>, count: usize) -> (CheckedMembers, Vec<usize>) {
    if let [one] = &mut found[..] {
        let members = std::mem::take(&mut one.members);
        let ends = one.places.iter().scan(0, |end, (_, came)| {
            *end += came;
            Some(*end)
        });
        return (members, std::iter::once(0).chain(ends).collect());
    }
    let total = found.iter().map(|thread| thread.members.len()).sum();
    let (mut order, mut starts) = (Vec::with_capacity(total), Vec::with_capacity(count + 1));
    // For each thread which of its places is next, and where what came of that begins.
    let mut next = vec![(0, 0); found.len()];
    for at in 0..count {
        for (number, (thread, (place, first))) in (0..).zip(found.iter().zip(&mut next)) {
            let Some((_, came)) = thread.places.get(*place).filter(|(here, _)| *here == at) else {
                continue;
            };
            starts.push(order.len());
            // More rows than that are in no memory.
            order.extend((*first..*first + came).map(|row| (number, row as u32)));
            (*place, *first) = (*place + 1, *first + came);
        }
    }
    starts.push(order.len());
    let threads = found.into_iter().map(|thread| thread.members).collect();
    (CheckedMembers::joined(threads, order), starts)
}
