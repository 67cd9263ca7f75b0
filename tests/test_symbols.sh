#!/bin/sh
# Every symbol that a source file exports is used by another one, or stands below with its reason;
# nothing else stands there.
# A sanitizer adds one of its own for each global (__odr_asan), and OpenMP one for each named critical
# section, which no source file names.
# Needs MR_OBJECTS, the folder of the object files, and MR_SOURCE_DIR.
set -eu

allowed="
main                    where the program starts
mr_latex_normalise      references give it by itself
mr_mcnemar              references give it by itself
mr_memory_live_total    tests and debug builds ask what is still held
mr_distributed_resolution  tests hold values to it
mr_energy_top           references tell it
mr_checkpoint_is        how a checkpoint is told from other folders
mr_paper_parse          tests read tables of their own
mr_params_read          tests compare whole parameters
mr_schedule_factor      compared with traces of another library
"

if ! command -v nm >/dev/null; then
    echo "skipped: no nm (Debian: binutils)"
    exit 77
fi
# What is only built for devices is looked at where it was.
objects=$(cd "$MR_SOURCE_DIR" && find src -name '*.c' ! -path '*/cuda/*' |
    sed "s|.*|$MR_OBJECTS/*.dir/&.o|")
# shellcheck disable=SC2086 # patterns, to be expanded
nm -g -P -A $objects | awk -v allowed="$allowed" '
    BEGIN {
        count = split(allowed, line, "\n")
        for (i = 1; i <= count; i++)
            if (split(line[i], word, " ") > 0) reason[word[1]] = line[i]
    }
    $3 ~ /^[TDBRC]$/ && $2 !~ /^(__odr_asan|\.gomp_critical)/ { from[$2] = $1 }
    $3 == "U" { used[$2] = 1 }
    END {
        for (name in from)
            if (!(name in used) && !(name in reason)) {
                print name " is used by no other source file: make it static (" from[name] ")"
                bad++
            }
        for (name in reason)
            if (!(name in from) || (name in used && reason[name] !~ / debug builds /)) {
                print name " needs no reason: take it off the list"
                bad++
            }
        exit bad > 0
    }'
