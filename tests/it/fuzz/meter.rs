//! The meter that all archives share: whatever is counted, no limit is passed without a word, and a
//! word stays.

use std::time::Duration;

use blobferry::archive::error::UnpackError;
use blobferry::archive::limits::{ArchiveLimits, Meter};
use blobferry::model::failure::{Class, Failure};

use super::taking::Taking;

fn limit(taking: &mut Taking<'_>) -> u64 {
    let (form, number) = (taking.byte(), taking.number());
    match form & 3 {
        0 => number & 0xFF,
        1 => number & 0xFFFF_FFFF,
        2 => u64::MAX - (number & 0xFF),
        _ => number,
    }
}

/// Three limits and the packed size; then steps: a member begins, some of it comes out.
pub fn check(bytes: &[u8]) {
    let mut taking = Taking(bytes);
    let [total_bytes, member_bytes, members, packed] = std::array::from_fn(|_| limit(&mut taking));
    let limits = ArchiveLimits {
        total_bytes,
        member_bytes,
        members,
        ratio: 200,
        time: Duration::from_secs(3600),
    };
    let meter = Meter::new(limits, packed);
    let (mut total, mut begun) = (0u64, 0u64);
    let told = |result: Result<(), UnpackError>, fits: bool| {
        let error = result.err();
        if let Some(error) = &error {
            assert_eq!(error.class(), Class::LimitArchive);
        }
        assert!(error.is_none() || !fits, "it fits and is refused: {error:?}");
        assert!(error.is_some() || fits, "it passes a limit in silence");
        error.is_none()
    };
    while !taking.is_over() {
        begun += 1;
        let pieces = taking.byte() & 7;
        let member = meter.member();
        let fits = begun <= members;
        let member = match member {
            Ok(member) => told(Ok(()), fits).then_some(member),
            Err(error) => {
                told(Err(error), fits);
                None
            }
        };
        let Some(mut member) = member else { continue };
        let mut of_one = 0u64;
        for _ in 0..pieces {
            let more = limit(&mut taking);
            // Sums stay at the largest number.
            of_one = of_one.saturating_add(more);
            // What one member may not have is not counted for all.
            let counted = of_one <= member_bytes;
            total = if counted { total.saturating_add(more) } else { total };
            let fits = counted
                && total <= total_bytes
                && (total <= ArchiveLimits::RATIO_FREE_BYTES || total / packed.max(1) <= 200);
            told(member.bytes(more), fits);
        }
    }
    told(meter.claimed_members(begun), begun <= members);
}

/// Limits that are met, passed, and so large that sums run over.
pub fn seeds() -> Vec<Vec<u8>> {
    let number = |form: u8, number: u64| [&[form][..], &number.to_be_bytes()].concat();
    let small = [number(0, 100), number(0, 60), number(0, 2), number(0, 1)].concat();
    let large = [number(2, 0), number(2, 0), number(2, 0), number(2, 0)].concat();
    let steps = [
        vec![3],
        number(0, 30),
        number(0, 30),
        number(0, 1),
        vec![2],
        number(0, 39),
        number(0, 1),
        vec![1],
    ]
    .concat();
    let over = [vec![3], number(3, 1 << 63), number(3, 1 << 63), number(0, 1)].concat();
    vec![
        [&small[..], &steps].concat(),
        [&large[..], &over].concat(),
        [&small[..], &over].concat(),
        [large, steps].concat(),
    ]
}
