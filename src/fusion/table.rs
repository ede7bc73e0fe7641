//! The entries of the [`catalogue`](super::catalogue), one after the other.

use super::catalogue::{Entry, Int8, Kind, Port, Setting, Weight};
use super::heads::{graph_matching, label_guided};
use super::operators::{additive, bilinear, compact, cross, gated, inner, memory, mixing, stages};

const fn port(name: &'static str, shape: &'static [&'static str]) -> Port {
    Port {
        name,
        shape,
        optional: false,
    }
}

const fn matrix(name: &'static str, shape: &'static [&'static str]) -> Weight {
    Weight {
        name,
        shape,
        kind: Kind::Matrix,
    }
}

const fn plain(name: &'static str, shape: &'static [&'static str]) -> Weight {
    Weight {
        name,
        shape,
        kind: Kind::Plain,
    }
}

const fn of_kind(name: &'static str, shape: &'static [&'static str], kind: Kind) -> Weight {
    Weight { name, shape, kind }
}

const fn whole(name: &'static str, range: (f64, f64), usual: f64, letter: Option<char>) -> Setting {
    Setting {
        name,
        whole: true,
        least: range.0,
        most: range.1,
        usual,
        letter,
    }
}

const fn real(name: &'static str, range: (f64, f64), usual: f64) -> Setting {
    Setting {
        name,
        whole: false,
        least: range.0,
        most: range.1,
        usual,
        letter: None,
    }
}

/// Two pooled vectors, or n of each.
const PAIR: &[Port] = &[port("u", &["n", "p"]), port("v", &["n", "q"])];
/// The fused vector.
const FUSED: &[Port] = &[port("z", &["n", "c"])];
/// Two projections to c with a bias each.
const BRANCHES: &[Weight] = &[
    matrix("w_u", &["c", "p"]),
    plain("b_u", &["c"]),
    matrix("w_v", &["c", "q"]),
    plain("b_v", &["c"]),
];
const BRANCHES_MACS: &str = "n*c*p+n*c*q";
/// p = q = 192, 256, 384 to 256.
const VECTORS: &[&[(char, usize)]] = &[
    &[
        ('n', 1),
        ('p', 192),
        ('q', 192),
        ('c', 256),
        ('h', 256),
        ('r', 64),
    ],
    &[
        ('n', 1),
        ('p', 256),
        ('q', 256),
        ('c', 256),
        ('h', 256),
        ('r', 64),
    ],
    &[
        ('n', 1),
        ('p', 384),
        ('q', 384),
        ('c', 256),
        ('h', 256),
        ('r', 64),
    ],
];
const NETS: &[&[(char, usize)]] = &[
    &[('n', 1), ('p', 192), ('q', 192), ('c', 3), ('h', 256)],
    &[('n', 1), ('p', 384), ('q', 384), ('c', 3), ('h', 256)],
];
const SKETCHES: &[&[(char, usize)]] = &[
    &[('n', 1), ('p', 192), ('q', 192), ('d', 512)],
    &[('n', 1), ('p', 384), ('q', 384), ('d', 512)],
];
const PATCHES: &[&[(char, usize)]] = &[
    &[('n', 24), ('m', 49), ('d', 256), ('e', 256)],
    &[('n', 32), ('m', 49), ('d', 256), ('e', 256)],
];
const FRAMES: &[&[(char, usize)]] = &[&[('n', 24), ('m', 100), ('d', 192)]];
const NODES: &[&[(char, usize)]] = &[&[('n', 24), ('m', 5), ('e', 384), ('d', 96), ('c', 128)]];
const STORED: &[&[(char, usize)]] = &[&[('n', 1), ('b', 20_000), ('d', 128), ('c', 1)]];

const ATTENDED: &[Port] = &[
    port("x", &["n", "d"]),
    port("y", &["m", "e"]),
    port("keep", &["1", "m"]),
];
const ATTENTION_WEIGHTS: &[Weight] = &[
    matrix("w_q", &["d", "d"]),
    plain("b_q", &["d"]),
    matrix("w_k", &["d", "e"]),
    plain("b_k", &["d"]),
    matrix("w_v", &["d", "e"]),
    plain("b_v", &["d"]),
    matrix("w_o", &["d", "d"]),
    plain("b_o", &["d"]),
];
const CONTEXT: &[Port] = &[port("z", &["n", "d"]), port("attention", &["n", "m"])];
const ATTENTION_MACS: &str = "2*n*d*d+2*m*d*e+2*n*m*d";
const HEADS: &[Setting] = &[whole("heads", (1.0, 256.0), 4.0, None)];
const ATTENTION_COST: &str = "The projections, 2·n·d² + 2·m·d·e of the products, are all but \
    everything; in int8 they are bytes. Scores, π and the weighted sum stay f32: rounding \
    scores to a byte would move the edge of the support.";

const LABELLED: &[Port] = &[port("text", &["n", "d"]), port("speech", &["m", "d"])];
const LABELLED_OUT: &[Port] = &[
    port("logits", &["4"]),
    port("attention", &["n", "m"]),
    port("g_text", &["n", "4"]),
    port("g_speech", &["m", "4"]),
];
const LABEL_TEXT: Weight = plain("label_text", &["4", "d"]);
const LABEL_SPEECH: Weight = plain("label_speech", &["4", "d"]);
const CLASSIFIER: Weight = plain("classifier", &["4", "2*d"]);
const LABEL_BIAS: Weight = plain("bias", &["4"]);
const LABELS_F32: &str = "cosines and attention over rows that are f32 already; its weights are \
    a few hundred kilobytes at most and the head takes a hundredth of the encoders' time";

/// Every operator.
pub static CATALOGUE: &[Entry] = &[
    Entry {
        name: "InnerProductFusion",
        title: "Inner product",
        family: "inner",
        equation: "s = uᵀv",
        inputs: &[port("u", &["n", "p"]), port("v", &["n", "p"])],
        weights: &[],
        settings: &[],
        outputs: &[port("s", &["n", "1"])],
        macs: "n*p",
        int8: Int8::No("p products in all: quantising both vectors takes longer"),
        when: "Both encoders already share a space (trained contrastively), and one number, how \
            well the modalities match, is wanted.",
        cost: "Nothing to store; p products.",
        usual: VECTORS,
        build: inner::InnerProduct::build,
    },
    Entry {
        name: "ProjectedInnerProductFusion",
        title: "Projected inner product",
        family: "inner",
        equation: "s = (W·u)ᵀ(V·v)",
        inputs: PAIR,
        weights: &[matrix("w_u", &["h", "p"]), matrix("w_v", &["h", "q"])],
        settings: &[],
        outputs: &[port("s", &["n", "1"])],
        macs: "n*h*p+n*h*q+n*h",
        int8: Int8::Yes,
        when: "As the inner product, for spaces that have yet to be brought together.",
        cost: "Two projections, read once from memory.",
        usual: VECTORS,
        build: inner::ProjectedInnerProduct::build,
    },
    Entry {
        name: "ConcatFusion",
        title: "Concat",
        family: "additive",
        equation: "z = W·[u; v] + b",
        inputs: PAIR,
        weights: &[matrix("w", &["c", "p+q"]), plain("b", &["c"])],
        settings: &[],
        outputs: FUSED,
        macs: "n*c*p+n*c*q",
        int8: Int8::Yes,
        when: "The baseline. It adds what each modality says and cannot model how they interact.",
        cost: "One projection. The same map as the sum, W = [W_u W_v]: not another model.",
        usual: VECTORS,
        build: additive::Concat::build,
    },
    Entry {
        name: "SumFusion",
        title: "Sum",
        family: "additive",
        equation: "z = W·u + V·v + b",
        inputs: PAIR,
        weights: &[
            matrix("w_u", &["c", "p"]),
            matrix("w_v", &["c", "q"]),
            plain("b", &["c"]),
        ],
        settings: &[],
        outputs: FUSED,
        macs: "n*c*p+n*c*q",
        int8: Int8::Yes,
        when: "As concat, where a modality may be missing: its term is left out.",
        cost: "As concat. In int8 each modality has a scale of its own, so the sum rounds less.",
        usual: VECTORS,
        build: additive::Sum::build,
    },
    Entry {
        name: "MaxFusion",
        title: "Max",
        family: "additive",
        equation: "z = max(W·u + b_u, V·v + b_v)",
        inputs: PAIR,
        weights: BRANCHES,
        settings: &[],
        outputs: FUSED,
        macs: BRANCHES_MACS,
        int8: Int8::Yes,
        when: "Either modality alone should suffice to fire a feature.",
        cost: "Two projections.",
        usual: VECTORS,
        build: additive::Max::build,
    },
    Entry {
        name: "MultiplicativeFusion",
        title: "Multiplicative",
        family: "gated",
        equation: "z = (W·u + b_u) ⊙ (V·v + b_v)",
        inputs: PAIR,
        weights: BRANCHES,
        settings: &[],
        outputs: FUSED,
        macs: BRANCHES_MACS,
        int8: Int8::Yes,
        when: "Agreement matters: a feature needs both. A low-rank bilinear form without its last \
            layer.",
        cost: "Two projections.",
        usual: VECTORS,
        build: gated::Gated::multiplicative,
    },
    Entry {
        name: "GatingFusion",
        title: "Gating",
        family: "gated",
        equation: "z = σ(W·u + b_u) ⊙ (V·v + b_v)",
        inputs: PAIR,
        weights: BRANCHES,
        settings: &[],
        outputs: FUSED,
        macs: BRANCHES_MACS,
        int8: Int8::Yes,
        when: "One modality (u) decides which features of the other (v) count; swap them and it \
            is another model.",
        cost: "Two projections and c exponentials.",
        usual: VECTORS,
        build: gated::Gated::gating,
    },
    Entry {
        name: "LstmFusion",
        title: "LSTM-style",
        family: "gated",
        equation: "z = tanh(W·u + b_u) ⊙ (V·v + b_v)",
        inputs: PAIR,
        weights: BRANCHES,
        settings: &[],
        outputs: FUSED,
        macs: BRANCHES_MACS,
        int8: Int8::Yes,
        when: "As gating, where u may also turn the sign of a feature, as irony does.",
        cost: "Two projections and c exponentials.",
        usual: VECTORS,
        build: gated::Gated::lstm,
    },
    Entry {
        name: "AttentionFusion",
        title: "Attention over modalities",
        family: "mixing",
        equation: "a = W·u + b_u, b = V·v + b_v; (α, β) = softmax(wᵀtanh(a), wᵀtanh(b)); \
            z = α·a + β·b",
        inputs: PAIR,
        weights: &[
            matrix("w_u", &["c", "p"]),
            plain("b_u", &["c"]),
            matrix("w_v", &["c", "q"]),
            plain("b_v", &["c"]),
            plain("scorer", &["c"]),
        ],
        settings: &[],
        outputs: FUSED,
        macs: "n*c*p+n*c*q+4*n*c",
        int8: Int8::Yes,
        when: "Modalities differ in quality from input to input, and how much each was believed \
            should be readable.",
        cost: "Two projections and 2·c exponentials.",
        usual: VECTORS,
        build: mixing::Attention::build,
    },
    Entry {
        name: "ModulationFusion",
        title: "Modulation",
        family: "mixing",
        equation: "α = σ(aᵀu + bᵀv + b₀); z = [α·u; (1−α)·v]",
        inputs: PAIR,
        weights: &[plain("a", &["p"]), plain("b", &["q"]), plain("b_0", &["1"])],
        settings: &[],
        outputs: &[port("z", &["n", "p+q"])],
        macs: "2*n*p+2*n*q",
        int8: Int8::No("p + q products in all: quantising both vectors takes longer"),
        when: "As attention, with next to no parameters: a few hundred examples train it.",
        cost: "Two inner products.",
        usual: VECTORS,
        build: mixing::Modulation::build,
    },
    Entry {
        name: "BilinearFusion",
        title: "Bilinear",
        family: "bilinear",
        equation: "z_k = uᵀ·W_k·v + b_k",
        inputs: PAIR,
        weights: &[matrix("w", &["c", "p", "q"]), plain("b", &["c"])],
        settings: &[],
        outputs: FUSED,
        macs: "n*c*p*q+n*c*p",
        int8: Int8::Yes,
        when: "Small p, q and c, or as the upper bound of what pairwise products can give.",
        cost: "c·p·q weights, each used once a call: the time is that of reading them, hence int8.",
        usual: &[
            &[('n', 1), ('p', 192), ('q', 192), ('c', 64)],
            &[('n', 1), ('p', 192), ('q', 192), ('c', 256)],
        ],
        build: bilinear::Bilinear::plain,
    },
    Entry {
        name: "BilinearGatedFusion",
        title: "Bilinear gated",
        family: "bilinear",
        equation: "z_k = uᵀ·W_k·σ(v) + b_k",
        inputs: PAIR,
        weights: &[matrix("w", &["c", "p", "q"]), plain("b", &["c"])],
        settings: &[],
        outputs: FUSED,
        macs: "n*c*p*q+n*c*p",
        int8: Int8::Yes,
        when: "As bilinear, with v bounded: it cannot blow up the product.",
        cost: "As bilinear.",
        usual: &[&[('n', 1), ('p', 192), ('q', 192), ('c', 64)]],
        build: bilinear::Bilinear::gated,
    },
    Entry {
        name: "LowRankBilinearFusion",
        title: "Low-rank bilinear",
        family: "bilinear",
        equation: "z = P·(U·u ⊙ V·v) + b",
        inputs: PAIR,
        weights: &[
            matrix("w_u", &["r", "p"]),
            matrix("w_v", &["r", "q"]),
            matrix("w_p", &["c", "r"]),
            plain("b", &["c"]),
        ],
        settings: &[],
        outputs: FUSED,
        macs: "n*r*p+n*r*q+n*c*r",
        int8: Int8::Yes,
        when: "Interactions between modalities at the price of a linear layer: the first to try \
            beyond concat. It is the bilinear form with W_k = Σ_r P_kr·U_r·V_rᵀ.",
        cost: "r·(p + q + c) weights, a few tens of kilobytes in int8.",
        usual: VECTORS,
        build: bilinear::LowRank::build,
    },
    Entry {
        name: "CompactBilinearFusion",
        title: "Compact bilinear",
        family: "compact",
        equation: "z = irfft(rfft(Ψ(u,h₁,s₁))·rfft(Ψ(v,h₂,s₂)), n=d); Ψ(x,h,s)_j = Σ_{h(i)=j} s(i)·x_i",
        inputs: PAIR,
        weights: &[
            of_kind("h_u", &["p"], Kind::Index("d")),
            of_kind("s_u", &["p"], Kind::Sign),
            of_kind("h_v", &["q"], Kind::Index("d")),
            of_kind("s_v", &["q"], Kind::Sign),
        ],
        settings: &[whole("size", (1.0, 65_536.0), 512.0, Some('d'))],
        outputs: &[port("z", &["n", "d"])],
        macs: "n*p+n*q+30*n*d",
        int8: Int8::No("an int8 transform loses the small terms of the spectrum"),
        when: "All pairwise products without learning any: then sign(z)·√|z|, unit length, and a \
            linear layer. Inner products of z are off by about 1/√d of ‖u‖·‖v‖·‖a‖·‖b‖.",
        cost: "No parameters; p + q hashes and signs that belong to the model. Three real \
            transforms of d values.",
        usual: SKETCHES,
        build: compact::CompactBilinear::build,
    },
    Entry {
        name: "EarlyFusion",
        title: "Early fusion",
        family: "stages",
        equation: "y = σ(W₂·φ(W₁·[u; v] + b₁) + b₂), φ = ReLU",
        inputs: PAIR,
        weights: &[
            matrix("w_1", &["h", "p+q"]),
            plain("b_1", &["h"]),
            matrix("w_2", &["c", "h"]),
            plain("b_2", &["c"]),
        ],
        settings: &[],
        outputs: &[port("y", &["n", "c"])],
        macs: "n*h*p+n*h*q+n*c*h",
        int8: Int8::Yes,
        when: "Both modalities are always there and were encoded together in training.",
        cost: "h·(p + q) weights.",
        usual: NETS,
        build: stages::Early::build,
    },
    Entry {
        name: "MiddleFusion",
        title: "Middle fusion",
        family: "stages",
        equation: "y = σ(W₂·[φ(W·u + b_u); φ(V·v + b_v)] + b₂), φ = ReLU",
        inputs: PAIR,
        weights: &[
            matrix("w_u", &["h", "p"]),
            plain("b_u", &["h"]),
            matrix("w_v", &["h", "q"]),
            plain("b_v", &["h"]),
            matrix("w_2", &["c", "2*h"]),
            plain("b_2", &["c"]),
        ],
        settings: &[],
        outputs: &[port("y", &["n", "c"])],
        macs: "n*h*p+n*h*q+2*n*c*h",
        int8: Int8::Yes,
        when: "Modalities of different nature that need a layer of their own before they meet.",
        cost: "As early fusion with the same h in each branch.",
        usual: NETS,
        build: stages::Middle::build,
    },
    Entry {
        name: "LateFusion",
        title: "Late fusion",
        family: "stages",
        equation: "y = ½·(σ(W₂·φ(W·u + b_u) + b₂) + σ(V₂·φ(V·v + b_v) + b₃)), φ = ReLU",
        inputs: PAIR,
        weights: &[
            matrix("w_u", &["h", "p"]),
            plain("b_u", &["h"]),
            matrix("w_2", &["c", "h"]),
            plain("b_2", &["c"]),
            matrix("w_v", &["h", "q"]),
            plain("b_v", &["h"]),
            matrix("v_2", &["c", "h"]),
            plain("b_3", &["c"]),
        ],
        settings: &[],
        outputs: &[port("y", &["n", "c"])],
        macs: "n*h*p+n*h*q+2*n*c*h",
        int8: Int8::Yes,
        when: "Modalities are trained on different data, or one is often missing: the other's \
            answer stands alone.",
        cost: "Two small networks; interactions cannot be learnt.",
        usual: NETS,
        build: stages::Late::build,
    },
    Entry {
        name: "CrossAttentionSoftmaxFusion",
        title: "Cross attention, softmax",
        family: "cross",
        equation: "Z = [softmax(Q_h·K_hᵀ/√d_h)·V_h]_h·W_o + b_o; Q = X·W_q + b_q, K = Y·W_k + b_k, \
            V = Y·W_v + b_v",
        inputs: ATTENDED,
        weights: ATTENTION_WEIGHTS,
        settings: HEADS,
        outputs: CONTEXT,
        macs: ATTENTION_MACS,
        int8: Int8::Yes,
        when: "Rows of one modality (tokens) look up rows of the other (patches, frames); every \
            row gets some weight.",
        cost: ATTENTION_COST,
        usual: PATCHES,
        build: cross::CrossAttention::softmax,
    },
    Entry {
        name: "CrossAttentionSparsemaxFusion",
        title: "Cross attention, sparsemax",
        family: "cross",
        equation: "as with softmax, π(z) = max(z − τ, 0), Σπ = 1",
        inputs: ATTENDED,
        weights: ATTENTION_WEIGHTS,
        settings: HEADS,
        outputs: CONTEXT,
        macs: ATTENTION_MACS,
        int8: Int8::Yes,
        when: "Few rows matter and which ones should be readable: the others get exactly 0.",
        cost: ATTENTION_COST,
        usual: PATCHES,
        build: cross::CrossAttention::sparsemax,
    },
    Entry {
        name: "CrossAttentionEntmax15Fusion",
        title: "Cross attention, 1.5-entmax",
        family: "cross",
        equation: "as with softmax, π(z) = max(z/2 − τ, 0)², Σπ = 1",
        inputs: ATTENDED,
        weights: ATTENTION_WEIGHTS,
        settings: HEADS,
        outputs: CONTEXT,
        macs: ATTENTION_MACS,
        int8: Int8::Yes,
        when: "Half way between the two: sparse, and it trains as easily as softmax. What text-\
            guided fusion of pictures uses.",
        cost: ATTENTION_COST,
        usual: PATCHES,
        build: cross::CrossAttention::entmax15,
    },
    Entry {
        name: "CrossAttentionFusion",
        title: "Label-guided: learnt attention",
        family: "label_guided",
        equation: "A = rowsoftmax(H_t·W·H_sᵀ); v = mean rows of [H_t, A·H_s]; logits = C·v + b; \
            G[i,k] = cos(H[i], L[k])",
        inputs: LABELLED,
        weights: &[
            plain("w", &["d", "d"]),
            LABEL_TEXT,
            LABEL_SPEECH,
            CLASSIFIER,
            LABEL_BIAS,
        ],
        settings: &[],
        outputs: LABELLED_OUT,
        macs: "n*d*d+n*m*d+m*d+4*n*d+4*m*d+8*d",
        int8: Int8::No(LABELS_F32),
        when: "Speech and text of one utterance; training ties A to the labels' attention.",
        cost: "d² weights.",
        usual: FRAMES,
        build: label_guided::LabelGuided::cross,
    },
    Entry {
        name: "LabelAttentionFusion",
        title: "Label-guided: attention by labels",
        family: "label_guided",
        equation: "A = rowsoftmax(G_t·G_sᵀ/T); v, logits and G as above",
        inputs: LABELLED,
        weights: &[LABEL_TEXT, LABEL_SPEECH, CLASSIFIER, LABEL_BIAS],
        settings: &[real("temperature", (1e-3, 1e3), 0.2)],
        outputs: LABELLED_OUT,
        macs: "4*n*m+m*d+4*n*d+4*m*d+8*d",
        int8: Int8::No(LABELS_F32),
        when: "As above, where an attention that can be explained by the classes is worth more \
            than the last point of accuracy.",
        cost: "No weights but the labels and the classifier.",
        usual: FRAMES,
        build: label_guided::LabelGuided::label,
    },
    Entry {
        name: "GraphMatching",
        title: "Graph matching",
        family: "graph_matching",
        equation: "t, v = tokens and picture words to width d; twice over each graph: x = LN(x + \
            ReLU([A_h·(W·x)_h]_h)); A_h = softmax over the edges of LeakyReLU(⟨target, Wx_i⟩ + \
            ⟨source, Wx_j⟩); g⁰ = [v; t], A = softmax(g⁰W_q·(g⁰W_k)ᵀ/√d), g = g⁰ + A·g⁰W_v; \
            α = softmax(GELU(g·W₁ + b₁)·w₂ + b₂); q = GELU(W₃·Σ αᵢgᵢ + b₃)",
        inputs: &[
            port("tokens", &["n", "e"]),
            Port {
                name: "picture",
                shape: &["m", "e"],
                optional: true,
            },
        ],
        weights: &[
            matrix("text_w", &["d", "e"]),
            plain("text_b", &["d"]),
            matrix("picture_w", &["d", "e"]),
            plain("picture_b", &["d"]),
            matrix("t1_w", &["d", "d"]),
            plain("t1_source", &["d"]),
            plain("t1_target", &["d"]),
            plain("t1_gamma", &["d"]),
            plain("t1_beta", &["d"]),
            matrix("t2_w", &["d", "d"]),
            plain("t2_source", &["d"]),
            plain("t2_target", &["d"]),
            plain("t2_gamma", &["d"]),
            plain("t2_beta", &["d"]),
            matrix("p1_w", &["d", "d"]),
            plain("p1_source", &["d"]),
            plain("p1_target", &["d"]),
            plain("p1_gamma", &["d"]),
            plain("p1_beta", &["d"]),
            matrix("p2_w", &["d", "d"]),
            plain("p2_source", &["d"]),
            plain("p2_target", &["d"]),
            plain("p2_gamma", &["d"]),
            plain("p2_beta", &["d"]),
            matrix("query_w", &["d", "d"]),
            matrix("key_w", &["d", "d"]),
            matrix("value_w", &["d", "d"]),
            matrix("weigh_w", &["d", "d"]),
            plain("weigh_b", &["d"]),
            plain("score_w", &["d"]),
            plain("score_b", &["1"]),
            matrix("read_w", &["c", "d"]),
            plain("read_b", &["c"]),
        ],
        settings: &[whole("heads", (1.0, 256.0), 2.0, None)],
        outputs: &[
            port("q", &["c"]),
            port("weights", &["m+n"]),
            port("attention", &["m+n", "m+n"]),
        ],
        macs: "n*d*e+m*d*e+n*n*e+2*n*d*d+2*m*d*d+2*n*n*d+2*m*m*d+4*n*d*d+4*m*d*d+2*n*n*d+4*n*m*d\
            +2*m*m*d+c*d",
        int8: Int8::No(
            "150,000 weights; its memory bank holds what it reads off, and bytes would move that",
        ),
        when: "Words that mean something else beside their picture: sarcasm. The picture is given \
            as words for what it shows, and may be missing.",
        cost: "The two maps to d, and ten products of d² for each node.",
        usual: NODES,
        build: graph_matching::GraphMatching::build,
    },
    Entry {
        name: "MemoryBankFusion",
        title: "Memory bank (kNN)",
        family: "memory",
        equation: "q = x/‖x‖; the k rows nearest in L2; a_i = e^{−‖q−b_i‖²/τ}/Σ; y = Σ a_i·answer_i",
        inputs: &[port("x", &["n", "d"])],
        weights: &[
            of_kind("bank", &["b", "d"], Kind::HalfMatrix),
            plain("answers", &["b", "c"]),
        ],
        settings: &[
            whole("k", (1.0, 4096.0), 10.0, None),
            real("tau", (1e-6, 1e6), 0.1),
        ],
        outputs: &[port("y", &["n", "c"])],
        macs: "n*b*d",
        int8: Int8::Yes,
        when: "Training examples should speak for themselves: new ones are added without training, \
            and the neighbours explain the answer. Rebuild the bank when the encoder changes.",
        cost: "b·d stored values, all read for each query: 5.1 MB in half floats for 20,000 rows \
            of 128, 2.6 MB in int8. The search is exact in both.",
        usual: STORED,
        build: memory::MemoryBank::build,
    },
];
