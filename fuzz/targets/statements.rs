//! Any text is parsed or refused with a place in it; what was parsed parses again from its own range.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    match probepilot_sql::parse(text) {
        Ok(statements) => {
            let mut end_before = 0;
            for parsed in statements {
                assert!(parsed.range.start >= end_before, "statements overlap in {text:?}");
                end_before = parsed.range.end;
                let own = text.get(parsed.range.clone()).expect("a range that cuts a character");
                let again = probepilot_sql::parse(own).map(|again| again.len());
                assert!(matches!(again, Ok(1)), "{own:?} is no statement by itself: {again:?}");
            }
        }
        Err(error) => {
            assert!(!error.message.is_empty());
            let characters = text.chars().count() as u32;
            if let Some(position) = error.position {
                assert!((1..=characters + 1).contains(&position), "position {position} of {characters} characters");
            }
        }
    }
});
