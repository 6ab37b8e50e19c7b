//! The Rust crates that Cabinet uses, behind the C interface of `cabinet_shim.h`.
//!
//! This file is the border: texts in and out, errors, and panics that stop here. What lies behind it is safe Rust.

use std::any::Any;
use std::ffi::{CStr, c_char, c_int};
use std::panic::{AssertUnwindSafe, catch_unwind, set_hook};
use std::sync::Once;

mod bounds;
mod clock;
mod constraint;
mod generation;
mod http;
mod line_editor;
mod python;
mod schema_size;
mod template;
mod text_methods;
mod to_json;

/// What the C side is told: a code of `cabinet_shim.h`, and a line of text.
pub(crate) struct Failure(c_int, String);

impl Failure {
    pub(crate) fn refused(text: impl Into<String>) -> Self {
        Failure(-1, text.into())
    }
    pub(crate) fn io(text: impl Into<String>) -> Self {
        Failure(-3, text.into())
    }
}

fn panic_text(payload: Box<dyn Any + Send>) -> String {
    match payload.downcast::<String>() {
        Ok(text) => *text,
        Err(payload) => payload.downcast::<&str>().map_or("a panic".into(), |text| text.to_string()),
    }
}

/// Runs `body` and turns its failure or panic into a code and a line in the caller's buffer.
///
/// # Safety
/// `error` has `error_size` writable bytes, or is null.
pub(crate) unsafe fn guard(
    error: *mut c_char,
    error_size: usize,
    body: impl FnOnce() -> Result<c_int, Failure>,
) -> c_int {
    static QUIET: Once = Once::new();
    QUIET.call_once(|| set_hook(Box::new(|_| {}))); // the text goes to the caller, not to stderr
    let Failure(code, text) = match catch_unwind(AssertUnwindSafe(body)) {
        Ok(Ok(value)) => return value,
        Ok(Err(failure)) => failure,
        Err(payload) => Failure(-2, panic_text(payload)),
    };
    if error.is_null() || error_size == 0 {
        return code;
    }
    let line: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    let line = &line[..line.floor_char_boundary(error_size - 1)];
    unsafe {
        error.cast::<u8>().copy_from_nonoverlapping(line.as_ptr(), line.len());
        error.add(line.len()).write(0);
    }
    code
}

/// # Safety
/// `text` is a NUL-terminated string that outlives the result.
pub(crate) unsafe fn text_in<'a>(text: *const c_char, what: &str) -> Result<&'a str, Failure> {
    unsafe { CStr::from_ptr(text) }.to_str().map_err(|e| Failure::refused(format!("{what} is not UTF-8: {e}")))
}

/// Gives a text away: `cabinet_shim_free` takes it back.
///
/// # Safety
/// `text` and `length` are writable.
pub(crate) unsafe fn text_out(mut from: String, text: *mut *mut c_char, length: *mut usize) {
    unsafe { *length = from.len() };
    from.push('\0');
    unsafe { *text = Box::into_raw(from.into_bytes().into_boxed_slice()).cast() };
}

/// # Safety
/// `text` came out of this library with this `length`, and was not freed; or it is null.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cabinet_shim_free(text: *mut c_char, length: usize) {
    if !text.is_null() {
        drop(unsafe { Box::from_raw(std::ptr::slice_from_raw_parts_mut(text.cast::<u8>(), length + 1)) });
    }
}
