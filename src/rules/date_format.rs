//! Dates in patterns and names: `{yyyy-MM-dd}`, `{yyyyMMdd;-1d}`. Pure: the date is a value.

use time::{Date, Duration, Month, PrimitiveDateTime, Time};

/// The tokens of a format, as error messages list them.
pub(crate) const ALLOWED_TOKENS: &str = "yyyy yy MM dd HH mm";

/// The largest number in an offset.
const MOST_OFFSET: u32 = 9999;

/// What stands between the braces of a date placeholder: tokens and separators, and after `;` an
/// offset.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct DateFormat {
    parts: Vec<DatePart>,
    offset: DateOffset,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum DatePart {
    Token(DateToken),
    Separator(char),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum DateToken {
    Year,
    ShortYear,
    Month,
    Day,
    Hour,
    Minute,
}

/// A part of a calendar date, from the finest one up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum DateUnit {
    /// Minutes.
    Minute,
    /// Hours.
    Hour,
    /// Days.
    Day,
    /// Months.
    Month,
    /// Years.
    Year,
}

/// What is added to a date before it is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum DateOffset {
    None,
    Hours(i32),
    Days(i32),
    Months(i32),
}

/// Why the text between braces is no date format.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{{{text}}} {problem}{}", .instead.as_ref().map_or_else(String::new, |instead| {
    format!(" (did you mean {{{instead}}}?)")
}))]
pub struct BadDateFormat {
    text: String,
    problem: String,
    instead: Option<String>,
    /// Whether the text holds nothing but tokens and separators before the `;`: then a date was
    /// meant, even in a pattern in which braces may also hold alternatives.
    pub is_a_date: bool,
}

impl BadDateFormat {
    /// Whether the text resembles a date: a spelling of one is known.
    pub(crate) fn resembles_a_date(&self) -> bool {
        self.is_a_date || self.instead.is_some()
    }
}

impl DateFormat {
    /// Reads `FORMAT` or `FORMAT;OFFSET`, the text between the braces.
    pub fn parse(text: &str) -> Result<Self, BadDateFormat> {
        let (format, offset) = match text.split_once(';') {
            Some((format, offset)) => (format, Some(offset)),
            None => (text, None),
        };
        let suffix = offset.map_or_else(String::new, |offset| format!(";{offset}"));
        let Some(parts) = parts_of(format) else {
            let instead = spelling(format).map(|format| format + &suffix);
            let problem = format!("is no date placeholder; allowed are {ALLOWED_TOKENS}");
            return Err(bad(text, problem, instead, false));
        };
        let has = |token| parts.contains(&DatePart::Token(token));
        if has(DateToken::Minute)
            && !has(DateToken::Hour)
            && (has(DateToken::Year) || has(DateToken::ShortYear) || has(DateToken::Day))
        {
            let problem = "has minutes (`mm`) without hours; months are `MM`".to_owned();
            return Err(bad(text, problem, spelling(format).map(|f| f + &suffix), true));
        }
        let offset = match offset.map(offset_of) {
            None => DateOffset::None,
            Some(Some(offset)) => offset,
            Some(None) => {
                let problem = format!(
                    "has no offset after `;`; allowed is a sign, a number up to {MOST_OFFSET} and \
                    `h`, `d` or `M`, as in {{{format};-1d}}"
                );
                return Err(bad(text, problem, None, true));
            }
        };
        Ok(Self { parts, offset })
    }

    /// `local` as text, once the offset is added.
    pub fn write(&self, local: PrimitiveDateTime) -> String {
        let at = self.offset.added_to(local);
        self.parts.iter().fold(String::new(), |mut text, part| {
            match part {
                DatePart::Separator(separator) => text.push(*separator),
                DatePart::Token(token) => text.push_str(&token.write(at)),
            }
            text
        })
    }

    /// The date that `text` spells in this format; what the format does not hold is the first
    /// (month, day) or none (hour, minute). `None`: it spells none, or the format holds no year.
    /// The offset is not taken off.
    pub fn read(&self, text: &str) -> Option<PrimitiveDateTime> {
        let (mut rest, mut fields) = (text, [None::<u16>; 5]);
        for part in &self.parts {
            rest = match part {
                DatePart::Separator(separator) => rest.strip_prefix(*separator)?,
                DatePart::Token(token) => {
                    let (digits, after) = rest.split_at_checked(token.width())?;
                    let value = token.value(digits)?;
                    let field = &mut fields[token.field()];
                    if field.is_some_and(|before| before != value) {
                        return None;
                    }
                    *field = Some(value);
                    after
                }
            };
        }
        let [year, month, day, hour, minute] = fields;
        let small = |field: Option<u16>, default: u8| {
            field.map_or(Some(default), |field| u8::try_from(field).ok())
        };
        let month = Month::try_from(small(month, 1)?).ok()?;
        let date = Date::from_calendar_date(i32::from(year?), month, small(day, 1)?).ok()?;
        let time = Time::from_hms(small(hour, 0)?, small(minute, 0)?, 0).ok()?;
        rest.is_empty().then(|| date.with_time(time))
    }

