//! Locations: URIs, literal to the byte.

use std::path::{Component, Path, PathBuf};

use crate::error::{Error, Kind, Result};

/// The path of a `file:` location (`file:///x` or `file:/x`). Nothing is decoded.
///
/// # Errors
/// `Invalid` for another scheme, a host, a relative path, or a path that climbs with `..`.
pub fn path_of(location: &str) -> Result<PathBuf> {
    let bad = |why: &str| Err(Error::new(Kind::Invalid, why).with("location", location));
    let Some(rest) = location.strip_prefix("file:") else {
        return bad("not a location on this machine; write it as file:///absolute/path");
    };
    let path = match rest.strip_prefix("//") {
        Some(path) => path,
        None => rest,
    };
    if !path.starts_with('/') {
        return bad("a file location has no host and an absolute path: file:///absolute/path");
    }
    let path = Path::new(path);
    let climbs = path.components().any(|part| matches!(part, Component::ParentDir));
    if climbs || location.contains('\0') {
        return bad("a location must not contain '..' or a NUL byte");
    }
    Ok(path.to_path_buf())
}

/// The `file:///…` location of an absolute path.
///
/// # Errors
/// `Invalid` if the path is relative or not UTF-8: a location in table metadata is text.
pub fn location_of(path: &Path) -> Result<String> {
    match path.to_str() {
        Some(text) if path.is_absolute() => Ok(format!("file://{text}")),
        _ => Err(Error::new(Kind::Invalid, "a location needs an absolute UTF-8 path").with("path", path.display())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn locations_are_literal() {
        let path = path_of("file:///lake/t/country=a+b%2F%C3%A9/x.parquet").expect("valid");
        assert_eq!(path, Path::new("/lake/t/country=a+b%2F%C3%A9/x.parquet"));
        assert_eq!(path_of("file:/lake/t").expect("valid"), Path::new("/lake/t"));
        assert_eq!(location_of(&path).expect("valid"), "file:///lake/t/country=a+b%2F%C3%A9/x.parquet");
    }

    #[test]
    fn what_leaves_this_machine_or_climbs_is_refused() {
        for bad in ["s3://b/k", "/lake/t", "file://host/x", "file:x", "file:///a/../b", "file:///a\0b"] {
            assert_eq!(path_of(bad).expect_err(bad).kind(), Kind::Invalid, "{bad}");
        }
    }
}
