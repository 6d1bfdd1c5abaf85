//! Lines of the ledger: guarded, torn, of later releases.

use super::*;

fn end(run: &str) -> Record {
    Record::End { run: run.into(), recovered: BTreeMap::new() }
}

fn check(bytes: &[u8]) -> Result<(Vec<Record>, bool), String> {
    let mut records = Vec::new();
    let scan = scan("j", bytes, Check::Each, |_, record| records.push(record))
        .map_err(|bad| crate::model::chain(&bad))?;
    Ok((records, scan.torn))
}

#[test]
fn every_bit_of_a_line_is_guarded() {
    let lines = [end("a").to_line(), end("b").to_line()].concat();
    assert_eq!(check(&lines), Ok((vec![end("a"), end("b")], false)));
    let second = end("a").to_line().len();
    // The end of the last line is left out: without it the line is torn, see below.
    for at in 0..lines.len() - 1 {
        for bit in 0..8 {
            let mut flipped = lines.clone();
            flipped[at] ^= 1 << bit;
            let line = usize::from(at >= second) + 1;
            let found = check(&flipped).expect_err("a flipped bit is found");
            assert!(
                found.starts_with(&format!("line {line} of `j` is damaged"))
                    || found.contains("line 1"),
                "bit {bit} of byte {at}: {found}"
            );
        }
    }
}

#[test]
fn a_torn_last_line_is_left_out_and_told_of() {
    let lines = [end("a").to_line(), end("b").to_line()].concat();
    let first = end("a").to_line().len();
    for length in first + 1..lines.len() {
        assert_eq!(check(&lines[..length]), Ok((vec![end("a")], true)));
    }
    let sealed =
        [&lines[..lines.len() - 5], b"\n", &Record::Torn.to_line(), &end("c").to_line()].concat();
    assert_eq!(check(&sealed), Ok((vec![end("a"), Record::Torn, end("c")], false)));
}

#[test]
fn lines_of_a_later_release_are_refused() {
    let line = Record::Schema { version: SCHEMA + 1 }.to_line();
    assert!(
        check(&line)
            .expect_err("it is refused")
            .contains("later release (schema 4, this one knows 3)")
    );
}
