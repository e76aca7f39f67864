//! The types of one of our programs, by which the verifier's log and bpftool quote its SQL.

use crate::btf_encoder::BtfEncoder;
use crate::object::SourceLine;

/// What the kernel keeps of a place in the source: ten bits of column, the rest line.
const COLUMN_MAX: u32 = (1 << 10) - 1;
const LINE_MAX: u32 = (1 << 22) - 1;

/// Bytes of a quoted line that are kept.
const TEXT_BYTES_MAX: usize = 200;

/// BTF, and the two tables that tie it to instructions.
pub struct ProgramTypes {
    /// The BTF.
    pub btf: Vec<u8>,
    /// (first instruction, function) by rising instruction.
    pub functions: Vec<[u32; 2]>,
    /// (instruction, file, text, line and column) by rising instruction.
    pub lines: Vec<[u32; 4]>,
}

/// A function of a program: what people recognise it by, and its first instruction.
#[derive(Clone, Copy, Debug)]
pub struct Function<'a> {
    pub name: &'a str,
    pub insn: usize,
}

/// The types of a program of these functions, the first of which is entered, with the SQL behind their instructions. Both
/// by rising instruction.
pub fn encode(functions: &[Function], lines: &[SourceLine]) -> ProgramTypes {
    let mut encoder = BtfEncoder::new();
    let int = encoder.int("int", 4, true);
    let context = encoder.pointer(0);
    let prototype = encoder.prototype(int, &[("context", context)]);
    let mut table: Vec<[u32; 4]> = Vec::with_capacity(lines.len());
    let mut function_table = Vec::with_capacity(functions.len());
    let mut texts: Vec<(&str, u32)> = Vec::new();
    for (index, function) in functions.iter().enumerate() {
        let identifier: String =
            function.name.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '_' }).collect();
        let number = encoder.function(&format!("pp_{identifier}"), prototype, index == 0);
        function_table.push([place(function.insn), number]);
        let file = encoder.string(&format!("{}.sql", function.name));
        let end = functions.get(index + 1).map_or(usize::MAX, |next| next.insn);
        let own = lines.iter().filter(|line| (function.insn..end).contains(&line.insn));
        lines_of(&mut encoder, (function, file), own, &mut texts, &mut table);
    }
    ProgramTypes { btf: encoder.finish(), functions: function_table, lines: table }
}

fn place(insn: usize) -> u32 {
    u32::try_from(insn).expect("a program is below 2³² instructions")
}

/// Adds the lines of a function, one at least: the kernel wants its first instruction to have one.
fn lines_of<'a>(
    encoder: &mut BtfEncoder,
    (function, file): (&Function, u32),
    lines: impl Iterator<Item = &'a SourceLine>,
    texts: &mut Vec<(&'a str, u32)>,
    table: &mut Vec<[u32; 4]>,
) {
    let mut lines = lines.peekable();
    if lines.peek().is_none_or(|line| line.insn > function.insn) {
        let text = encoder.string("-- start");
        table.push([place(function.insn), file, text, 0]);
    }
    for line in lines {
        let insn = place(line.insn);
        if table.last().is_some_and(|last| last[0] >= insn) {
            continue;
        }
        let text = match texts.iter().find(|(text, _)| *text == line.text) {
            Some((_, at)) => *at,
            None => {
                let at = encoder.string(&one_line(&line.text));
                texts.push((&line.text, at));
                at
            }
        };
        table.push([insn, file, text, (line.line.min(LINE_MAX) << 10) | line.column.min(COLUMN_MAX)]);
    }
}

fn one_line(text: &str) -> String {
    let mut line: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    let end = (0..=TEXT_BYTES_MAX.min(line.len())).rev().find(|at| line.is_char_boundary(*at)).unwrap_or(0);
    line.truncate(end);
    line
}

#[cfg(test)]
mod tests {
    use super::{Function, encode};
    use crate::kernel::{Btf, BtfKind};
    use crate::object::SourceLine;

    #[test]
    fn our_reader_reads_what_our_encoder_writes() {
        let line = |insn, text: &str| SourceLine { insn, text: text.into(), line: 2, column: 3 };
        let functions = [Function { name: "etc-reads", insn: 0 }, Function { name: "more", insn: 12 }];
        let types = encode(&functions, &[line(4, "a\nb"), line(4, "again"), line(9, "c"), line(13, "d")]);
        let btf = Btf::parse(types.btf).unwrap();
        assert_eq!(btf.find(BtfKind::Function, "pp_etc_reads"), Some(types.functions[0][1]));
        assert_eq!(btf.find(BtfKind::Function, "pp_more"), Some(types.functions[1][1]));
        assert_eq!(types.functions.iter().map(|function| function[0]).collect::<Vec<_>>(), [0, 12]);
        let starts: Vec<u32> = types.lines.iter().map(|line| line[0]).collect();
        assert_eq!(starts, [0, 4, 9, 12, 13]);
        assert_eq!(types.lines[1][3], (2 << 10) | 3);
    }
}
