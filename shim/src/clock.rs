//! `strftime_now`, at a time that the caller names, in the machine's time zone.

use std::ffi::CString;

use minijinja::{Error, ErrorKind};

pub fn strftime(unix_seconds: i64, format: String) -> Result<String, Error> {
    let bad = || Error::new(ErrorKind::InvalidOperation, "strftime_now cannot use this format");
    let format = CString::new(format).map_err(|_| bad())?;
    let mut text = [0u8; 256];
    let length = unsafe {
        let (time, mut parts) = (unix_seconds as libc::time_t, std::mem::zeroed());
        if libc::localtime_r(&time, &mut parts).is_null() {
            return Err(bad());
        }
        libc::strftime(text.as_mut_ptr().cast(), text.len(), format.as_ptr(), &parts)
    };
    if length == 0 && !format.is_empty() {
        return Err(bad());
    }
    Ok(String::from_utf8_lossy(&text[..length]).into_owned())
}
