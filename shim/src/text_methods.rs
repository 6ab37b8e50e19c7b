//! Python's methods of texts that minijinja-contrib lacks, or has without Python's optional arguments.
//!
//! Positions and widths count characters, as in Python. The engine charges fuel for the text that a method is called
//! on and for what it returns; a width is charged before the padding exists.

use std::collections::HashSet;

use minijinja::value::{Kwargs, Tuple, from_args};
use minijinja::{Error, ErrorKind, State, Value};

fn refused(text: impl Into<String>) -> Error {
    Error::new(ErrorKind::InvalidOperation, text.into())
}

/// The method's result, or nothing if `name` is not one of these.
pub fn call(state: &State, text: &str, name: &str, args: &[Value]) -> Result<Option<Value>, Error> {
    let value = match name {
        "strip" | "lstrip" | "rstrip" => strip(text, name, args)?,
        "removeprefix" => part(text, args, |text, cut| text.strip_prefix(cut).unwrap_or(text).into())?,
        "removesuffix" => part(text, args, |text, cut| text.strip_suffix(cut).unwrap_or(text).into())?,
        "split" | "rsplit" => split(text, name, args)?,
        "splitlines" => split_lines(text, args)?,
        "partition" => part(text, args, |text, by| parted(text, text.find(by), by, false))?,
        "rpartition" => part(text, args, |text, by| parted(text, text.rfind(by), by, true))?,
        "find" | "rfind" | "index" | "rindex" | "count" => find(text, name, args)?,
        "startswith" | "endswith" => begins_or_ends(state, text, name, args)?,
        "center" | "ljust" | "rjust" | "zfill" => pad(state, text, name, args)?,
        "swapcase" => text.chars().flat_map(swapped).collect::<String>().into(),
        _ => return Ok(None),
    };
    Ok(Some(value))
}

/// Python also takes the four separators before the space for white.
fn is_white(c: char) -> bool {
    c.is_whitespace() || ('\x1c'..='\x1f').contains(&c)
}

fn strip(text: &str, name: &str, args: &[Value]) -> Result<Value, Error> {
    let (chars,): (Option<&str>,) = from_args(args)?;
    Ok(stripped(text, chars, name != "rstrip", name != "lstrip").into())
}

/// The text without white space, or without any of `chars`, at its ends.
pub fn stripped<'a>(text: &'a str, chars: Option<&str>, left: bool, right: bool) -> &'a str {
    let chars: Option<HashSet<char>> = chars.map(|chars| chars.chars().collect()); // they may be a million
    let goes = |c: char| chars.as_ref().map_or_else(|| is_white(c), |chars| chars.contains(&c));
    let text = if left { text.trim_start_matches(goes) } else { text };
    if right { text.trim_end_matches(goes) } else { text }
}

fn part(text: &str, args: &[Value], method: impl Fn(&str, &str) -> Value) -> Result<Value, Error> {
    let (argument,): (&str,) = from_args(args)?;
    Ok(method(text, argument))
}

fn parted(text: &str, at: Option<usize>, by: &str, from_right: bool) -> Value {
    let parts = match at {
        Some(at) => [&text[..at], by, &text[at + by.len()..]],
        None if from_right => ["", "", text],
        None => [text, "", ""],
    };
    Tuple::from(parts.map(Value::from)).into()
}

fn split(text: &str, name: &str, args: &[Value]) -> Result<Value, Error> {
    let (by, most, options): (Option<&str>, Option<i64>, Kwargs) = from_args(args)?;
    let by = by.or(options.get::<Option<&str>>("sep")?);
    let most = most.or(options.get("maxsplit")?).unwrap_or(-1);
    options.assert_all_used()?;
    let n_parts = usize::try_from(most).map_or(usize::MAX, |most| most.saturating_add(1));
    let from_right = name == "rsplit";
    let mut parts: Vec<&str> = match by {
        Some("") => return Err(refused("empty separator")),
        Some(by) if from_right => text.rsplitn(n_parts, by).collect(),
        Some(by) => text.splitn(n_parts, by).collect(),
        None => words(text, n_parts, from_right),
    };
    if from_right {
        parts.reverse();
    }
    Ok(parts.into_iter().map(Value::from).collect())
}

/// Splits at runs of white space, from the left or from the right; the last part keeps what follows.
fn words(text: &str, n_parts: usize, from_right: bool) -> Vec<&str> {
    let trim = |text| {
        if from_right { str::trim_end_matches(text, is_white) } else { str::trim_start_matches(text, is_white) }
    };
    let (mut parts, mut rest) = (Vec::new(), trim(text));
    while !rest.is_empty() {
        let space = if from_right { rest.rfind(is_white) } else { rest.find(is_white) };
        let Some(at) = space.filter(|_| parts.len() + 1 < n_parts) else {
            parts.push(rest);
            break;
        };
        let (before, after) = (&rest[..at], rest[at..].trim_start_matches(is_white));
        parts.push(if from_right { after } else { before });
        rest = trim(if from_right { before } else { after });
    }
    parts
}

