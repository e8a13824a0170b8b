//! The shape of a pass, and which of its rows carry loss.

use crate::ModelError;
use crate::head::LossKind;
use retrograd_formats::{Objective, ResolvedObjective};
use retrograd_gpu::{Recorder, Tensor};

/// The shape of a pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Form {
    /// Sequences.
    pub(crate) batch: usize,
    /// Tokens of each.
    pub(crate) context: usize,
    pub(crate) loss: LossKind,
    /// The first position of each sequence that carries loss.
    pub(crate) first_position: usize,
    /// Positions of each sequence that carry loss.
    pub(crate) positions: usize,
    /// Rows that a loss is the mean of: those of one sequence, whose losses are added up, or all of them.
    pub(crate) mean_over: usize,
}

impl Form {
    /// One sequence with an objective.
    pub(crate) fn of(context: usize, objective: &ResolvedObjective) -> Form {
        let loss = match objective.objective {
            Objective::LogitDifference { .. } | Objective::Delta { .. } => LossKind::Linear,
            _ => LossKind::CrossEntropy,
        };
        let (first_position, positions) = (objective.first_position, objective.count);
        Form { batch: 1, context, loss, first_position, positions, mean_over: positions }
    }

    /// One sequence of which the logits from a position on are wanted.
    pub(crate) fn logits_from(context: usize, first_position: usize) -> Form {
        let positions = context - first_position;
        Form { batch: 1, context, loss: LossKind::None, first_position, positions, mean_over: positions }
    }

    /// Sequences of which every position carries loss, which is the mean over all of them.
    pub(crate) fn training(batch: usize, context: usize) -> Form {
        Form {
            batch,
            context,
            loss: LossKind::CrossEntropy,
            first_position: 0,
            positions: context,
            mean_over: batch * context,
        }
    }

    /// As many sequences, each with a loss of its own.
    pub(crate) fn repeated(self, batch: usize) -> Form {
        Form { batch, ..self }
    }

    /// Rows of all sequences that carry loss (P).
    pub(crate) fn loss_rows(&self) -> usize {
        self.batch * self.positions
    }

    /// Whether the rows with loss are neighbours among all rows.
    pub(crate) fn is_contiguous(&self) -> bool {
        self.batch == 1 || self.positions == self.context
    }

    /// Copies the rows with loss, (batch·T, D) → (P, D).
    pub(crate) fn gather(
        &self,
        recorder: &mut Recorder,
        from: &Tensor,
        to: &Tensor,
    ) -> Result<(), ModelError> {
        let width = from.shape().columns();
        for (row, packed) in self.starts() {
            recorder.copy(from, row * width, to, packed * width, self.positions * width)?;
        }
        Ok(())
    }

    /// The way back, (P, D) → (batch·T, D); other rows become 0.
    pub(crate) fn scatter(
        &self,
        recorder: &mut Recorder,
        from: &Tensor,
        to: &Tensor,
    ) -> Result<(), ModelError> {
        let width = from.shape().columns();
        recorder.clear(to);
        for (row, packed) in self.starts() {
            recorder.copy(from, packed * width, to, row * width, self.positions * width)?;
        }
        Ok(())
    }

    /// Where each sequence's rows with loss begin: among all rows, and among themselves.
    fn starts(&self) -> impl Iterator<Item = (usize, usize)> + use<> {
        let Form { context, first_position, positions, .. } = *self;
        (0..self.batch).map(move |sequence| (sequence * context + first_position, sequence * positions))
    }
}
