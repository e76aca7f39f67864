//! Arguments of a `tp_btf`, and the way from one by dots to a value.

use probepilot_sql::{SqlError, SqlState};

use super::btf::{Btf, BtfKind};
use super::declaration::{of_btf, spell};
use super::error::KernelError;
use super::hook::{Bits, FieldPath, Hook, HookField, KernelType, Place};
use super::labels::Labels;
use super::nearest::nearest;

/// The function that calls a tracepoint's programs; its parameters are the tracepoint's, with names.
const ITERATOR_PREFIX: &str = "__traceiter_";

/// The arguments behind `typedef void (*btf_trace_…)(void *__data, …)`, without the first.
///
/// Compilers drop the names of parameters from a pointer's type, so those come from the function that iterates over the
/// tracepoint's callers, where the kernel has it in its types.
pub fn arguments(btf: &Btf, typedef: u32, event: &str) -> Result<Vec<HookField>, KernelError> {
    let malformed = || KernelError::BtfMalformed { what: format!("type {typedef} is not a pointer to a function") };
    let pointer = btf.strip(typedef, |_| ()).filter(|found| found.kind == BtfKind::Pointer).ok_or_else(malformed)?;
    let function = btf.get(pointer.size_or_type).filter(|found| found.kind == BtfKind::FunctionPrototype);
    let parameters = btf.parameters(function.ok_or_else(malformed)?.id);
    let named = btf
        .find(BtfKind::Function, &format!("{ITERATOR_PREFIX}{event}"))
        .and_then(|function| btf.get(function))
        .map(|function| btf.parameters(function.size_or_type))
        .filter(|named| named.len() == parameters.len())
        .unwrap_or_else(|| parameters.clone());
    let arguments = parameters.into_iter().zip(named).skip(1).zip(0u16..);
    let fields = arguments.map(|(((_, type_id), (name, _)), index)| {
        let name = if name.is_empty() { format!("arg{index}") } else { name.to_string() };
        let declaration = format!("{} {name}", spell(btf, type_id));
        HookField {
            name,
            ty: of_btf(btf, type_id),
            place: Place::BtfArgument { index },
            declaration,
            labels: Labels::default(),
        }
    });
    Ok(fields.collect())
}

/// See [`super::Kernel::field_path`].
pub fn resolve(btf: &Btf, hook: &Hook, names: &[&str]) -> Result<FieldPath, SqlError> {
    let Some((first, members)) = names.split_first() else {
        return Err(SqlError::new(SqlState::UNDEFINED_COLUMN, format!("a column of {hook} needs a name")));
    };
    let field = hook.field(first).ok_or_else(|| {
        missing(
            &format!("column \"{first}\" does not exist in {hook}"),
            first,
            hook.fields.iter().map(|f| f.name.as_str()),
        )
    })?;
    let Place::BtfArgument { index } = field.place else {
        return Err(not_a_struct(first, &field.declaration)
            .hint("Members can be followed with dots in hooks of kind tp_btf only."));
    };
    let mut path = FieldPath {
        argument: index,
        pointers: Vec::new(),
        offset: None,
        bits: None,
        ty: field.ty.clone(),
        declaration: field.declaration.clone(),
    };
    let mut so_far = (*first).to_string();
    for name in members {
        path = follow(btf, path, &so_far, name)?;
        so_far = format!("{so_far}.{name}");
    }
    Ok(path)
}

/// See [`super::Kernel::member_path`].
pub fn of_struct(btf: &Btf, name: &str, members: &[&str]) -> Result<FieldPath, SqlError> {
    let container = btf.find(BtfKind::Struct, name).or_else(|| btf.find(BtfKind::Union, name)).ok_or_else(|| {
        SqlError::new(SqlState::UNDEFINED_OBJECT, format!("the kernel has no struct \"{name}\""))
            .hint("A pointer is cast to a struct by its name alone, as in (sk::tcp_sock).bytes_sent.")
    })?;
    let to = spell(btf, container);
    let mut path = FieldPath {
        argument: 0,
        pointers: Vec::new(),
        offset: None,
        bits: None,
        declaration: format!("{to} *"),
        ty: KernelType::KernelPointer { to, type_id: Some(container) },
    };
    let mut so_far = name.to_owned();
    for member in members {
        path = follow(btf, path, &so_far, member)?;
        so_far = format!("{so_far}.{member}");
    }
    Ok(path)
}

/// `path`, which is written `so_far`, one member further.
fn follow(btf: &Btf, mut path: FieldPath, so_far: &str, name: &str) -> Result<FieldPath, SqlError> {
    let (container, base) = match (&path.ty, path.offset) {
        (KernelType::KernelPointer { type_id: Some(container), .. }, None) => (*container, 0),
        (KernelType::KernelPointer { type_id: Some(container), .. }, Some(offset)) => {
            let container = *container;
            path.pointers.push(offset);
            (container, 0)
        }
        (KernelType::Aggregate { type_id, .. }, Some(offset)) => (*type_id, offset),
        _ => return Err(not_a_struct(so_far, &path.declaration)),
    };
    let member = btf.member(container, name).ok_or_else(|| {
        let message = format!("{} has no member \"{name}\"", spell(btf, container));
        missing(&message, name, btf.member_names(container))
    })?;
    let ty = of_btf(btf, member.type_id);
    let (offset, bits) = match (member.bit_width, &ty) {
        (0, _) => (member.bit_offset / 8, None),
        (width, KernelType::Int { bytes, .. } | KernelType::Enum { bytes, .. }) => {
            bit_field(*bytes, member.bit_offset, width)
                .ok_or_else(|| SqlError::unsupported(format!("bit field \"{name}\" crosses its integer's end")))?
        }
        (width, KernelType::Bool) => bit_field(1, member.bit_offset, width)
            .ok_or_else(|| SqlError::unsupported(format!("bit field \"{name}\" crosses its integer's end")))?,
        _ => return Err(SqlError::unsupported(format!("bit field \"{name}\" is not an integer"))),
    };
    let offset = base.checked_add(offset).ok_or_else(|| {
        SqlError::new(SqlState::DATA_CORRUPTED, format!("member \"{name}\" lies beyond the address space"))
    })?;
    Ok(FieldPath {
        offset: Some(offset),
        bits,
        declaration: format!("{} {name}", spell(btf, member.type_id)),
        ty,
        ..path
    })
}

/// The aligned integer of `bytes` that holds the bits, and where they are in it.
fn bit_field(bytes: u8, bit_offset: u32, width: u8) -> Option<(u32, Option<Bits>)> {
    let unit_bits = u32::from(bytes) * 8;
    let offset = bit_offset / unit_bits * u32::from(bytes);
    let shift = bit_offset % unit_bits;
    (shift + u32::from(width) <= unit_bits).then_some((offset, Some(Bits { shift: shift as u8, width })))
}

fn not_a_struct(so_far: &str, declaration: &str) -> SqlError {
    SqlError::new(SqlState::WRONG_OBJECT_TYPE, format!("\"{so_far}\" is not a struct, it has no members"))
        .detail(format!("The kernel declares it as: {declaration}."))
}

fn missing<'a>(message: &str, name: &str, names: impl IntoIterator<Item = &'a str>) -> SqlError {
    let error = SqlError::new(SqlState::UNDEFINED_COLUMN, message);
    match nearest(name, names).as_slice() {
        [] => error,
        near => error.hint(format!("Perhaps you meant {}.", near.join(" or "))),
    }
}
