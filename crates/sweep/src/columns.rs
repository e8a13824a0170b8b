//! Which columns are read, and which are written.

use arrow_schema::{DataType, Field, Schema, SchemaRef};
use retrograd_formats::{BlockSite, RequestError};
use std::sync::Arc;

/// What the columns of a table are called.
#[derive(Clone, Debug)]
pub struct Columns {
    /// Names the rows; where the table has no such column, their number does.
    pub id: String,
    /// The text; or `ids`, a list of token ids.
    pub prompt: String,
    /// The text of the one token that carries the loss; or `target_id`, its id, or `completion`, a text whose tokens do.
    pub target: String,
    /// The loss is on every next token of the prompt, and no target is read.
    pub next_token: bool,
    /// Of a target of several tokens, take the first.
    pub first_token: bool,
    /// What stands before the name of every written column.
    pub prefix: String,
    /// Tensors of the blocks that are read in the vocabulary, at the last position that carries loss.
    pub lens: LensColumns,
}

impl Default for Columns {
    fn default() -> Self {
        Columns {
            id: "id".to_owned(),
            prompt: "prompt".to_owned(),
            target: "target".to_owned(),
            next_token: false,
            first_token: false,
            prefix: String::new(),
            lens: LensColumns(Vec::new()),
        }
    }
}

/// Tensors of the blocks that are read in the vocabulary.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LensColumns(pub Vec<BlockSite>);

impl LensColumns {
    /// Sites as `mlp.c_proj.delta,resid_post`.
    ///
    /// # Errors
    /// When one is no tensor of a block with one vector of the model's width a position.
    pub fn parse(text: &str) -> Result<Self, RequestError> {
        let site = |name: &str| {
            let name = name.trim();
            let known = BlockSite::ALL.into_iter().find(|site| site.suffix() == name);
            known.filter(|site| retrograd_lens::is_readable(*site)).ok_or_else(|| {
                let readable = BlockSite::ALL.into_iter().filter(|site| retrograd_lens::is_readable(*site));
                let names: Vec<&str> = readable.map(BlockSite::suffix).collect();
                RequestError::invalid("--lens", format!("'{name}' is not one of {}", names.join(", ")))
            })
        };
        text.split(',').map(site).collect::<Result<_, _>>().map(LensColumns)
    }
}

/// The name of the list of token ids.
pub(crate) const IDS: &str = "ids";
/// The name of the target's id.
pub(crate) const TARGET_ID: &str = "target_id";
/// The name of a text whose tokens carry the loss.
pub(crate) const COMPLETION: &str = "completion";

impl Columns {
    /// Columns whose content is text, whatever it looks like.
    pub(crate) fn texts(&self) -> [&str; 4] {
        [&self.prompt, &self.target, COMPLETION, IDS]
    }

    /// Checks that a table has what is read and nothing by the name of what is written.
    pub(crate) fn check(&self, schema: &Schema) -> Result<(), RequestError> {
        let has = |name: &str| schema.column_with_name(name).is_some();
        let names: Vec<&str> = schema.fields().iter().map(|field| field.name().as_str()).collect();
        let missing = |wanted: String| {
            let reason = format!("has no column {wanted}; its columns are {}", names.join(", "));
            Err(RequestError::invalid("table", reason))
        };
        if !has(&self.prompt) && !has(IDS) {
            return missing(format!("'{}' or '{IDS}'", self.prompt));
        }
        if !self.next_token && ![self.target.as_str(), TARGET_ID, COMPLETION].into_iter().any(has) {
            return missing(format!(
                "'{}', '{TARGET_ID}' or '{COMPLETION}' (or ask for --next-token)",
                self.target
            ));
        }
        if let Some(twice) = names.iter().enumerate().find(|(at, name)| names[..*at].contains(name)) {
            return Err(RequestError::invalid("table", format!("has two columns '{}'", twice.1)));
        }
        match self.written().iter().map(|field| field.name()).find(|name| has(name)) {
            Some(name) => Err(RequestError::invalid(
                "table",
                format!("has a column '{name}', which is to be written: rename it, or give --prefix"),
            )),
            None => Ok(()),
        }
    }

    /// Names of the columns that are written beside those of the table.
    pub fn written_names(&self) -> Vec<String> {
        self.written().iter().map(|field| field.name().clone()).collect()
    }

    /// What is written beside the columns of the table.
    pub(crate) fn written(&self) -> Vec<Field> {
        let list = |of: DataType| DataType::List(Arc::new(Field::new_list_field(of, true)));
        let by_layer = || list(DataType::Float32);
        let mut fields = vec![
            ("tokens".to_owned(), DataType::Int32, false),
            ("loss".to_owned(), DataType::Float32, false),
            ("answer_id".to_owned(), DataType::Int32, false),
            ("answer".to_owned(), DataType::Utf8, true),
            ("answer_probability".to_owned(), DataType::Float64, false),
            ("target_token".to_owned(), DataType::Int32, false),
            ("target_rank".to_owned(), DataType::Int32, false),
            ("target_probability".to_owned(), DataType::Float64, false),
            ("pattern_norm".to_owned(), list(by_layer()), false),
            ("reversed_norm".to_owned(), list(by_layer()), false),
            ("attn_delta_norm".to_owned(), by_layer(), false),
            ("mlp_delta_norm".to_owned(), by_layer(), false),
        ];
        for site in &self.lens.0 {
            let name = |what: &str| format!("lens.{}.{what}", site.suffix());
            fields.push((name("target_rank"), list(DataType::Int32), false));
            fields.push((name("answer_rank"), list(DataType::Int32), false));
            fields.push((name("top"), list(DataType::Utf8), false));
            fields.push((name("bottom"), list(DataType::Utf8), false));
        }
        let field = |(name, of, null): (String, DataType, bool)| {
            Field::new(format!("{}{name}", self.prefix), of, null)
        };
        fields.into_iter().map(field).collect()
    }

    /// The schema of a result: the table's columns (an id before them where there is none), then what is written.
    pub(crate) fn schema(&self, table: &Schema) -> SchemaRef {
        let own_id = table.column_with_name(&self.id).is_none();
        let id = own_id.then(|| Arc::new(Field::new(&self.id, DataType::Int64, false)));
        let fields = id.into_iter().chain(table.fields().iter().cloned());
        Arc::new(Schema::new(fields.chain(self.written().into_iter().map(Arc::new)).collect::<Vec<_>>()))
    }
}
