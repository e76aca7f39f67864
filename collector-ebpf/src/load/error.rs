//! Why a program cannot be loaded or attached.

use std::io;

use datafusion::sql::sqlparser::tokenizer::Location;
use probepilot_sql::{SqlError, SqlState, position};

use crate::capability;
use crate::kernel::HookKind;
use crate::object::SourceLine;

/// Lines of the verifier's log that are kept.
const LOG_LINES_MAX: usize = 40;

/// A refusal by the kernel.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The kernel would not do something.
    #[error("the kernel refused to {what}")]
    Refused {
        /// What was asked.
        what: String,
        /// Its answer.
        source: io::Error,
    },
    /// The verifier found the program unsafe. It should not happen: the compiler knows the verifier's rules.
    #[error("the kernel's verifier refused the program of \"{program}\": {reason}")]
    Verifier {
        /// The program's name.
        program: String,
        /// The verifier's own words.
        reason: String,
        /// The SQL it was at.
        source_line: Option<SourceLine>,
        /// The end of its log.
        log: String,
        /// The call's answer.
        source: io::Error,
    },
    /// The program cannot be attached.
    #[error("cannot attach to {hook}")]
    Attach {
        /// Where.
        hook: String,
        /// The kernel's answer.
        source: io::Error,
    },
    /// The object makes no sense; the verifier never saw it.
    #[error("the program of \"{program}\" is malformed: {what}")]
    Malformed {
        /// The program's name.
        program: String,
        /// What is wrong.
        what: String,
    },
}

impl LoadError {
    /// Reads the end of the verifier's log: the reason, and the SQL it quotes.
    pub(crate) fn of_verifier(program: &str, lines: &[SourceLine], log: &str, source: io::Error) -> LoadError {
        let last: Vec<&str> = log.lines().rev().take(LOG_LINES_MAX).collect();
        let reason =
            last.iter().find(|line| is_reason(line)).map_or_else(|| source.to_string(), |line| (*line).to_string());
        let quoted = log.lines().rev().find_map(|line| line.strip_prefix("; "));
        let source_line = quoted.and_then(|quoted| {
            lines.iter().find(|line| {
                // Newer kernels add where the text stands: `text @ file:line`.
                quoted == line.text || quoted.strip_prefix(&line.text).is_some_and(|rest| rest.starts_with(" @ "))
            })
        });
        LoadError::Verifier {
            program: program.to_string(),
            reason,
            source_line: source_line.cloned(),
            log: last.into_iter().rev().collect::<Vec<_>>().join("\n"),
            source,
        }
    }

    /// Whether it is about attaching to a clock, whose rate the host's settings bound.
    fn is_of_profile(&self) -> bool {
        matches!(self, LoadError::Attach { hook, .. } if hook.starts_with(HookKind::Profile.schema()))
    }

    /// As [`LoadError::to_sql`], with the place in `text`, the statement that was compiled, where the verifier stopped.
    pub fn to_sql_in(&self, text: &str) -> SqlError {
        let error = self.to_sql();
        match self {
            LoadError::Verifier { source_line: Some(line), .. } => {
                let place = Location { line: line.line.into(), column: line.column.into() };
                error.at(position::of_location(text, place))
            }
            _ => error,
        }
    }

    /// What a user is told. 42501 when rights are missing, with the command that gives them.
    pub fn to_sql(&self) -> SqlError {
        let error = |state| SqlError::new(state, self.to_string());
        match self {
            LoadError::Refused { source, .. } | LoadError::Attach { source, .. } => match source.raw_os_error() {
                Some(libc::EPERM | libc::EACCES) => {
                    let error = error(SqlState::INSUFFICIENT_PRIVILEGE);
                    match capability::missing() {
                        Some(missing) => error.detail(missing.sentence()).hint(missing.advice()),
                        None => error.detail("This kernel's policy forbids it to everyone."),
                    }
                }
                Some(libc::ENOMEM | libc::ENOSPC) => error(SqlState::INSUFFICIENT_RESOURCES).detail(sentence(source)),
                Some(libc::EINVAL) if self.is_of_profile() => error(SqlState::IO_ERROR).detail(sentence(source)).hint(
                    "This host may allow fewer samples a second: see /proc/sys/kernel/perf_event_max_sample_rate.",
                ),
                _ => error(SqlState::IO_ERROR).detail(sentence(source)),
            },
            LoadError::Verifier { source_line, log, .. } => {
                let error = error(SqlState::INTERNAL_ERROR).caused_by(log.clone());
                match source_line {
                    Some(line) => error.detail(format!("It was at line {}: {}", line.line, line.text)),
                    None => error,
                }
            }
            LoadError::Malformed { .. } => error(SqlState::INTERNAL_ERROR),
        }
    }
}

fn sentence(source: &io::Error) -> String {
    format!("The system says: {source}.")
}

/// The log ends with statistics; the line before them is the reason.
fn is_reason(line: &str) -> bool {
    let statistics = ["processed ", "verification time", "stack depth", "; ", "insn_processed"];
    !line.trim().is_empty() && !statistics.iter().any(|start| line.starts_with(start))
}

#[cfg(test)]
mod tests {
    use super::LoadError;
    use crate::object::SourceLine;

    #[test]
    fn the_reason_and_the_sql_are_found_in_the_verifiers_log() {
        let lines = [
            SourceLine { insn: 0, text: "WHERE pid = 42".into(), line: 3, column: 1 },
            SourceLine { insn: 4, text: "SELECT comm".into(), line: 1, column: 8 },
        ];
        let log = "; WHERE pid = 42 @ opens.sql:3\n1: (85) call bpf_get_current_pid_tgid#14\n\
            ; SELECT comm @ opens.sql:1\n9: (7a) *(u64 *)(r0 +0) = 1\nR0 invalid mem access 'ringbuf_mem_or_null'\n\
            processed 9 insns (limit 1000000) max_states_per_insn 0\n";
        let error = LoadError::of_verifier("opens", &lines, log, std::io::Error::from_raw_os_error(libc::EACCES));
        let LoadError::Verifier { reason, source_line, .. } = &error else { panic!("{error}") };
        assert_eq!(reason, "R0 invalid mem access 'ringbuf_mem_or_null'");
        assert_eq!(source_line.as_ref(), Some(&lines[1]));
        let told = error.to_sql();
        assert_eq!(told.detail.unwrap(), "It was at line 1: SELECT comm");
        assert_eq!(error.to_sql_in("CREATE SELECT comm").position, Some(8));
        assert!(told.message.contains("\"opens\": R0 invalid mem access"), "{}", told.message);
    }
}
