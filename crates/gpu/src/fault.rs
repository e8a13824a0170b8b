//! Deliberate mistakes in kernels, to see whether a verification finds and names them.
//!
//! Only [`Gpu::open_with_faults`](crate::Gpu::open_with_faults) takes any; no option, variable or flag does.

use crate::kernel::Kernel;

/// A mistake in the kernels whose name begins with `kernel`.
#[derive(Clone, Debug)]
pub enum Fault {
    /// One text of the expanded WGSL in place of another.
    Text {
        /// The beginning of a kernel's name.
        kernel: &'static str,
        /// A template variable and its value: only kernels that have it so. All without one.
        only: Option<(&'static str, u32)>,
        /// What is replaced, wherever it stands; a kernel without it does not compile.
        from: &'static str,
        /// What stands there instead. It must use the bindings that `from` uses: the layout follows from them.
        to: &'static str,
    },
    /// One value of a template variable in place of another.
    Option {
        /// The beginning of a kernel's name.
        kernel: &'static str,
        /// The variable.
        option: &'static str,
        /// The value that is replaced; kernels with another one are left alone.
        from: u32,
        /// The value instead.
        to: u32,
    },
}

/// The kernel's text with its faults.
pub(crate) fn source(faults: &[Fault], kernel: &Kernel) -> Result<String, String> {
    if faults.is_empty() {
        return kernel.source();
    }
    let mut kernel = kernel.clone();
    let name = kernel.name;
    for fault in faults {
        if let Fault::Option { kernel: prefix, option, from, to } = fault
            && name.starts_with(prefix)
        {
            let chosen = kernel.options.iter_mut().filter(|(name, value)| name == option && value == from);
            chosen.for_each(|(_, value)| *value = *to);
        }
    }
    let mut source = kernel.source()?;
    for fault in faults {
        if let Fault::Text { kernel: prefix, only, from, to } = fault
            && name.starts_with(prefix)
            && only.is_none_or(|only| kernel.options.contains(&only))
        {
            if !source.contains(from) {
                return Err(format!("the fault to be planted is not in its text: {from}"));
            }
            source = source.replace(from, to);
        }
    }
    Ok(source)
}
