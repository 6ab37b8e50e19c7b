//! Hugging Face marks what the assistant said by `{% generation %}`: for rendering, a block without effect. minijinja
//! cannot be taught tags, so the source gets `{% with %}` instead.

/// The source without the tags; comments, expressions and raw blocks stay as they are.
pub fn without_tags(source: &str) -> String {
    let mut result = String::with_capacity(source.len());
    let mut rest = source;
    while let Some(start) = rest.find('{') {
        let (before, here) = rest.split_at(start);
        result += before;
        let (copied, replaced) = match here.as_bytes().get(1) {
            Some(b'#') => (length_until(here, "#}"), None),
            Some(b'{') => (length_until(here, "}}"), None),
            Some(b'%') => tag(here),
            _ => (1, None),
        };
        result += &replaced.unwrap_or_else(|| here[..copied].into());
        rest = &here[copied..];
    }
    result + rest
}

fn length_until(text: &str, end: &str) -> usize {
    text.find(end).map_or(text.len(), |at| at + end.len())
}

/// The length of the tag at the start of `here`, and what stands in its place. A raw block counts as one tag.
fn tag(here: &str) -> (usize, Option<String>) {
    let length = length_until(here, "%}");
    let tag = &here[..length];
    let name = tag.trim_matches(|c: char| c.is_ascii_whitespace() || "{%-+}".contains(c));
    match name {
        "generation" => (length, Some(tag.replacen(name, "with", 1))),
        "endgeneration" => (length, Some(tag.replacen(name, "endwith", 1))),
        "raw" => {
            let end = here.find("endraw").unwrap_or(length);
            (end + length_until(&here[end..], "%}"), None)
        }
        _ => (length, None),
    }
}
