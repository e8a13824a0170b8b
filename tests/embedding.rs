//! The programs of the README and of the documentation, run on the shipped model.

use std::path::Path;

/// The program of that name, as a module whose `run` is its `main`.
macro_rules! example {
    ($name:ident, $path:literal) => {
        mod $name {
            include!($path);

            pub fn run() -> Result<(), Box<dyn std::error::Error>> {
                main()
            }
        }
    };
}

example!(custom_objective, "../crates/retrograd/examples/custom_objective.rs");
example!(edit_fact, "../crates/retrograd/examples/edit_fact.rs");
example!(embed, "../crates/retrograd/examples/embed.rs");
example!(embed_ids, "../crates/retrograd/examples/embed_ids.rs");
example!(own_derivation, "../crates/retrograd/examples/own_derivation.rs");
example!(own_kernel, "../crates/retrograd/examples/own_kernel.rs");
example!(steer, "../crates/retrograd/examples/steer.rs");
example!(thread_pool, "../crates/retrograd/examples/thread_pool.rs");
example!(unblocked, "../crates/retrograd/examples/unblocked.rs");

#[test]
fn they_run() {
    // Their paths are those of a program started at the root of the project.
    std::env::set_current_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")).unwrap();
    custom_objective::run().unwrap();
    edit_fact::run().unwrap();
    embed::run().unwrap();
    embed_ids::run().unwrap();
    own_derivation::run().unwrap();
    own_kernel::run().unwrap();
    steer::run().unwrap();
    thread_pool::run().unwrap();
    unblocked::run().unwrap();
}

#[test]
fn it_is_fifteen_lines() {
    let program = include_str!("../crates/retrograd/examples/embed.rs");
    let body = program.lines().skip_while(|line| !line.starts_with("fn main")).count();
    assert!(body <= 15, "{body} lines");
}

#[test]
fn a_fact_is_edited_in_twenty_lines() {
    let program = include_str!("../crates/retrograd/examples/edit_fact.rs");
    assert!(program.lines().count() <= 20, "{} lines", program.lines().count());
    let page = include_str!("../docs/editing.md");
    assert!(page.contains(program), "docs/editing.md shows another program");
}

#[test]
fn the_readme_has_it() {
    let readme = include_str!("../README.md");
    assert!(
        readme.contains(include_str!("../crates/retrograd/examples/embed.rs")),
        "README.md shows another program"
    );
}
