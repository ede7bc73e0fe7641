//! Inputs that stay: what is made of them alone is made once, and never kept for others.

use super::*;
use prost::Message;

#[allow(dead_code)]
#[path = "../../../tests/support/onnx.rs"]
mod onnx;

/// `a·a + b`, with `a` `[1, 2]` and `b` `[n, 2]`.
fn squares_and_more() -> Plan {
    let file = onnx::Writer::default()
        .input("a", &[1, 2])
        .rows("b", "n", 2)
        .node("Mul", &["a", "a"], "squares", &[])
        .node("Add", &["squares", "b"], "sum", &[])
        .finish("sum");
    let mut model = ModelProto::decode(&file[..]).unwrap();
    let shapes = [1, 3].map(|n| vec![vec![1, 2], vec![n, 2]]);
    Plan::new(&mut model, &shapes).unwrap()
}

fn run(plan: &Plan, a: [f32; 2], b: &[f32], held: Option<&Held>) -> Vec<f32> {
    run_beside(plan, a, b, held, || ())
}

/// The same, and something else while the answer is read.
fn run_beside(
    plan: &Plan,
    a: [f32; 2],
    b: &[f32],
    held: Option<&Held>,
    beside: impl FnOnce(),
) -> Vec<f32> {
    let of_b = [b.len() / 2, 2];
    let inputs = [
        (&[1, 2][..], InputValues::Floats(&a)),
        (&of_b[..], InputValues::Floats(b)),
    ];
    let read = |outputs: &Outputs<'_>| match outputs[0].1 {
        OutputValues::Floats(sum) => {
            beside();
            sum.to_vec()
        }
        _ => unreachable!("a sum of floats"),
    };
    plan.run(&inputs, held, 1, read).unwrap()
}

/// What `a` is not looked at for, if something is held.
const ANYTHING: [f32; 2] = [-7.0, 70.0];

#[test]
fn what_is_made_of_held_inputs_is_made_once() {
    let (plan, held) = (squares_and_more(), Held::new(0..1));
    assert_eq!(run(&plan, [2.0, 3.0], &[0.0, 0.0], Some(&held)), [4.0, 9.0]);
    assert_eq!(run(&plan, ANYTHING, &[1.0, 2.0], Some(&held)), [5.0, 11.0]);
    // the other input may grow
    let grown = run(
        &plan,
        ANYTHING,
        &[0.0, 0.0, 1.0, 1.0, 2.0, 2.0],
        Some(&held),
    );
    assert_eq!(grown, [4.0, 9.0, 5.0, 10.0, 6.0, 11.0]);
    assert_eq!(run(&plan, ANYTHING, &[0.0, 1.0], Some(&held)), [4.0, 10.0]);
}

#[test]
fn other_contents_and_runs_that_hold_nothing_are_made_anew() {
    let plan = squares_and_more();
    let (first, second) = (Held::new(0..1), Held::new(0..1));
    let zero = &[0.0, 0.0];
    assert_eq!(run(&plan, [2.0, 3.0], zero, Some(&first)), [4.0, 9.0]);
    assert_eq!(run(&plan, [1.0, 5.0], zero, Some(&second)), [1.0, 25.0]);
    // the memory was the second's
    assert_eq!(run(&plan, [2.0, 3.0], zero, Some(&first)), [4.0, 9.0]);
    assert_eq!(run(&plan, [4.0, 4.0], zero, None), [16.0, 16.0]);
    assert_eq!(run(&plan, [2.0, 3.0], zero, Some(&first)), [4.0, 9.0]);
}

#[test]
fn runs_at_once_hold_each_its_own() {
    let plan = squares_and_more();
    let (first, second) = (Held::new(0..1), Held::new(0..1));
    let zero = &[0.0, 0.0];
    let inner = || assert_eq!(run(&plan, [1.0, 5.0], zero, Some(&second)), [1.0, 25.0]);
    assert_eq!(
        run_beside(&plan, [2.0, 3.0], zero, Some(&first), inner),
        [4.0, 9.0]
    );
    for _ in 0..2 {
        assert_eq!(run(&plan, ANYTHING, zero, Some(&first)), [4.0, 9.0]);
        assert_eq!(run(&plan, ANYTHING, zero, Some(&second)), [1.0, 25.0]);
    }
}
