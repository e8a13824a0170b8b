//! The page of a trace, for notebooks and files.

use crate::errors::Failure;
use retrograd::{Gpt2, Interventions, TraceRead};
use retrograd_web::{PageOptions, Views, page};

/// The views that a page can begin with.
const FIRST: [&str; 4] = ["overview", "heads", "lens", "flow"];

/// The page as one HTML file that asks nothing of anybody; `views` are those beside the overview, all by default.
pub(crate) fn to_html(
    trace: &dyn TraceRead,
    model: &Gpt2,
    changes: &Interventions,
    first: &str,
    views: Option<&[String]>,
) -> Result<String, Failure> {
    let first = FIRST
        .into_iter()
        .find(|name| *name == first)
        .ok_or_else(|| Failure::request("view", format!("'{first}' is none of {}", FIRST.join(", "))))?;
    let mut options = PageOptions::new(first, model.config().n_layer)?;
    if let Some(names) = views {
        let mut names = names.to_vec();
        names.push(first.to_owned());
        options.views = Views::named(&names).map_err(|error| {
            let text = error.to_string();
            Failure::request("views", text.strip_prefix("--views: ").unwrap_or(&text))
        })?;
    }
    options.flow.interventions = changes.clone();
    let page = page(trace, model, &options, model.tokenizer(), &mut |_| Ok(()))?;
    page.changed_by(changes).to_html().map_err(|error| Failure::request("page", error.to_string()))
}
