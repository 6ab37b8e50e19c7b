//! The `tojson` filter as Hugging Face defines it: Python's `json.dumps` with `ensure_ascii` false and no escapes
//! for HTML.

use minijinja::value::{Kwargs, ValueKind};
use minijinja::{Error, ErrorKind, State, Value};

use crate::python::float_text;

const MAX_DEPTH: usize = 100;
const MAX_INDENT: usize = 16;

struct Writer<'a> {
    state: &'a State<'a, 'a>,
    ensure_ascii: bool,
    indent: Option<usize>,
    sort_keys: bool,
    item: String,
    key: String,
    out: String,
}

fn refused(text: impl Into<String>) -> Error {
    Error::new(ErrorKind::BadSerialization, text.into())
}

pub fn to_json(state: &State, value: &Value, ensure_ascii: Option<bool>, options: Kwargs) -> Result<Value, Error> {
    let ensure_ascii = options.get::<Option<bool>>("ensure_ascii")?.or(ensure_ascii).unwrap_or(false);
    let indent = options.get::<Option<usize>>("indent")?;
    let separators = options.get::<Option<Vec<String>>>("separators")?;
    let sort_keys = options.get::<Option<bool>>("sort_keys")?.unwrap_or(false);
    options.assert_all_used()?;
    if indent.unwrap_or(0) > MAX_INDENT {
        return Err(refused(format!("an indent of more than {MAX_INDENT}")));
    }
    let default = || vec![if indent.is_some() { "," } else { ", " }.into(), ": ".into()];
    let [item, key] = separators.unwrap_or_else(default).try_into().map_err(|_| refused("separators are two"))?;
    let mut writer = Writer { state, ensure_ascii, indent, sort_keys, item, key, out: String::new() };
    writer.value(value, 0)?;
    Ok(Value::from(writer.out))
}

impl Writer<'_> {
    fn value(&mut self, value: &Value, depth: usize) -> Result<(), Error> {
        if depth > MAX_DEPTH {
            return Err(refused(format!("more than {MAX_DEPTH} levels")));
        }
        let start = self.out.len();
        match value.kind() {
            ValueKind::None => self.out += "null",
            ValueKind::Bool => self.out += if value.is_true() { "true" } else { "false" },
            ValueKind::Number if value.is_integer() => self.out += &value.to_string(),
            ValueKind::Number => self.out += &float_text(f64::try_from(value.clone())?, ["NaN", "Infinity"]),
            ValueKind::String => self.string(value.as_str().unwrap_or("")),
            ValueKind::Seq | ValueKind::Iterable => self.list(value, depth)?,
            ValueKind::Map => self.map(value, depth)?,
            kind => return Err(refused(format!("{kind} is not JSON serializable"))),
        }
        let leaf_bytes = if matches!(value.kind(), ValueKind::String) { self.out.len() - start } else { 0 };
        self.state.consume_fuel(1 + leaf_bytes as u64 / 64)
    }

    fn list(&mut self, list: &Value, depth: usize) -> Result<(), Error> {
        self.out.push('[');
        let mut empty = true;
        for item in list.try_iter()? {
            self.begin(&mut empty, depth);
            self.value(&item, depth + 1)?;
        }
        self.end(']', empty, depth);
        Ok(())
    }

    fn map(&mut self, map: &Value, depth: usize) -> Result<(), Error> {
        let mut pairs = Vec::new();
        for key in map.try_iter()? {
            pairs.push((key_text(&key)?, map.get_item(&key)?));
        }
        if self.sort_keys {
            pairs.sort_by(|a, b| a.0.cmp(&b.0));
        }
        self.out.push('{');
        let mut empty = true;
        for (key, value) in &pairs {
            self.begin(&mut empty, depth);
            self.string(key);
            self.out.push_str(&self.key);
            self.value(value, depth + 1)?;
        }
        self.end('}', empty, depth);
        Ok(())
    }

    fn begin(&mut self, empty: &mut bool, depth: usize) {
        if !*empty {
            self.out.push_str(&self.item);
        }
        *empty = false;
        self.new_line(depth + 1);
    }

    fn end(&mut self, close: char, empty: bool, depth: usize) {
        if !empty {
            self.new_line(depth);
        }
        self.out.push(close);
    }

    fn new_line(&mut self, depth: usize) {
        if let Some(indent) = self.indent {
            self.out.push('\n');
            self.out.extend(std::iter::repeat_n(' ', indent * depth));
        }
    }

    fn string(&mut self, text: &str) {
        self.out.push('"');
        for c in text.chars() {
            match c {
                '"' => self.out += "\\\"",
                '\\' => self.out += "\\\\",
                '\n' => self.out += "\\n",
                '\r' => self.out += "\\r",
                '\t' => self.out += "\\t",
                '\u{8}' => self.out += "\\b",
                '\u{c}' => self.out += "\\f",
                c if c < ' ' || (self.ensure_ascii && c > '~') => {
                    c.encode_utf16(&mut [0; 2]).iter().for_each(|unit| self.out += &format!("\\u{unit:04x}"))
                }
                c => self.out.push(c),
            }
        }
        self.out.push('"');
    }
}

fn key_text(key: &Value) -> Result<String, Error> {
    match key.kind() {
        ValueKind::String => Ok(key.as_str().unwrap_or("").into()),
        ValueKind::None => Ok("null".into()),
        ValueKind::Bool => Ok(if key.is_true() { "true" } else { "false" }.into()),
        ValueKind::Number if key.is_integer() => Ok(key.to_string()),
        ValueKind::Number => Ok(float_text(f64::try_from(key.clone())?, ["NaN", "Infinity"])),
        kind => Err(refused(format!("keys must be strings, not {kind}"))),
    }
}
