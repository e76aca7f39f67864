//! Types that no compiler writes: an answer in bounded time, and never a panic.

use super::*;
use crate::btf_encoder::BtfEncoder;

const KIND_ARRAY: u32 = 3;
const KIND_STRUCT: u32 = 4;
const KIND_TYPEDEF: u32 = 8;

/// Looks at every type and at every hook as a tracer would.
fn look_at(encoder: BtfEncoder) -> Kernel {
    let kernel = Kernel::from_parts(PathBuf::from("/nonexistent"), encoder.finish()).unwrap();
    for name in kernel.hooks() {
        let hook = kernel.hook(&["tp_btf", &name.name]).unwrap();
        for field in &hook.fields {
            let _ = kernel.field_path(&hook, &[&field.name, "no_such_member"]);
        }
    }
    kernel
}

/// A tracepoint `made` with one argument of this type.
fn tracepoint(encoder: &mut BtfEncoder, argument: u32) {
    let context = encoder.pointer(0);
    let prototype = encoder.prototype(0, &[("", context), ("value", argument)]);
    let pointer = encoder.pointer(prototype);
    encoder.add(KIND_TYPEDEF, "btf_trace_made", 0, false, pointer, &[]);
}

fn argument_type(kernel: &Kernel) -> KernelType {
    kernel.hook(&["tp_btf", "made"]).unwrap().field("value").unwrap().ty.clone()
}

#[test]
fn an_array_of_itself_is_opaque() {
    let mut encoder = BtfEncoder::new();
    let itself = encoder.next_id();
    encoder.add(KIND_ARRAY, "", 0, false, 0, &[itself, itself, 1]);
    tracepoint(&mut encoder, itself);
    assert!(matches!(argument_type(&look_at(encoder)), KernelType::Opaque { .. }));
}

#[test]
fn two_arrays_of_each_other_are_opaque() {
    let mut encoder = BtfEncoder::new();
    let first = encoder.next_id();
    encoder.add(KIND_ARRAY, "", 0, false, 0, &[first + 1, first, 2]);
    encoder.add(KIND_ARRAY, "", 0, false, 0, &[first, first, 2]);
    tracepoint(&mut encoder, first);
    assert!(matches!(argument_type(&look_at(encoder)), KernelType::Opaque { .. }));
}

#[test]
fn an_array_of_as_many_dimensions_as_we_multiply_has_its_length() {
    let mut encoder = BtfEncoder::new();
    let mut array = encoder.int("int", 4, true);
    for _ in 0..8 {
        array = encoder.array(array, 1, 2);
    }
    tracepoint(&mut encoder, array);
    let expected = KernelType::IntArray { bytes: 4, signed: true, length: 256 };
    assert_eq!(argument_type(&look_at(encoder)), expected);
}

/// A struct of which four members have no name and are the struct itself doubles twice with each depth: four milliards of
/// steps to the last depth. What is found first is found all the same.
#[test]
fn a_struct_within_itself_is_looked_through_in_bounded_time() {
    let mut encoder = BtfEncoder::new();
    let int = encoder.int("int", 4, true);
    let itself = encoder.next_id();
    let named = encoder.string("pid");
    let members: Vec<u32> = (0..4).flat_map(|index| [0, itself, index * 64]).chain([named, int, 256]).collect();
    encoder.add(KIND_STRUCT, "wide", 5, false, 32, &members);
    let pointer = encoder.pointer(itself);
    tracepoint(&mut encoder, pointer);
    let kernel = look_at(encoder);
    assert!(kernel.btf().member(itself, "no_such_member").is_none());
    assert!(kernel.btf().member_names(itself).iter().all(|name| *name == "pid"));
    let hook = kernel.hook(&["tp_btf", "made"]).unwrap();
    assert_eq!(kernel.field_path(&hook, &["value", "pid"]).unwrap().offset, Some(32));
}
