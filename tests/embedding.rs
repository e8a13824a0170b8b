//! The programs of the README and of the documentation, run on the shipped model.

use std::path::Path;

mod embed {
    include!("../crates/retrograd/examples/embed.rs");

    pub fn run() -> Result<(), Box<dyn std::error::Error>> {
        main()
    }
}

mod edit_fact {
    include!("../crates/retrograd/examples/edit_fact.rs");

    pub fn run() -> Result<(), Box<dyn std::error::Error>> {
        main()
    }
}

mod steer {
    include!("../crates/retrograd/examples/steer.rs");

    pub fn run() -> Result<(), Box<dyn std::error::Error>> {
        main()
    }
}

#[test]
fn it_runs() {
    // Its paths are those of a program started at the root of the project.
    std::env::set_current_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")).unwrap();
    embed::run().unwrap();
    edit_fact::run().unwrap();
    steer::run().unwrap();
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
