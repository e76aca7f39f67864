//! Names as they are compared.

use datafusion::sql::sqlparser::ast::Ident;

/// A name as PostgreSQL folds it: what stands in quotes as it is, all other in lower case, which changes only the letters
/// A to Z.
pub fn folded(name: &Ident) -> String {
    if name.quote_style.is_some() { name.value.clone() } else { name.value.to_ascii_lowercase() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_ascii_letters_outside_quotes_are_folded() {
        assert_eq!(folded(&Ident::new("Process_EXEC")), "process_exec");
        assert_eq!(folded(&Ident::new("Überall")), "Überall");
        assert_eq!(folded(&Ident::with_quote('"', "Process_EXEC")), "Process_EXEC");
    }
}
