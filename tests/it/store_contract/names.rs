//! Hard but legal names: each must come back byte by byte, apart from every other.

use std::collections::BTreeMap;

use blobferry::store::contract::{Condition, Store};
use bytes::Bytes;

use super::{listed, name, properties};

const PLAIN: &[&str] = &[
    "plain.txt",
    " leading",
    "trailing ",
    "  both  ",
    " ",
    "in the  middle",
    "dir /file",
    "dir/ file",
    "dir / file ",
    "#?%25+&'\";",
    "a%2Fb",
    "a%2fb",
    "%2E%2E",
    "%2E%2E/%2e",
    "%41",
    "A",
    "a+b",
    "a b",
    "a&b=c&sig=d",
    "a?b#c",
    "a;b",
    "a=b",
    "a:b",
    "a*b",
    "a|b",
    "a<b>c",
    "a\"b'c`d",
    "a^b~c",
    "[a]{b}(c)",
    "$(rm)",
    "@!,",
    "<xml>&amp;</xml>",
    "]]>",
    "caf\u{e9}",
    "cafe\u{301}",
    "日本語/ファイル.txt",
    "👩‍👩‍👧‍👦.png",
    "𝒳",
    "\u{FF01}full",
    "\u{202E}txt.exe",
    "zero\u{200B}width",
    "nb\u{a0}sp",
    "İstanbul",
    "CASE",
    "case",
    "Case",
    "...a",
    "a...b",
    ".hidden",
    ".hidden/..x",
    "-rf",
    "~",
    "con",
    "aux.txt",
    "nul",
    "clash",
    "clash/b",
    "clash/b/c",
    "clash/b/c/d",
    "late/b/c",
    "late/b",
    "late",
    "%=",
    "clash%=f",
    "clash%=d/b%=f",
    "a%=%=b",
    ".blobferry/meta",
    ".blobferry",
    ".Blobferry",
];

fn hard() -> Vec<String> {
    let mut all: Vec<String> = PLAIN.iter().map(|text| format!("hard/{text}")).collect();
    // At the very top too: a store's own folder must not be reachable by a blob's name.
    all.extend([".blobferry/meta/x", ".blobferry", ".blobferry%=r", "%=x"].map(str::to_owned));
    all.push(format!("hard/{}", "l".repeat(1019)));
    all.push(format!("hard/{}/m", "長".repeat(500)));
    all.push(format!("hard/{}/n", "長".repeat(499)));
    all.push(format!("hard/{}", vec!["s"; 253].join("/")));
    all.push(format!("hard/{}", "x".repeat(255)));
    all.push(format!("hard/{}", "x".repeat(256)));
    all
}

/// Writes, looks at, lists and reads every one of them.
pub async fn survive(store: &dyn Store) {
    let mut written = BTreeMap::new();
    for text in hard() {
        let bytes = Bytes::from(text.clone().into_bytes());
        let etag =
            store.put(&name(&text), bytes.clone(), &properties(&bytes), &Condition::IfAbsent).await;
        written.insert(
            text.clone(),
            etag.unwrap_or_else(|error| panic!("{text:?}: {}", blobferry::model::chain(&error))),
        );
    }
    for (text, etag) in &written {
        let info = store
            .head(&name(text))
            .await
            .expect("it looks")
            .unwrap_or_else(|| panic!("{text:?} is not there"));
        assert_eq!((info.name.as_str(), &info.etag), (text.as_str(), etag));
        let read = store.get(&name(text), 0, 4096).await.expect("it reads").map(|(_, bytes)| bytes);
        assert_eq!(read.as_deref(), Some(text.as_bytes()));
        let below = listed(store, text).await;
        assert!(
            below.iter().any(|info| info.name == *text)
                && below.iter().all(|info| info.name.starts_with(text.as_str())),
            "{text:?}"
        );
    }
    let found: BTreeMap<_, _> =
        listed(store, "").await.into_iter().map(|info| (info.name, info.etag)).collect();
    let lost: Vec<_> = written.keys().filter(|text| !found.contains_key(*text)).collect();
    let strange: Vec<_> = found.keys().filter(|text| !written.contains_key(*text)).collect();
    assert!(lost.is_empty() && strange.is_empty(), "lost {lost:?}, strange {strange:?}");
    assert_eq!(found, written);
    for text in written.keys() {
        store.delete(&name(text)).await.expect("it removes");
    }
    assert_eq!(listed(store, "").await, []);
}