    /// The finest part of a date that the format holds: the text changes once in each such part.
    pub fn finest(&self) -> DateUnit {
        let units = self.parts.iter().filter_map(|part| match part {
            DatePart::Token(token) => Some(token.unit()),
            DatePart::Separator(_) => None,
        });
        units.min().unwrap_or(DateUnit::Year)
    }

    /// The finest part of a date that another text comes with: an offset of hours makes days change
    /// within the day.
    pub(crate) fn changes_with(&self) -> DateUnit {
        match self.offset {
            DateOffset::Hours(_) => self.finest().min(DateUnit::Hour),
            _ => self.finest(),
        }
    }

    /// The glob that matches every written date.
    pub fn at_any_time(&self) -> String {
        let part = |part: &DatePart| match part {
            DatePart::Separator(separator) => separator.to_string(),
            DatePart::Token(token) => "[0-9]".repeat(token.width()),
        };
        self.parts.iter().map(part).collect()
    }

    /// What stands between the braces.
    pub fn text(&self) -> String {
        let part = |part: &DatePart| match part {
            DatePart::Separator(separator) => separator.to_string(),
            DatePart::Token(token) => {
                let found = DateToken::ALL.iter().find(|(_, known)| known == token);
                found.map_or_else(String::new, |(text, _)| (*text).to_owned())
            }
        };
        let format: String = self.parts.iter().map(part).collect();
        match self.offset {
            DateOffset::None => format,
            DateOffset::Hours(hours) => format!("{format};{hours:+}h"),
            DateOffset::Days(days) => format!("{format};{days:+}d"),
            DateOffset::Months(months) => format!("{format};{months:+}M"),
        }
    }

    /// Whether a written date holds a `/`.
    pub(crate) fn has_slash(&self) -> bool {
        self.parts.contains(&DatePart::Separator('/'))
    }
}

impl DateToken {
    const ALL: [(&str, DateToken); 6] = [
        ("yyyy", DateToken::Year),
        ("yy", DateToken::ShortYear),
        ("MM", DateToken::Month),
        ("dd", DateToken::Day),
        ("HH", DateToken::Hour),
        ("mm", DateToken::Minute),
    ];

    fn write(self, at: PrimitiveDateTime) -> String {
        match self {
            DateToken::Year => format!("{:04}", at.year()),
            DateToken::ShortYear => format!("{:02}", at.year().rem_euclid(100)),
            DateToken::Month => format!("{:02}", u8::from(at.month())),
            DateToken::Day => format!("{:02}", at.day()),
            DateToken::Hour => format!("{:02}", at.hour()),
            DateToken::Minute => format!("{:02}", at.minute()),
        }
    }

    fn width(self) -> usize {
        if self == DateToken::Year { 4 } else { 2 }
    }

    fn value(self, digits: &str) -> Option<u16> {
        let value: u16 =
            digits.bytes().all(|byte| byte.is_ascii_digit()).then(|| digits.parse().ok())??;
        Some(if self == DateToken::ShortYear { 2000 + value } else { value })
    }

    fn field(self) -> usize {
        match self {
            DateToken::Year | DateToken::ShortYear => 0,
            DateToken::Month => 1,
            DateToken::Day => 2,
            DateToken::Hour => 3,
            DateToken::Minute => 4,
        }
    }

    fn unit(self) -> DateUnit {
        match self {
            DateToken::Year | DateToken::ShortYear => DateUnit::Year,
            DateToken::Month => DateUnit::Month,
            DateToken::Day => DateUnit::Day,
            DateToken::Hour => DateUnit::Hour,
            DateToken::Minute => DateUnit::Minute,
        }
    }
}

impl DateOffset {
    fn added_to(self, local: PrimitiveDateTime) -> PrimitiveDateTime {
        match self {
            DateOffset::None => local,
            DateOffset::Hours(hours) => local.saturating_add(Duration::hours(hours.into())),
            DateOffset::Days(days) => local.saturating_add(Duration::days(days.into())),
            DateOffset::Months(months) => plus_months(local, months),
        }
    }
}

/// A month later or earlier; where that month has no such day, its last one.
fn plus_months(local: PrimitiveDateTime, months: i32) -> PrimitiveDateTime {
    let count = local.year() * 12 + i32::from(u8::from(local.month())) - 1 + months;
    let (year, month) = (count.div_euclid(12), count.rem_euclid(12) + 1);
    let month = u8::try_from(month).ok().and_then(|month| Month::try_from(month).ok());
    let date = month.and_then(|month| {
        let day = local.day().min(month.length(year));
        Date::from_calendar_date(year, month, day).ok()
    });
    let end = if months < 0 { PrimitiveDateTime::MIN } else { PrimitiveDateTime::MAX };
    date.map_or(end, |date| date.with_time(local.time()))
}

