//! Pages of text for a person at a terminal.

mod attention;
mod bar;
mod bench;
mod doctor;
mod edit;
mod evaluation;
mod flow;
mod gradients;
mod grid;
mod heads;
mod layers;
mod lens;
mod number;
mod page;
mod predictions;
mod provenance;
mod style;
mod table;
mod trace;
mod verify;

pub(crate) use attention::attention;
pub(crate) use bench::bench;
pub(crate) use doctor::{Diagnosis, doctor};
pub(crate) use edit::{edit, edited, edits, sweep as edit_sweep};
pub(crate) use evaluation::evaluation;
pub(crate) use flow::flow;
pub(crate) use lens::lens;
pub(crate) use page::Page;
pub(crate) use provenance::{provenance, written};
pub(crate) use trace::trace;
pub(crate) use verify::{Verdict, verify};
