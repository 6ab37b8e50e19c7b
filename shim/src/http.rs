//! Heads of HTTP/1.x requests and the size lines of chunked bodies, read by the httparse crate.

use std::mem::MaybeUninit;
use std::os::raw::c_int;

use httparse::{Header, Request, Status};

#[repr(C)]
#[derive(Clone, Copy)]
pub struct Span {
    offset: usize,
    length: usize,
}

#[repr(C)]
pub struct HttpHead {
    method: Span,
    target: Span,
    minor_version: c_int,
    n_headers: usize,
    headers: [[Span; 2]; MAX_HEADERS],
}

const MAX_HEADERS: usize = 100;
const PARTIAL: isize = 0;
const MALFORMED: isize = -1;
const TOO_MANY_HEADERS: isize = -2;

fn span(of: &[u8], within: &[u8]) -> Span {
    Span { offset: of.as_ptr() as usize - within.as_ptr() as usize, length: of.len() }
}

fn parse_head(bytes: &[u8], head: &mut HttpHead) -> isize {
    let mut slots = [MaybeUninit::<Header>::uninit(); MAX_HEADERS];
    let mut request = Request::new(&mut []);
    let length = match request.parse_with_uninit_headers(bytes, &mut slots) {
        Ok(Status::Complete(length)) => length,
        Ok(Status::Partial) => return PARTIAL,
        Err(httparse::Error::TooManyHeaders) => return TOO_MANY_HEADERS,
        Err(_) => return MALFORMED,
    };
    let (Some(method), Some(target), Some(version)) = (request.method, request.path, request.version) else {
        return MALFORMED;
    };
    head.method = span(method.as_bytes(), bytes);
    head.target = span(target.as_bytes(), bytes);
    head.minor_version = version.into();
    head.n_headers = request.headers.len();
    for (pair, header) in head.headers.iter_mut().zip(request.headers.iter()) {
        *pair = [span(header.name.as_bytes(), bytes), span(header.value, bytes)];
    }
    length as isize
}

fn parse_chunk_size(bytes: &[u8], size: &mut u64) -> isize {
    match httparse::parse_chunk_size(bytes) {
        Ok(Status::Complete((length, value))) => {
            *size = value;
            length as isize
        }
        Ok(Status::Partial) => PARTIAL,
        Err(_) => MALFORMED,
    }
}

/// # Safety
/// As `cabinet_shim.h` says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cabinet_http_parse_head(bytes: *const u8, length: usize, head: *mut HttpHead) -> isize {
    unsafe { parse_head(std::slice::from_raw_parts(bytes, length), &mut *head) }
}

/// # Safety
/// As `cabinet_shim.h` says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cabinet_http_parse_chunk_size(bytes: *const u8, length: usize, size: *mut u64) -> isize {
    unsafe { parse_chunk_size(std::slice::from_raw_parts(bytes, length), &mut *size) }
}
