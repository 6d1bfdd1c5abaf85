//! Queries of the alert rules, evaluated over what was sent: as much of Kusto's language as they
//! use, and a panic for whatever else they may come to use.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::ingestion::{Envelope, of};

/// A row of a table, by column.
pub type Row = BTreeMap<String, Value>;

/// The rows that `query` comes to over `envelopes`.
pub fn evaluate(query: &str, envelopes: &[Envelope]) -> Vec<Row> {
    let mut lines =
        query.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with("//"));
    let mut rows = table(lines.next().expect("a table"), envelopes);
    for line in lines {
        let (verb, rest) = line
            .strip_prefix("| ")
            .and_then(|line| line.split_once(' '))
            .unwrap_or_else(|| panic!("not known here: {line}"));
        rows = match verb {
            "where" => rows.into_iter().filter(|row| holds(rest, row)).collect(),
            "extend" => rows.into_iter().map(|row| extended(rest, row)).collect(),
            "summarize" => summarized(rest, &rows),
            _ => panic!("not known here: {line}"),
        };
    }
    rows
}

/// A table of Application Insights as it comes of what was sent.
fn table(name: &str, envelopes: &[Envelope]) -> Vec<Row> {
    assert_eq!(name, "customMetrics", "not known here");
    let row = |metric: &&Envelope| {
        let point = &metric.data("metrics")[0];
        let count = point["count"].as_u64().unwrap_or(1);
        BTreeMap::from([
            ("name".to_owned(), point["name"].clone()),
            ("valueCount".to_owned(), json!(count)),
            ("valueSum".to_owned(), point["value"].clone()),
            ("valueMax".to_owned(), point["max"].clone()),
            ("customDimensions".to_owned(), metric.data("properties").clone()),
        ])
    };
    of(envelopes, "Metric").iter().map(row).collect()
}

/// Whether `column == "text"` or `column in ("a", "b")` holds.
fn holds(condition: &str, row: &Row) -> bool {
    let text = |text: &str| text.trim().trim_matches('"').to_owned();
    let column = |name: &str| row[name.trim()].as_str().unwrap_or_default().to_owned();
    if let Some((name, value)) = condition.split_once(" == ") {
        return column(name) == text(value);
    }
    let (name, values) = condition
        .split_once(" in (")
        .unwrap_or_else(|| panic!("not known here: where {condition}"));
    values.trim_end_matches(')').split(',').any(|value| column(name) == text(value))
}

fn extended(columns: &str, mut row: Row) -> Row {
    for column in columns.split(", ") {
        let (name, value) = column.split_once(" = ").expect("a column");
        let key = value
            .strip_prefix("tostring(customDimensions.")
            .and_then(|key| key.strip_suffix(')'))
            .unwrap_or_else(|| panic!("not known here: {value}"));
        let value = row["customDimensions"][key].as_str().unwrap_or_default().to_owned();
        row.insert(name.to_owned(), Value::from(value));
    }
    row
}

fn summarized(rest: &str, rows: &[Row]) -> Vec<Row> {
    let (aggregate, by) = rest.split_once(" by ").map_or((rest, None), |(a, by)| (a, Some(by)));
    let (name, function) = aggregate.split_once(" = ").expect("a column");
    let keys: Vec<&str> = by.map(|by| by.split(", ").collect()).unwrap_or_default();
    let mut groups: BTreeMap<Vec<String>, Vec<&Row>> = BTreeMap::new();
    if by.is_none() {
        // Without groups there is a row also of nothing.
        groups.insert(Vec::new(), Vec::new());
    }
    for row in rows {
        let key = keys.iter().map(|key| row[*key].as_str().unwrap_or_default().to_owned());
        groups.entry(key.collect()).or_default().push(row);
    }
    let group = |(values, rows): (Vec<String>, Vec<&Row>)| {
        let mut row: Row = keys
            .iter()
            .map(|key| (*key).to_owned())
            .zip(values.into_iter().map(Value::from))
            .collect();
        row.insert(name.to_owned(), json!(aggregated(function, &rows)));
        row
    };
    groups.into_iter().map(group).collect()
}

fn aggregated(function: &str, rows: &[&Row]) -> f64 {
    let column = function.split_once('(').expect("a function").1.trim_end_matches(')');
    let values = rows.iter().map(|row| row[column].as_f64().unwrap_or_default());
    match function.split('(').next() {
        Some("count") => rows.len() as f64,
        Some("sum") => values.sum(),
        Some("max") => values.fold(f64::MIN, f64::max),
        _ => panic!("not known here: {function}"),
    }
}
