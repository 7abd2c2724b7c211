//! Lets the binaries find libduckdb where it was linked from, and beside an installation (`../lib`).
fn main() {
    println!("cargo:rerun-if-env-changed=DUCKDB_LIB_DIR");
    println!("cargo:rerun-if-changed=build.rs");
    let macos = std::env::var("CARGO_CFG_TARGET_OS").is_ok_and(|os| os == "macos");
    let beside = if macos { "@loader_path/../lib" } else { "$ORIGIN/../lib" };
    println!("cargo:rustc-link-arg=-Wl,-rpath,{beside}");
    if let Ok(dir) = std::env::var("DUCKDB_LIB_DIR") {
        println!("cargo:rustc-link-arg=-Wl,-rpath,{dir}");
    }
}
