//! The plan that the flags say, or those among which it is chosen.

use super::{MethodName, PlanArgs};
use crate::error::CliError;
use retrograd::lens::edit::{DEFAULT_ETAS, EditPlan, Method, parse_params};
use retrograd::{BlockSite, Capture, Config, Layer, RequestError, Site};

impl PlanArgs {
    /// The plans that fit the flags: one where they leave nothing open. With `each_layer`, sgd changes one block
    /// at a time, so that blocks can be compared.
    pub(super) fn plans(
        &self,
        config: &Config,
        force: bool,
        each_layer: bool,
    ) -> Result<Vec<EditPlan>, CliError> {
        let blocks = self.blocks(config)?;
        let etas = match self.eta {
            Some(eta) => vec![eta],
            None if self.etas.is_empty() => DEFAULT_ETAS.to_vec(),
            None => self.etas.clone(),
        };
        if let Some(bad) = etas.iter().find(|eta| !eta.is_finite()) {
            return Err(RequestError::invalid("--eta", format!("{bad} is not a finite number")).into());
        }
        let methods: Vec<Method> = match self.method {
            MethodName::Shift => {
                if !self.params.is_empty() || self.biases {
                    let flag = if self.biases { "--biases" } else { "--params" };
                    let reason = "is for --method sgd: a shift changes the mlp.c_proj of one layer (--layer)";
                    return Err(RequestError::invalid(flag, reason).into());
                }
                blocks.iter().map(|block| Method::Shift { layer: *block }).collect()
            }
            MethodName::Sgd => {
                let usual = ["mlp".to_owned()];
                let names = if self.params.is_empty() { &usual[..] } else { &self.params[..] };
                let layers = |blocks: &[usize]| parse_params(names, config, Some(blocks));
                let sets = match each_layer {
                    false => vec![layers(&blocks)?],
                    true => blocks.iter().map(|block| layers(&[*block])).collect::<Result<_, _>>()?,
                };
                let sets = sets.into_iter().filter(|set| !set.is_empty());
                sets.map(|layers| Method::Sgd { layers, biases: self.biases }).collect()
            }
        };
        if methods.is_empty() {
            return Err(RequestError::invalid("--params", "name no linear layer of --layers").into());
        }
        let plan = |method: &Method, eta| EditPlan {
            method: method.clone(),
            eta,
            steps: self.steps,
            stop_on_success: self.stop_on_success,
            force,
        };
        let plans: Vec<EditPlan> =
            methods.iter().flat_map(|method| etas.iter().map(move |eta| plan(method, *eta))).collect();
        for plan in &plans {
            plan.check(config)?;
        }
        Ok(plans)
    }

    /// The blocks of `--layer` and `--layers`.
    fn blocks(&self, config: &Config) -> Result<Vec<usize>, CliError> {
        if self.layer != "auto" {
            if self.layers.is_some() {
                return Err(CliError::Usage("give --layer or --layers, not both".to_owned()));
            }
            return match self.layer.trim().parse::<usize>() {
                Ok(layer) if layer < config.n_layer => Ok(vec![layer]),
                _ => {
                    let last = config.n_layer - 1;
                    let reason = format!(
                        "'{}' is not a layer of the model, which has 0 to {last}, or 'auto'",
                        self.layer
                    );
                    Err(RequestError::invalid("--layer", reason).into())
                }
            };
        }
        let all = 0..config.n_layer;
        let Some(text) = &self.layers else { return Ok(all.collect()) };
        let chosen = Capture::all().layers(text)?;
        chosen.check(config)?;
        // Any site of a block will do.
        Ok(all.filter(|block| chosen.keeps(Site::Block(Layer(*block), BlockSite::Pattern))).collect())
    }
}
