//! Numbers as pictures: the equation of a pass as a bar, values of runs as columns. SVG without any
//! script. Pure.

use maud::{Markup, html};

use super::view::Pass;

/// One number of a pass.
type Count = fn(&Pass) -> u64;

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
pub fn equation(pass: &Pass) -> String {
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
pub fn bar(pass: &Pass) -> Markup {
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
pub fn progress(pass: &Pass, words: &str) -> Markup {
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

/// A column of a chart.
pub struct Column {
    /// How high.
    pub value: u64,
    /// What it says to those who ask.
    pub title: String,
}

/// Columns over time, oldest first.
pub struct Chart<'a> {
    /// What they count.
    pub name: &'a str,
    /// The class of their colour.
    pub class: &'a str,
    /// The columns.
    pub columns: Vec<Column>,
    /// The highest value for people.
    pub highest: String,
    /// The first and the last time for people.
    pub ends: (String, String),
}

/// The chart as a figure.
pub fn chart(chart: &Chart<'_>) -> Markup {
    const HEIGHT: u64 = 90;
    let highest = chart.columns.iter().map(|column| column.value).max().unwrap_or(0);
    let slot = 600.0 / f64::from(u32::try_from(chart.columns.len().max(12)).unwrap_or(u32::MAX));
    // Columns stand at the right: the newest is always in the same place.
    let first = 600.0 - slot * f64::from(u32::try_from(chart.columns.len()).unwrap_or(u32::MAX));
    let high =
        |value: u64| match u128::from(value) * u128::from(HEIGHT) / u128::from(highest.max(1)) {
            0 if value > 0 => 2,
            high => u64::try_from(high).unwrap_or(HEIGHT),
        };
    html! {
        figure {
            figcaption { (chart.name) span.quiet { " per run, at most " (chart.highest) } }
            svg.chart role="img" viewBox="0 0 600 96" width="100%" {
                title { (chart.name) " per run, from " (chart.ends.0) " to " (chart.ends.1) ": at \
                    most " (chart.highest) }
                line.axis x1="0" y1="94" x2="600" y2="94" {}
                @for (column, index) in chart.columns.iter().zip(0u32..) {
                    @let x = first + slot * f64::from(index) + slot * 0.12;
                    g {
                        title { (column.title) }
                        // The whole slot answers the pointer, also where the column is low.
                        rect.slot x=(format!("{x:.1}")) y="4" width=(format!("{:.1}", slot * 0.76)) height=(HEIGHT) {}
                        rect class=(chart.class) x=(format!("{x:.1}")) y=(94 - high(column.value)) width=(format!("{:.1}", slot * 0.76)) height=(high(column.value)) {}
                    }
                }
            }
            p.ends.quiet { span { (chart.ends.0) } span { (chart.ends.1) } }
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
        let pass = Pass { listed: Some(3), ingested: 1, failed: 1, ..Pass::default() };
        assert!(equation(&pass).contains("do not add up"));
        assert_eq!(
            equation(&Pass { listed: Some(2), ..pass.clone() }),
            "listed 2 = ingested 1 + unchanged 0 + skipped 0 + gone 0 + deferred 0 + failed 1"
        );
        assert!(equation(&Pass { listed: None, ..pass }).starts_with("so far "));
    }

    #[test]
    fn a_chart_holds_a_column_a_run_and_small_values_are_seen() {
        let columns =
            [0, 1, u64::MAX].map(|value| Column { value, title: format!("<{value}>") }).into();
        let chart = Chart {
            name: "Bytes",
            class: "c-ingested",
            columns,
            highest: "many".into(),
            ends: ("a".into(), "b".into()),
        };
        let text = super::chart(&chart).into_string();
        assert_eq!(text.matches("rect class=\"slot\"").count(), 3);
        assert!(
            text.contains("height=\"2\"")
                && text.contains("height=\"90\"")
                && text.contains("&lt;1&gt;"),
            "{text}"
        );
    }
}
