#!/bin/sh
# Stands in for rustc when the fuzzer's binaries are built: counts the branches taken in what is fuzzed. Both flags are stable.
case " $* " in
*" --crate-name probepilot_sql "* | *" --crate-name probepilot_collector_ebpf "* | *" --crate-name probepilot_api "* | *" --crate-name fuzz_"*)
    exec "$@" -Ccodegen-units=1 -Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
        -Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table \
        -Cllvm-args=-sanitizer-coverage-trace-compares
    ;;
esac
exec "$@"
