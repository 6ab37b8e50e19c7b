//! How much a JSON schema asks of llguidance, told before it is compiled.
//!
//! llguidance counts its memory and most of its steps, but some work is quadratic or worse and goes uncounted: an
//! object with n properties takes n^2 steps (n^3 where their number is limited), a `oneOf` compares every pair, and
//! k patterns that must hold together multiply out to 2^k. Such schemas are refused by these counts. They look at
//! every object as if it were a schema, for a `$ref` may lead anywhere, and so may count too much, never too little. What merging
//! makes of references is not foreseen, though: they double where each definition merges two of the next.

use serde_json::{Map, Value};

use crate::Failure;

const OBJECT_PROPERTIES: usize = 1000;
const LIMITED_PROPERTIES: usize = 40; // in an object with minProperties or maxProperties
const SQUARED_PROPERTIES: usize = 3_000_000;
const PATTERN_PROPERTIES: usize = 32;
const ONE_OF: usize = 2000;
const ONE_OF_CHOICES: usize = 5000; // of every kind, where there is a oneOf
// Where schemas are merged, objects and patterns that lie far apart may meet.
const MERGED_LIMITED_PROPERTIES: usize = 128;
const MERGED_PATTERNS: usize = 10;
const MERGED_COPIES: usize = 400_000;

/// Keywords that only describe, and `type`, which merges with anything at no cost.
const PLAIN: [&str; 17] = [
    "$anchor",
    "$comment",
    "$defs",
    "$id",
    "$schema",
    "contentEncoding",
    "contentMediaType",
    "default",
    "definitions",
    "deprecated",
    "description",
    "examples",
    "id",
    "readOnly",
    "title",
    "type",
    "writeOnly",
];

#[derive(Default)]
struct SchemaSize {
    properties: usize,
    largest: usize,         // properties of one object
    squared: usize,         // sum of squares
    limited: Option<usize>, // the largest with minProperties or maxProperties
    pattern_properties: usize,
    one_of: usize,
    choices: usize, // of anyOf, oneOf, enum
    patterns: usize,
    merges: usize, // pairs of schemas that must hold together
}

fn length(fields: &Map<String, Value>, key: &str) -> usize {
    match fields.get(key) {
        Some(Value::Array(items)) => items.len(),
        Some(Value::Object(items)) => items.len(),
        _ => 0,
    }
}

impl SchemaSize {
    fn add_object(&mut self, n_properties: usize) {
        self.properties += n_properties;
        self.largest = self.largest.max(n_properties);
        self.squared = self.squared.saturating_add(n_properties.saturating_mul(n_properties));
    }

    fn add_schema(&mut self, fields: &Map<String, Value>) {
        let n_properties = length(fields, "properties") + length(fields, "required");
        self.add_object(n_properties);
        if fields.contains_key("minProperties") || fields.contains_key("maxProperties") {
            self.limited = self.limited.max(Some(n_properties));
        }
        self.pattern_properties += length(fields, "patternProperties");
        self.one_of += length(fields, "oneOf");
        self.choices += length(fields, "oneOf") + length(fields, "anyOf") + length(fields, "enum");
        let is_pattern = |key: &str| fields.get(key).is_some_and(|v| v.is_string() || v.is_number());
        self.patterns += ["pattern", "format", "multipleOf"].into_iter().filter(|key| is_pattern(key)).count();
        // parts that hold together: each of allOf, each other group of alternatives, and the keywords beside them
        let groups = ["$ref", "anyOf", "oneOf"].iter().filter(|key| fields.contains_key(**key)).count();
        let not_beside = ["$ref", "allOf", "anyOf", "oneOf", "const", "enum"];
        let is_beside = |key: &String| !not_beside.contains(&key.as_str()) && !PLAIN.contains(&key.as_str());
        let parts = length(fields, "allOf") + groups + usize::from(fields.keys().any(is_beside));
        self.merges += parts.saturating_sub(1);
    }

    fn add(&mut self, value: &Value, is_constant: bool) {
        match value {
            Value::Array(items) => items.iter().for_each(|item| self.add(item, is_constant)),
            Value::Object(fields) => {
                if is_constant {
                    self.add_object(fields.len());
                } else {
                    self.add_schema(fields);
                }
                fields.iter().for_each(|(key, v)| self.add(v, is_constant || key == "const" || key == "enum"));
            }
            _ => {}
        }
    }

    /// The count that is too large, and the most that it may be.
    fn excess(&self) -> Option<(&'static str, usize, usize)> {
        let merged = |n: usize| if self.merges > 0 { n } else { 0 };
        let limited = self.limited.map_or(0, |_| merged(self.properties));
        let patterns_together = self.patterns.min(2 * (self.merges + 1));
        let counts = [
            ("properties in one object", self.largest.max(merged(self.properties)), OBJECT_PROPERTIES),
            ("properties beside minProperties", self.limited.unwrap_or(0), LIMITED_PROPERTIES),
            ("properties beside minProperties and allOf", limited, MERGED_LIMITED_PROPERTIES),
            ("pairs of properties", self.squared, SQUARED_PROPERTIES),
            ("patternProperties", self.pattern_properties, PATTERN_PROPERTIES),
            ("choices in oneOf", self.one_of, ONE_OF),
            ("choices", if self.one_of > 0 { self.choices } else { 0 }, ONE_OF_CHOICES),
            ("patterns that hold together", if self.merges > 0 { patterns_together } else { 0 }, MERGED_PATTERNS),
            ("properties times choices", merged(self.properties.saturating_mul(self.choices)), MERGED_COPIES),
        ];
        counts.into_iter().find(|(_, count, most)| count > most)
    }
}

/// Refuses schemas that would keep llguidance busy for long. Does it merge any: `allOf`, or a
/// reference or alternatives beside other keywords?
pub(crate) fn check<'a>(schemas: impl IntoIterator<Item = &'a Value>) -> Result<bool, Failure> {
    let (mut squared, mut merges) = (0, false);
    for schema in schemas {
        let mut size = SchemaSize::default();
        size.add(schema, false);
        squared += size.squared;
        size.squared = squared; // of all of them, for it is time
        merges |= size.merges > 0;
        if let Some((what, count, most)) = size.excess() {
            return Err(Failure::refused(format!("{count} {what}; {most} are the most")));
        }
    }
    Ok(merges)
}
