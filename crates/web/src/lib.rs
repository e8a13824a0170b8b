//! One page that shows a pass: what the model answers, attention and Reversed Attention of every head, the lens, the
//! flow graph.
//!
//! - [`page`] gathers what a page shows from a trace; [`Page::to_html`] makes one file of it that asks nothing of
//!   anybody: script, style and data are inside.
//! - [`serve`] shows the same page from a program on this machine, which runs prompts for it.
//!
//! The page itself is TypeScript in `page/`; `page/dist` is its bundle, which is compiled in. `scripts/page.sh` proves
//! that one is made from the other.

mod document;
mod html;
mod maps;
pub mod server;

pub use document::{Changed, Page, PageError, PageOptions, Views, page, page_capture};
pub use html::{csp_of, served_html};
pub use server::{ServeError, ServeOptions, serve};
