//! Numbers as pictures: the equation of a pass as a bar. SVG without any
//! script. Pure.

use maud::{Markup, html};

use super::pass::PagePass;
use crate::history::source_days::DayState;

/// One number of a pass.
type Count = fn(&PagePass) -> u64;

/// The six ways in which a file can end, with their class in the style sheet.
pub(crate) const PARTS: [(&str, &str, Count); 6] = [
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
pub(crate) fn equation(pass: &PagePass) -> String {
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
pub(crate) fn bar(pass: &PagePass) -> Markup {
    let counts: Vec<u64> = PARTS.iter().map(|(_, _, of)| of(pass)).collect();
    let widths = widths(&counts);
    let starts = widths.iter().scan(0, |at, width| {
        let start = *at;
        *at += width;
        Some(start)
    });
    html! {
        svg.bar role="img" viewBox="0 0 1000 12" preserveAspectRatio="none"
            width="100%" height="12"
        {
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
        svg.bar role="img" viewBox="0 0 1000 12" preserveAspectRatio="none"
            width="100%" height="12"
        {
            title { (words) }
            rect.c-none x="0" y="0" width="1000" height="12" {}
            rect.c-live x="0" y="0" width=(width) height="12" {}
        }
    }
}

/// Heights of the bars of a strip, of 24: a state is told by its height as well as by its colour.
const STATES: [(DayState, &str, u32); 4] = [
    (DayState::None, "c-none", 2),
    (DayState::Well, "c-good", 10),
    (DayState::Late, "c-warn", 17),
    (DayState::Bad, "c-bad", 24),
];

/// A bar a day. One path a state, so that a row is small.
pub(crate) fn strip(states: &[DayState], label: &str, tall: bool) -> Markup {
    let width = states.len() * 10;
    let path = |wanted: DayState, height: u32| -> String {
        let bars = states.iter().enumerate().filter(|(_, state)| **state == wanted);
        let bar = |at: usize| format!("M{} {}v{height}h8v-{height}z", at * 10 + 1, 24 - height);
        bars.map(|(at, _)| bar(at)).collect()
    };
    html! {
        svg.strip.tall[tall] viewBox={ "0 0 " (width) " 24" } preserveAspectRatio="none" role="img"
            aria-label=(label) {
            @for (state, class, height) in STATES {
                @let path = path(state, height);
                @if !path.is_empty() { path class=(class) d=(path) {} }
            }
        }
    }
}

/// A strip in words: the days on which something was wrong.
pub(crate) fn strip_words(states: &[DayState], days: &[time::Date]) -> String {
    let of = |wanted: DayState| -> Vec<String> {
        let found = states.iter().zip(days).filter(|(state, _)| **state == wanted);
        found.map(|(_, day)| short_day(*day)).collect()
    };
    let parts = [("missing or failing on", DayState::Bad), ("late or waiting on", DayState::Late)];
    let told: Vec<String> = parts
        .into_iter()
        .map(|(words, state)| (words, of(state)))
        .filter(|(_, days)| !days.is_empty())
        .map(|(words, days)| format!("{words} {}", days.join(", ")))
        .collect();
    if told.is_empty() {
        return format!("{} days: nothing late, missing or failing", states.len());
    }
    format!("{} days: {}", states.len(), told.join("; "))
}

/// A day as `23 Nov`.
pub(crate) fn short_day(day: time::Date) -> String {
    let month = day.month().to_string();
    format!("{} {}", day.day(), &month[..3])
}

/// What the bars of strips mean.
pub(crate) fn strip_key(words: [&str; 4]) -> Markup {
    html! {
        ul.key aria-label="What the bars mean" {
            @for ((_, class, height), words) in STATES.iter().rev().zip(words) {
                @let height = height * 2 / 3;
                li {
                    svg viewBox="0 0 10 16" aria-hidden="true" {
                        rect class=(class) x="1" y=(16 - height) width="8" height=(height) {}
                    }
                    (words)
                }
            }
        }
    }
}

/// Numbers day by day as bars, with the top of the scale.
pub(crate) fn plot(values: &[(time::Date, u64)], what: &str) -> Markup {
    let top = scale(values.iter().map(|(_, value)| *value).max().unwrap_or(0));
    let width = values.len() * 10;
    let height =
        |value: u64| u64::try_from(u128::from(value) * 100 / u128::from(top)).unwrap_or(100);
    let most = values.iter().map(|(_, value)| *value).max().unwrap_or(0);
    let least = values.iter().map(|(_, value)| *value).min().unwrap_or(0);
    html! {
        div.plot {
            div.y aria-hidden="true" {
                span { (commas(top)) } span { (commas(top / 2)) } span { "0" }
            }
            svg viewBox={ "0 0 " (width) " 100" } preserveAspectRatio="none" role="img"
                aria-label={ (what) ", from " (commas(least)) " to " (commas(most)) } {
                path.grid d={ "M0 .5H" (width) "M0 50H" (width) }
                    vector-effect="non-scaling-stroke" {}
                @for (at, (day, value)) in values.iter().enumerate() {
                    @let height = height(*value);
                    rect.c-bar x=(at * 10 + 2) y=(100 - height) width="7" height=(height) {
                        title { (short_day(*day)) ": " (commas(*value)) }
                    }
                }
                path.base d={ "M0 99.5H" (width) } vector-effect="non-scaling-stroke" {}
            }
            div.ends aria-hidden="true" {
                @if let (Some((first, _)), Some((last, _))) = (values.first(), values.last()) {
                    span { (short_day(*first)) } span { (short_day(*last)) }
                }
            }
        }
    }
}

/// The next round number: the top of a scale.
fn scale(most: u64) -> u64 {
    let mut step = 1_u64;
    loop {
        for factor in [1, 2, 5] {
            if let Some(top) = step.checked_mul(factor).map(|half| half.saturating_mul(2))
                && top >= most
            {
                return top;
            }
        }
        match step.checked_mul(10) {
            Some(next) => step = next,
            None => return u64::MAX,
        }
    }
}

/// A number with commas, as `25,344`.
pub(crate) fn commas(number: u64) -> String {
    let digits = number.to_string();
    let mut out = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
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
    fn a_scale_ends_at_a_round_number_and_numbers_have_commas() {
        let tops = [(0, 2), (3, 4), (911, 1_000), (1_001, 2_000), (u64::MAX, u64::MAX)];
        for (most, top) in tops {
            assert_eq!(scale(most), top, "{most}");
        }
        assert_eq!([7, 999, 25_344, 1_000_000].map(commas), ["7", "999", "25,344", "1,000,000"]);
    }

    #[test]
    fn a_strip_tells_in_words_what_its_bars_show() {
        let days = [time::macros::date!(2026 - 11 - 30), time::macros::date!(2026 - 12 - 01)];
        let words = |states: [DayState; 2]| strip_words(&states, &days);
        assert_eq!(
            words([DayState::Well, DayState::None]),
            "2 days: nothing late, missing or failing"
        );
        assert_eq!(
            words([DayState::Bad, DayState::Late]),
            "2 days: missing or failing on 30 Nov; late or waiting on 1 Dec"
        );
        let drawn = strip(&[DayState::Bad, DayState::Bad], "x", false).into_string();
        assert_eq!(drawn.matches("<path").count(), 1, "{drawn}");
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
