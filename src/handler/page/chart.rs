//! Numbers as pictures: the equation of a pass as a bar. SVG without any
//! script. Pure.

use maud::{Markup, html};

use super::view::PagePass;

/// One number of a pass.
type Count = fn(&PagePass) -> u64;

/// The six ways in which a file can end, with their class in the style sheet.
pub const PARTS: [(&str, &str, Count); 6] = [
    ("ingested", "c-ingested", |pass| pass.ingested),
    ("unchanged", "c-unchanged", |pass| pass.unchanged),
    ("skipped", "c-skipped", |pass| pass.skipped),
    ("gone", "c-gone", |pass| pass.gone),
    ("deferred", "c-deferred", |pass| pass.deferred),
    ("failed", "c-failed", |pass| pass.failed),
];

/// The thinnest part of a bar, of 1000: one failed file of a million is seen.
const THINNEST: u64 = 12;

/// The equation in words, as `listed 5 = ingested 1 + …`.
pub fn equation(pass: &PagePass) -> String {
    let parts: Vec<String> =
        PARTS.iter().map(|(name, _, of)| format!("{name} {}", of(pass))).collect();
    let parts = parts.join(" + ");
    match pass.listed {
        Some(listed) if listed == pass.sum() => format!("listed {listed} = {parts}"),
        Some(listed) => format!("listed {listed} ≠ {parts}: the numbers do not add up"),
        None => format!("so far {parts}"),
    }
}

/// Widths of the parts of a bar 1000 wide: in proportion, but none that counts anything is
/// invisible.
fn widths(counts: &[u64]) -> Vec<u64> {
    let sum: u128 = counts.iter().map(|count| u128::from(*count)).sum();
    if sum == 0 {
        return vec![0; counts.len()];
    }
    let wide = |count: &u64| {
        if *count == 0 {
            0
        } else {
            u64::try_from(u128::from(*count) * 1000 / sum).unwrap_or(1000).max(THINNEST)
        }
    };
    let mut widths: Vec<u64> = counts.iter().map(wide).collect();
    // What the thin ones gained, the widest gives.
    let total: u64 = widths.iter().sum();
    if let Some(widest) = widths.iter_mut().max() {
        *widest = (*widest + 1000).saturating_sub(total);
    }
    widths
}

/// The equation of a pass as a bar.
pub fn bar(pass: &PagePass) -> Markup {
    let counts: Vec<u64> = PARTS.iter().map(|(_, _, of)| of(pass)).collect();
    let widths = widths(&counts);
    let starts = widths.iter().scan(0, |at, width| {
        let start = *at;
        *at += width;
        Some(start)
    });
    html! {
        svg.bar role="img" viewBox="0 0 1000 12" preserveAspectRatio="none" width="100%" height="12" {
            title { (equation(pass)) }
            rect.c-none x="0" y="0" width="1000" height="12" {}
            @for (((_, class, _), width), start) in PARTS.iter().zip(&widths).zip(starts) {
                @if *width > 0 { rect class=(class) x=(start) y="0" width=(width) height="12" {} }
            }
        }
    }
}

/// How far a running pass has come.
pub fn progress(pass: &PagePass, words: &str) -> Markup {
    let total = pass.bytes_to_fetch.unwrap_or(0).max(1);
    let width = u64::try_from(u128::from(pass.bytes_fetched.min(total)) * 1000 / u128::from(total))
        .unwrap_or(1000);
    html! {
        svg.bar role="img" viewBox="0 0 1000 12" preserveAspectRatio="none" width="100%" height="12" {
            title { (words) }
            rect.c-none x="0" y="0" width="1000" height="12" {}
            rect.c-live x="0" y="0" width=(width) height="12" {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn widths_fill_the_bar_and_hide_nothing() {
        for counts in [
            [1, 0, 0, 0, 0],
            [1_000_000, 0, 0, 0, 1],
            [1, 1, 1, 1, 1],
            [0, 999, 1, 1, 1],
            [u64::MAX, u64::MAX, 1, 0, 0],
        ] {
            let widths = widths(&counts);
            assert_eq!(widths.iter().sum::<u64>(), 1000, "{counts:?}: {widths:?}");
            assert!(
                counts
                    .iter()
                    .zip(&widths)
                    .all(|(count, width)| (*count > 0) == (*width >= THINNEST)),
                "{counts:?}: {widths:?}"
            );
        }
        assert_eq!(widths(&[0; 5]), [0; 5]);
    }

    #[test]
    fn an_equation_that_does_not_hold_is_told() {
        let pass = PagePass { listed: Some(3), ingested: 1, failed: 1, ..PagePass::default() };
        assert!(equation(&pass).contains("do not add up"));
        assert_eq!(
            equation(&PagePass { listed: Some(2), ..pass.clone() }),
            "listed 2 = ingested 1 + unchanged 0 + skipped 0 + gone 0 + deferred 0 + failed 1"
        );
        assert!(equation(&PagePass { listed: None, ..pass }).starts_with("so far "));
    }
}
