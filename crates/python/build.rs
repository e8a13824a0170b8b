//! macOS links an extension module with symbols that the interpreter will bring only when it is told so.

fn main() {
    pyo3_build_config::add_extension_module_link_args();
}