fn split_lines(text: &str, args: &[Value]) -> Result<Value, Error> {
    let (keep, options): (Option<bool>, Kwargs) = from_args(args)?;
    let keep = keep.or(options.get("keepends")?).unwrap_or(false);
    options.assert_all_used()?;
    let ends = |c| matches!(c, '\n'..='\r' | '\x1c'..='\x1e' | '\u{85}' | '\u{2028}' | '\u{2029}');
    let (mut lines, mut rest) = (Vec::new(), text);
    while !rest.is_empty() {
        let at = rest.find(ends).unwrap_or(rest.len());
        let end = match rest[at..].chars().next() {
            Some('\r') if rest[at + 1..].starts_with('\n') => at + 2,
            next => at + next.map_or(0, char::len_utf8),
        };
        lines.push(Value::from(&rest[..if keep { end } else { at }]));
        rest = &rest[end..];
    }
    Ok(lines.into())
}

/// `text[start:end]`, and the number of characters before it. Nothing when it starts behind the end.
fn slice(text: &str, start: Option<i64>, end: Option<i64>) -> Option<(&str, i64)> {
    let (start, end) = (start.unwrap_or(0), end.unwrap_or(i64::MAX));
    if start == 0 && end == i64::MAX {
        return Some((text, 0));
    }
    let n = text.chars().count() as i64;
    let place = |at: i64| if at < 0 { (at + n).max(0) } else { at };
    let (start, end) = (place(start), place(end).min(n));
    let byte = |at: i64| text.char_indices().nth(at as usize).map_or(text.len(), |(byte, _)| byte);
    (start <= end).then(|| (&text[byte(start)..byte(end)], start))
}

fn find(text: &str, name: &str, args: &[Value]) -> Result<Value, Error> {
    let (what, start, end): (&str, Option<i64>, Option<i64>) = from_args(args)?;
    let within = slice(text, start, end);
    if name == "count" {
        return Ok(within.map_or(0, |(text, _)| text.matches(what).count()).into());
    }
    let found = within.and_then(|(text, before)| {
        let byte = if name.starts_with('r') { text.rfind(what) } else { text.find(what) };
        byte.map(|byte| before + text[..byte].chars().count() as i64)
    });
    match found {
        None if name.ends_with("index") => Err(refused("substring not found")),
        found => Ok(found.unwrap_or(-1).into()),
    }
}

fn begins_or_ends(state: &State, text: &str, name: &str, args: &[Value]) -> Result<Value, Error> {
    let (what, start, end): (&Value, Option<i64>, Option<i64>) = from_args(args)?;
    let wrong = || refused(format!("{name} takes a text or a tuple of texts"));
    let Some((text, _)) = slice(text, start, end) else { return Ok(false.into()) };
    let holds = |part: &Value| {
        let part = part.as_str().ok_or_else(wrong)?;
        Ok::<bool, Error>(if name == "startswith" { text.starts_with(part) } else { text.ends_with(part) })
    };
    if what.as_str().is_some() {
        return holds(what).map(Value::from);
    }
    for part in what.try_iter().map_err(|_| wrong())? {
        state.consume_fuel(1)?;
        if holds(&part)? {
            return Ok(true.into());
        }
    }
    Ok(false.into())
}

fn pad(state: &State, text: &str, name: &str, args: &[Value]) -> Result<Value, Error> {
    let (width, fill): (i64, Option<&str>) = from_args(args)?;
    let fill = if name == "zfill" { "0" } else { fill.unwrap_or(" ") };
    if fill.chars().count() != 1 {
        return Err(refused("the fill character must be exactly one character long"));
    }
    let length = text.chars().count();
    let missing = usize::try_from(width).unwrap_or(0).saturating_sub(length);
    state.consume_fuel(missing as u64 / 16)?;
    let (sign, digits) = text.split_at(usize::from(name == "zfill" && text.starts_with(['+', '-'])));
    let left = match name {
        "ljust" => 0,
        "center" => missing / 2 + (missing & (width as usize) & 1), // as CPython rounds
        _ => missing,
    };
    Ok(format!("{sign}{}{digits}{}", fill.repeat(left), fill.repeat(missing - left)).into())
}

fn swapped(c: char) -> impl Iterator<Item = char> {
    let (upper, lower) = (c.is_lowercase().then(|| c.to_uppercase()), c.is_uppercase().then(|| c.to_lowercase()));
    let same = (upper.is_none() && lower.is_none()).then_some(c);
    upper.into_iter().flatten().chain(lower.into_iter().flatten()).chain(same)
}
