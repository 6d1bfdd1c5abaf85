//! Entity tags: who asks again is told that nothing changed, if that is so. Pure.

use std::io;

use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::handler::envelope::{HttpAnswer, HttpCall};
use crate::model::hex;

/// `answer` with its tag; without its body, if the caller has the same. When an answer was made
/// belongs to no tag, so the tag is a weak one. Refusals have none.
pub(super) fn tagged(mut answer: HttpAnswer, call: &HttpCall) -> HttpAnswer {
    if answer.status != 200 {
        return answer;
    }
    let tag = tag(&mut answer);
    let answer = answer.with("ETag", tag.clone());
    match is_known(&call.if_none_match, &tag) {
        false => answer,
        true => HttpAnswer { status: 304, body: Value::Null, page: Some(String::new()), ..answer },
    }
}

fn tag(answer: &mut HttpAnswer) -> String {
    let mut digest = Digester(Sha256::new());
    match &answer.page {
        Some(page) => without_time(page).into_iter().for_each(|part| digest.0.update(part)),
        // The facts over a thousand sources are large: they are neither copied nor made a text.
        None => {
            let member = "as_of";
            let made = answer.body.as_object_mut().and_then(|facts| facts.remove(member));
            let written = serde_json::to_writer(&mut digest, &answer.body);
            written.expect("a value is JSON, and a digest takes all");
            if let (Some(facts), Some(made)) = (answer.body.as_object_mut(), made) {
                facts.insert(member.to_owned(), made);
            }
        }
    }
    format!("W/\"{}\"", hex(&digest.0.finalize()[..16]))
}

/// Bytes that are written go into a hash.
struct Digester(Sha256);

impl io::Write for Digester {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.update(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A page without the line that tells when it was made.
fn without_time(page: &str) -> [&str; 2] {
    let parts = page.split_once("<p class=\"asof\">");
    let parts = parts.and_then(|(before, rest)| Some([before, rest.split_once("</p>")?.1]));
    parts.unwrap_or([page, ""])
}

/// Whether a header `If-None-Match` names `tag`.
fn is_known(header: &str, tag: &str) -> bool {
    let bare = |tag: &str| tag.trim().trim_start_matches("W/").to_owned();
    header.split(',').any(|one| one.trim() == "*" || bare(one) == bare(tag))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn asked(header: &str) -> HttpCall {
        HttpCall { if_none_match: header.into(), ..HttpCall::default() }
    }

    fn page(made: &str, text: &str) -> HttpAnswer {
        HttpAnswer::page(200, format!("<h1>x</h1><p class=\"asof\">{made}</p><p>{text}</p>"))
    }

    fn tag_of(answer: &HttpAnswer) -> String {
        let tag = answer.headers.iter().find(|(name, _)| *name == "ETag");
        tag.expect("a tag").1.clone()
    }

    #[test]
    fn a_page_that_says_the_same_later_is_not_sent_again() {
        let first = tagged(page("07:00", "all is well"), &asked(""));
        assert_eq!(first.status, 200);
        let tag = tag_of(&first);
        for header in [tag.clone(), format!("\"other\", {tag}"), "*".into()] {
            let again = tagged(page("07:01", "all is well"), &asked(&header));
            assert_eq!((again.status, again.page.as_deref()), (304, Some("")), "{header}");
            assert_eq!(tag_of(&again), tag);
        }
        let changed = tagged(page("07:01", "one failed"), &asked(&tag));
        assert_eq!(changed.status, 200);
    }

    #[test]
    fn facts_that_changed_are_told_programs_too() {
        let facts = |made: &str, failed: u64| {
            HttpAnswer::new(200, json!({ "as_of": made, "failed": failed }))
        };
        let tag = tag_of(&tagged(facts("07:00", 0), &asked("")));
        assert_eq!(tagged(facts("07:01", 0), &asked(&tag)).status, 304);
        assert_eq!(tagged(facts("07:01", 1), &asked(&tag)).status, 200);
        let refused = tagged(HttpAnswer::refusal(404, "no"), &asked("*"));
        assert_eq!((refused.status, refused.headers.len()), (404, 0));
    }
}