fn bad(text: &str, problem: String, instead: Option<String>, is_a_date: bool) -> BadDateFormat {
    let text = crate::model::printable(text.as_bytes()).to_string();
    BadDateFormat { text, problem, instead, is_a_date }
}

fn is_separator(c: char) -> bool {
    matches!(c, '-' | '_' | '.' | 'T' | '/')
}

/// The tokens and separators of `format`; `None` if it holds anything else, or no token.
fn parts_of(format: &str) -> Option<Vec<DatePart>> {
    let mut parts = Vec::new();
    for run in runs(format) {
        let token = DateToken::ALL.iter().find(|(text, _)| *text == run);
        match (token, run.chars().next()) {
            (Some((_, token)), _) => parts.push(DatePart::Token(*token)),
            (None, Some(first)) if is_separator(first) => {
                parts.extend(run.chars().map(DatePart::Separator));
            }
            _ => return None,
        }
    }
    parts.iter().any(|part| matches!(part, DatePart::Token(_))).then_some(parts)
}

/// `text` cut where the character changes.
fn runs(text: &str) -> impl Iterator<Item = &str> {
    let mut rest = text;
    std::iter::from_fn(move || {
        let first = rest.chars().next()?;
        let (run, after) = rest.split_at(rest.find(|c| c != first).unwrap_or(rest.len()));
        rest = after;
        Some(run)
    })
}

fn offset_of(text: &str) -> Option<DateOffset> {
    let (digits, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    let (sign, digits) = match digits.split_at_checked(1)? {
        ("-", digits) => (-1, digits),
        ("+", digits) => (1, digits),
        _ => return None,
    };
    let plain = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    let number = plain.then(|| digits.parse::<u32>().ok()).flatten();
    let number = i32::try_from(number.filter(|number| *number <= MOST_OFFSET)?).ok()? * sign;
    match unit {
        "h" => Some(DateOffset::Hours(number)),
        "d" => Some(DateOffset::Days(number)),
        "M" => Some(DateOffset::Months(number)),
        _ => None,
    }
}

/// How `text` would be spelled, if it is a date in the letters of another language: `YYYY`,
/// `%Y-%m-%d`, `MON`.
fn spelling(text: &str) -> Option<String> {
    let strftime = text.contains('%');
    let (mut rest, mut spelled) = (text, String::new());
    while let Some(first) = rest.chars().next() {
        let word = rest.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(rest.len());
        let (token, length) = match first {
            '%' => (strftime_token(rest.get(1..2)?)?, 2),
            _ if strftime && first.is_ascii_alphabetic() && first != 'T' => return None,
            _ if word_token(&rest[..word]).is_some() => (word_token(&rest[..word])?, word),
            'y' | 'Y' | 'm' | 'M' | 'd' | 'D' | 'h' | 'H' => {
                let run = same_letters(rest);
                (letters_token(first, run, &spelled)?, run)
            }
            _ if is_separator(first) => (&rest[..1], 1),
            _ => return None,
        };
        spelled.push_str(token);
        rest = rest.get(length..)?;
    }
    (spelled != text && DateFormat::parse(&spelled).is_ok()).then_some(spelled)
}

/// How many letters at the beginning are the first one, small or capital, except that `MM` ends
/// before `mm`.
fn same_letters(text: &str) -> usize {
    let first = text.as_bytes().first().copied().unwrap_or_default();
    let month = first.eq_ignore_ascii_case(&b'm');
    let alike = |byte: &u8| *byte == first || (!month && byte.eq_ignore_ascii_case(&first));
    text.bytes().take_while(|byte| alike(byte)).count()
}

fn letters_token(letter: char, length: usize, before: &str) -> Option<&'static str> {
    Some(match (letter.to_ascii_lowercase(), length) {
        ('y', 2) => "yy",
        ('y', 1..=5) => "yyyy",
        // After hours come minutes, whatever their case.
        ('m', 1..=4) if before.ends_with("HH") || before.contains("HH") && letter == 'm' => "mm",
        ('m', 1..=4) => "MM",
        ('d', 1..=4) => "dd",
        ('h', 1..=2) => "HH",
        _ => return None,
    })
}

fn word_token(word: &str) -> Option<&'static str> {
    Some(match word.to_ascii_lowercase().as_str() {
        "year" => "yyyy",
        "mon" | "month" => "MM",
        "day" => "dd",
        "hour" => "HH",
        "hh24" => "HH",
        "min" | "minute" => "mm",
        "date" => "yyyy-MM-dd",
        _ => return None,
    })
}

fn strftime_token(letter: &str) -> Option<&'static str> {
    Some(match letter {
        "Y" => "yyyy",
        "y" => "yy",
        "m" => "MM",
        "d" => "dd",
        "H" => "HH",
        "M" => "mm",
        "F" => "yyyy-MM-dd",
        _ => return None,
    })
}

#[cfg(test)]
#[path = "date_format_tests.rs"]
mod tests;
