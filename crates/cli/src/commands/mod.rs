//! One file per subcommand: arguments, the library calls, the way out.

pub(crate) mod attention;
pub(crate) mod bench;
pub(crate) mod doctor;
pub(crate) mod edit;
pub(crate) mod flow;
pub(crate) mod generate;
pub(crate) mod lens;
pub(crate) mod mediate;
pub(crate) mod patch;
pub(crate) mod perturb;
pub(crate) mod report;
pub(crate) mod serve;
pub(crate) mod sweep;
pub(crate) mod tokenizer;
pub(crate) mod trace;
pub(crate) mod train;
pub(crate) mod verify;
