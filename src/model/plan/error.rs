//! Why a model has no plan.

/// Why a model has no plan; a sentence without its end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::model) enum PlanError {
    /// The file breaks ONNX's rules or asks for the impossible: no engine can run it.
    Broken(String),
    /// Nothing is wrong with it as far as is seen, and tract may run it.
    NotPlanned(String),
}

impl PlanError {
    pub(super) fn broken(what: impl Into<String>) -> PlanError {
        PlanError::Broken(what.into())
    }

    pub(super) fn not_planned(why: impl Into<String>) -> PlanError {
        PlanError::NotPlanned(why.into())
    }
}
