//! The engine beside references: plans, kernels, fusion, sound to features, words to pieces.

#[path = "../support/mod.rs"]
mod support;

mod broken_models;
mod fusion;
mod fusion_catalogue;
mod fusion_identities;
mod layers;
mod nodes;
mod plan;
mod qdq;
mod queried_spans;
mod signal;
mod text_guided;
mod tokenizer;
