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
    /// (first instruction, function) of the one function.
    pub functions: [u32; 2],
    /// (instruction, file, text, line and column) by rising instruction.
    pub lines: Vec<[u32; 4]>,
}

/// The types of a program called `name`, with the SQL behind its instructions.
pub fn encode(name: &str, lines: &[SourceLine]) -> ProgramTypes {
    let mut encoder = BtfEncoder::new();
    let int = encoder.int("int", 4, true);
    let context = encoder.pointer(0);
    let prototype = encoder.prototype(int, &[("context", context)]);
    let identifier: String = name.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '_' }).collect();
    let function = encoder.function(&format!("pp_{identifier}"), prototype);
    let file = encoder.string(&format!("{name}.sql"));
    let mut table: Vec<[u32; 4]> = Vec::with_capacity(lines.len());
    let mut texts: Vec<(&str, u32)> = Vec::new();
    for line in lines {
        let insn = u32::try_from(line.insn).expect("a program is below 2³² instructions");
        if table.last().is_some_and(|last| last[0] >= insn) {
            continue;
        }
        if table.is_empty() && insn > 0 {
            // The kernel wants the first instruction to have a line.
            let text = encoder.string("-- start");
            table.push([0, file, text, 0]);
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
    ProgramTypes { btf: encoder.finish(), functions: [0, function], lines: table }
}

fn one_line(text: &str) -> String {
    let mut line: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    let end = (0..=TEXT_BYTES_MAX.min(line.len())).rev().find(|at| line.is_char_boundary(*at)).unwrap_or(0);
    line.truncate(end);
    line
}

#[cfg(test)]
mod tests {
    use super::encode;
    use crate::kernel::{Btf, BtfKind};
    use crate::object::SourceLine;

    #[test]
    fn our_reader_reads_what_our_encoder_writes() {
        let line = |insn, text: &str| SourceLine { insn, text: text.into(), line: 2, column: 3 };
        let types = encode("etc-reads", &[line(4, "a\nb"), line(4, "again"), line(9, "c")]);
        let btf = Btf::parse(types.btf).unwrap();
        assert_eq!(btf.find(BtfKind::Function, "pp_etc_reads"), Some(types.functions[1]));
        let starts: Vec<u32> = types.lines.iter().map(|line| line[0]).collect();
        assert_eq!(starts, [0, 4, 9]);
        assert_eq!(types.lines[1][3], (2 << 10) | 3);
    }
}
